//! Recordings of a broker: what is written is replayed, once and in order, with what is missing.

use std::io::Write as _;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use tempfile::TempDir;
use tickwire_feed::{Excerpt, Feed, Part, Recorder, RecordingForm};
use tickwire_wire::Micros;

use crate::replay::{BASE_MS, bbo};

/// The time of the messages, in microseconds.
const AT: u64 = BASE_MS * 1_000;

/// A recording of `messages`, one a millisecond.
fn recorded(folder: &TempDir, form: RecordingForm, messages: &[&str]) -> PathBuf {
    let path = folder.path().join("recorded");
    let mut recorder = Recorder::new(std::fs::File::create(&path).expect("a file"), form);
    for (ms, message) in (0..).zip(messages) {
        let added = recorder.add(Micros(AT + ms * 1_000), message.as_bytes());
        added.expect("there is room");
    }
    recorder.flush().expect("there is room");
    let length = std::fs::metadata(&path).expect("a file").len();
    assert_eq!(recorder.written(), length);
    path
}

/// What a replay of `files` publishes, and its faults.
fn replayed(files: &[PathBuf]) -> String {
    let mut feed =
        Feed::Replay(Excerpt::open(files, Part::default(), crate::support::books()).expect("usable lines"));
    let mut text = String::new();
    while let Some(tick) = feed.next_tick() {
        let mut json = Vec::new();
        tick.payload.write_json(&mut json);
        let (ms, topic) = ((tick.at.0 - AT) / 1_000, feed.topic(tick.topic));
        let whole = if tick.is_whole { " whole" } else { "" };
        let doubt = tick.doubt.map_or_else(String::new, |doubt| format!(" {doubt:?}"));
        text += &format!("{ms} {topic} {}{whole}{doubt}\n", String::from_utf8_lossy(&json));
    }
    for fault in feed.faults() {
        text += &format!("{} in line {}: {}\n", fault.kind.name(), fault.line, fault.reason);
    }
    text
}

fn check(messages: &[&str], expected: &Expect) {
    let folder = tempfile::tempdir().expect("a folder");
    for form in [RecordingForm::Plain, RecordingForm::Zstd] {
        expected.assert_eq(&replayed(&[recorded(&folder, form, messages)]));
    }
}

#[test]
fn messages_come_once_with_their_topics() {
    check(
        &[
            r#"{"op":"snapshot","topic":"ticker.A","epoch":"k","seq":7,"ts":1,"data":{"last":"1.50"}}"#,
            r#"{"op":"joined","topic":"trade.A","epoch":"k","seq":3}"#,
            r#"{"op":"update","topic":"trade.A","seq":4,"ts":2,"data":[4]}"#,
            r#"{"op":"update","topic":"ticker.A","seq":9,"ts":2,"data":{"last": "2"}}"#,
            r#"{"op":"update","topic":"trade.A","seq":4,"ts":2,"data":[4]}"#,
            r#"{"op":"snapshot","topic":"ticker.A","epoch":"k","seq":9,"ts":2,"data":{"last":"2"}}"#,
            r#"{"op":"heartbeat","ts":1}"#,
            r#"{"op":"snapshot","topic":"ticker.A","epoch":"m","seq":1,"ts":3,"data":null}"#,
            r#"{"op":"end","topic":"trade.A","epoch":"k","seq":4,"reason":"expired"}"#,
            r#"{"op":"update","topic":"trade.A","seq":1,"ts":9,"data":[1]}"#,
        ],
        &expect![[r#"
            0 ticker.A {"last":"1.50"} whole
            2 trade.A [4]
            3 ticker.A {"last": "2"}
            7 ticker.A null whole
            9 trade.A [1]
            repeated_message in line 5: message 4 of trade.A, which came before
            unused in line 6: the value of ticker.A after message 9, which came before
            malformed in line 7: neither a stream with data, an event, nor a snapshot with lastUpdateId, bids and asks
        "#]],
    );
}

#[test]
fn a_book_behind_a_gap_is_in_doubt_until_its_value_comes() {
    check(
        &[
            r#"{"op":"snapshot","topic":"book.A","epoch":"k","seq":1,"ts":1,"data":{"bids":[]}}"#,
            r#"{"op":"gap","topic":"book.A","epoch":"k","from":2,"to":5,"reason":"slow"}"#,
            r#"{"op":"update","topic":"book.A","seq":6,"ts":1,"data":{"asks":[]}}"#,
            r#"{"op":"snapshot","topic":"book.A","epoch":"k","seq":6,"ts":1,"data":{"bids":[]}}"#,
            r#"{"op":"status","topic":"book.A","state":"stale","reason":"partial"}"#,
            r#"{"op":"update","topic":"book.A","seq":7,"ts":1,"data":{}}"#,
            r#"{"op":"status","topic":"book.A","state":"live"}"#,
            r#"{"op":"update","topic":"book.A","seq":8,"ts":1,"data":{}}"#,
            r#"{"op":"status","topic":"book.A","state":"stale"}"#,
            r#"{"op":"status","topic":"book.A","state":"stale","reason":"crossed"}"#,
            r#"{"op":"update","topic":"book.A","seq":9,"ts":1,"data":{}}"#,
        ],
        &expect![[r#"
            0 book.A {"bids":[]} whole
            2 book.A {"asks":[]} Hole
            3 book.A {"bids":[]} whole
            5 book.A {} Partial
            7 book.A {}
            10 book.A {}
            message_gap in line 2: messages 2 to 5 of book.A are missing
            unused in line 9: a broker's message "status" holds nothing to replay
            unused in line 10: a broker's message "status" holds nothing to replay
        "#]],
    );
}

#[test]
fn what_is_no_message_of_a_broker_is_named() {
    check(
        &[
            r#"{"op":"update","topic":"a b","seq":1,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":1,"ts":1}"#,
            r#"{"op":"update","topic":"a","seq":1,"ts":1,"data":1}"#,
        ],
        &expect![[r#"
            2 a 1
            malformed in line 1: byte 1 (' ') is not one of A-Z a-z 0-9 _ - .
            malformed in line 2: not a message of a broker: unreadable message from the broker: update without data
        "#]],
    );
}

#[test]
fn recordings_of_a_broker_and_of_an_exchange_are_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let of_broker = recorded(
        &folder,
        RecordingForm::Zstd,
        &[
            r#"{"op":"update","topic":"chat.a","seq":1,"ts":1,"data":"first"}"#,
            r#"{"op":"update","topic":"chat.b","seq":1,"ts":1,"data":"second"}"#,
        ],
    );
    let of_exchange = folder.path().join("exchange");
    std::fs::write(
        &of_exchange,
        bbo(0, "BTCUSDT", "1", "2") + "\n" + &bbo(2, "ETHUSDT", "3", "4"),
    )
    .expect("a file");
    expect![[r#"
        0 chat.a "first"
        0 bbo.BTC-USDT {"symbol":"BTC-USDT","bid":"1","bid_size":"1","ask":"2","ask_size":"2","time":1723161240000000}
        1 chat.b "second"
        2 bbo.ETH-USDT {"symbol":"ETH-USDT","bid":"3","bid_size":"1","ask":"4","ask_size":"2","time":1723161240002000}
    "#]].assert_eq(&replayed(&[of_broker, of_exchange]));
}

#[test]
fn a_file_that_breaks_off_loses_its_last_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let message =
        |number: u32| format!(r#"{{"op":"update","topic":"a","seq":{number},"ts":1,"data":{number}}}"#);
    let path = folder.path().join("recorded");
    let mut recorder = Recorder::new(Vec::new(), RecordingForm::Zstd);
    for number in 1..=3 {
        let added = recorder.add(Micros(AT), message(number).as_bytes());
        added.and_then(|()| recorder.flush()).expect("memory takes all");
    }
    let whole = usize::try_from(recorder.written()).expect("it is in memory");
    let bytes = recorder.into_inner();
    let mut file = std::fs::File::create(&path).expect("a file");
    file.write_all(&bytes[..whole - 1]).expect("there is room");
    let text = replayed(&[path]);
    assert!(
        text.starts_with("0 a 1\n0 a 2\nmalformed in line 3: the file ends here"),
        "{text}"
    );
}
