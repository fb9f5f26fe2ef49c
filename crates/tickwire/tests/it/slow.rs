//! Readers that stop reading: they cost the broker bounded memory, and cost other clients nothing.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{Broker, Client, Codec, Frame, Socket, Tool};

/// Most bytes that wait for one connection: the budget, a refill beyond it, and a message.
const OUTBOX_BYTES_MAX: f64 = (256.0 + 64.0 + 64.0) * 1024.0;

/// A connection that subscribes to everything and reads nothing.
fn stopped_reader(broker: &Broker) -> Socket {
    let mut socket = Socket::open(broker);
    socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":[">"]}"#));
    socket
}

/// The number of bytes that wait in all outboxes.
fn waiting_bytes(broker: &Broker) -> f64 {
    ["0", "1"]
        .iter()
        .map(|shard| {
            broker
                .metric(&format!("tickwire_outbox_bytes{{shard=\"{shard}\"}}"))
                .expect("there are two shards")
        })
        .sum()
}

#[test]
fn a_reader_that_stops_is_closed_with_4002_and_the_others_miss_nothing() {
    let Some(python) = Tool::Python.find("a_reader_that_stops_is_closed") else {
        return;
    };
    let broker = Broker::start_with(
        &[
            "--feed",
            "sim",
            "--symbols",
            "5",
            "--rate",
            "5000",
            "--shards",
            "2",
        ],
        &[("TICKWIRE_LIMITS__STALL_MS", "1000")],
    );
    // Each of the two shards has one stopped reader.
    let stopped = [stopped_reader(&broker), stopped_reader(&broker)];
    let mut reader = Client::python(&python, &broker, Codec::Json);
    reader.send(&json!({"op": "subscribe", "id": 1, "topics": ["trade.>"]}));
    let (mut last, mut after_the_end) = (HashMap::new(), 0);
    while after_the_end < 2 {
        for _ in 0..500 {
            follow(&reader.next(), &mut last);
        }
        let waiting = waiting_bytes(&broker);
        assert!(
            waiting <= 3.0 * OUTBOX_BYTES_MAX,
            "{waiting} bytes wait for three connections"
        );
        let closed = broker.metric(r#"tickwire_closes_total{code="4002"}"#);
        after_the_end += usize::from(closed == Some(2.0));
    }
    assert_eq!(last.len(), 5, "every symbol was traded: {last:?}");
    reader.close(1000);
    broker.wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
        open == 0.0
    });
    // If they read again after all, they learn what happened.
    for mut socket in stopped {
        let (_, (code, reason)) = socket.until_closed();
        assert_eq!(code, 4002, "{reason}");
    }
    broker.stop();
}

/// Checks that the message follows the one before of its topic.
fn follow(message: &Value, last: &mut HashMap<String, u64>) {
    let op = message["op"].as_str().expect("a message has an op");
    if ["ack", "heartbeat", "synced"].contains(&op) {
        return;
    }
    let topic = message["topic"].as_str().expect("data has a topic").to_owned();
    let seq = message["seq"].as_u64().expect("data has a number");
    match last.insert(topic, seq) {
        Some(before) => assert_eq!((op, seq), ("update", before + 1), "{message}"),
        None => assert!(op == "snapshot" || seq == 1, "{message}"),
    }
}

#[test]
fn readers_that_stopped_cost_memory_that_does_not_grow() {
    const READERS: usize = 30;
    let late = "150000";
    let broker = Broker::start_with(
        &[
            "--feed",
            "sim",
            "--symbols",
            "2",
            "--rate",
            "20000",
            "--shards",
            "2",
        ],
        &[
            // None of the readers is closed while this test runs.
            ("TICKWIRE_LIMITS__STALL_MS", "3600000"),
            ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", late),
            ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", late),
        ],
    );
    let stopped: Vec<Socket> = (0..READERS).map(|_| stopped_reader(&broker)).collect();
    let resident = || {
        broker
            .metric("process_resident_memory_bytes")
            .expect("a process has memory")
    };
    // Waits until the histories and the sockets are full.
    let ticks = "tickwire_feed_ticks_total";
    broker.wait_for_metric(ticks, |count| count >= 30_000.0);
    let before = resident();
    broker.wait_for_metric(ticks, |count| count >= 130_000.0);
    let (after, waiting) = (resident(), waiting_bytes(&broker));
    // A queue per reader would by now hold a hundred thousand more messages: 24 MB of pointers alone, and 30 MB of
    // text.
    assert!(
        after - before < 16.0 * 1024.0 * 1024.0,
        "{READERS} stopped readers: from {before} to {after} bytes resident"
    );
    assert!(
        waiting <= READERS as f64 * OUTBOX_BYTES_MAX,
        "{waiting} bytes wait"
    );
    let lagging: f64 = ["0", "1"]
        .iter()
        .filter_map(|shard| broker.metric(&format!("tickwire_lagging_sessions{{shard=\"{shard}\"}}")))
        .sum();
    assert_eq!(lagging, READERS as f64, "all of them are behind");
    drop(stopped);
    broker.wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
        open == 0.0
    });
    broker.stop();
}
