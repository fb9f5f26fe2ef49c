//! Rows 20 and 22 to 25: requests and readers that cost more than they may, and too many of them.

use std::io;
use std::net::TcpStream;

use serde_json::json;
use socket2::{Domain, SockFilter, SockRef, Type};
use tickwire_wire::limits::{PING_AFTER_MS, PONG_TIMEOUT_MS, SUBSCRIPTIONS_MAX};

use super::{Besieged, next_message, resident_bytes};
use crate::handshake::{GET, GOOD};
use crate::support::{Answer, Broker, Frame, Opcode, Socket, get, poll, post, skip};

/// Most bytes that wait for one connection: the budget, a refill beyond it, and a message.
const OUTBOX_BYTES_MAX: f64 = (256.0 + 64.0 + 64.0) * 1024.0;

#[test]
fn row_20_nesting_and_counts_that_only_declare() {
    const DEPTH: usize = 100_000;
    let attack = Besieged::start(&[
        ("TICKWIRE_LIMITS__MESSAGE_BYTES", "1000000"),
        ("TICKWIRE_LIMITS__OUTBOX_BYTES", "1000000"),
    ]);
    let refused = |lines: &[&str], frame: Frame<'_>| {
        // Each is sent on a new connection: the broker closes one that repeats such messages.
        let (mut socket, answer) = Socket::request(&attack.broker, GET, lines);
        assert_eq!(answer.status, 101, "{answer:?}");
        socket.frame();
        socket.send(frame);
        let (_, refusal) = socket.frame();
        let refusal = String::from_utf8_lossy(&refusal).into_owned();
        let start = String::from_utf8_lossy(&frame.payload[..frame.payload.len().min(60)]);
        assert!(refusal.contains("bad_request"), "{start}…: {refusal}");
        // The connection stays open.
        socket.send(Frame::new(Opcode::Ping, b""));
        assert_eq!(socket.frame().0, Opcode::Pong as u8);
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let (open, close) = (open.repeat(DEPTH), close.repeat(DEPTH));
        for text in [
            open.clone(),
            format!("{open}1{close}"),
            format!(r#"{{"op":"publish","id":1,"topic":"chat.a","data":{open}1{close}}}"#),
        ] {
            refused(&GOOD, Frame::text(&text));
        }
        // An unknown field is ignored, however deep.
        let mut socket = Socket::open(&attack.broker);
        socket.send(Frame::text(&format!(
            r#"{{"op":"ping","id":1,"x":{open}1{close}}}"#
        )));
        assert_eq!(socket.message()["op"], "pong");
        let answer = post(
            attack.broker.listen,
            "/v1/topics/chat.a",
            &format!("{open}1{close}"),
        );
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let lines = [&GOOD[..], &["Sec-WebSocket-Protocol: tickwire.v1.msgpack"]].concat();
    // {"op": "ping", "id": 1, "x": …}
    let ping = b"\x83\xa2op\xa4ping\xa2id\x01\xa1x";
    let publish = b"\x84\xa2op\xa7publish\xa2id\x01\xa5topic\xa6chat.a\xa4data";
    // An array, a map, a text, bytes and an extension that declare 2^32 - 1, and very deep values.
    let endless: [&[u8]; 5] = [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"];
    let mut values: Vec<Vec<u8>> = endless
        .iter()
        .map(|kind| [kind, &[0xff; 4][..]].concat())
        .collect();
    values.extend([
        vec![0x91; DEPTH],
        b"\x81\x01".repeat(DEPTH),
        b"\xdd\xff\xff\xff\xff".repeat(DEPTH),
    ]);
    for value in values {
        for before in [&b""[..], ping, publish] {
            refused(&lines, Frame::new(Opcode::Binary, &[before, &value].concat()));
        }
    }
    attack.outlives();
}

/// Opens a connection whose client takes very little: its window is a few kilobytes.
fn narrow(broker: &Broker) -> Socket {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .set_recv_buffer_size(4_096)
        .expect("a socket has this option");
    socket.connect(&broker.listen.into()).expect("the broker listens");
    Socket::over(TcpStream::from(socket))
}

#[test]
fn row_22_reader_with_a_closed_window() {
    const READERS: usize = 20;
    let mut attack = Besieged::start(&[
        ("TICKWIRE_LIMITS__STALL_MS", "3000"),
        ("TICKWIRE_LIMITS__OPS_PER_S", "1000000"),
        ("TICKWIRE_LIMITS__OPS_BURST", "1000000"),
        ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "1000000"),
        ("TICKWIRE_LIMITS__PUBLISHES_BURST", "1000000"),
        ("TICKWIRE_SOCKET__SEND_BUFFER_BYTES", "16384"),
    ]);
    let mut readers: Vec<Socket> = (0..READERS)
        .map(|_| {
            let mut reader = narrow(&attack.broker);
            reader.shake_hands();
            reader.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.>"]}"#));
            reader
        })
        .collect();
    let closed = r#"tickwire_closes_total{code="4002"}"#;
    let (mut lagging, mut ended) = (0.0, 0.0);
    let data = "x".repeat(30_000);
    while ended < READERS as f64 {
        attack.bystander.publish("chat.flood", &json!(data));
        attack.bystander.is_served();
        // Half of the readers take a byte from time to time.
        for reader in &mut readers[..READERS / 2] {
            reader.sip();
        }
        lagging = f64::max(lagging, attack.sum("tickwire_lagging_sessions"));
        let waiting = attack.sum("tickwire_outbox_bytes");
        let most = (READERS + 2) as f64 * OUTBOX_BYTES_MAX;
        assert!(waiting <= most, "{waiting} bytes wait for {READERS} readers");
        ended = attack.broker.metric(closed).unwrap_or_default();
    }
    assert_eq!(lagging, READERS as f64, "all of them lagged first");
    assert_eq!(ended, READERS as f64);
    drop(readers);
    attack.outlives();
}

/// Drops all packets that the socket receives from now on, as if its machine had lost its network.
fn loses_its_network(socket: &Socket) -> io::Result<()> {
    // RET #0: no byte of a packet passes.
    const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(socket.stream()).attach_filter(&[NOTHING])
}

#[test]
fn row_23_half_open_peer() {
    let mut attack = Besieged::start(&[
        ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", "1000"),
        ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", "1000"),
        ("TICKWIRE_SOCKET__USER_TIMEOUT_MS", "1000"),
    ]);
    let open = r#"tickwire_connections{transport="websocket"}"#;
    attack.broker.wait_for_metric(open, |count| count == 2.0);
    // Half of the clients are sent messages meanwhile, the others nothing.
    let mut lost = Vec::new();
    for topic in ["chat.busy", "chat.quiet"].iter().cycle().take(20) {
        let mut socket = Socket::open(&attack.broker);
        let subscribe = json!({"op": "subscribe", "id": 1, "topics": [topic]});
        socket.send(Frame::text(&subscribe.to_string()));
        assert_eq!(next_message(&mut socket)["op"], "ack");
        match loses_its_network(&socket) {
            // The kernel gives users without rights little room for filters.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let why = "the kernel takes no more socket filters of this user; run it as root";
                skip::<()>("row_23_half_open_peer", why);
                return attack.outlives();
            }
            done => done.expect("a socket takes a filter"),
        }
        lost.push(socket);
    }
    attack.broker.wait_for_metric(open, |count| count == 22.0);
    poll("the broker has let go of the lost connections", || {
        attack.bystander.publish("chat.busy", &json!("x"));
        attack.bystander.is_served();
        (attack.broker.metric(open) == Some(2.0)).then_some(())
    });
    drop(lost);
    assert_eq!(PING_AFTER_MS + PONG_TIMEOUT_MS, 40_000, "45 s is the most");
    attack.outlives();
}

/// Opens a connection with a handshake. Returns it with the answer.
fn ask(broker: &Broker) -> (Socket, Answer) {
    Socket::request(broker, GET, &GOOD)
}

#[test]
fn row_24_more_connections_than_there_may_be() {
    let attack = Besieged::start(&[("TICKWIRE_LIMITS__CONNECTIONS", "50")]);
    // The bystander has two of the connections.
    let mut open: Vec<Socket> = (0..48).map(|_| Socket::open(&attack.broker)).collect();
    for _ in 0..200 {
        let mut socket = Socket::connect(&attack.broker);
        let answer = socket.read_answer();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.contains("\r\nretry-after: "), "{answer:?}");
        socket.ended();
    }
    // As soon as there is room, a connection is accepted.
    drop(open.split_off(40));
    poll("somebody is let in", || {
        let (_, answer) = ask(&attack.broker);
        (answer.status == 101).then_some(())
    });
    drop(open);
    attack.outlives_soon();
}

#[test]
fn row_24_file_descriptors_exhausted() {
    const FILES: usize = 64;
    let feed = ["--feed", "none", "--anonymous-publish", "chat.>", "--shards", "1"];
    let broker = Broker::start_with_files(FILES, &feed);
    let mut attack = Besieged::of(broker, None);
    // Connections of operators do not count among those of clients. Together they are more than the files allowed.
    let operators: Vec<TcpStream> = (0..FILES)
        .map(|_| TcpStream::connect(attack.broker.ops).expect("the kernel accepts"))
        .collect();
    let clients: Vec<TcpStream> = (0..FILES)
        .map(|_| TcpStream::connect(attack.broker.listen).expect("the kernel accepts"))
        .collect();
    attack.broker.wait_for_log("cannot accept");
    attack.bystander.is_served();
    drop((operators, clients));
    poll("accepting goes on", || {
        let (_, answer) = ask(&attack.broker);
        (answer.status == 101).then_some(())
    });
    assert_eq!(get(attack.broker.ops, "/livez").status, 200);
    attack.outlives_soon();
}

/// All patterns of ten tokens that are each `x` or a wildcard: 1,024 patterns that all match the same topic.
fn overlapping() -> Vec<String> {
    let token = |bits: usize, at: usize| if bits >> at & 1 == 0 { "x" } else { "*" };
    (0..1_024)
        .map(|bits| {
            let tokens: Vec<&str> = (0..10).map(|at| token(bits, at)).collect();
            format!("chat.{}", tokens.join("."))
        })
        .collect()
}

#[test]
fn row_25_storm_of_overlapping_wildcards() {
    const ATTACKERS: usize = 30;
    let mut attack = Besieged::start(&[]);
    let patterns = overlapping();
    assert_eq!(patterns.len(), SUBSCRIPTIONS_MAX);
    let subscribe = json!({"op": "subscribe", "id": 1, "topics": patterns}).to_string();
    let more = [
        "chat.*.*.*.*.*.*.*.*.*.*.*.*.>",
        "chat.x.x.x.x.x.x.x.x.x.x.more.and.>",
    ];
    let more = json!({"op": "subscribe", "id": 2, "topics": more}).to_string();
    let mut attackers: Vec<Socket> = (0..ATTACKERS)
        .map(|_| {
            let mut socket = Socket::open(&attack.broker);
            socket.send(Frame::text(&subscribe));
            socket.send(Frame::text(&more));
            socket
        })
        .collect();
    for socket in &mut attackers {
        for (count, request) in [(SUBSCRIPTIONS_MAX, "the storm"), (2, "two more")] {
            let ack = next_message(socket);
            let results = ack["results"].as_array().expect("an ack has results");
            assert_eq!(results.len(), count, "{request}: {ack}");
            for result in results {
                // Patterns with this many tokens may exceed another limit first.
                let error = &result["error"];
                let taken = error.is_null() && count == SUBSCRIPTIONS_MAX;
                assert!(taken || error["code"] == "limit_exceeded", "{request}: {result}");
            }
            let taken = results.iter().filter(|result| result["error"].is_null()).count();
            assert_eq!(taken > 0, count == SUBSCRIPTIONS_MAX, "{request}");
        }
    }
    // A message comes once to each connection, however many patterns match.
    let topic = format!("chat.{}", ["x"; 10].join("."));
    for number in 1..=2 {
        attack.bystander.publish(&topic, &json!(number));
        for socket in &mut attackers {
            let update = next_message(socket);
            assert_eq!(
                (&update["topic"], &update["seq"]),
                (&json!(topic), &json!(number)),
                "{update}"
            );
        }
    }
    attack.lives_on();
    let each = (resident_bytes(&attack.broker) - attack.resident_bytes) / ATTACKERS as f64;
    assert!(each < 1024.0 * 1024.0, "{each} bytes for each storm");
    drop(attackers);
    attack.outlives();
}
