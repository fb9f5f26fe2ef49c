//! Streams that are opened again where an earlier one ended.

use serde_json::json;

use crate::stream::Stream;
use crate::support::{TestBroker, list, number, text};

/// Opens a stream again with the id of the last event.
fn resume(broker: &TestBroker, query: &str, id: &str) -> Stream {
    Stream::open(broker.connect(), query, &[&format!("Last-Event-ID: {id}")])
}

#[test]
fn what_was_missed_is_replayed_without_loss_and_without_a_duplicate() {
    let broker = TestBroker::start();
    let query = "topic=trade.A&topic=trade.B";
    let (mut seen, mut id) = ([Vec::new(), Vec::new()], None::<String>);
    let (mut published, mut round) = ([0, 0], 0);
    while round < 12 {
        round += 1;
        let mut stream = match &id {
            None => Stream::open(broker.connect(), query, &[]),
            Some(id) => resume(&broker, query, id),
        };
        let results = stream.expect_ack();
        let recovered = if id.is_some() { json!(true) } else { json!(null) };
        assert!(results.iter().all(|result| result["recovered"] == recovered));
        for (at, topic) in ["trade.A", "trade.B"].into_iter().enumerate() {
            for _ in 0..round + at {
                published[at] += 1;
                broker.publish(topic, &published[at].to_string());
            }
        }
        // The client leaves in the middle: it misses some of these, and some come while it is gone.
        for _ in 0..round {
            let update = stream.expect("update");
            let at = usize::from(update.data["topic"] == "trade.B");
            assert_eq!(update.data["seq"], update.data["data"]);
            seen[at].push(number(&update.data["seq"]));
            id = update.id;
        }
    }
    let mut stream = resume(&broker, query, &id.unwrap());
    stream.expect_ack();
    while [seen[0].len(), seen[1].len()] != published {
        let update = stream.expect("update");
        seen[usize::from(update.data["topic"] == "trade.B")].push(number(&update.data["seq"]));
    }
    for (seen, published) in seen.iter().zip(published) {
        assert_eq!(*seen, (1..=published as u64).collect::<Vec<_>>());
    }
}

#[test]
fn the_parameter_resumes_like_the_header_which_goes_first() {
    let broker = TestBroker::start();
    let mut stream = Stream::open(broker.connect(), "topic=trade.A", &[]);
    stream.expect("welcome");
    let id = stream.expect("ack").id.unwrap();
    for number in 1..=3 {
        broker.publish("trade.A", &number.to_string());
    }
    let at = |seq: u64| id.replace(":0", &format!(":{seq}"));
    let query = format!("topic=trade.A&last_event_id={}", at(1));
    let mut by_parameter = Stream::open(broker.connect(), &query, &[]);
    by_parameter.expect_ack();
    assert_eq!(by_parameter.expect("update").data["seq"], 2);
    let mut by_header = resume(&broker, &query, &at(2));
    by_header.expect_ack();
    assert_eq!(by_header.expect("update").data["seq"], 3);
    // An empty id counts as none: the stream is new and begins with the value.
    let mut by_neither = Stream::open(
        broker.connect(),
        "topic=trade.A&last_event_id=",
        &["Last-Event-ID:"],
    );
    assert_eq!(by_neither.expect_ack()[0].get("recovered"), None);
    assert_eq!(by_neither.expect("snapshot").data["seq"], 3);
}

#[test]
fn what_the_history_no_longer_holds_is_named_by_a_gap() {
    let broker = TestBroker::with(
        "[[kinds]]\npattern = \"short.*\"\nkind = \"event\"\nhistory = 4\n",
        &[],
    );
    let mut stream = Stream::open(broker.connect(), "topic=short.A", &[]);
    stream.expect_ack();
    broker.publish("short.A", "1");
    let id = stream.expect("update").id.unwrap();
    drop(stream);
    for number in 2..=10 {
        broker.publish("short.A", &number.to_string());
    }
    let mut stream = resume(&broker, "topic=short.A", &id);
    let results = stream.expect_ack();
    assert_eq!(
        (&results[0]["recovered"], &results[0]["seq"]),
        (&json!(false), &json!(10))
    );
    let gap = stream.expect("gap");
    let epoch = text(&gap.data["epoch"]);
    assert_eq!(
        gap.data,
        json!({"op": "gap", "topic": "short.A", "epoch": epoch, "from": 2, "to": 10, "reason": "history"})
    );
    assert_eq!(gap.id, Some(format!("{epoch}:10")));
    broker.publish("short.A", "11");
    assert_eq!(stream.expect("update").data["seq"], 11);
}

#[test]
fn a_position_of_another_life_of_the_broker_starts_afresh() {
    let broker = TestBroker::start();
    for topic in ["trade.A", "ticker.A"] {
        broker.publish(topic, "1");
        broker.publish(topic, "2");
    }
    let mut stream = resume(
        &broker,
        "topic=trade.A&topic=ticker.A&topic=trade.None",
        "zzzz:57,58,59",
    );
    stream.expect("welcome");
    let ack = stream.expect("ack");
    let epoch = text(&ack.data["results"][0]["epoch"]).to_owned();
    for result in list(&ack.data["results"]) {
        assert_eq!(result["recovered"], false);
    }
    let gap = stream.expect("gap");
    assert_eq!(
        (&gap.data["from"], &gap.data["to"], &gap.data["reason"]),
        (&json!(1), &json!(2), &json!("epoch"))
    );
    let snapshot = stream.expect("snapshot");
    assert_eq!(snapshot.data["topic"], "ticker.A");
    assert_eq!(snapshot.id, Some(format!("{epoch}:2,2,0")));
    broker.publish("trade.None", "1");
    assert_eq!(stream.expect("update").id, Some(format!("{epoch}:2,2,1")));
}

#[test]
fn a_stream_that_was_cut_off_before_its_values_gets_them_when_it_comes_back() {
    let broker = TestBroker::start();
    let book = "{\"symbol\":\"A\",\"bids\":[[\"1\",\"1\"]],\"time\":0}";
    for (topic, data) in [("trade.A", "3"), ("ticker.A", "4"), ("book.A", book)] {
        broker.publish(topic, data);
        broker.publish(topic, data);
    }
    let query = "topic=trade.A&topic=ticker.A&topic=book.A";
    let mut stream = Stream::open(broker.connect(), query, &[]);
    stream.expect("welcome");
    let ack = stream.expect("ack");
    let epoch = text(&ack.data["results"][0]["epoch"]).to_owned();
    let id = ack.id.unwrap();
    assert_eq!(id, format!("{epoch}:1,1,0"));
    let mut stream = resume(&broker, query, &id);
    assert!(
        stream
            .expect_ack()
            .iter()
            .all(|result| result["recovered"] == true)
    );
    let mut values = Vec::new();
    // The book comes as the changes that make it.
    for _ in 0..4 {
        let update = stream.expect("update");
        values.push((
            text(&update.data["topic"]).to_owned(),
            number(&update.data["seq"]),
        ));
    }
    values.sort();
    let expected = [("book.A", 1), ("book.A", 2), ("ticker.A", 2), ("trade.A", 2)];
    assert_eq!(values, expected.map(|(topic, seq)| (topic.to_owned(), seq)));
}

/// The client got the `ack` and was cut off before the gap. It came back to the message before the newest, and was told that it
/// had missed nothing.
#[test]
fn a_stream_that_was_cut_off_before_the_gap_of_another_lineage_never_got_it() {
    let broker = TestBroker::start();
    for number in 1..=3 {
        broker.publish("trade.A", &number.to_string());
    }
    for other_lineage in ["zzzz:57", "zzzz:2"] {
        let mut stream = resume(&broker, "topic=trade.A", other_lineage);
        stream.expect("welcome");
        let ack = stream.expect("ack");
        assert_eq!(ack.data["results"][0]["recovered"], false);
        let mut stream = resume(&broker, "topic=trade.A", &ack.id.unwrap());
        assert_eq!(stream.expect_ack()[0]["recovered"], true);
        for number in 1..=3 {
            assert_eq!(stream.expect("update").data["seq"], number);
        }
    }
    // This lineage has not reached the number, so it belongs to one that is gone.
    let mut stream = resume(&broker, "topic=trade.A", "zzzz:57");
    stream.expect("welcome");
    let id = stream.expect("ack").id.unwrap().replace(":0", ":57");
    let mut stream = resume(&broker, "topic=trade.A", &id);
    stream.expect("welcome");
    let ack = stream.expect("ack");
    assert_eq!(ack.data["results"][0]["recovered"], false);
    assert_eq!(ack.id, Some(id.replace(":57", ":0")));
}
