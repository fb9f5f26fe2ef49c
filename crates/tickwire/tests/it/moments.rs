//! Subscribing with a moment: over a connection of its own, and by `tickwire sub --from`.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::program::{Serve, run};
use crate::support::{Broker, Frame, Socket, post};

const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

/// Publishes 1 to 3 to `chat.a`. Returns the times of the messages.
fn publish_three(url: &str) -> Vec<u64> {
    for data in ["1", "2", "3"] {
        let outcome = run(&["pub", "--url", url, "chat.a"], data);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
    let history = run(&["history", "--url", url, "chat.a"], "");
    let times = lines(&history.stdout);
    times
        .iter()
        .map(|line| line["ts"].as_u64().expect("a time"))
        .collect()
}

/// What matters of a printed line.
fn gist(line: &Value) -> (&str, Option<u64>) {
    let what = line["state"].as_str().or(line["op"].as_str());
    (what.expect("an op"), line["seq"].as_u64())
}

#[test]
fn sub_begins_with_a_moment() {
    let serve = Serve::start(&OPEN);
    let times = publish_three(&serve.url);
    let second = times[1].to_string();
    let sub = |from: &str, count: &str| {
        run(
            &[
                "sub", "--url", &serve.url, "--from", from, "--count", count, "chat.a",
            ],
            "",
        )
    };
    let outcome = sub(&second, "3");
    let printed = lines(&outcome.stdout);
    let expected = [("update", Some(2)), ("update", Some(3)), ("caught_up", Some(3))];
    let gists: Vec<_> = printed.iter().map(gist).collect();
    assert_eq!(
        (outcome.code, &gists[..]),
        (Some(0), &expected[..]),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr, "", "nothing is missing");

    let outcome = sub("2024-08-08T23:54:13Z", "4");
    assert_eq!(
        lines(&outcome.stdout).last().map(gist),
        Some(("caught_up", Some(3)))
    );

    let outcome = run(&["sub", "--url", &serve.url, "--from", &second, "chat.*"], "");
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome
            .stderr
            .contains("chat.* has a wildcard: --from replays single topics only"),
        "{}",
        outcome.stderr
    );
    let outcome = run(
        &[
            "sub", "--url", &serve.url, "--from", &second, "--mode", "conflate", "chat.a",
        ],
        "",
    );
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("--from asks for every message"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn sub_says_that_messages_are_no_longer_stored() {
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    let short = "[[kinds]]\npattern = \"chat.>\"\nkind = \"event\"\nhistory = 1\n";
    std::fs::write(&file, short).expect("a file");
    let file = file.to_string_lossy();
    let serve = Serve::start(&[&OPEN[..], &["--config", &*file]].concat());
    publish_three(&serve.url);
    let outcome = run(
        &[
            "sub", "--url", &serve.url, "--from", "1", "--count", "2", "chat.a",
        ],
        "",
    );
    let gists: Vec<_> = lines(&outcome.stdout)
        .iter()
        .map(|line| line["seq"].as_u64())
        .collect();
    assert_eq!(
        (outcome.code, gists),
        (Some(0), vec![Some(3), Some(3)]),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("chat.a: messages before ")
            && outcome.stderr.contains(" are no longer stored"),
        "{}",
        outcome.stderr
    );
}

/// The next message, without what differs from run to run.
fn next(socket: &mut Socket) -> Value {
    let mut message = socket.message();
    let fields = message.as_object_mut().expect("a map");
    fields.retain(|name, _| !["ts", "epoch"].contains(&name.as_str()));
    message
}

#[test]
fn a_connection_gets_stored_messages_then_live_ones() {
    let broker = Broker::start(&OPEN);
    for data in ["1", "2", "3"] {
        assert_eq!(post(broker.listen, "/v1/topics/chat.a", data).status, 200);
    }
    let mut socket = Socket::open(&broker);
    let request = json!({"op": "subscribe", "id": 1, "topics": [{"topic": "chat.a", "from": 1}]});
    socket.send(Frame::text(&request.to_string()));
    let mut ack = next(&mut socket)["results"][0].take();
    ack.as_object_mut().expect("a map").remove("epoch");
    let range = json!({"from_seq": 1, "to_seq": 3});
    assert_eq!(
        ack,
        json!({"topic": "chat.a", "seq": 0, "mode": "every", "replay": range})
    );
    let update = |n: u64| json!({"op": "update", "topic": "chat.a", "seq": n, "data": n});
    for n in 1..=3 {
        assert_eq!(next(&mut socket), update(n));
    }
    let caught_up = json!({"op": "status", "topic": "chat.a", "state": "caught_up", "seq": 3});
    assert_eq!(next(&mut socket), caught_up);
    assert_eq!(post(broker.listen, "/v1/topics/chat.a", "4").status, 200);
    assert_eq!(next(&mut socket), update(4));
}
