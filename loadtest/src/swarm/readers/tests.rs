//! How readers handle messages, without a socket.

use expect_test::{Expect, expect};

use super::*;

pub(crate) const WELCOME: &str = r#"{"op":"welcome","session":"s","server":"t","ts":1,"heartbeat_ms":15000,
    "limits":{"subscriptions":8,"message_bytes":65536,"ops_per_s":50}}"#;

pub(crate) fn layout(topics: usize, mode: Mode) -> Layout {
    Layout {
        readers: 10,
        topics: (0..topics).map(|topic| format!("trade.{topic}")).collect(),
        topics_each: 2,
        apart: 1,
        publishes: true,
        mode: Some(mode),
    }
}

/// Lets a connection hear a message. Returns its answer and whether it is ready.
pub(crate) fn hear<W: Watch>(readers: &mut Readers<W>, id: usize, message: &str) -> (Vec<u8>, bool) {
    let (mut out, mut settled) = (Vec::new(), false);
    let mut reply = Reply::new(&mut out, &mut settled);
    readers.message(ConnId(id), message.as_bytes(), Micros(5), &mut reply);
    (out, settled)
}

#[test]
fn each_reader_has_its_topics_at_their_places() {
    for (apart, topics) in [(1, 4), (2, 6), (3, 2)] {
        let layout = Layout {
            apart,
            ..layout(topics, Mode::Every)
        };
        for reader in 0..10 {
            let own: Vec<usize> = (0..2).map(|place| layout.topic(reader, place)).collect();
            for topic in 0..topics {
                let place = own.iter().position(|own| *own == topic);
                assert_eq!(layout.place(reader, topic), place, "{reader} {topic} of {topics}");
            }
        }
    }
}

/// The result of `messages` at reader 1, which has topics 1 and 2 of 4.
#[track_caller]
fn check(messages: &[&str], expected: &Expect) {
    let mut readers = Readers::new(layout(4, Mode::Every), ());
    let (request, ready) = hear(&mut readers, 2, WELCOME);
    let asked =
        br#"{"op":"subscribe","id":1,"topics":["trade.1","trade.2"],"mode":"every","snapshot":false}"#;
    assert_eq!((request.len(), ready), (asked.len() + 6, false));
    let ack = r#"{"op":"ack","id":1,"results":[{"topic":"trade.1","epoch":"e","seq":5,"mode":"every"},
        {"topic":"trade.2","epoch":"e","seq":5,"mode":"conflate","conflate_ms":0}]}"#;
    assert!(hear(&mut readers, 2, ack).1);
    for message in messages {
        hear(&mut readers, 2, message);
    }
    let (counts, faults) = (readers.counts, &readers.faults);
    expected.assert_eq(&format!(
        "{} updates, {} skipped, {} gapped, {} missing. {faults}",
        counts.updates, counts.conflated, counts.gapped, counts.missing
    ));
}

pub(crate) fn update(topic: &str, seq: u64) -> String {
    format!(r#"{{"op":"update","topic":"{topic}","seq":{seq},"ts":1,"data":1}}"#)
}

#[test]
fn messages_are_checked() {
    let (one, two) = (|seq| update("trade.1", seq), |seq| update("trade.2", seq));
    check(
        &[&one(6), &one(7), &two(9)],
        &expect!["3 updates, 3 skipped, 0 gapped, 0 missing. "],
    );
    check(
        &[&one(6), &one(9)],
        &expect![
            "2 updates, 0 skipped, 0 gapped, 2 missing. 1 × broken promise (reader 1: trade.1: message 9 came where 7 was due, and no gap named what is missing)"
        ],
    );
    let gap = r#"{"op":"gap","topic":"trade.1","epoch":"e","from":6,"to":8,"reason":"slow"}"#;
    check(
        &[gap, &one(9)],
        &expect!["1 updates, 0 skipped, 3 gapped, 0 missing. 1 × gap (reader 1: trade.1: 6 to 8, Slow)"],
    );
    check(
        &[&update("trade.3", 70), &update("x", 1)],
        &expect!["0 updates, 0 skipped, 0 gapped, 0 missing. 2 × never subscribed (reader 1: trade.3)"],
    );
    let refused = r#"{"op":"ack","id":1,"results":[{"topic":"trade.1","error":{"code":"forbidden","reason":""}},
        {"topic":"trade.2","epoch":"e","seq":5,"mode":"every"}]}"#;
    let error = r#"{"op":"error","code":"rate_limited","reason":"slow down","retryable":true}"#;
    for (message, kind) in [
        (refused, "refused"),
        (error, "unexpected message"),
        ("{", "unreadable message"),
    ] {
        let mut readers = Readers::new(layout(4, Mode::Every), ());
        hear(&mut readers, 2, WELCOME);
        hear(&mut readers, 2, message);
        assert!(
            readers.faults.to_string().starts_with(&format!("1 × {kind} (")),
            "{message}"
        );
    }
}

#[test]
fn what_was_acknowledged_and_has_not_come_is_missing() {
    let mut readers = Readers::new(
        Layout {
            readers: 4,
            topics_each: 1,
            ..layout(2, Mode::Every)
        },
        (),
    );
    let ack = r#"{"op":"ack","id":7,"results":[{"topic":"trade.1","epoch":"e","seq":1}]}"#;
    hear(&mut readers, 0, ack);
    let acked = r#"{"op":"ack","id":1,"results":[{"topic":"trade.1","epoch":"e","seq":0,"mode":"every"}]}"#;
    for id in [4, 2] {
        hear(&mut readers, id, WELCOME);
        hear(&mut readers, id, acked);
    }
    // Reader 3 has the message, reader 1 has not.
    hear(&mut readers, 4, &update("trade.1", 1));
    assert!(!readers.have_all(1));
    hear(&mut readers, 2, &update("trade.1", 1));
    assert!(readers.have_all(1) && !readers.have_all(2));
    readers.newest[1] = 7;
    readers.settle();
    assert_eq!((readers.counts.missing, readers.faults.count()), (12, 2));
}
