//! `conflate_ms` as a client sees it.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::program::{Serve, finish, run, signal, tickwire};

#[test]
fn sub_gets_the_newest_at_the_rate_that_it_asked_for() {
    const MESSAGES: u64 = 150;
    let serve = Serve::start(&["--feed", "none", "--anonymous-publish", "ticker.>"]);
    let args = [
        "sub",
        "--url",
        &serve.url,
        "--all",
        "--conflate-ms",
        "150",
        "ticker.A",
    ];
    let mut sub = tickwire(&args).spawn().expect("it starts");
    let mut printed = BufReader::new(sub.stdout.take().expect("it is piped"));
    let mut next = move |op: &str| {
        loop {
            let mut line = String::new();
            assert_ne!(
                printed.read_line(&mut line).expect("text"),
                0,
                "the end, not {op}"
            );
            let message: Value = serde_json::from_str(&line).expect("a line is JSON");
            if message["op"] == op {
                return message;
            }
        }
    };
    let granted = &next("ack")["results"][0];
    assert_eq!(
        (&granted["mode"], &granted["conflate_ms"]),
        (&json!("conflate"), &json!(200)),
        "{granted}"
    );
    let numbers: Vec<String> = (1..=MESSAGES).map(|n| n.to_string()).collect();
    let published = run(&["pub", "--url", &serve.url, "ticker.A"], &numbers.join("\n"));
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let mut seqs = Vec::new();
    while seqs.last() != Some(&MESSAGES) {
        let update = next("update");
        assert_eq!(update["seq"], update["data"]);
        seqs.push(update["seq"].as_u64().expect("a number"));
    }
    assert_eq!(seqs[0], 1, "the first goes at once");
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert!(seqs.len() < MESSAGES as usize, "nothing was skipped: {seqs:?}");
    signal(sub.id(), "TERM");
    assert_eq!(finish(sub).code, Some(0));
}
