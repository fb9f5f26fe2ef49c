//! `tickwire journal`: what it shows of a journal's files, and what it removes.

use std::fs;

use serde_json::{Value, json};

use crate::journal::{Journal, UNLIMITED, delete, flip, kill, publish, value_of};
use crate::program::run;
use crate::support::{Broker, Socket, poll};

/// Publishes 20 messages to `chat.0` and `chat.1`, and ends `chat.0`. Returns the messages as lines without their times.
fn publish_some(broker: &Broker) -> Vec<Value> {
    let mut socket = Socket::open(broker);
    let mut published = Vec::new();
    for n in 1..=20 {
        let (topic, data) = (format!("chat.{}", n % 2), json!({"text": "a \"word\"", "n": n}));
        let place = publish(&mut socket, n, &topic, &data);
        let (epoch, seq) = (&place["epoch"], &place["seq"]);
        published.push(json!({"op": "update", "topic": topic, "epoch": epoch, "seq": seq, "data": data}));
    }
    assert_eq!(delete(broker.listen, "/v1/topics/chat.0"), 200);
    published
}

/// The lines that `cat` prints.
fn printed(args: &[&str]) -> Vec<Value> {
    let printed = run(&[&["journal", "cat"], args].concat(), "");
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let lines = printed.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn messages_are_printed_as_they_were_published() {
    let journal = Journal::new();
    let broker = journal.start(&[]);
    let published = publish_some(&broker);
    kill(broker);
    let mut lines = printed(&[journal.dir()]);
    let end = lines.pop().expect("an end");
    let told = ["op", "topic", "reason"].map(|field| end[field].as_str().expect("a text"));
    assert_eq!(told, ["end", "chat.0", "deleted"]);
    let times: Vec<u64> = lines
        .iter()
        .map(|line| line["ts"].as_u64().expect("a time"))
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    for line in &mut lines {
        line.as_object_mut().expect("an object").remove("ts");
    }
    assert_eq!(lines, published);
    let some = printed(&["--from", &times[10].to_string(), journal.dir(), "chat.1"]);
    let expected = times
        .iter()
        .enumerate()
        .filter(|(at, ts)| **ts >= times[10] && at % 2 == 0);
    assert_eq!(some.len(), expected.count(), "{some:?}");

    let file = journal.folder.path().join("out.csv");
    let file = file.to_str().expect("UTF-8");
    let exported = run(&["journal", "export", journal.dir(), "chat.1", "-o", file], "");
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let table = fs::read_to_string(file).expect("a file");
    let rows: Vec<&str> = table
        .split("\r\n")
        .filter(|row| row.starts_with("chat.1,"))
        .collect();
    assert_eq!(rows.len(), 10, "{table}");
    let data = r#","{""text"":""a \""word\"""",""n"":19}""#;
    assert!(
        rows[9].starts_with("chat.1,10,") && rows[9].ends_with(data),
        "{table}"
    );
}

#[test]
fn damage_is_named_and_passed_over() {
    let journal = Journal::new();
    let broker = journal.start(&[]);
    publish_some(&broker);
    let verified = run(&["journal", "verify", journal.dir()], "");
    assert!(
        verified.stdout.starts_with("whole: "),
        "{} {}",
        verified.stdout,
        verified.stderr
    );
    let listed = run(&["journal", "ls", journal.dir()], "");
    assert!(listed.stdout.contains("20 messages"), "{}", listed.stdout);
    kill(broker);
    let segment = journal.last_segment();
    flip(&segment, fs::metadata(&segment).expect("it is there").len() / 2);
    let damaged = run(&["journal", "verify", journal.dir()], "");
    assert_eq!(damaged.code, Some(1), "{}", damaged.stderr);
    assert!(
        damaged.stderr.contains("is damaged at byte"),
        "{}",
        damaged.stderr
    );
    let rest = run(&["journal", "cat", journal.dir()], "");
    assert_eq!(rest.code, Some(1), "{}", rest.stderr);
    assert!(rest.stdout.lines().count() >= 19, "{}", rest.stdout);
    let empty = run(&["journal", "ls", "/"], "");
    assert_eq!(empty.code, Some(1), "{}", empty.stderr);
    assert!(empty.stderr.contains("has no journal"), "{}", empty.stderr);
}

/// What a start does not need can be removed, and a start is then as before.
#[test]
fn old_files_can_be_removed() {
    let journal = Journal::new();
    let settings = [
        UNLIMITED[0],
        UNLIMITED[1],
        UNLIMITED[2],
        ("TICKWIRE_JOURNAL__SEGMENT_BYTES", "1048576"),
    ];
    let broker = journal.start(&settings);
    let mut socket = Socket::open(&broker);
    let long = json!("x".repeat(50_000));
    let count = |end: &str| {
        let names = fs::read_dir(journal.folder.path()).expect("it is there");
        names
            .filter(|entry| {
                entry
                    .as_ref()
                    .expect("it is there")
                    .file_name()
                    .to_string_lossy()
                    .ends_with(end)
            })
            .count()
    };
    let mut n = 0;
    poll("two checkpoints with files before them", || {
        for _ in 0..30 {
            n += 1;
            publish(&mut socket, n, "chat.a", &long);
        }
        (count(".checkpoint") == 2 && count(".segment") > 4).then_some(())
    });
    let refused = run(&["journal", "trim", journal.dir()], "");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("is used by another process"),
        "{}",
        refused.stderr
    );
    kill(broker);
    let before = count(".segment");
    let trimmed = run(&["journal", "trim", journal.dir()], "");
    assert_eq!(trimmed.code, Some(0), "{}", trimmed.stderr);
    assert!(
        count(".segment") < before && count(".checkpoint") == 2,
        "{}",
        trimmed.stdout
    );
    let broker = journal.start(&[]);
    assert_eq!(value_of(&broker, "chat.a")["seq"], n);
    broker.stop();
}
