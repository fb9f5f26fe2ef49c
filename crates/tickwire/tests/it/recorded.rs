//! What `record` writes, `serve` publishes again and `check-recording` reports on; what `sub` prints, `pub` publishes.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::handshake::GOOD;
use crate::program::{Serve, run};
use crate::support::{Broker, Frame, Socket, get};

const SIM: [&str; 6] = ["--feed", "sim", "--symbols", "3", "--rate", "2000"];

/// What `data_of` says of the messages of each topic in a recording, in their order.
fn by_topic(lines: &str, data_of: impl Fn(&Value) -> Value) -> BTreeMap<String, Vec<Value>> {
    let mut topics = BTreeMap::<String, Vec<Value>>::new();
    for line in lines.lines() {
        let message: Value = serde_json::from_str(&line[line.find('{').expect("a message")..]).expect("JSON");
        if message["data"].is_null() {
            continue;
        }
        let topic = message["topic"].as_str().expect("a topic").to_owned();
        topics.entry(topic).or_default().push(data_of(&message));
    }
    topics
}

/// The data of the next `count` updates of each topic. There must be no gap.
fn updates(socket: &mut Socket, count: usize) -> BTreeMap<String, Vec<Value>> {
    let mut seen = BTreeMap::<String, Vec<Value>>::new();
    let mut left = count;
    while left > 0 {
        let message = socket.message();
        assert_ne!(message["op"], "gap", "{message}");
        if message["op"] == "update" {
            let topic = message["topic"].as_str().expect("a topic").to_owned();
            seen.entry(topic).or_default().push(message["data"].clone());
            left -= 1;
        }
    }
    seen
}

#[test]
fn a_recording_of_a_broker_is_published_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("market.jsonl");
    let path = path.to_str().expect("UTF-8");
    let broker = Broker::start(&SIM);
    let (url, topics) = (broker.url(), ["trade.>", "book.*"]);
    let args = ["record", "--url", &url, "--plain", "--count", "2000", "-o", path];
    let recorded = run(&[&args[..], &topics[..]].concat(), "");
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    assert!(
        recorded.stderr.contains("2000 messages of 6 topics"),
        "{}",
        recorded.stderr
    );
    // It is not overwritten by mistake.
    let again = run(&["record", "--url", &url, "-o", path, "a"], "");
    assert!(
        again.code == Some(2) && again.stderr.contains("--append"),
        "{}",
        again.stderr
    );
    broker.stop();

    let checked = run(&["check-recording", "--format", "json", path], "");
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    let report: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!(report["topics"].as_array().map(Vec::len), Some(6), "{report}");

    // Everything is published at once, to a reader of each message.
    let lines = fs::read_to_string(path).expect("it was written");
    let feed = format!("replay:{path}");
    let config = folder.path().join("tickwire.toml");
    fs::write(
        &config,
        "[[kinds]]\npattern = \"trade.>\"\nkind = \"event\"\nhistory = 10000\n",
    )
    .expect("a file");
    let config = config.to_str().expect("UTF-8");
    let broker = Broker::start(&[
        "--feed",
        &feed,
        "--speed",
        "1000",
        "--start",
        "on-subscribe",
        "--config",
        config,
    ]);
    let (mut socket, answer) = Socket::request(&broker, "GET /v1/ws HTTP/1.1", &GOOD);
    assert_eq!(answer.status, 101, "{answer:?}");
    socket.send(Frame::text(
        r#"{"op":"subscribe","id":1,"topics":["trade.>"],"mode":"every"}"#,
    ));
    broker.wait_for_log("the recording is over");
    let trades = by_topic(&lines, |message| message["data"].clone());
    let expected: usize = trades
        .iter()
        .filter(|(topic, _)| topic.starts_with("trade."))
        .map(|(_, all)| all.len())
        .sum();
    let seen = updates(&mut socket, expected);
    for (topic, messages) in &trades {
        if let Some(symbol) = topic.strip_prefix("book.") {
            // The books end as those that were recorded, by their checksum.
            let answer = get(broker.listen, &format!("/v1/topics/{topic}"));
            let value: Value = serde_json::from_str(&answer.body).expect("JSON");
            let last = messages.last().expect("a message");
            assert_eq!(value["data"]["checksum"], last["checksum"], "{symbol}");
        } else {
            assert_eq!(seen.get(topic), Some(messages), "{topic}");
        }
    }
    broker.stop();
}

#[test]
fn what_sub_prints_is_published_by_pub() {
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", ">"]);
    let url = broker.url();
    // Data may have the names of a message's own fields.
    let named = r#"{"op":"gap","ts":1,"topic":"x.y","key":"k","seq":7,"data":{"ts":2}}"#;
    let lines = format!("{{\"n\": 1.50}}\n\"text\"\n[]\n{named}\n");
    let published = run(&["pub", "--url", &url, "chat.a"], &lines);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let levels = json!([["9", "1"]]);
    let book = json!({"symbol": "A", "bids": levels, "asks": [], "time": 1, "replace": true});
    let published = run(&["pub", "--url", &url, "book.A"], &format!("{book}\n"));
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    // What the history still holds, and the value of the book.
    let mut printed = String::new();
    let epoch: Value = serde_json::from_str(&get(broker.listen, "/v1/topics/chat.a").body).expect("JSON");
    let since = format!("{}:0", epoch["epoch"].as_str().expect("an epoch"));
    for args in [
        &["sub", "--url", &url, "--count", "4", "--since", &since, "chat.a"][..],
        &["sub", "--url", &url, "--mode", "snapshot", "book.A"],
    ] {
        let sub = run(args, "");
        assert_eq!(sub.code, Some(0), "{}", sub.stderr);
        printed += &sub.stdout;
    }
    broker.stop();

    let other = Broker::start(&["--feed", "none", "--anonymous-publish", ">"]);
    let url = other.url();
    // The book had other levels there.
    let old = json!({"symbol": "A", "bids": [["8", "5"]], "asks": [], "time": 1});
    let published = run(&["pub", "--url", &url, "book.A"], &format!("{old}\n"));
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let gap = r#"{"op":"gap","topic":"chat.a","epoch":"k","from":1,"to":2,"reason":"slow"}"#;
    let published = run(&["pub", "--url", &url], &format!("{printed}{gap}\n"));
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert!(
        published.stderr.contains("5 published, 0 failed"),
        "{}",
        published.stderr
    );
    let value: Value = serde_json::from_str(&get(other.listen, "/v1/topics/book.A").body).expect("JSON");
    assert_eq!(value["data"]["bids"], levels);
    let history = get(other.listen, "/v1/topics/chat.a/history?since=0&limit=10").body;
    let named = format!(r#""data":{named}"#);
    for data in [
        r#""data":{"n": 1.50}"#,
        r#""data":"text""#,
        r#""data":[]"#,
        &named,
    ] {
        assert!(history.contains(data), "{history}");
    }

    let refused = run(&["pub", "--url", &url], "{\"data\":1}\n");
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("line 1: a message without \"topic\""),
        "{}",
        refused.stderr
    );
    other.stop();
}

/// A part of a recording, over and over.
#[test]
fn a_part_is_replayed_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trades.jsonl");
    let lines: String = (0..5)
        .map(|number| {
            let ms = 1_723_161_240_000_u64 + number * 1_000;
            format!(
                "{ms}000000 {{\"stream\":\"ausdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":{ms},\"s\":\"AUSDT\",\"t\":{number},\"p\":\"1\",\"q\":\"2\",\"T\":{ms},\"m\":false}}}}\n"
            )
        })
        .collect();
    fs::write(&file, lines).expect("a file");
    let feed = format!("replay:{}", file.display());
    let serve = Serve::start(&[
        "--feed",
        &feed,
        "--from",
        "2024-08-08T23:54:01Z",
        "--until",
        "2024-08-08T23:54:03Z",
        "--loop",
        "--speed",
        "100",
        "--start",
        "on-subscribe",
    ]);
    let read = run(&["sub", "--url", &serve.url, "--count", "5", "trade.A-USDT"], "");
    assert_eq!(read.code, Some(0), "{}", read.stderr);
    let ids: Vec<Value> = read
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["data"]["id"].clone())
        .filter(|id| !id.is_null())
        .collect();
    assert_eq!(ids, [1, 2, 1, 2, 1]);
}
