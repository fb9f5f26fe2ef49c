//! Revocations: the holder is gone at once from all shards and stays away, and others notice nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::access::{auth, entry, refusal};
use crate::support::{Frame, post};

/// The open connections of the holder who is revoked.
const HOLDERS: usize = 1_000;
/// The open connections of others.
const OTHERS: usize = 100;

fn subscribe(socket: &mut Socket) {
    let ack = crate::access::ask(
        socket,
        &json!({"op": "subscribe", "id": 1, "topics": ["chat.all"]}),
    );
    assert_eq!(ack["op"], "ack", "{ack}");
}

/// Publishes numbered messages until `last` says that the next one is the last. Returns their number.
fn publish_until(broker: &Broker, last: &AtomicBool) -> u64 {
    let mut count = 0;
    loop {
        let is_last = last.load(Ordering::Acquire);
        count += 1;
        let data = if is_last { "\"last\"" } else { "\"more\"" };
        let answer = post(broker.listen, "/v1/topics/chat.all", data);
        assert_eq!(answer.status, 200, "{answer:?}");
        if is_last {
            return count;
        }
    }
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "how long it took is a figure, not a condition"
)]
fn a_holder_of_a_thousand_connections_is_gone_at_once_and_others_notice_nothing() {
    rlimit::increase_nofile_limit(4_096).expect("a thousand connections and more files");
    let served = Administered::start(&[]);
    let open = |token, count| -> Vec<(Socket, String)> { (0..count).map(|_| served.open(token)).collect() };
    let mut others = open(OTHER, OTHERS / 2);
    let mut holders = open(DESK, HOLDERS);
    others.extend(open(OTHER, OTHERS - OTHERS / 2));
    for (socket, _) in holders.iter_mut().chain(&mut others) {
        subscribe(socket);
    }
    for shard in ["0-", "1-"] {
        let there = holders.iter().filter(|(_, name)| name.starts_with(shard)).count();
        assert!(
            there > HOLDERS / 4,
            "{there} of the connections are on shard {shard}"
        );
    }

    let last = AtomicBool::new(false);
    let (published, closed_after) = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish_until(&served.broker, &last));
        let began = Instant::now();
        let (status, made) = served.admin("POST", "revocations", &json!({"key": "desk"}));
        assert_eq!((status, &made["closed"]), (200, &json!(HOLDERS)), "{made}");
        for (socket, name) in &mut holders {
            let (_, close) = socket.until_closed();
            assert_eq!(close, (4003, "revoked by an operator".to_owned()), "{name}");
        }
        let closed_after = began.elapsed();
        // New connections find the key revoked while messages still flow.
        let (_, answer) = served.dial(DESK);
        assert_eq!(refusal(&answer), "401 unauthenticated: the token was revoked");
        last.store(true, Ordering::Release);
        (publishing.join().expect("it publishes"), closed_after)
    });
    println!(
        "{HOLDERS} connections on 2 shards read their close within {} ms",
        closed_after.as_millis()
    );

    for (socket, name) in &mut others {
        let mut next = None;
        loop {
            let message = socket.message();
            match message["op"].as_str() {
                Some("update" | "snapshot") => {}
                Some("joined" | "heartbeat") => continue,
                _ => panic!("{name}: {message}"),
            }
            let seq = message["seq"].as_u64().expect("a number");
            assert!(
                next.is_none_or(|next| seq == next),
                "{name}: {seq} in place of {next:?}"
            );
            next = Some(seq + 1);
            if message["data"] == "last" {
                assert_eq!(seq, published, "{name}");
                break;
            }
        }
        assert_eq!(
            crate::access::ask(socket, &json!({"op": "ping", "id": 2}))["op"],
            "pong",
            "{name}"
        );
    }
    assert_eq!(served.sessions("key=other").len(), OTHERS);
    assert_eq!(served.sessions("key=desk"), [""; 0]);
    let closed = "tickwire_sessions_closed_by_operators_total";
    served
        .broker
        .wait_for_metric(closed, |count| count == HOLDERS as f64);
    served.broker.stop();
}

#[test]
fn what_is_revoked_stays_so_over_a_reload_and_until_it_is_taken_back() {
    let served = Administered::start(&[]);
    let (status, made) = served.admin("POST", "revocations", &json!({"key": "desk"}));
    assert_eq!(status, 200, "{made}");
    served.broker.signal("HUP");
    served
        .broker
        .wait_for_metric("tickwire_config_reloads_total{result=\"ok\"}", |count| {
            count == 1.0
        });
    assert_eq!(served.dial(DESK).1.status, 401);
    assert_eq!(served.dial(OTHER).1.status, 101);
    assert_eq!(served.broker.metric("tickwire_revocations"), Some(1.0));
    let (_, page) = served.admin("GET", "revocations", &Value::Null);
    assert_eq!(page, json!({"revocations": [made["revocation"]]}));
    let entry = &made["revocation"];
    assert_eq!(
        (&entry["key"], &entry["by"], &entry["until"]),
        (&json!("desk"), &json!("night-shift"), &Value::Null)
    );
    let path = format!("revocations/{}", entry["id"]);
    assert_eq!(
        served.admin("DELETE", &path, &Value::Null),
        (200, json!({"removed": entry}))
    );
    assert_eq!(served.dial(DESK).1.status, 101);
    assert_eq!(served.admin("DELETE", &path, &Value::Null).0, 404);
    served.broker.stop();
}

/// A WebSocket, a stream of events and a request over HTTP, and a token in band and among the subprotocols.
#[test]
fn a_subject_is_kept_away_wherever_it_shows_a_token() {
    let guarded = guarded();
    let broker = &guarded.broker;
    let (mallory, alice) = (token("mallory", "m1"), token("alice", "a1"));
    let mut socket = guarded.open(&mallory);
    let mut hers = guarded.open(&alice);
    let mut stream = Socket::connect(broker);
    let bearer = format!("Authorization: Bearer {mallory}");
    stream.send_bytes(
        format!("GET /v1/sse?topic=chat.a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(stream.line(), "HTTP/1.1 200 OK\r\n");
    let (status, made) = admin(broker, "POST", "revocations", &json!({"subject": "mallory"}));
    assert_eq!((status, &made["closed"]), (200, &json!(2)), "{made}");
    assert_eq!(socket.close_frame(), (4003, "revoked by an operator".to_owned()));
    let events = stream.read_to_end();
    assert!(
        events.contains("event: close") && events.contains("\"code\":4003"),
        "{events}"
    );

    // Another token of the same subject is no better.
    let other = token("mallory", "m2");
    let revoked = "401 unauthenticated: the token was revoked";
    for token in [&mallory, &other] {
        let bearer = format!("Authorization: Bearer {token}");
        let protocols = format!("Sec-WebSocket-Protocol: tickwire.v1.json, {}", entry(token));
        assert_eq!(refusal(&guarded.handshake(&[&bearer]).1), revoked);
        assert_eq!(refusal(&guarded.handshake(&[&protocols]).1), revoked);
        for first in [
            "GET /v1/topics HTTP/1.1",
            "GET /v1/sse?topic=chat.a HTTP/1.1",
            "POST /v1/topics/chat.a HTTP/1.1",
            "POST /v1/publish HTTP/1.1",
        ] {
            assert_eq!(refusal(&guarded.http(first, &[&bearer], "1")), revoked, "{first}");
        }
        let mut anonymous = Socket::open(broker);
        let answer = crate::access::ask(&mut anonymous, &auth(1, token));
        assert_eq!(answer["code"], "unauthenticated", "{answer}");
    }
    assert_eq!(crate::access::ask(&mut hers, &auth(1, &alice))["op"], "ack");
    guarded
        .broker
        .wait_for_metric("tickwire_auth_failures_total{reason=\"revoked\"}", |count| {
            count >= 14.0
        });
}

#[test]
fn a_single_token_is_revoked_and_the_holders_next_one_is_accepted() {
    let guarded = guarded();
    let (first, second) = (token("alice", "a1"), token("alice", "a2"));
    let mut on_first = guarded.open(&first);
    let mut renewed = guarded.open(&first);
    assert_eq!(crate::access::ask(&mut renewed, &auth(1, &second))["op"], "ack");
    let until = crate::access::now_s() + 600.0;
    let body = json!({"jti": "a1", "until": (until * 1e6) as u64});
    let (status, made) = admin(&guarded.broker, "POST", "revocations", &body);
    assert_eq!((status, &made["closed"]), (200, &json!(1)), "{made}");
    assert_eq!(on_first.close_frame().0, 4003);
    // A connection that has shown another token since then stays, and cannot go back.
    let answer = crate::access::ask(&mut renewed, &auth(2, &first));
    assert_eq!(
        (&answer["op"], &answer["code"]),
        (&json!("error"), &json!("unauthenticated"))
    );
    renewed.send(Frame::text(r#"{"op":"ping","id":3}"#));
    assert_eq!(renewed.message()["op"], "pong");
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    assert_eq!(guarded.handshake(&[&bearer(&first)]).1.status, 401);
    assert_eq!(guarded.handshake(&[&bearer(&second)]).1.status, 101);
}

/// A body that was begun before the revocation is not published after it.
#[test]
fn a_body_that_ends_after_its_key_was_revoked_is_not_published() {
    let served = Administered::start(&[]);
    let bearer = format!("Authorization: Bearer {DESK}");
    let mut begun = ["/v1/topics/chat.late", "/v1/publish"].map(|target| {
        let mut socket = Socket::connect(&served.broker);
        let line = "{\"topic\":\"chat.late\",\"data\":1}\n";
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\n{bearer}\r\nExpect: 100-continue\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", line.len());
        socket.send_bytes(head.as_bytes());
        // The broker asks for the body when it has accepted the token.
        assert_eq!(socket.read_answer().status, 100);
        (socket, line)
    });
    assert_eq!(
        served.admin("POST", "revocations", &json!({"key": "desk"})).0,
        200
    );
    for (socket, line) in &mut begun {
        socket.send_bytes(line.as_bytes());
        assert_eq!(
            refusal(&socket.read_answer()),
            "401 unauthenticated: the token was revoked"
        );
    }
    served.broker.stop();
}

/// With a directory for it, a restart goes on with what is revoked; one that cannot be written is told.
#[test]
fn what_is_revoked_stays_so_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("admin");
    let variable = [("TICKWIRE_ADMIN__DIR", dir.to_str().expect("text"))];
    let settings = folder.path().join("tickwire.toml");
    let hash = run(&["hash-key"], DESK).stdout;
    let text = format!("{}[[auth.keys]]\nname = \"desk\"\n{hash}", operator_lines());
    std::fs::write(&settings, text).expect("a file");
    let settings = settings.display().to_string();
    let start = || Broker::start_with(&["--feed", "none", "--config", &settings], &variable);
    let status = |broker: &Broker| {
        let bearer = format!("Authorization: Bearer {DESK}");
        let lines = [&crate::handshake::GOOD[..], &[&bearer]].concat();
        Socket::request(broker, crate::handshake::GET, &lines).1.status
    };
    let broker = start();
    assert_eq!(status(&broker), 101);
    let (answered, made) = admin(&broker, "POST", "revocations", &json!({"key": "desk"}));
    assert_eq!(answered, 200, "{made}");
    // A kill comes after the answer.
    broker.signal("KILL");
    drop(broker);
    let broker = start();
    assert_eq!(status(&broker), 401);
    let (_, listed) = admin(&broker, "GET", "revocations", &Value::Null);
    assert_eq!(listed["revocations"][0], made["revocation"]);
    std::fs::remove_dir_all(&dir).expect("it was made");
    let (answered, told) = admin(&broker, "POST", "revocations", &json!({"subject": "eve"}));
    assert_eq!(answered, 503, "{told}");
    let reason = told["error"]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("revoked as id 2, and 0 sessions were closed, but that was not saved"),
        "{reason}"
    );
    std::fs::create_dir(&dir).expect("a folder");
    assert_eq!(admin(&broker, "DELETE", "revocations/1", &Value::Null).0, 200);
    assert_eq!(status(&broker), 101);
    broker.stop();
    let broker = start();
    assert_eq!(status(&broker), 101);
    let (_, listed) = admin(&broker, "GET", "revocations", &Value::Null);
    assert_eq!(listed["revocations"][0]["subject"], "eve");
    broker.stop();
}
