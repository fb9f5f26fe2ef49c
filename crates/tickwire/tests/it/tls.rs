//! TLS on the clients' listener: trust on both sides, certificates that are replaced, and the promises of plain
//! connections, which encrypted ones keep too.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use serde_json::{Value, json};

use crate::program;
use crate::support::{Authority, Broker, Client, Codec, Frame, Socket, Tool, poll};

/// The two ways in which a broker hands bytes to the kernel. TLS has its own way with either.
const EGRESSES: [&str; 2] = ["auto", "plain"];

const SIM: [&str; 6] = ["--feed", "sim", "--symbols", "3", "--rate", "2000"];

fn start(authority: &Authority, egress: &str, variables: &[(&str, &str)]) -> Broker {
    let egress = [("TICKWIRE_SOCKET__EGRESS", egress)];
    authority.start(&SIM, &[&egress, variables].concat())
}

fn connect(authority: &Authority, broker: &Broker) -> Socket {
    connect_as(&authority.client(), broker)
}

fn connect_as(client: &Arc<ClientConfig>, broker: &Broker) -> Socket {
    Socket::secure(broker, client.clone()).expect("they trust each other")
}

/// The numbers of messages in mode `every`. They must be consecutive; a gap names what is missing.
#[derive(Default)]
struct Numbers {
    last: HashMap<String, u64>,
    gaps: usize,
}

impl Numbers {
    /// Takes a message. Returns whether it belongs to a topic.
    fn take(&mut self, message: &Value) -> bool {
        let Some(topic) = message["topic"].as_str() else {
            return false;
        };
        let number = |field: &str| message[field].as_u64().expect("it has a number");
        let last = self.last.get(topic).copied();
        let now = match message["op"].as_str() {
            Some("update") => {
                assert!(
                    last.is_none_or(|last| number("seq") == last + 1),
                    "{message} after {last:?}"
                );
                number("seq")
            }
            Some("gap") => {
                assert!(
                    last.is_none_or(|last| number("from") == last + 1),
                    "{message} after {last:?}"
                );
                self.gaps += 1;
                number("to")
            }
            Some("snapshot") => {
                assert!(
                    last.is_none_or(|last| number("seq") >= last),
                    "{message} after {last:?}"
                );
                number("seq")
            }
            _ => return false,
        };
        self.last.insert(topic.to_owned(), now);
        true
    }
}

fn subscribe(socket: &mut Socket, pattern: &str) {
    let request = json!({"op": "subscribe", "id": 1, "topics": [pattern], "mode": "every"});
    socket.send(Frame::text(&request.to_string()));
}

#[test]
fn python_follows_publishes_and_leaves_over_tls() {
    let Some(python) = Tool::Python.find("python_follows_publishes_and_leaves_over_tls") else {
        return;
    };
    for (egress, codec) in EGRESSES.into_iter().zip(Codec::ALL) {
        let authority = Authority::new();
        let broker = start(&authority, egress, &[("TICKWIRE_ANONYMOUS_PUBLISH", "chat.>")]);
        let mut client = Client::python_trusting(&python, &broker, codec, &authority.file("ca.pem"));
        client.subscribe(1, &json!(["trade.*"]));
        let (mut numbers, mut seen) = (Numbers::default(), 0);
        while seen < 300 {
            seen += usize::from(numbers.take(&client.next()));
        }
        client.ask_past_data(&json!({"op": "unsubscribe", "id": 2, "topics": ["trade.*"]}));
        client.subscribe(3, &json!(["chat.lobby"]));
        // Longer than a TLS record, both ways.
        let text = "x".repeat(50_000);
        client.send(&json!({"op": "publish", "topic": "chat.lobby", "data": text}));
        let update = client.next();
        assert_eq!((&update["op"], &update["data"]), (&json!("update"), &json!(text)));
        client.close(1000);
        broker.stop();
    }
}

#[test]
fn sub_and_pub_speak_tls_with_those_whom_they_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = start(&authority, "auto", &[("TICKWIRE_ANONYMOUS_PUBLISH", "chat.>")]);
    let url = broker.url();
    let (ca, other_ca) = (authority.file("ca.pem"), other.file("ca.pem"));
    let published = program::run(&["pub", "--url", &url, "--ca", &ca, "chat.lobby"], "\"hello\"\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let seen = program::run(
        &[
            "sub",
            "--url",
            &url,
            "--ca",
            &ca,
            "--count",
            "1",
            "chat.lobby",
            "trade.>",
        ],
        "",
    );
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    assert_eq!(seen.stdout.lines().count(), 1, "{}", seen.stdout);
    let failed = "tickwire_tls_handshakes_failed_total";
    assert_eq!(broker.metric(failed), Some(0.0));
    let refused = program::run(&["sub", "--url", &url, "--ca", &other_ca, "trade.>"], "");
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("is signed by nobody who is trusted here")
            && refused.stderr.contains("--ca FILE"),
        "{}",
        refused.stderr
    );
    broker.wait_for_metric(failed, |count| count == 1.0);
    let plain = format!("ws://{}", broker.listen);
    let unused = program::run(&["sub", "--url", &plain, "--ca", &ca, "trade.>"], "");
    assert!(unused.stderr.contains("is not encrypted"), "{}", unused.stderr);
    broker.stop();
}

#[test]
fn a_certificate_that_signed_itself_is_trusted_unless_it_is_an_authoritys() {
    let authority = Authority::new();
    for (is_authority, said) in [(false, ""), (true, "CA:FALSE")] {
        authority.issue_self_signed("own", is_authority);
        let (cert, key) = (authority.file("own.pem"), authority.file("own.key"));
        let files = [
            ("TICKWIRE_TLS__CERT_FILE", cert.as_str()),
            ("TICKWIRE_TLS__KEY_FILE", key.as_str()),
        ];
        let broker = Broker::start_with(&[], &files);
        let args = [
            "sub",
            "--url",
            &broker.url(),
            "--ca",
            &cert,
            "--count",
            "1",
            "trade.>",
        ];
        let outcome = program::run(&args, "");
        assert_eq!(outcome.code, Some(i32::from(is_authority)), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        // The name of the error within a library helps no user.
        assert!(
            !outcome.stderr.contains("CaUsedAsEndEntity"),
            "{}",
            outcome.stderr
        );
        broker.stop();
    }
}

#[test]
fn the_wrong_scheme_is_named() {
    let authority = Authority::new();
    let secure = start(&authority, "auto", &[]);
    let plain = Broker::start(&["--feed", "none"]);
    for (url, said) in [
        (format!("ws://{}", secure.listen), "write wss://"),
        (format!("wss://{}", plain.listen), "write ws://"),
    ] {
        let outcome = program::run(&["sub", "--url", &url, "trade.>"], "");
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains(said), "{url}: {}", outcome.stderr);
    }
    secure.stop();
    plain.stop();
}

#[test]
fn who_shows_no_token_is_told_how() {
    let variables = [("TICKWIRE_AUTH__REQUIRED", "true")];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.toml").display().to_string();
    let hash = "00".repeat(32);
    std::fs::write(
        &file,
        format!("[[auth.keys]]\nname = \"a\"\nsha256 = \"{hash}\"\n"),
    )
    .expect("a file can be written");
    let broker = Broker::start_with(&["--feed", "none", "--config", &file], &variables);
    for command in ["sub", "pub"] {
        let outcome = program::run(&[command, "--url", &broker.url(), "chat.a"], "1\n");
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains("--token-file FILE"), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("HTTP status 401: unauthenticated: "),
            "{}",
            outcome.stderr
        );
    }
    broker.stop();
}

#[test]
fn clients_show_certificates_where_they_must() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    clients.issue("client");
    strangers.issue("client");
    let ca = clients.file("ca.pem");
    for (auth, without) in [("required", 1), ("optional", 0)] {
        let variables = [
            ("TICKWIRE_TLS__CLIENT_CA_FILE", ca.as_str()),
            ("TICKWIRE_TLS__CLIENT_AUTH", auth),
        ];
        let broker = start(&authority, "auto", &variables);
        let (url, broker_ca) = (broker.url(), authority.file("ca.pem"));
        let args = [
            "sub", "--url", &url, "--ca", &broker_ca, "--count", "1", "trade.>",
        ];
        let shown = |by: &Authority| [by.file("client.pem"), by.file("client.key")];
        let run = |files: Option<[String; 2]>| {
            let extra = files.unwrap_or_default();
            let extra = match extra[0].is_empty() {
                true => Vec::new(),
                false => vec!["--cert", &extra[0], "--key", &extra[1]],
            };
            program::run(&[&args[..], &extra].concat(), "")
        };
        let right = run(Some(shown(&clients)));
        assert_eq!(right.code, Some(0), "{auth}: {}", right.stderr);
        assert_eq!(run(None).code, Some(without), "{auth}");
        assert_eq!(run(Some(shown(&strangers))).code, Some(1), "{auth}");
        broker.wait_for_metric("tickwire_tls_handshakes_failed_total", |count| {
            count == f64::from(without + 1)
        });
        broker.stop();
    }
}

#[test]
fn a_certificate_is_replaced_while_connections_are_open() {
    const CONNECTIONS: usize = 40;
    for egress in EGRESSES {
        let authority = Authority::new();
        let broker = start(&authority, egress, &[]);
        let mut open: Vec<(Socket, Numbers)> = (0..CONNECTIONS)
            .map(|_| {
                let mut socket = connect(&authority, &broker).upgrade();
                subscribe(&mut socket, "trade.*");
                (socket, Numbers::default())
            })
            .collect();
        for turn in 1..=3 {
            let before = connect(&authority, &broker).certificate();
            let now = authority.issue("broker");
            assert_ne!(before, now);
            poll("the new certificate is shown", || {
                (connect(&authority, &broker).certificate() == now).then_some(())
            });
            assert_eq!(broker.metric("tickwire_tls_reloads_total"), Some(f64::from(turn)));
            for (socket, numbers) in &mut open {
                let mut seen = 0;
                while seen < 100 {
                    seen += usize::from(numbers.take(&socket.message()));
                }
                assert_eq!(numbers.gaps, 0, "nobody was too slow");
            }
        }
        assert_eq!(broker.metric("tickwire_tls_reloads_failed_total"), Some(0.0));
        assert_eq!(
            broker.metric(r#"tickwire_connections{transport="websocket"}"#),
            Some(CONNECTIONS as f64)
        );
        broker.stop();
    }
}

#[test]
fn files_that_are_broken_keep_the_certificate_from_before() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    let before = connect(&authority, &broker).certificate();
    let failed = "tickwire_tls_reloads_failed_total";
    // First the key of another certificate, then no certificate at all.
    authority.issue("other");
    std::fs::copy(authority.path("other.key"), authority.path("broker.key")).expect("a file can be copied");
    broker.wait_for_metric(failed, |count| count == 1.0);
    broker.wait_for_log("is not that of the first certificate");
    std::fs::write(authority.path("broker.pem"), "half a certifi").expect("a file can be written");
    broker.wait_for_metric(failed, |count| count == 2.0);
    broker.wait_for_log("holds no certificate");
    assert_eq!(connect(&authority, &broker).certificate(), before);
    let now = authority.issue("broker");
    poll("the new certificate is shown", || {
        (connect(&authority, &broker).certificate() == now).then_some(())
    });
    let not_after = broker.metric("tickwire_tls_certificate_not_after_seconds");
    // The default of the library that made the certificate: the year 4096.
    assert_eq!(not_after, Some(67_090_118_400.0));
    broker.stop();
}

#[test]
fn who_does_not_speak_tls_is_closed() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    let mut plain = Socket::connect(&broker);
    plain.send_bytes(b"GET /v1/topics HTTP/1.1\r\nHost: tickwire\r\n\r\n");
    // A fatal alert (RFC 8446 §6.2), in place of an answer.
    assert_eq!(plain.exactly(7)[..5], [0x15, 3, 3, 0, 2]);
    plain.ended();
    broker.wait_for_metric("tickwire_tls_handshakes_failed_total", |count| count == 1.0);
    let answered = r#"tickwire_http_requests_total{route="topics",class="2xx"}"#;
    assert_ne!(broker.metric(answered), Some(1.0));
    connect(&authority, &broker).upgrade();
    broker.stop();
}

#[test]
fn who_may_not_come_in_is_told_in_the_terms_of_tls() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[("TICKWIRE_LIMITS__CONNECTIONS", "1")]);
    let only = connect(&authority, &broker).upgrade();
    let mut refused = Socket::connect(&broker);
    // The fatal alert "access denied", before any handshake.
    assert_eq!(refused.exactly(7), [0x15, 3, 3, 0, 2, 2, 49]);
    refused.ended();
    let full = r#"tickwire_turned_away_total{reason="full"}"#;
    assert_eq!(broker.metric(full), Some(1.0));
    drop(only);
    poll("somebody is let in", || {
        Socket::secure(&broker, authority.client()).ok().map(drop)
    });
    broker.stop();
}

#[test]
fn a_slow_reader_over_tls_lags_and_catches_up() {
    for egress in EGRESSES {
        let authority = Authority::new();
        let late = "150000";
        let broker = authority.start(
            &[
                "--feed",
                "sim",
                "--symbols",
                "3",
                "--rate",
                "20000",
                "--shards",
                "1",
            ],
            &[
                ("TICKWIRE_SOCKET__EGRESS", egress),
                ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", late),
                ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", late),
            ],
        );
        let mut socket = connect(&authority, &broker).upgrade();
        subscribe(&mut socket, "trade.*");
        broker.wait_for_metric(r#"tickwire_lags_total{shard="0"}"#, |count| count >= 1.0);
        let ticks = broker
            .metric("tickwire_feed_ticks_total")
            .expect("there is a feed");
        broker.wait_for_metric("tickwire_feed_ticks_total", |count| count > ticks + 20_000.0);
        let mut numbers = Numbers::default();
        let mut caught_up = false;
        while !caught_up {
            for _ in 0..2_000 {
                numbers.take(&socket.message());
            }
            caught_up = broker.metric(r#"tickwire_lagging_sessions{shard="0"}"#) == Some(0.0);
        }
        assert!(numbers.gaps > 0, "its history does not reach over what it missed");
        assert_eq!(numbers.last.len(), 3, "every symbol was traded");
        broker.stop();
    }
}

/// The records of a batch share a buffer, and a socket that takes a part of its own leaves the rest to its connection.
#[test]
fn a_batch_over_tls_goes_out_beside_sockets_that_are_full() {
    const STOPPED: usize = 3;
    for egress in EGRESSES {
        let authority = Authority::new();
        let late = "150000";
        let feed = ["--feed", "sim", "--symbols", "3", "--rate", "20000"];
        let broker = authority.start(
            &[&feed[..], &["--shards", "1"]].concat(),
            &[
                ("TICKWIRE_SOCKET__EGRESS", egress),
                ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", late),
                ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", late),
            ],
        );
        let reader = || {
            let mut socket = connect(&authority, &broker).upgrade();
            subscribe(&mut socket, "trade.*");
            (socket, Numbers::default())
        };
        let read = |(socket, numbers): &mut (Socket, Numbers)| {
            for _ in 0..200 {
                numbers.take(&socket.message());
            }
        };
        let mut reading = reader();
        let mut stopped: Vec<_> = (0..STOPPED).map(|_| reader()).collect();
        let lagging = r#"tickwire_lagging_sessions{shard="0"}"#;
        while broker.metric(lagging).is_none_or(|count| count < STOPPED as f64) {
            read(&mut reading);
        }
        for reader in &mut stopped {
            // More than waits in both sockets and in the outbox: what is pulled in behind it is read, too.
            for _ in 0..30 {
                read(reader);
            }
        }
        broker.stop();
    }
}

#[test]
fn a_reader_over_tls_that_stops_is_closed_with_4002() {
    let authority = Authority::new();
    let broker = authority.start(
        &["--feed", "sim", "--symbols", "3", "--rate", "5000"],
        &[("TICKWIRE_LIMITS__STALL_MS", "500")],
    );
    let mut stopped = connect(&authority, &broker).upgrade();
    subscribe(&mut stopped, ">");
    broker.wait_for_metric(r#"tickwire_closes_total{code="4002"}"#, |count| count == 1.0);
    broker.wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
        open == 0.0
    });
    // If the client reads again after all, it learns what happened.
    assert_eq!(stopped.until_closed().1.0, 4002);
    broker.stop();
}

#[test]
fn a_reader_that_stops_within_a_long_message_gets_the_rest_and_4002() {
    const READERS: usize = 4;
    let authority = Authority::new();
    let settings = [
        ("TICKWIRE_LIMITS__STALL_MS", "500"),
        ("TICKWIRE_ANONYMOUS_PUBLISH", "chat.>"),
    ];
    let broker = authority.start(&["--feed", "none"], &settings);
    let mut stopped: Vec<Socket> = (0..READERS)
        .map(|_| {
            let mut socket = connect(&authority, &broker).upgrade();
            subscribe(&mut socket, "chat.>");
            socket
        })
        .collect();
    let mut publisher = connect(&authority, &broker).upgrade();
    let publish = json!({"op": "publish", "id": 1, "topic": "chat.long", "data": "x".repeat(60_000)});
    let publish = publish.to_string();
    let closed = r#"tickwire_closes_total{code="4002"}"#;
    while broker.metric(closed).is_none_or(|count| count < READERS as f64) {
        publisher.send(Frame::text(&publish));
        while publisher.message()["op"] != "ack" {}
    }
    broker.wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
        open == 1.0
    });
    for mut socket in stopped.drain(..) {
        assert_eq!(socket.until_closed().1.0, 4002);
    }
    broker.stop();
}

#[test]
fn http_and_server_sent_events_work_over_tls() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > 500.0);
    let get = |path: &str| {
        let first = format!("GET {path} HTTP/1.1");
        let mut socket = connect(&authority, &broker);
        let answer = socket.ask(&first, &[]);
        (socket, answer)
    };
    let (_, answer) = get("/v1/topics/ticker.BTC-USD");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("ticker.BTC-USD"), "{answer:?}");
    assert_eq!(get("/v1/topics/nowhere").1.status, 404);
    let (mut stream, answer) = get("/v1/sse?topic=trade.*&mode=every");
    assert!(answer.head.contains("text/event-stream"), "{answer:?}");
    let mut updates = 0;
    while updates < 50 {
        updates += usize::from(stream.line().starts_with("event: update"));
    }
    broker.stop();
}

#[test]
fn what_comes_with_the_handshake_and_in_pieces_is_read() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[("TICKWIRE_ANONYMOUS_PUBLISH", "chat.>")]);
    let head = ["GET /v1/ws HTTP/1.1", "Host: tickwire"]
        .iter()
        .chain(&crate::handshake::GOOD)
        .fold(String::new(), |head, line| head + line + "\r\n");
    let ping = |id: u64| Frame::text(&json!({"op": "ping", "id": id}).to_string()).bytes();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client_of(&[version]);
        let mut socket = Socket::secure(&broker, client).expect("they trust each other");
        // The request and the first message in one record, then a message in records of one byte each.
        socket.send_bytes(&[format!("{head}\r\n").as_bytes(), &ping(1)].concat());
        assert_eq!(socket.read_answer().status, 101);
        assert_eq!(socket.message()["op"], "welcome");
        assert_eq!(socket.message()["id"], 1);
        for byte in ping(2) {
            socket.send_bytes(&[byte]);
        }
        assert_eq!(socket.message()["id"], 2);
        // More bytes than the session holds at a time.
        let data = "x".repeat(60_000);
        let publish = |id: u64| {
            let message = json!({"op": "publish", "id": id, "topic": "chat.a", "data": data});
            Frame::text(&message.to_string()).bytes()
        };
        socket.send_bytes(&(3..20).flat_map(publish).collect::<Vec<u8>>());
        for id in 3..20 {
            assert_eq!(socket.message()["id"], id);
        }
    }
    broker.stop();
}

/// RFC 8446 §4.6.3: either side may change its keys at any time, and may ask the other to change its own.
#[test]
fn keys_may_change_on_the_way() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    let mut socket = connect(&authority, &broker).upgrade();
    for id in 1..=10 {
        socket.change_keys();
        socket.send(Frame::text(&json!({"op": "ping", "id": id}).to_string()));
        assert_eq!(socket.message()["id"], id);
    }
    broker.stop();
}

#[test]
fn a_client_that_comes_back_resumes_its_tls_session_without_early_data() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client_that_resumes(version);
        let shaken = || {
            // Whoever has the welcome has the ticket, too.
            let mut socket = connect_as(&client, &broker).upgrade();
            (socket.handshake_kind(), socket.was_early())
        };
        assert_eq!(shaken(), (HandshakeKind::Full, false), "{version:?}");
        assert_eq!(shaken(), (HandshakeKind::Resumed, false), "{version:?}");
    }
    // The ticket of one identity is of no use with another one.
    let client = authority.client_that_resumes(&rustls::version::TLS13);
    drop(connect_as(&client, &broker).upgrade());
    let before = broker.metric("tickwire_tls_reloads_total");
    authority.issue("broker");
    broker.wait_for_metric("tickwire_tls_reloads_total", |count| Some(count) > before);
    let mut socket = connect_as(&client, &broker).upgrade();
    assert_eq!(socket.handshake_kind(), HandshakeKind::Full);
    broker.stop();
}

/// RFC 8446 §5: records may come in pieces of any length, and a handshake, too.
#[test]
fn a_handshake_may_come_byte_by_byte() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client_of(&[version]);
        let mut socket = Socket::secure_slowly(&broker, client)
            .expect("they trust each other")
            .upgrade();
        socket.send(Frame::text(r#"{"op":"ping","id":1}"#));
        assert_eq!(socket.message()["id"], 1);
    }
    broker.stop();
}

#[test]
fn records_that_cannot_be_decrypted_end_the_connection_alone() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    let mut other = connect(&authority, &broker).upgrade();
    let mut broken = connect(&authority, &broker).upgrade();
    broken.send_below_tls(&[&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat());
    let open = r#"tickwire_connections{transport="websocket"}"#;
    broker.wait_for_metric(open, |count| count == 1.0);
    other.send(Frame::text(r#"{"op":"ping","id":1}"#));
    assert_eq!(other.message()["id"], 1);
    broker.stop();
}

#[test]
fn a_broker_that_stops_says_goodbye() {
    let authority = Authority::new();
    let broker = start(&authority, "auto", &[]);
    let mut socket = connect(&authority, &broker).upgrade();
    broker.terminate();
    assert_eq!(socket.message()["op"], "drain");
    let (code, _) = socket.close_frame();
    assert_eq!(code, 4000);
    // A connection that is cut off would end with an error (RFC 8446 §6.1).
    socket.ended();
    socket.send(Frame::new(crate::support::Opcode::Close, &4000_u16.to_be_bytes()));
    broker.wait_stopped();
}

#[test]
fn check_config_looks_into_the_files() {
    let authority = Authority::new();
    authority.issue("a");
    authority.issue("b");
    std::fs::write(authority.path("empty.pem"), "").expect("a file can be written");
    let check = |cert: &str, key: &str| {
        let (cert, key) = (authority.file(cert), authority.file(key));
        let text = format!("[tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n");
        std::fs::write(authority.path("x.toml"), text).expect("a file can be written");
        let outcome = program::run(&["check-config", &authority.file("x.toml")], "");
        (outcome.code, outcome.stderr)
    };
    assert_eq!(check("a.pem", "a.key").0, Some(0));
    for (cert, key, fault) in [
        ("a.pem", "b.key", "is not that of the first certificate in"),
        ("empty.pem", "a.key", "empty.pem, which holds no certificate"),
        ("a.pem", "empty.pem", "empty.pem, which holds no private key"),
        ("none.pem", "a.key", "none.pem, which cannot be read"),
        ("a.key", "a.key", "a.key, which holds no certificate"),
    ] {
        let (code, said) = check(cert, key);
        assert!(
            code == Some(1) && said.contains(fault),
            "{cert} {key}: {code:?} {said}"
        );
    }
    let (status, log) = crate::support::refused_to_start(&["--config", &authority.file("x.toml")]);
    assert!(!status.success() && log.contains("holds no certificate"), "{log}");
}
