//! Recordings in the form of a journal: `record -o FILE.twj`, what `journal` shows of them, and their replay.

use std::fs;
use std::path::Path;
use std::process::Child;

use serde_json::{Value, json};

use crate::journal::{Journal, UNLIMITED, delete, kill, publish};
use crate::program::{Outcome, finish, run, signal, tickwire};
use crate::support::{Broker, Socket, get, poll};

/// Waits until `path` is longer than `bytes`.
fn wait_written(path: &Path, bytes: u64) -> u64 {
    poll("what was recorded is written", || {
        let length = fs::metadata(path).ok()?.len();
        (length > bytes).then_some(length)
    })
}

/// A running `record`. It is killed if its test fails.
struct Recorder(Option<Child>);

impl Recorder {
    fn start(args: &[&str]) -> Self {
        Self(Some(tickwire(args).spawn().expect("the program starts")))
    }

    /// Ends it by a signal.
    fn end(mut self, name: &str) -> Outcome {
        let child = self.0.take().expect("it runs");
        signal(child.id(), name);
        finish(child)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap_or_default();
            child.wait().map(drop).unwrap_or_default();
        }
    }
}

fn printed(args: &[&str]) -> Vec<Value> {
    let Outcome { code, stdout, stderr } = run(&[&["journal", "cat"], args].concat(), "");
    assert_eq!(code, Some(0), "{stderr}");
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Waits until the broker has `count` subscriptions, each topic of a pattern counted.
fn wait_subscribed(broker: &Broker, count: f64) {
    poll("the subscriptions", || {
        let shard = |shard: usize| broker.metric(&format!("tickwire_subscriptions{{shard=\"{shard}\"}}"));
        let all: f64 = (0..).map_while(shard).sum();
        (all >= count).then_some(())
    });
}

#[test]
fn what_is_recorded_is_what_the_brokers_journal_has() {
    let journal = Journal::new();
    let broker = journal.start(&UNLIMITED);
    let file = journal.folder.path().join("market.twj");
    let path = file.to_str().expect("UTF-8");
    let url = broker.url();
    let mut socket = Socket::open(&broker);
    for n in 0..2 {
        publish(&mut socket, n, &format!("chat.{n}"), &json!("before"));
    }
    let recorder = Recorder::start(&["record", "--url", &url, "chat.>", "book.A", "-o", path]);
    wait_subscribed(&broker, 2.0);
    for n in 1..=20 {
        let topic = format!("chat.{}", n % 2);
        publish(&mut socket, n, &topic, &json!({"text": "a \"word\"", "n": n}));
    }
    let whole =
        json!({"symbol": "A", "bids": [["9", "1"]], "asks": [["10", "2"]], "time": 1, "replace": true});
    publish(&mut socket, 21, "book.A", &whole);
    let change = json!({"symbol": "A", "bids": [["9", "0"], ["8", "3"]], "time": 2});
    publish(&mut socket, 22, "book.A", &change);
    assert_eq!(delete(broker.listen, "/v1/topics/chat.0"), 200);
    publish(&mut socket, 23, "chat.0", &json!("the next life"));
    wait_written(&file, 0);
    poll("everything is recorded", || {
        let lines = run(&["journal", "cat", path, "chat.0"], "").stdout;
        lines.contains("the next life").then_some(())
    });
    let ended = recorder.end("INT");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    // The same messages with the same numbers, epochs and times, each topic in its order.
    let of = |dir: &str, topic: &str| {
        let mut lines = printed(&[dir, topic]);
        for line in &mut lines {
            // The end of a topic has no time of its own on the wire.
            if line["op"] == "end" {
                line.as_object_mut().expect("an object").remove("ts");
            }
        }
        lines
    };
    for topic in ["chat.0", "chat.1", "book.A"] {
        // The values at the beginning, too.
        let (recorded, kept) = (of(path, topic), of(journal.dir(), topic));
        assert!(!kept.is_empty(), "{topic}");
        assert_eq!(recorded, kept, "{topic}");
    }
    check_shown(&journal, path);
    check_replays(&broker, &[path, journal.dir()]);
    broker.stop();
}

/// What `journal` says of the recording at `path`, which has 25 messages, 11 of them of `chat.1`.
fn check_shown(journal: &Journal, path: &str) {
    let verified = run(&["journal", "verify", path], "");
    assert!(
        verified.code == Some(0)
            && verified.stdout.starts_with("whole: ")
            && verified.stdout.contains("25 messages"),
        "{} {}",
        verified.stdout,
        verified.stderr
    );
    let listed = run(&["journal", "ls", path], "").stdout;
    assert!(
        listed.starts_with("market.twj ") && listed.contains("25 messages"),
        "{listed}"
    );
    let table = journal.folder.path().join("out.csv");
    let table = table.to_str().expect("UTF-8");
    let exported = run(&["journal", "export", path, "chat.1", "-o", table], "");
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let rows = fs::read_to_string(table)
        .expect("a file")
        .matches("chat.1,")
        .count();
    assert_eq!(rows, 11);
}

/// The replays of the recording, and of the journal of the broker that still writes it, end in the same values.
fn check_replays(broker: &Broker, sources: &[&str]) {
    for source in sources {
        let feed = format!("replay:{source}");
        let replay = Broker::start(&["--feed", &feed, "--speed", "1000"]);
        replay.wait_for_log("the recording is over");
        let value = |broker: &Broker, topic: &str| {
            let value = get(broker.listen, &format!("/v1/topics/{topic}")).body;
            let value: Value = serde_json::from_str(&value).expect("JSON");
            (value["ts"].clone(), value["data"].clone())
        };
        for topic in ["chat.0", "chat.1", "book.A"] {
            assert_eq!(value(&replay, topic), value(broker, topic), "{topic} of {source}");
        }
        replay.stop();
    }
}

#[test]
fn a_killed_recorder_leaves_what_it_has_written_and_goes_on() {
    let journal = Journal::new();
    let broker = journal.start(&UNLIMITED);
    let file = journal.folder.path().join("chat.twj");
    let path = file.to_str().expect("UTF-8");
    let url = broker.url();
    let mut socket = Socket::open(&broker);
    publish(&mut socket, 0, "chat.a", &json!(0));
    let record = |more: &[&str]| {
        let args = ["record", "--url", &url, "chat.>", "-o", path];
        Recorder::start(&[&args, more].concat())
    };
    let recorder = record(&[]);
    wait_subscribed(&broker, 1.0);
    publish(&mut socket, 1, "chat.a", &json!(1));
    let recorded = |count: usize| {
        poll("everything is recorded", || {
            let lines = run(&["journal", "cat", path], "").stdout;
            let data = lines.lines().map(|line| {
                let line: Value = serde_json::from_str(line).expect("JSON");
                line["data"].clone()
            });
            let data: Vec<Value> = data.collect();
            (data.len() == count).then_some(data)
        })
    };
    recorded(2);
    let first = wait_written(&file, 0);
    publish(&mut socket, 2, "chat.a", &json!(2));
    wait_written(&file, first);
    drop(recorder);
    let bytes = fs::read(&file).expect("a file");
    fs::write(&file, &bytes[..bytes.len() - 1]).expect("a file");
    let torn = run(&["journal", "verify", path], "");
    let told = format!("ends in the middle of a block at byte {first}");
    assert!(
        torn.code == Some(0) && torn.stderr.contains(&told),
        "{}",
        torn.stderr
    );

    // The killed one is no longer counted.
    poll("nobody is subscribed", || {
        let topics = get(broker.listen, "/v1/topics").body;
        topics.contains("\"subscribers\":0").then_some(())
    });
    let recorder = record(&["--append"]);
    wait_subscribed(&broker, 1.0);
    publish(&mut socket, 3, "chat.a", &json!(3));
    // The value at the beginning, and what came since.
    let data = recorded(4);
    assert_eq!(data, [0, 1, 2, 3].map(|n| json!(n)));
    let ended = recorder.end("TERM");
    assert!(
        ended
            .stderr
            .contains("bytes were not written whole and are cut off"),
        "{}",
        ended.stderr
    );
    kill(broker);
    check_damage(&file, path);
}

/// Damage in the middle is named with its place, and what is behind it is there.
fn check_damage(file: &Path, path: &str) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[20] ^= 1;
    fs::write(file, bytes).expect("a file");
    let damaged = run(&["journal", "verify", path], "");
    let told =
        "chat.twj is damaged at byte 0: the checksum of the block is wrong; the next valid block is at byte ";
    assert!(
        damaged.code == Some(1) && damaged.stderr.contains(told),
        "{}",
        damaged.stderr
    );
    let left = run(&["journal", "cat", path], "");
    assert!(
        left.code == Some(1) && left.stdout.contains("\"data\":3"),
        "{}",
        left.stdout
    );
}

/// The number of checkpoints in a journal's directory.
fn checkpoints(journal: &Journal) -> usize {
    let names = fs::read_dir(journal.folder.path()).expect("it is there");
    let names = names.map(|entry| entry.expect("it is there").file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".checkpoint"))
        .count()
}

/// What a journal was trimmed of is not replayed; its books are those of the checkpoint that it begins with.
#[test]
fn a_trimmed_journal_begins_with_the_books_of_its_checkpoint() {
    let journal = Journal::new();
    let broker = journal.start(&UNLIMITED);
    let mut socket = Socket::open(&broker);
    let whole =
        json!({"symbol": "A", "bids": [["9", "1"]], "asks": [["10", "2"]], "time": 1, "replace": true});
    publish(&mut socket, 1, "book.A", &whole);
    let mut id = 1;
    poll("two checkpoints", || {
        id += 1;
        publish(&mut socket, id, "chat.a", &json!("x".repeat(1_000)));
        (checkpoints(&journal) >= 2).then_some(())
    });
    let change = json!({"symbol": "A", "bids": [["8", "3"]], "time": 2});
    publish(&mut socket, id + 1, "book.A", &change);
    let value = |broker: &Broker| {
        let value = get(broker.listen, "/v1/topics/book.A").body;
        let value: Value = serde_json::from_str(&value).expect("JSON");
        value["data"].clone()
    };
    let expected = value(&broker);
    drop(socket);
    broker.stop();
    let trimmed = run(&["journal", "trim", journal.dir()], "");
    assert!(
        trimmed.code == Some(0) && !trimmed.stdout.starts_with("0 files"),
        "{} {}",
        trimmed.stdout,
        trimmed.stderr
    );
    let feed = format!("replay:{}", journal.dir());
    let replay = Broker::start(&["--feed", &feed, "--speed", "1000"]);
    replay.wait_for_log("the recording is over");
    assert_eq!(value(&replay), expected);
    assert_eq!(expected["bids"], json!([["9", "1"], ["8", "3"]]));
    replay.stop();
}
