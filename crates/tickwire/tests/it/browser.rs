//! Chromium with a page from another site than the broker's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::support::{Broker, DEADLINE, Tool, test_file};

/// Whether the page has finished.
type Finished = Arc<(Mutex<bool>, Condvar)>;

/// Serves the page until the test's process ends. The page's picture is held back until the page reports that it has
/// finished. So the browser's load event, at which it prints the page, comes after that.
fn serve_page() -> SocketAddr {
    let page = std::fs::read_to_string(test_file("web/page.html")).expect("the page is there");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let finished = Finished::default();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, page, finished) = (stream.expect("a connection"), page.clone(), finished.clone());
            std::thread::spawn(move || answer(stream, &page, &finished));
        }
    });
    address
}

fn answer(mut stream: TcpStream, page: &str, finished: &Finished) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket has two sides"));
    let mut first = String::new();
    let mut line = String::new();
    // A browser opens connections that it may not use.
    while line != "\r\n" {
        line.clear();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
    }
    let (lock, changed) = &**finished;
    let mut is_finished = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, body) = match first.split(' ').nth(1).unwrap_or_default() {
        path if path.starts_with("/?") => ("200 OK", page),
        "/held" => {
            let waited = changed.wait_timeout_while(is_finished, DEADLINE, |is_finished| !*is_finished);
            is_finished = waited.unwrap_or_else(PoisonError::into_inner).0;
            ("404 Not Found", "")
        }
        "/finished" => {
            *is_finished = true;
            changed.notify_all();
            ("200 OK", "")
        }
        _ => ("404 Not Found", ""),
    };
    drop(is_finished);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A browser that has gone needs no answer.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()));
}

/// The report that the page writes into itself, as Chromium prints it.
fn report(chromium: &std::path::Path, broker: &Broker) -> Value {
    let page = serve_page();
    let profile = tempfile::tempdir().expect("a folder can be made");
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // Without these variables, crash reports and the like go to the home of the user who runs the test.
        .envs(["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|name| (name, profile.path())))
        .arg(format!("http://{page}/?broker={}", broker.listen))
        .output()
        .expect("Chromium starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let dom = String::from_utf8_lossy(&output.stdout);
    let text = dom
        .split_once("<pre id=\"report\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .map(|(text, _)| text);
    let text = text.unwrap_or_else(|| panic!("no report in {dom:?}: {errors}"));
    // HTML leaves quotes unescaped in text, and these messages hold nothing else that it escapes.
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}: {errors}"))
}

#[test]
fn a_page_of_any_site_reads_by_websocket_events_and_http() {
    let Some(chromium) = Tool::Chromium.find("a_page_of_any_site_reads") else {
        return;
    };
    let broker = Broker::start(&["--feed", "sim", "--symbols", "2", "--rate", "200"]);
    broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > 200.0);
    let report = report(&chromium, &broker);
    assert!(report.get("error").is_none(), "{report}");

    let ws = &report["ws"];
    assert_eq!(ws["protocol"], "tickwire.v1.json");
    // The browser offers compression.
    assert_eq!(
        ws["extensions"],
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    );
    assert_eq!((&ws["code"], &ws["wasClean"]), (&json!(1000), &json!(true)));
    let messages: Vec<&Value> = ws["messages"].as_array().expect("messages").iter().collect();
    check_sequence(&messages);

    let events = report["events"].as_array().expect("events");
    let messages: Vec<&Value> = events.iter().map(|event| &event["message"]).collect();
    check_sequence(&messages);
    for event in events {
        assert_eq!(event["name"], event["message"]["op"]);
        let has_id = !matches!(event["id"].as_str(), None | Some(""));
        assert!(
            has_id || event["name"] == "welcome",
            "nothing to resume from: {event}"
        );
    }

    let http = &report["http"];
    assert_eq!(
        (&http["status"], &http["message"]["op"]),
        (&json!(200), &json!("snapshot"))
    );
    let (epoch, seq) = (&http["message"]["epoch"], &http["message"]["seq"]);
    let tag = format!("\"{}:{seq}\"", epoch.as_str().expect("an epoch is text"));
    assert_eq!(http["etag"], tag, "a page may read the tag");

    assert_eq!(report["binary"]["protocol"], "tickwire.v1.msgpack");
    // A map whose first key is "op" with the value "welcome".
    let bytes = &report["binary"]["bytes"];
    let begins: Vec<u64> = (0..12).filter_map(|at| bytes[at].as_u64()).collect();
    assert_eq!(begins, b"\x86\xa2op\xa7welcome".map(u64::from), "{bytes}");
    broker.stop();
}

/// Checks that a welcome, an ack, a snapshot and updates came in this order, with rising numbers.
fn check_sequence(messages: &[&Value]) {
    let ops: Vec<_> = messages
        .iter()
        .filter_map(|message| message["op"].as_str())
        // The page does not listen for this event, but gets this message.
        .filter(|op| *op != "synced")
        .collect();
    assert_eq!(ops[..3], ["welcome", "ack", "snapshot"], "{messages:?}");
    assert!(
        ops[3..].iter().all(|op| *op == "update") && ops.len() >= 8,
        "{ops:?}"
    );
    let data = messages[2..].iter();
    let seqs: Vec<_> = data.filter_map(|message| message["seq"].as_u64()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    let data = messages[2..].iter().filter(|message| message["op"] != "synced");
    assert!(
        data.into_iter()
            .all(|message| message["data"]["symbol"] == "BTC-USD")
    );
}
