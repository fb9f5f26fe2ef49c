//! The memory that the process needs beside what it counts.

use serde_json::{Value, json};

use crate::support::{Broker, Frame, Socket, get, post};

const HISTORY_BYTES: u64 = 32 * 1024 * 1024;
const TOPICS: u64 = 16;
const ROUNDS: u64 = 60;
/// How many messages of 1,000 bytes each topic gets in a round.
const MESSAGES: u64 = 60;

/// The resident memory of the broker, in bytes.
fn resident(broker: &Broker) -> u64 {
    let path = format!("/proc/{}/status", broker.pid());
    let status = std::fs::read_to_string(path).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number of KiB");
    kib * 1024
}

/// Reads the history of a topic, so that all of it is encoded.
fn read(broker: &Broker, topic: &str) {
    let page = get(
        broker.listen,
        &format!("/v1/topics/{topic}/history?since=0&limit=1"),
    );
    let page: Value = serde_json::from_str(&page.body).expect("a page");
    let (epoch, oldest) = (&page["epoch"], page["oldest"].as_u64().expect("a number"));
    let mut socket = Socket::open(broker);
    let since = json!({"epoch": epoch, "seq": oldest});
    let request = json!({"op": "subscribe", "id": 1, "topics": [{"topic": topic, "since": since}]});
    socket.send(Frame::text(&request.to_string()));
    let ack = socket.message();
    assert_eq!(ack["results"][0]["recovered"], true, "{ack}");
    while socket.message()["seq"] != ROUNDS * MESSAGES {}
}

/// Memory freed by publishing threads was not reused by encoding threads. The process needed 1.75 times of what
/// histories may hold.
#[test]
fn histories_that_are_encoded_by_other_threads_need_no_more_than_they_may_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.toml");
    let kinds = "[[kinds]]\npattern = \"ev.>\"\nkind = \"event\"\nhistory = 100000\n";
    std::fs::write(&rules, kinds).expect("a file");
    let rules = rules.to_string_lossy();
    let args = ["--feed", "none", "--anonymous-publish", ">", "--config", &*rules];
    let bytes = HISTORY_BYTES.to_string();
    let broker = Broker::start_with(&args, &[("TICKWIRE_LIMITS__HISTORY_BYTES", &*bytes)]);
    let before = resident(&broker);
    let data = "x".repeat(998);
    let line = |topic| format!("{{\"topic\":\"ev.{topic}\",\"data\":\"{data}\"}}\n");
    let round: String = (0..MESSAGES).flat_map(|_| (0..TOPICS).map(line)).collect();
    for _ in 0..ROUNDS {
        assert_eq!(post(broker.listen, "/v1/publish", &round).status, 200);
    }
    for topic in 0..TOPICS {
        read(&broker, &format!("ev.{topic}"));
    }
    let held = broker.metric("tickwire_history_bytes").expect("a metric");
    assert!(
        held > HISTORY_BYTES as f64 * 0.9,
        "the histories are full: {held}"
    );
    let needs = resident(&broker) - before;
    assert!(
        needs <= HISTORY_BYTES / 10 * 13,
        "{needs} bytes for {HISTORY_BYTES}"
    );
    broker.stop();
}
