//! Topics that end: by `DELETE`, and by a rule.

use serde_json::json;

use crate::stream::Stream;
use crate::support::TestBroker;

#[test]
fn who_may_publish_to_a_topic_ends_it() {
    let broker = TestBroker::publishing("chat.>", "", &[]);
    let mut client = broker.connect();
    let mut delete = |topic: &str| client.send("DELETE", &format!("/v1/topics/{topic}"), &[], "");
    assert_eq!(delete("ticker.X").status, 403, "whether or not it exists");
    assert_eq!(
        delete("chat.a").refusal(),
        "404 bad_topic: no such topic: nothing was published to chat.a yet, or it has ended"
    );
    for _ in 0..2 {
        broker.publish("chat.a", "1");
    }
    broker.wait_for_metric("tickwire_topics", 1.0);
    let ended = delete("chat.a").json();
    assert_eq!((&ended["topic"], &ended["seq"]), (&json!("chat.a"), &json!(2)));
    assert_eq!(delete("chat.a").status, 404, "it has ended");
    for target in ["/v1/topics/chat.a", "/v1/topics/chat.a/history"] {
        assert_eq!(broker.get(target).status, 404, "{target}");
    }
    for (series, value) in [
        ("tickwire_topics", 0.0),
        ("tickwire_topics_ended_total{reason=\"deleted\"}", 1.0),
        ("tickwire_topics_ended_total{reason=\"expired\"}", 0.0),
        ("tickwire_value_bytes", 0.0),
        ("tickwire_history_bytes", 0.0),
    ] {
        broker.wait_for_metric(series, value);
    }
    let anew = broker
        .connect()
        .send("POST", "/v1/topics/chat.a", &[], "3")
        .json();
    assert_eq!(anew["seq"], 1);
    assert_ne!(
        anew["epoch"], ended["epoch"],
        "a topic that is made again has another epoch"
    );
}

#[test]
fn a_topic_of_a_rule_ends_by_itself() {
    let rule = "[[expiry]]\npattern = \"chat.*\"\nafter_ms = 1\n";
    let broker = TestBroker::with(rule, &[]);
    broker.publish("chat.a", "1");
    broker.publish("other.a", "1");
    broker.wait_for_metric("tickwire_topics_ended_total{reason=\"expired\"}", 1.0);
    broker.wait_for_metric("tickwire_topics", 1.0);
    assert_eq!(broker.get("/v1/topics/other.a").status, 200);
}

/// The id behind an end is the position before the topic's next life: a stream that resumes there misses nothing.
#[test]
fn a_stream_goes_on_in_the_next_life_of_its_topic() {
    let broker = TestBroker::start();
    broker.publish("chat.a", "1");
    let mut stream = Stream::open(broker.connect(), "topic=chat.a", &[]);
    stream.expect_ack();
    let before = stream.expect("snapshot").id;
    let ended = broker.connect().send("DELETE", "/v1/topics/chat.a", &[], "");
    assert_eq!(ended.status, 200);
    let end = stream.expect("end");
    assert_eq!(end.data["reason"], "deleted");
    assert_ne!(end.id, before);
    broker.publish("chat.a", "2");
    assert_eq!(stream.expect("joined").data["seq"], 0);
    assert_eq!(stream.expect("update").data["data"], 2);
    let resumed = format!("Last-Event-ID: {}", end.id.expect("an end has an id"));
    let mut stream = Stream::open(broker.connect(), "topic=chat.a", &[&resumed]);
    let ack = stream.expect_ack();
    assert_eq!(ack[0]["recovered"], true, "{resumed}: {ack:?}");
    assert_eq!(stream.expect("update").data["data"], 2);
}
