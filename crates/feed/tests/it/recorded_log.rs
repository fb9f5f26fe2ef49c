//! Recordings in the form of a journal: what is written is replayed as the same messages recorded as lines are, whatever is torn or
//! damaged.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use tempfile::TempDir;
use tickwire_feed::{Excerpt, Feed, LogRecorder, Part, whole_blocks};
use tickwire_wire::{Codec, Epoch, Kind, Micros, ServerMessage};

use crate::support::books;

/// A time of messages, in microseconds.
const AT: u64 = 1_723_161_254_000_000;

/// What is recorded, and where a block ends (`None`).
type Recorded<'a> = &'a [Option<&'a str>];

/// Appends a recording of `messages` to `path`. Topics that begin with `book` are books.
fn append(path: &Path, messages: Recorded<'_>) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut recorder = LogRecorder::new(file.expect("a file"), Epoch::from("r"), Micros(AT));
    for message in messages {
        let Some(message) = message else {
            recorder.flush().expect("there is room");
            continue;
        };
        let message = message.replace("TS", &AT.to_string());
        let message = Codec::Json.decode_server(message.as_bytes());
        let message = message.expect("a message");
        let topic = match &message {
            ServerMessage::Update { topic, .. } | ServerMessage::Snapshot { topic, .. } => topic.clone(),
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => String::new(),
        };
        if !topic.is_empty() && !recorder.knows(&topic) {
            let kind = match topic.split('.').next() {
                Some("book") => Kind::Book,
                Some("ticker") => Kind::State,
                _ => Kind::Event,
            };
            recorder.learn(&topic.parse().expect("a topic"), kind, Some(Epoch::from("k")));
        }
        recorder.add(&message).expect("there is room");
    }
    recorder.flush().expect("there is room");
}

fn recorded(messages: Recorded<'_>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recorded.twj");
    append(&path, messages);
    (folder, path)
}

/// What a replay of `path` publishes, and its faults.
fn replayed(path: &Path) -> String {
    let excerpt = Excerpt::open(&[path.to_owned()], Part::default(), books());
    let mut feed = Feed::Replay(excerpt.expect("usable entries"));
    let mut text = String::new();
    while let Some(tick) = feed.next_tick() {
        let mut json = Vec::new();
        tick.payload.write_json(&mut json);
        let ts = tick.ts.map_or(0, |ts| ts.0 - AT);
        let (us, topic) = (tick.at.0 - AT, feed.topic(tick.topic));
        let whole = if tick.is_whole { " whole" } else { "" };
        let doubt = tick.doubt.map_or_else(String::new, |doubt| format!(" {doubt:?}"));
        text += &format!(
            "{us} {ts} {topic} {}{whole}{doubt}\n",
            String::from_utf8_lossy(&json)
        );
    }
    for fault in feed.faults() {
        text += &format!(
            "{} in entry {}: {}\n",
            fault.kind.name(),
            fault.line,
            fault.reason
        );
    }
    text
}

fn check(messages: Recorded<'_>, expected: &Expect) {
    let (_folder, path) = recorded(messages);
    expected.assert_eq(&replayed(&path));
}

#[test]
fn messages_come_once_with_their_topics_and_times() {
    check(
        &[
            Some(
                r#"{"op":"snapshot","topic":"ticker.A","epoch":"k","seq":7,"ts":1723161254000001,"data":{"last":"1.50"}}"#,
            ),
            Some(r#"{"op":"update","topic":"trade.A","seq":4,"ts":1723161254000005,"data":[4]}"#),
            Some(r#"{"op":"update","topic":"ticker.A","seq":9,"ts":1723161254000003,"data":{"last": "2"}}"#),
            None,
            Some(r#"{"op":"update","topic":"trade.A","seq":4,"ts":1723161254000005,"data":[4]}"#),
            Some(
                r#"{"op":"snapshot","topic":"ticker.A","epoch":"k","seq":9,"ts":1723161254000003,"data":{"last":"2"}}"#,
            ),
            Some(
                r#"{"op":"snapshot","topic":"ticker.A","epoch":"m","seq":1,"ts":1723161254000006,"data":null}"#,
            ),
            Some(r#"{"op":"end","topic":"trade.A","epoch":"k","seq":4,"reason":"expired"}"#),
            Some(r#"{"op":"joined","topic":"trade.A","epoch":"n","seq":0}"#),
            Some(r#"{"op":"update","topic":"trade.A","seq":1,"ts":1723161254000009,"data":[1]}"#),
        ],
        &expect![[r#"
            1 1 ticker.A {"last":"1.50"} Partial
            5 5 trade.A [4] Partial
            5 3 ticker.A {"last": "2"} Partial
            6 6 ticker.A null
            9 9 trade.A [1]
        "#]],
    );
}

#[test]
fn a_book_behind_a_gap_is_in_doubt_until_its_value_comes() {
    check(
        &[
            Some(
                r#"{"op":"snapshot","topic":"book.A","epoch":"k","seq":5,"ts":TS,"data":{"symbol":"A","bids":[["1","2"]],"asks":[],"checksum":1,"time":1}}"#,
            ),
            Some(
                r#"{"op":"update","topic":"book.A","seq":6,"ts":TS,"data":{"symbol":"A","bids":[["1","3"]],"asks":[],"checksum":1,"time":1}}"#,
            ),
            Some(r#"{"op":"gap","topic":"book.A","epoch":"k","from":7,"to":9,"reason":"slow"}"#),
            Some(
                r#"{"op":"update","topic":"book.A","seq":10,"ts":TS,"data":{"symbol":"A","bids":[["1","4"]],"asks":[],"checksum":1,"time":1}}"#,
            ),
            Some(
                r#"{"op":"snapshot","topic":"book.A","epoch":"k","seq":10,"ts":TS,"data":{"symbol":"A","bids":[["1","5"]],"asks":[],"checksum":1,"time":1}}"#,
            ),
            Some(r#"{"op":"status","topic":"book.A","state":"stale","reason":"hole"}"#),
            Some(
                r#"{"op":"update","topic":"book.A","seq":11,"ts":TS,"data":{"symbol":"A","bids":[["1","6"]],"asks":[],"checksum":1,"time":1}}"#,
            ),
        ],
        &expect![[r#"
            0 0 book.A {"symbol":"A","bids":[["1","2"]],"asks":[],"checksum":1,"time":1} whole
            0 0 book.A {"symbol":"A","bids":[["1","3"]],"asks":[],"checksum":1,"time":1}
            0 0 book.A {"symbol":"A","bids":[["1","4"]],"asks":[],"checksum":1,"time":1} Hole
            0 0 book.A {"symbol":"A","bids":[["1","5"]],"asks":[],"checksum":1,"time":1} whole
            0 0 book.A {"symbol":"A","bids":[["1","6"]],"asks":[],"checksum":1,"time":1} Hole
            message_gap in entry 1: messages 7 to 9 of book.A are missing
        "#]],
    );
}

/// Blocks with one message each.
fn in_blocks(count: u64) -> Vec<String> {
    let message = |seq| {
        format!(
            r#"{{"op":"update","topic":"t","seq":{seq},"ts":{},"data":"message {seq}"}}"#,
            AT + seq
        )
    };
    (1..=count).map(message).collect()
}

#[test]
fn a_killed_recorder_loses_no_more_than_its_last_block() {
    let messages = in_blocks(3);
    let messages: Vec<Option<&str>> = messages.iter().flat_map(|it| [Some(it.as_str()), None]).collect();
    let (_folder, path) = recorded(&messages);
    let whole = fs::read(&path).expect("a file");
    let shorter = |count: usize| {
        let (_folder, path) = recorded(&messages[..2 * count]);
        fs::metadata(path).expect("a file").len()
    };
    let ends: Vec<u64> = (1..=3).map(shorter).collect();
    assert_eq!(ends[2], whole.len() as u64);
    for length in ends[0]..ends[2] {
        fs::write(&path, &whole[..length as usize]).expect("a file");
        let read = replayed(&path);
        let complete = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(
            read.matches("\"message").count(),
            complete,
            "{length} bytes: {read}"
        );
        let end = ends[complete - 1];
        let is_torn = length > end;
        let told = format!("byte {end}: the file ends in the middle of a block");
        assert_eq!(read.contains(&told), is_torn, "{length} bytes: {read}");
        assert_eq!(whole_blocks(&whole[..length as usize]).expect("bytes"), end);
    }
    // Another recording goes on behind the last whole block.
    fs::write(&path, &whole[..ends[0] as usize]).expect("a file");
    append(&path, &messages[2..]);
    let read = replayed(&path);
    assert!(
        read.matches("\"message").count() == 3 && !read.contains("entry"),
        "{read}"
    );
}

#[test]
fn damage_in_the_middle_is_named_and_passed_over() {
    let messages = in_blocks(3);
    let messages: Vec<Option<&str>> = messages.iter().flat_map(|it| [Some(it.as_str()), None]).collect();
    let (_folder, path) = recorded(&messages);
    let (_other, first) = recorded(&messages[..2]);
    let begin = fs::metadata(first).expect("a file").len();
    let mut bytes = fs::read(&path).expect("a file");
    bytes[begin as usize + 20] ^= 1;
    fs::write(&path, bytes).expect("a file");
    let read = replayed(&path);
    let told = format!("byte {begin}: the checksum of the block is wrong; the next block is at byte ");
    assert!(read.contains(&told), "{read}");
    assert!(read.contains("messages 2 to 2 of t are missing"), "{read}");
    assert!(
        read.contains("\"message 1\"") && read.contains("\"message 3\""),
        "{read}"
    );
}
