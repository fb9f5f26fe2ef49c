//! `tickwire export`: what other programs read in its files is what was published.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Outcome, Serve, run};
use crate::support::{Tool, test_file};

/// Anyone may publish everything.
const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", ">"];
/// The number of messages of a topic, more than one chunk of the broker's answer has.
const MANY: u64 = 1_000;

/// A broker with some topics, and its messages as rows: topic, number, time, data.
fn broker() -> (Serve, Vec<Value>) {
    let serve = Serve::start(&OPEN);
    let long = "x".repeat(200);
    let many: String = (0..MANY)
        .map(|number| format!("{{\"n\":{number},\"text\":\"{long}\"}}\n"))
        .collect();
    for (topic, lines) in [
        ("trade.A", many.as_str()),
        ("trade.B", "\"a,\\\"b\\\"\\n\"\n1.50\nnull\n"),
        ("chat.a", "1\n"),
    ] {
        let published = run(&["pub", "--url", &serve.url, topic], lines);
        assert_eq!(published.code, Some(0), "{}", published.stderr);
    }
    let mut rows = Vec::new();
    for topic in ["trade.A", "trade.B"] {
        let history = run(&["history", "--url", &serve.url, topic], "");
        for line in history.stdout.lines() {
            let message: BTreeMap<&str, &serde_json::value::RawValue> =
                serde_json::from_str(line).expect("a message");
            let [seq, ts] = ["seq", "ts"].map(|name| message[name].get().parse::<u64>().expect("a number"));
            rows.push(json!([topic, seq, ts, message["data"].get()]));
        }
    }
    assert_eq!(rows.len() as u64, MANY + 3);
    (serve, rows)
}

fn export(serve: &Serve, file: &Path, arguments: &[&str]) -> Outcome {
    let file = file.to_str().expect("a path");
    run(
        &[&["export", "--url", &serve.url, "-o", file], arguments].concat(),
        "",
    )
}

/// The names in a folder.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    names.map(|name| name.expect("a name")).collect()
}

#[test]
fn pyarrow_polars_and_duckdb_read_what_was_published() {
    let test = "pyarrow_polars_and_duckdb_read_what_was_published";
    let Some(python) = Tool::Python.find(test) else {
        return;
    };
    let (serve, rows) = broker();
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["trades.parquet", "trades.arrow"].map(|name| folder.path().join(name));
    for file in &files {
        let exported = export(&serve, file, &["trade.>"]);
        assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    }
    let read = Command::new(python)
        .arg(test_file("python/exported.py"))
        .args(&files)
        .output()
        .expect("Python runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let lines = String::from_utf8(read.stdout).expect("text");
    let tables: Vec<Vec<Value>> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("rows"))
        .collect();
    assert_eq!(tables.len(), 5);
    for table in tables {
        assert_eq!(table, rows);
    }
}

#[test]
fn lines_for_other_programs() {
    let (serve, rows) = broker();
    let folder = tempfile::tempdir().expect("a folder");
    let ndjson = folder.path().join("trades.jsonl");
    let exported = export(&serve, &ndjson, &["trade.A", "trade.>"]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    assert_eq!(
        exported.stderr,
        format!(
            "tickwire: 1 of 2: trade.A: 1000 messages, 1 to 1000\ntickwire: 2 of 2: trade.B: 3 messages, 1 to 3\ntickwire: {}: 1003 messages\n",
            ndjson.display()
        )
    );
    let text = std::fs::read_to_string(&ndjson).expect("a file");
    for (line, row) in text.lines().zip(&rows) {
        let data = row[3].as_str().expect("text");
        let topic = row[0].as_str().expect("text");
        assert_eq!(
            line,
            format!(
                r#"{{"topic":"{topic}","seq":{},"ts":{},"data":{data}}}"#,
                row[1], row[2]
            )
        );
    }
    assert_eq!(text.lines().count(), rows.len());
    // The lines can be published again.
    let other = Serve::start(&OPEN);
    let published = run(&["pub", "--url", &other.url], &text);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let again = run(&["history", "--url", &other.url, "--data", "trade.B"], "");
    assert_eq!(again.stdout, "\"a,\\\"b\\\"\\n\"\n1.50\nnull\n");

    let csv = folder.path().join("b.csv");
    let moment = rows[MANY as usize + 1][2].as_u64().expect("a time");
    let exported = export(&serve, &csv, &["--from", &moment.to_string(), "trade.B"]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let text = std::fs::read_to_string(&csv).expect("a file");
    assert!(text.starts_with("topic,seq,ts,data\r\ntrade.B,"), "{text}");
    assert!(text.ends_with(",\"null\"\r\n"), "{text}");
}

#[test]
fn a_file_is_whole_or_not_there() {
    let (serve, _) = broker();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.parquet");
    let nothing = export(&serve, &file, &["trade.>", "book.>"]);
    assert_eq!(nothing.code, Some(1));
    assert_eq!(nothing.stderr, "tickwire: book.>: no topic matches it\n");
    assert_eq!(names(&folder), [""; 0]);
    assert_eq!(export(&serve, &file, &["chat.a"]).code, Some(0));
    let again = export(&serve, &file, &["chat.a"]);
    assert_eq!(again.code, Some(2));
    assert_eq!(
        again.stderr,
        format!("tickwire: {} exists: --force replaces it\n", file.display())
    );
    assert_eq!(export(&serve, &file, &["--force", "trade.B"]).code, Some(0));
    assert_eq!(names(&folder), ["x.parquet"]);
    let unknown = export(&serve, &folder.path().join("x"), &["chat.a"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("give --format"), "{}", unknown.stderr);
}
