//! The commands together: a broker, its publishers and subscribers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use crate::program::{Serve, finish, run, signal, tickwire};
use crate::support::{Broker, post};

const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

#[test]
fn what_pub_sends_sub_prints() {
    let serve = Serve::start(&OPEN);
    let mut sub = tickwire(&["sub", "--url", &serve.url, "--all", "--count", "7", "chat.>"])
        .spawn()
        .expect("it starts");
    let mut printed = BufReader::new(sub.stdout.take().expect("it is piped"));
    let mut heard = String::new();
    while !heard.contains("\"ack\"") {
        assert_ne!(printed.read_line(&mut heard).expect("text"), 0, "{heard}");
    }
    let published = run(
        &["pub", "--url", &serve.url, "--codec", "msgpack", "chat.a"],
        "1\n\n{\"b\":[null]}\n\"c\"",
    );
    assert_eq!(
        (published.code, published.stdout.as_str()),
        (Some(0), ""),
        "{}",
        published.stderr
    );
    assert!(
        published.stderr.contains("chat.a: 3 published, 0 failed"),
        "{}",
        published.stderr
    );

    printed.read_to_string(&mut heard).expect("text");
    let outcome = finish(sub);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let heard = lines(&heard);
    let ops: Vec<_> = heard.iter().take(4).map(|line| line["op"].as_str()).collect();
    assert_eq!(ops, ["welcome", "ack", "synced", "joined"].map(Some));
    let data: Vec<_> = heard[4..]
        .iter()
        .map(|line| (line["op"].as_str(), line["seq"].as_u64(), &line["data"]))
        .collect();
    let values = lines("1\n{\"b\":[null]}\n\"c\"");
    let expected: Vec<_> = (1..)
        .zip(&values)
        .map(|(seq, value)| (Some("update"), Some(seq), value))
        .collect();
    assert_eq!(data, expected);
}

#[test]
fn pub_names_the_lines_that_failed() {
    let serve = Serve::start(&OPEN);
    let outcome = run(&["pub", "--url", &serve.url, "chat.a"], "1\nnot json\n3\n");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome
            .stderr
            .starts_with("tickwire: line 2: bad_request: data is not JSON"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome
            .stderr
            .ends_with("tickwire: chat.a: 2 published, 1 failed\n"),
        "{}",
        outcome.stderr
    );
    let outcome = run(&["pub", "--url", &serve.url, "--text", "other.a"], "hello\n");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("line 1: refused: forbidden"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_misspelt_topic_is_named_and_a_snapshot_of_nothing_ends_with_1() {
    let serve = Serve::start(&OPEN);
    let outcome = run(&["pub", "--url", &serve.url, "chat.lobby"], "1\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for (topic, said) in [
        (
            "chat.loby",
            "tickwire: chat.loby: no such topic yet, or no message in it; there is chat.lobby\n",
        ),
        (
            "news.x",
            "tickwire: news.x: no such topic yet, or no message in it\n",
        ),
        ("news.*", "tickwire: news.*: no topic matches it yet\n"),
    ] {
        let outcome = run(&["sub", "--url", &serve.url, "--mode", "snapshot", topic], "");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), said));
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn what_sub_prints_can_be_published_again_line_by_line() {
    let serve = Serve::start(&OPEN);
    // A value published over HTTP may have several lines.
    let address = serve.url.trim_start_matches("ws://").trim_end_matches("/v1/ws");
    let answer = post(
        address.parse().expect("an address"),
        "/v1/topics/chat.a",
        "{\n\"a\": 1,\r\n\"b\": \"\\n\"\n}",
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let printed = run(&["sub", "--url", &serve.url, "--mode", "snapshot", "chat.a"], "");
    assert_eq!(printed.stdout.lines().count(), 1, "{}", printed.stdout);
    let again = run(&["pub", "--url", &serve.url, "chat.b"], &printed.stdout);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stderr.ends_with("chat.b: 1 published, 0 failed\n"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_snapshot_is_printed_and_the_program_ends() {
    let serve = Serve::start(&OPEN);
    let outcome = run(&["pub", "--url", &serve.url, "--text", "chat.a"], "say \"hi\"\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for codec in ["json", "msgpack"] {
        let args = [
            "sub",
            "--url",
            &serve.url,
            "--codec",
            codec,
            "--mode",
            "snapshot",
            "chat.a",
            "chat.none",
        ];
        let outcome = run(&args, "");
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let printed = lines(&outcome.stdout);
        assert_eq!(printed.len(), 1, "{}", outcome.stdout);
        assert_eq!(
            (&printed[0]["op"], &printed[0]["data"]),
            (&"snapshot".into(), &"say \"hi\"".into())
        );
    }
}

/// A topic that is named twice brings one snapshot. `sub` used to wait for a quiet second for the other, and such a
/// second may never come.
#[test]
fn a_snapshot_ends_where_the_broker_says_that_all_has_come() {
    let broker = Broker::start_with(&OPEN, &[("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "100")]);
    let url = broker.url();
    let outcome = run(&["pub", "--url", &url, "chat.a"], "1\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let outcome = run(
        &["sub", "--url", &url, "--mode", "snapshot", "chat.a", "chat.*"],
        "",
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(lines(&outcome.stdout).len(), 1, "{}", outcome.stdout);
}

/// Passes connections on to `to`. Ends the first one when the broker is about to send `marker`.
fn losing_one_before(marker: &'static str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut is_first = true;
        for client in listener.incoming().map_while(Result::ok) {
            let broker = TcpStream::connect(to).expect("the broker listens");
            let cut = std::mem::take(&mut is_first).then_some(marker);
            thread::spawn(move || pass_on(&client, &broker, cut));
        }
    });
    address
}

fn pass_on(client: &TcpStream, broker: &TcpStream, cut: Option<&str>) {
    let (mut up, mut to_broker) = (
        client.try_clone().expect("a socket"),
        broker.try_clone().expect("a socket"),
    );
    // Both directions end when the first one ends.
    thread::spawn(move || {
        std::io::copy(&mut up, &mut to_broker).unwrap_or_default();
        to_broker.shutdown(Shutdown::Both).unwrap_or_default();
    });
    let (mut from_broker, mut to_client) = (broker, client);
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from_broker.read(&mut bytes) {
        let read = &bytes[..count];
        let at = cut.and_then(|cut| read.windows(cut.len()).position(|part| part == cut.as_bytes()));
        let passed = to_client.write_all(&read[..at.unwrap_or(count)]);
        if passed.is_err() || at.is_some() {
            break;
        }
    }
    client.shutdown(Shutdown::Both).unwrap_or_default();
    broker.shutdown(Shutdown::Both).unwrap_or_default();
}

#[test]
fn a_snapshot_is_asked_for_again_when_the_connection_is_lost_before_it() {
    let broker = Broker::start(&OPEN);
    let outcome = run(&["pub", "--url", &broker.url(), "chat.a"], "1\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let address = losing_one_before(r#""op":"snapshot""#, broker.listen);
    let url = format!("ws://{address}/v1/ws");
    let outcome = run(&["sub", "--url", &url, "--mode", "snapshot", "chat.a"], "");
    assert!(
        outcome.stderr.contains("connected again"),
        "it was lost: {}",
        outcome.stderr
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(lines(&outcome.stdout).len(), 1, "{}", outcome.stdout);
}

#[test]
fn sub_resumes_after_a_position() {
    let serve = Serve::start(&OPEN);
    let outcome = run(&["pub", "--url", &serve.url, "chat.a"], "1\n2\n3\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let snapshot = run(&["sub", "--url", &serve.url, "--mode", "snapshot", "chat.a"], "");
    let since = format!(
        "{}:1",
        lines(&snapshot.stdout)[0]["epoch"].as_str().expect("an epoch")
    );
    let outcome = run(
        &[
            "sub", "--url", &serve.url, "--since", &since, "--count", "2", "chat.a",
        ],
        "",
    );
    let seqs: Vec<_> = lines(&outcome.stdout)
        .iter()
        .map(|line| line["seq"].as_u64())
        .collect();
    assert_eq!(
        (outcome.code, seqs),
        (Some(0), vec![Some(2), Some(3)]),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_refused_topic_is_named() {
    let serve = Serve::start(&OPEN);
    let outcome = run(&["sub", "--url", &serve.url, "--mode", "conflate", "chat.a"], "");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.starts_with("tickwire: chat.a: bad_request: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn sub_ends_cleanly_when_its_reader_goes_or_a_signal_comes() {
    let serve = Serve::start(&["--feed", "sim", "--symbols", "2", "--rate", "500"]);
    let mut sub = tickwire(&["sub", "--url", &serve.url, ">"])
        .spawn()
        .expect("it starts");
    let mut first = String::new();
    BufReader::new(sub.stdout.take().expect("it is piped"))
        .read_line(&mut first)
        .expect("text");
    // An update comes if the topic existed before the market's first message.
    assert!(
        ["snapshot", "update"]
            .iter()
            .any(|op| first.starts_with(&format!("{{\"op\":\"{op}\""))),
        "{first}"
    );
    // The pipe is now closed.
    let outcome = finish(sub);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));

    for name in ["INT", "TERM"] {
        let mut sub = tickwire(&["sub", "--url", &serve.url, "ticker.*"])
            .spawn()
            .expect("it starts");
        let mut printed = BufReader::new(sub.stdout.take().expect("it is piped"));
        printed.read_line(&mut first).expect("text");
        signal(sub.id(), name);
        let mut rest = String::new();
        printed.read_to_string(&mut rest).expect("text");
        lines(&rest);
        let outcome = finish(sub);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn pub_awaits_what_is_under_way_when_a_signal_comes() {
    let serve = Serve::start(&OPEN);
    let mut publish = tickwire(&["pub", "--url", &serve.url, "chat.a"])
        .spawn()
        .expect("it starts");
    let mut sub = tickwire(&["sub", "--url", &serve.url, "--count", "1", "chat.a"])
        .spawn()
        .expect("it starts");
    let mut stdin = publish.stdin.take().expect("it is piped");
    stdin.write_all(b"1\n").expect("it reads");
    // Once sub has printed the message, it has gone through the broker. The input stays open.
    let mut first = String::new();
    BufReader::new(sub.stdout.take().expect("it is piped"))
        .read_line(&mut first)
        .expect("text");
    signal(publish.id(), "INT");
    let outcome = finish(publish);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stderr.ends_with("chat.a: 1 published, 0 failed\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(finish(sub).code, Some(0));
    drop(stdin);
}

#[test]
fn serve_ends_in_order() {
    let mut serve = Serve::start(&["--feed", "none"]);
    signal(serve.child.id(), "TERM");
    assert_eq!(serve.child.wait().expect("it ends").code(), Some(0));
}
