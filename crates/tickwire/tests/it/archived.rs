//! Reading from a moment on that the histories in memory do not have any more: over WebSocket, over HTTP and by the commands.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::journal::{Journal, UNLIMITED, kill};
use crate::program::run;
use crate::support::{Broker, Frame, Socket, get, post};

/// Small files, so that there are several. The history of a topic has 1,024 messages.
const SMALL: [(&str, &str); 5] = [
    UNLIMITED[0],
    UNLIMITED[1],
    UNLIMITED[2],
    ("TICKWIRE_JOURNAL__SEGMENT_BYTES", "1048576"),
    ("TICKWIRE_LIMITS__OUTBOX_BYTES", "262144"),
];

/// The bytes of messages that are published together.
const BATCH_BYTES: usize = 200_000;

/// Publishes messages `from` to `to` to `chat.a`, each with its number, between messages to other topics.
fn publish(broker: &Broker, from: u64, to: u64) {
    publish_long(broker, from, to, 100);
}

/// Publishes the same with so many letters more.
fn publish_long(broker: &Broker, from: u64, to: u64, letters: usize) {
    let pad = "x".repeat(letters);
    let mut at = from;
    while at <= to {
        let last = to.min(at + (BATCH_BYTES / letters) as u64 - 1);
        let mut lines = String::new();
        for n in at..=last {
            let _ = writeln!(
                lines,
                "{{\"topic\":\"chat.a\",\"data\":{{\"n\":{n},\"pad\":\"{pad}\"}}}}"
            );
            if n % 4 == 0 {
                let _ = writeln!(lines, "{{\"topic\":\"chat.b{}\",\"data\":{n}}}", n % 50);
            }
        }
        let answer = post(broker.listen, "/v1/publish", &lines);
        assert_eq!(answer.status, 200, "{}", answer.body);
        at = last + 1;
    }
}

fn subscribe(socket: &mut Socket, topic: &Value) -> Value {
    let request = json!({"op": "subscribe", "id": 1, "topics": [topic]});
    socket.send(Frame::text(&request.to_string()));
    loop {
        let message = socket.message();
        if message["op"] == "ack" {
            return message["results"][0].clone();
        }
    }
}

/// Reads the messages `from` to `to` of `chat.a`, each once and in order.
fn read(socket: &mut Socket, from: u64, to: u64) {
    for n in from..=to {
        let message = socket.message();
        let place = (&message["op"], &message["seq"], &message["data"]["n"]);
        assert_eq!(place, (&json!("update"), &json!(n), &json!(n)), "{message}");
    }
}

fn history(broker: &Broker, query: &str) -> Value {
    let answer = get(broker.listen, &format!("/v1/topics/chat.a/history?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("messages");
    messages
        .iter()
        .map(|it| it["seq"].as_u64().expect("a number"))
        .collect()
}

#[test]
fn everything_since_a_moment_comes_from_files_and_memory() {
    let journal = Journal::new();
    let broker = journal.start(&SMALL);
    publish(&broker, 1, 20_000);
    let first = history(&broker, "since=0&limit=1");
    assert_eq!((first["oldest"].clone(), seqs(&first)), (json!(1), vec![1]));
    let middle = history(&broker, "since=9999&limit=3");
    assert_eq!(seqs(&middle), [10_000, 10_001, 10_002]);
    let moment = middle["messages"][0]["ts"].clone();
    let oldest_of = |from: &Value| {
        let page = history(&broker, &format!("from={from}&limit=1"));
        seqs(&page)[0]
    };
    let begins = oldest_of(&moment);
    assert!(
        begins <= 10_000,
        "messages of one moment may be several: {begins}"
    );

    let mut socket = Socket::open(&broker);
    let result = subscribe(&mut socket, &json!({"topic": "chat.a", "from": moment}));
    assert_eq!(
        result["replay"],
        json!({"from_seq": begins, "to_seq": 20_000}),
        "{result}"
    );
    assert_eq!(result["not_stored"], Value::Null);
    read(&mut socket, begins, 20_000);
    assert_eq!(socket.message()["state"], "caught_up");
    publish(&broker, 20_001, 20_001);
    loop {
        let message = socket.message();
        if message["op"] == "update" {
            assert_eq!(message["seq"], 20_001);
            break;
        }
    }

    check_http(&broker, &moment, begins);

    // The same after a restart.
    kill(broker);
    let broker = journal.start(&SMALL);
    let mut socket = Socket::open(&broker);
    let result = subscribe(&mut socket, &json!({"topic": "chat.a", "from": 0}));
    assert_eq!(
        result["replay"],
        json!({"from_seq": 1, "to_seq": 20_001}),
        "{result}"
    );
    read(&mut socket, 1, 20_001);
    assert_eq!(socket.message()["state"], "caught_up");
    drop(socket);
    broker.stop();
}

/// Checks that the messages from `moment` on, which are those from `begins` to 20,001, come over HTTP and by the commands.
fn check_http(broker: &Broker, moment: &Value, begins: u64) {
    // The lengths of the chunks are lines of their own.
    let rows = |format: &str, is_row: fn(&str) -> bool| {
        let path = format!("/v1/topics/chat.a/history?from={moment}&format={format}");
        let answer = get(broker.listen, &path);
        assert_eq!(answer.status, 200);
        answer.body.lines().filter(|line| is_row(line)).count() as u64
    };
    let expected = 20_001 - begins + 1;
    assert_eq!(rows("ndjson", |line| line.starts_with('{')), expected);
    assert_eq!(rows("csv", |line| line.contains(",\"{")), expected);
    let url = broker.url();
    let outcome = run(
        &[
            "history", "--url", &url, "--since", "41", "--count", "2", "chat.a",
        ],
        "",
    );
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert_eq!(outcome.stdout.lines().count(), 2);
    assert!(
        outcome
            .stdout
            .starts_with("{\"op\":\"update\",\"topic\":\"chat.a\",\"seq\":42,"),
        "{}",
        outcome.stdout
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.ndjson");
    let path = file.to_str().expect("UTF-8");
    let outcome = run(&["export", "--url", &url, "-o", path, "chat.a"], "");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let all = std::fs::read_to_string(&file).expect("it is there");
    assert_eq!(all.lines().count(), 20_001);
}

#[test]
fn a_slow_replayer_loses_nothing_while_the_history_passes_it_by() {
    let journal = Journal::new();
    let broker = journal.start(&SMALL);
    publish_long(&broker, 1, 900, 20_000);
    // All of it is in memory when the replay begins. Its reader takes nothing until that has gone, and sockets do not hold it.
    let mut socket = Socket::open(&broker);
    let result = subscribe(&mut socket, &json!({"topic": "chat.a", "from": 0}));
    assert_eq!(
        result["replay"],
        json!({"from_seq": 1, "to_seq": 900}),
        "{result}"
    );
    publish_long(&broker, 901, 2_400, 20_000);
    read(&mut socket, 1, 2_400);
    assert_eq!(socket.message()["state"], "caught_up");
    assert_eq!(broker.metric("tickwire_gapped_messages_total"), Some(0.0));
    let read = broker.wait_for_metric("tickwire_archive_messages_total", |read| read > 0.0);
    assert!(read > 100.0, "{read} messages came from the files");
    broker.wait_for_metric("tickwire_archive_bytes", |bytes| bytes == 0.0);
    drop(socket);
    broker.stop();
}

#[test]
fn a_paced_replay_comes_by_the_times_of_its_messages() {
    let journal = Journal::new();
    let broker = journal.start(&SMALL);
    publish(&broker, 1, 4_000);
    let first = history(&broker, "since=0&limit=1")["messages"][0]["ts"].clone();
    // So slow that nothing but the first message is due.
    let mut socket = Socket::open(&broker);
    let topic = json!({"topic": "chat.a", "from": first, "speed": 0.000_001});
    let result = subscribe(&mut socket, &topic);
    let begins = result["replay"]["from_seq"].as_u64().expect("a number");
    assert_eq!(begins, 1);
    read(&mut socket, 1, 1);
    socket.send(Frame::text(r#"{"op":"unsubscribe","id":2,"topics":["chat.a"]}"#));
    let mut next = socket.message();
    while next["op"] == "update" {
        next = socket.message(); // of the same moment as the first
    }
    assert_eq!(next["op"], "ack", "{next}");
    drop(socket);

    let from = first.to_string();
    let url = broker.url();
    let sub = [
        "sub", "--url", &url, "--from", &from, "--speed", "1000000", "--count", "4001", "chat.a",
    ];
    let outcome = run(&sub, "");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.stdout.lines().count(), 4_001);
    assert!(
        outcome
            .stdout
            .lines()
            .last()
            .is_some_and(|line| line.contains("caught_up"))
    );
    for wrong in ["0", "-1", "NaN"] {
        let speed = format!("--speed={wrong}");
        let outcome = run(&["sub", "--url", &url, "--from", &from, &speed, "chat.a"], "");
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    }
    broker.stop();
}

#[test]
fn messages_of_an_earlier_life_are_not_those_of_a_topic() {
    let journal = Journal::new();
    let broker = journal.start(&SMALL);
    publish(&broker, 1, 3_000);
    let (listen, path) = (broker.listen, "/v1/topics/chat.a");
    assert_eq!(crate::journal::delete(listen, path), 200);
    publish(&broker, 1, 2_500);
    let mut socket = Socket::open(&broker);
    let result = subscribe(&mut socket, &json!({"topic": "chat.a", "from": 0}));
    assert_eq!(
        result["replay"],
        json!({"from_seq": 1, "to_seq": 2_500}),
        "{result}"
    );
    read(&mut socket, 1, 2_500);
    assert_eq!(socket.message()["state"], "caught_up");
    drop(socket);
    broker.stop();
}
