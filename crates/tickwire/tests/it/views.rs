//! Delayed copies of topics: what their readers get, and what they cannot learn.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::journal::{Journal, kill};
use crate::support::{Broker, Frame, Socket, get, poll, post};

/// Copies that come so soon that a test can wait for them.
const SOON_MS: u64 = 40;

/// Copies soon, and copies that do not come while a test runs.
fn rules(more: &str) -> String {
    format!(
        "anonymous_publish = [\">\"]\n{more}\n\
         [[views]]\npattern = \">\"\nprefix = \"soon.\"\ndelay_ms = {SOON_MS}\n\
         [[views]]\npattern = \">\"\nprefix = \"late.\"\ndelay_ms = 3600000\n"
    )
}

fn start(rules: &str, flags: &[&str]) -> (Broker, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    fs::write(&file, rules).expect("a file can be written");
    let path = file.to_str().expect("a path is text");
    let args = [&["--feed", "none", "--config", path], flags].concat();
    (Broker::start(&args), folder)
}

fn publish(broker: &Broker, topic: &str, data: &Value) -> Value {
    let answer = post(broker.listen, &format!("/v1/topics/{topic}"), &data.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

fn value_of(broker: &Broker, topic: &str) -> Option<Value> {
    let answer = get(broker.listen, &format!("/v1/topics/{topic}"));
    (answer.status == 200).then(|| serde_json::from_str(&answer.body).expect("JSON"))
}

/// The value of a topic once it has this number.
fn value_at(broker: &Broker, topic: &str, seq: u64) -> Value {
    poll(topic, || {
        value_of(broker, topic).filter(|value| value["seq"] == seq)
    })
}

fn book(n: u64, replace: bool) -> Value {
    json!({"symbol": "A", "bids": [[format!("{n}"), "1"]], "asks": [["100", format!("{n}")]], "time": n,
        "replace": replace})
}

#[test]
fn a_copy_is_its_topic_exactly_that_much_later_with_a_sequence_of_its_own() {
    let (broker, _folder) = start(&rules(""), &[]);
    let mut reader = Socket::open(&broker);
    let subscribe = json!({"op": "subscribe", "id": 1, "mode": "every",
        "topics": ["ticker.A", "soon.ticker.A", "book.A", "soon.book.A"]});
    reader.send(Frame::text(&subscribe.to_string()));
    while reader.message()["op"] != "ack" {}
    for n in 1..=5 {
        publish(&broker, "ticker.A", &json!({"last": format!("{n}")}));
        publish(&broker, "book.A", &book(n, n == 4));
    }
    for topic in ["ticker.A", "book.A"] {
        let copy = value_at(&broker, &format!("soon.{topic}"), 5);
        let live = value_of(&broker, topic).expect("it exists");
        let ts = |value: &Value| value["ts"].as_u64().expect("a time");
        assert_eq!(ts(&copy), ts(&live) + SOON_MS * 1_000, "exactly that much later");
        assert_eq!(copy["data"], live["data"], "a book with its checksum, too");
    }
    // Of each topic the live messages came before their copies, and all have come.
    let mut came: Vec<(String, u64)> = Vec::new();
    while came.len() < 20 {
        let message = reader.message();
        assert_ne!(message["op"], "gap", "{message}");
        if message["op"] == "update" {
            let topic = message["topic"].as_str().expect("a topic").to_owned();
            came.push((topic, message["seq"].as_u64().expect("a number")));
        }
    }
    let place = |topic: &str, seq| {
        came.iter()
            .position(|it| it.0 == topic && it.1 == seq)
            .expect(topic)
    };
    for topic in ["ticker.A", "book.A"] {
        for seq in 1..=5 {
            assert!(place(topic, seq) < place(&format!("soon.{topic}"), seq));
        }
    }
    assert_eq!(broker.metric("tickwire_view_lost_messages_total"), Some(0.0));
    let held = broker.wait_for_metric("tickwire_view_held_messages", |held| held == 10.0);
    assert!(
        broker
            .metric("tickwire_view_held_bytes")
            .is_some_and(|bytes| bytes > held * 100.0)
    );
    broker.stop();
}

/// Neither snapshot nor history, listing, wildcard or number tells anything of what is not due.
#[test]
fn a_reader_of_delayed_topics_learns_nothing_that_is_not_due() {
    let auth = "[auth]\nanonymous_subscribe = [\"late.>\", \"soon.>\"]\n[limits]\nmessage_bytes = 65536\n";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    let rules = rules("");
    let (head, views) = rules.split_at(rules.find("[[views]]").expect("a view"));
    fs::write(&file, format!("{head}{views}{auth}")).expect("a file can be written");
    let broker = Broker::start(&["--feed", "none", "--config", file.to_str().expect("text")]);
    let mut reader = Socket::open(&broker);
    let subscribe = json!({"op": "subscribe", "id": 1, "mode": "every",
        "topics": ["late.>", "late.ticker.A", "soon.ticker.A", "ticker.A", ">"]});
    reader.send(Frame::text(&subscribe.to_string()));
    for n in 1..=3 {
        publish(&broker, "ticker.A", &json!({"last": n}));
    }
    // The copy of the same messages has come, so they have been read for the late ones, too.
    let mut last = 0;
    while last < 3 {
        let message = reader.message();
        let text = message.to_string();
        if message["op"] == "ack" {
            let codes: Vec<_> = message["results"]
                .as_array()
                .expect("results")
                .iter()
                .map(|result| result["error"]["code"].as_str())
                .collect();
            assert_eq!(codes[3..], [Some("forbidden"); 2], "{message}");
            assert_eq!(message["results"][0]["matched"], 0, "{message}");
            assert_eq!(message["results"][1]["seq"], 0, "{message}");
        } else if message["op"] == "update" || message["op"] == "snapshot" {
            assert_eq!(message["topic"], "soon.ticker.A", "{message}");
            last = message["seq"].as_u64().expect("a number");
        } else {
            assert!(!text.contains("late.ticker.A\",\"seq"), "{message}");
        }
    }
    for path in ["/v1/topics/late.ticker.A", "/v1/topics/late.ticker.A/history"] {
        assert_eq!(get(broker.listen, path).status, 404, "{path}");
    }
    for path in ["/v1/topics/ticker.A", "/v1/topics/ticker.A/history"] {
        assert_eq!(get(broker.listen, path).status, 403, "{path}");
    }
    let listed = get(broker.listen, "/v1/topics?match=late.%3E");
    assert!(!listed.body.contains("late.ticker"), "{}", listed.body);
    broker.stop();
}

/// Otherwise a publisher could put anything in the place of what is due.
#[test]
fn nobody_publishes_to_a_copy_or_ends_it() {
    let (broker, _folder) = start(&rules(""), &[]);
    publish(&broker, "chat.a", &json!(1));
    value_at(&broker, "soon.chat.a", 1);
    for topic in ["soon.chat.a", "late.chat.b", "soon.new"] {
        let answer = post(broker.listen, &format!("/v1/topics/{topic}"), "2");
        assert_eq!(answer.status, 403, "{topic}: {}", answer.body);
    }
    publish(&broker, "sooner.a", &json!(1));
    broker.stop();
}

/// Copies go on in their epoch behind their newest message; what waited comes at its time; nothing comes twice.
#[test]
fn a_restart_with_a_journal_goes_on_and_reveals_nothing_early() {
    let journal = Journal::new();
    let dir = journal.dir();
    let flags = ["--journal", dir];
    let (broker, _folder) = start(&rules(""), &flags);
    for n in 1..=20 {
        publish(&broker, "chat.a", &json!(n));
        publish(&broker, "book.A", &book(n % 9 + 1, n % 7 == 0));
    }
    let first = value_at(&broker, "soon.chat.a", 20);
    value_at(&broker, "soon.book.A", 20);
    for n in 21..=40 {
        publish(&broker, "chat.a", &json!(n));
        publish(&broker, "book.A", &book(n % 9 + 1, n % 7 == 0));
    }
    kill(broker);
    let (broker, _other) = start(&rules(""), &flags);
    let copy = value_at(&broker, "soon.chat.a", 40);
    assert_eq!(copy["epoch"], first["epoch"]);
    let live = value_of(&broker, "book.A").expect("the journal has it");
    assert_eq!(value_at(&broker, "soon.book.A", 40)["data"], live["data"]);
    let history = get(broker.listen, "/v1/topics/soon.chat.a/history?limit=100").body;
    let history: Value = serde_json::from_str(&history).expect("JSON");
    let data: Vec<_> = history["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["data"].as_u64())
        .collect();
    assert_eq!(data, (1..=40).map(Some).collect::<Vec<_>>());
    for topic in ["late.chat.a", "late.book.A"] {
        assert_eq!(value_of(&broker, topic), None, "{topic}");
    }
    broker.wait_for_metric("tickwire_view_held_messages", |held| held >= 40.0);
    publish(&broker, "chat.a", &json!(41));
    value_at(&broker, "soon.chat.a", 41);
    broker.stop();
}

/// A view that is full says so, and goes on when there is room again. The journal has the hole, too.
#[test]
fn what_a_full_view_loses_is_a_gap() {
    let rules = "anonymous_publish = [\">\"]\n[[views]]\npattern = \"chat.>\"\ndelay_ms = 2000\nbytes_max = 1048576\n";
    let journal = Journal::new();
    let flags = ["--journal", journal.dir()];
    let (broker, _folder) = start(rules, &flags);
    let mut reader = Socket::open(&broker);
    let subscribe = json!({"op": "subscribe", "id": 1, "mode": "every", "topics": ["delayed.chat.a"]});
    reader.send(Frame::text(&subscribe.to_string()));
    while reader.message()["op"] != "ack" {}
    let long = "x".repeat(60_000);
    for _ in 1..=40 {
        publish(&broker, "chat.a", &json!(long));
    }
    broker.wait_for_metric("tickwire_view_lost_messages_total", |lost| lost >= 1.0);
    broker.wait_for_metric("tickwire_view_held_messages", |held| held == 0.0);
    let next = publish(&broker, "chat.a", &json!("next"))["seq"].as_u64();
    let (mut last, mut missing) = (0, 0);
    while Some(last) != next {
        let message = reader.message();
        match message["op"].as_str() {
            Some("gap") => {
                assert_eq!(message["from"], last + 1, "{message}");
                let to = message["to"].as_u64().expect("a number");
                missing += to - last;
                last = to;
            }
            Some("update") => {
                assert_eq!(message["seq"], last + 1, "{}", message["seq"]);
                last += 1;
            }
            _ => {}
        }
    }
    assert!((1..40).contains(&missing), "{missing} of 40 are missing");
    assert_eq!(
        broker.metric("tickwire_view_lost_messages_total"),
        Some(missing as f64)
    );
    let copy = value_of(&broker, "delayed.chat.a").expect("it has come");
    kill(broker);
    let (broker, _other) = start(rules, &flags);
    assert_eq!(value_of(&broker, "delayed.chat.a"), Some(copy));
    broker.stop();
}
