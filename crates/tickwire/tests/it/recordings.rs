//! Recordings of users: checked, refused, or replayed with their faults reported to subscribers.

use std::fs;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

use crate::program::run;
use crate::support::{Authority, Broker, get, poll, refused_to_start};

/// A line with a change of a book, `ms` after the start of the recording.
fn depth(ms: u64, first: u64, last: u64, bid: &str) -> String {
    let ms = 1_723_161_240_000 + ms;
    format!(
        r#"{ms}000000 {{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{ms},"s":"BTCUSDT","U":{first},"u":{last},"b":[["{bid}","1"]],"a":[]}}}}"#
    )
}

fn snapshot(ms: u64, last: u64) -> String {
    let ms = 1_723_161_240_000 + ms;
    format!(r#"{ms}000000 {{"lastUpdateId":{last},"bids":[["90","1"]],"asks":[["101","1"]]}}"#)
}

/// Writes the file `name` in `folder` with `lines`. Returns its path.
fn file(folder: &Path, name: &str, lines: &[String]) -> String {
    let path = folder.join(name);
    fs::write(&path, lines.join("\n")).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_hole_of_a_recording_is_told_to_subscribers_until_the_next_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [
        depth(0, 90, 95, "80"),
        snapshot(1, 100),
        depth(2, 101, 102, "91"),
        depth(3, 111, 112, "92"),
        depth(4, 113, 113, "102"),
        depth(4, 105, 106, "93"),
        snapshot(5, 120),
        depth(6, 121, 121, "101"),
    ];
    let path = file(folder.path(), "hole.jsonl", &lines);
    let feed = format!("replay:{path}");
    let broker = Broker::start(&["--feed", &feed, "--start", "on-subscribe"]);
    let url = broker.url();
    let told = run(&["sub", "--url", &url, "book.BTC-USDT", "--count", "12"], "");
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let lines = told.stdout.lines().map(|line| {
        let message: Value = serde_json::from_str(line).expect("JSON");
        match message["op"].as_str() {
            Some("status") => format!("{} {}", message["state"], message["reason"]),
            _ => format!("{} {}", message["seq"], message["data"]["bids"]),
        }
    });
    let lines: Vec<String> = lines.collect();
    expect![[r#"
        "stale" "partial"
        1 [["80","1"]]
        "live" null
        2 [["80","0"],["90","1"]]
        3 [["91","1"]]
        "stale" "hole"
        4 [["92","1"]]
        5 [["102","1"]]
        "live" null
        6 [["102","0"],["92","0"],["91","0"]]
        "stale" "crossed"
        7 [["101","1"]]"#]]
    .assert_eq(&lines.join("\n"));
    for (series, count) in [
        (r#"tickwire_feed_anomalies_total{kind="depth_hole"}"#, 1.0),
        (r#"tickwire_feed_anomalies_total{kind="stale_depth"}"#, 1.0),
        ("tickwire_crossed_books_total", 2.0),
    ] {
        broker.wait_for_metric(series, |value| value == count);
    }
    broker.wait_for_log("hole.jsonl:4: depth event U 111, u 112 does not follow on 102");
    broker.stop();
}

/// The counts of what was published before a pause came with the first message behind it.
#[test]
fn a_pause_of_a_recording_held_back_the_counts_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let an_hour_later = depth(3_600_000, 103, 103, "92");
    let path = file(
        folder.path(),
        "pause.jsonl",
        &[snapshot(0, 100), depth(1, 101, 102, "91"), an_hour_later],
    );
    let broker = Broker::start(&["--feed", &format!("replay:{path}")]);
    broker.wait_for_metric(r#"tickwire_publications_total{kind="book"}"#, |count| {
        count == 2.0
    });
}

#[test]
fn a_recording_without_a_usable_line_fails_the_check_the_start_and_readiness() {
    let folder = tempfile::tempdir().expect("a folder");
    let coinbase = r#"1618677817.06: {"type":"subscriptions","channels":[]}"#.to_owned();
    let path = file(folder.path(), "coinbase.txt", &[coinbase]);
    let why = "coinbase.txt holds nothing that can be replayed: line 1: looks like a message of Coinbase";
    let config = file(
        folder.path(),
        "x.toml",
        &[format!("[feed]\nkind = \"replay\"\nfiles = [{path:?}]")],
    );
    let checked = run(&["check-config", &config], "");
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    assert!(checked.stderr.contains(why), "{}", checked.stderr);
    let (status, said) = refused_to_start(&["--feed", &format!("replay:{path}")]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{said}");
    // A line that can be read but yields nothing.
    let nothing = r#"1723161240000 {"e":"trade","E":1723161240000,"s":"BTCUSDT","t":1,"p":"0","q":"1","T":1723161240000,"m":true}"#;
    let path = file(folder.path(), "nothing.jsonl", &[nothing.to_owned()]);
    let broker = Broker::start(&["--feed", &format!("replay:{path}")]);
    let answer = poll("a broker that is not ready", || {
        Some(get(broker.ops, "/readyz")).filter(|answer| answer.status == 503)
    });
    assert!(
        answer.body.contains("the feed has nothing to publish"),
        "{}",
        answer.body
    );
    broker.stop();
}

#[test]
fn a_recording_is_checked_with_a_table_or_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = [
        snapshot(0, 100),
        depth(1, 101, 102, "91"),
        depth(61_234, 103, 103, "92"),
    ];
    let path = file(folder.path(), "good.jsonl", &good);
    let outcome = run(&["check-recording", &path], "");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    expect![[r#"
        3 lines, 2024-08-08 23:54:00.000 to 2024-08-08 23:55:01.234 UTC (61.2 s)

        symbol          trades        quotes  book changes   whole books
        BTC-USDT             0             0             2             1

        nothing is wrong
    "#]]
    .assert_eq(&outcome.stdout);

    let wrong = [
        snapshot(0, 100),
        depth(1, 101, 102, "91"),
        depth(2, 111, 112, "101"),
        r#"1723161240003 {"result":null,"id":1}"#.to_owned(),
        "time,price".to_owned(),
    ];
    let path = file(folder.path(), "wrong.jsonl", &wrong);
    let outcome = run(&["check-recording", &path], "");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""));
    let told = outcome
        .stdout
        .replace(folder.path().to_str().expect("UTF-8"), "DIR");
    expect![[r#"
        5 lines, 2024-08-08 23:54:00.000 to 2024-08-08 23:54:00.002 UTC (0.0 s)

        symbol          trades        quotes  book changes   whole books
        BTC-USDT             0             0             2             1

        1 malformed: cannot be read; left out
          DIR/wrong.jsonl:5: does not begin with the local time and a space, as in `1723161254087896568 {…}`

        1 unused: no market data that is replayed; left out
          DIR/wrong.jsonl:4: the answer to a request, no market data

        1 depth_hole: changes of a book are missing before it; the book is stale until a snapshot
          DIR/wrong.jsonl:3: depth event U 111, u 112 does not follow on 102: the book is stale until a snapshot

        1 crossed_book: the best bid is not below the best ask; the book is stale meanwhile
          DIR/wrong.jsonl:3: the book of BTC-USDT is crossed: bid 101, ask 101
    "#]]
    .assert_eq(&told);

    let outcome = run(&["check-recording", "--format", "json", &path], "");
    assert_eq!(outcome.code, Some(1));
    let report: Value = serde_json::from_str(&outcome.stdout).expect("one JSON object");
    assert_eq!(
        report["counts"],
        json!({"malformed": 1, "unused": 1, "depth_hole": 1, "crossed_book": 1})
    );
    assert_eq!(report["faults"][2]["line"], 3);
    let held = json!({"symbol": "BTC-USDT", "trades": 0, "quotes": 0, "changes": 2, "whole_books": 1});
    assert_eq!(report["symbols"], json!([held]));
    assert_eq!(report["topics"], json!([]));

    let outcome = run(&["check-recording", "/does/not/exist"], "");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("/does/not/exist cannot be opened"),
        "{}",
        outcome.stderr
    );
    assert_eq!(run(&["check-recording"], "").code, Some(2));
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = file(folder.path(), "x.toml", &["\u{feff}shards = 2".to_owned()]);
    let outcome = run(&["check-config", &config], "");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    // The certificate and its key.
    let authority = Authority::new();
    authority.issue("broker");
    for name in ["broker.pem", "broker.key"] {
        let text = fs::read_to_string(authority.path(name)).expect("PEM is text");
        fs::write(authority.path(name), format!("\u{feff}{text}")).expect("a file");
    }
    let tls = format!(
        "[tls]\ncert_file = {:?}\nkey_file = {:?}",
        authority.file("broker.pem"),
        authority.file("broker.key")
    );
    let config = file(folder.path(), "tls.toml", &[tls]);
    let outcome = run(&["check-config", &config], "");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let key = "a-key-of-more-than-thirty-two-characters";
    let plain = run(&["hash-key"], &format!("{key}\n"));
    let marked = run(&["hash-key"], &format!("\u{feff}{key}\r\n"));
    assert_eq!(plain.stdout, marked.stdout, "{}", marked.stderr);
    let recording = file(
        folder.path(),
        "marked.jsonl",
        &[format!("\u{feff}{}", snapshot(0, 1)), depth(1, 2, 2, "91")],
    );
    let outcome = run(&["check-recording", &recording], "");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", "chat.>"]);
    let url = broker.url();
    let published = run(&["pub", "--url", &url, "chat.lobby"], "\u{feff}\"hello\"\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    broker.stop();
}
