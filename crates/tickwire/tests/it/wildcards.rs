//! Wildcards over very many topics: other clients are served while they are handled, and nothing is left behind.

use serde_json::json;

use crate::support::{Broker, Frame, Socket, post};

const TOPICS: usize = 20_000;
const SUBSCRIPTIONS: &str = "tickwire_subscriptions{shard=\"0\"}";

fn broker_of_many_topics() -> Broker {
    let broker = Broker::start(&["--feed", "none", "--shards", "1", "--anonymous-publish", ">"]);
    let line = |number| format!("{{\"topic\":\"t.{number}\",\"data\":1}}\n");
    let lines: String = (0..TOPICS).map(line).collect();
    assert_eq!(post(broker.listen, "/v1/publish", &lines).status, 200);
    broker
}

fn subscribe(id: u64, topics: &[&str]) -> String {
    json!({"op": "subscribe", "id": id, "topics": topics, "snapshot": false}).to_string()
}

#[test]
fn others_are_read_while_a_wildcard_is_seen_to() {
    let broker = broker_of_many_topics();
    // The messages of an existing subscription come before the answer to the next request. Those of a new one wait for
    // the answer.
    assert_eq!(post(broker.listen, "/v1/topics/probe", "1").status, 200);
    let (mut wide, mut publisher) = (Socket::open(&broker), Socket::open(&broker));
    wide.send(Frame::text(&subscribe(1, &["probe"])));
    assert_eq!(wide.message()["id"], 1);
    // Both requests wait to be read, the wildcard first.
    broker.signal("STOP");
    wide.send(Frame::text(&subscribe(2, &["t.*", ">", "*.*"])));
    publisher.send(Frame::text(
        r#"{"op":"publish","id":1,"topic":"probe","data":"while it is seen to"}"#,
    ));
    broker.signal("CONT");
    assert_eq!(wide.message()["data"], "while it is seen to");
    let ack = wide.message();
    let matched = |at: usize| ack["results"][at]["matched"].as_u64();
    assert_eq!([matched(0), matched(1)], [Some(20_000), Some(20_001)], "{ack}");
    broker.stop();
}

#[test]
fn what_was_sent_behind_a_wildcard_is_answered_behind_it() {
    let broker = broker_of_many_topics();
    let mut socket = Socket::open(&broker);
    let mut sent = Vec::new();
    for message in [
        &subscribe(1, &["t.*"]),
        r#"{"op":"ping","id":2}"#,
        r#"{"op":"unsubscribe","id":3,"topics":["t.*"]}"#,
        r#"{"op":"ping","id":4}"#,
        &subscribe(5, &["t.>"]),
        r#"{"op":"ping","id":6}"#,
    ] {
        sent.extend(Frame::text(message).bytes());
    }
    socket.send_bytes(&sent);
    for id in 1..=6 {
        assert_eq!(socket.message()["id"], id);
    }
    broker.wait_for_metric(SUBSCRIPTIONS, |count| count == 20_000.0);
    broker.stop();
}

/// WebSockets and streams, before and after they were answered.
#[test]
fn connections_that_end_leave_no_subscription_behind() {
    let broker = broker_of_many_topics();
    let mut socket = Socket::open(&broker);
    socket.send(Frame::text(&subscribe(1, &["t.*"])));
    assert_eq!(socket.message()["op"], "ack");
    let mut unanswered = Socket::open(&broker);
    unanswered.send(Frame::text(&subscribe(1, &["t.*"])));
    let (stream, answer) = Socket::request(&broker, "GET /v1/sse?topic=t.* HTTP/1.1", &[]);
    assert_eq!(answer.status, 200);
    let mut unanswered_stream = Socket::connect(&broker);
    unanswered_stream.send_bytes(b"GET /v1/sse?topic=t.* HTTP/1.1\r\nHost: a\r\n\r\n");
    broker.wait_for_metric(SUBSCRIPTIONS, |count| count >= 40_000.0);
    drop((socket, unanswered, stream, unanswered_stream));
    broker.wait_for_metric(SUBSCRIPTIONS, |count| count == 0.0);
    let open = |transport| format!("tickwire_connections{{transport=\"{transport}\"}}");
    for transport in ["websocket", "sse"] {
        broker.wait_for_metric(&open(transport), |count| count == 0.0);
    }
    broker.stop();
}
