//! permessage-deflate with clients of other projects, and with frames that no client would send.

use flate2::{Compress, Compression, FlushCompress};
use serde_json::{Value, json};

use crate::handshake::GOOD;
use crate::support::{Broker, Client, Codec, Frame, Opcode, Socket, Tool};

const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// No feed; any client may publish chats.
const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];

/// Compressible text of at least `len` bytes.
fn long(len: usize) -> String {
    (0..)
        .map(|n| format!("{n},"))
        .scan(0, |sum, part| {
            let more = *sum < len;
            *sum += part.len();
            more.then_some(part)
        })
        .collect()
}

/// The compressed payload of `message` (RFC 7692 §7.2.1).
pub(crate) fn deflated(message: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(message.len() + 1_000);
    compress
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("there is room");
    out.truncate(out.len() - 4);
    out
}

/// The number of frames compressed so far in a codec.
fn encodes(broker: &Broker, codec: &str) -> f64 {
    let ops = ["update", "snapshot"];
    let of = |op: &str| {
        broker.metric(&format!(
            "tickwire_encodes_total{{codec=\"{codec}\",op=\"{op}\"}}"
        ))
    };
    ops.into_iter()
        .map(|op| of(op).expect("there is such a series"))
        .sum()
}

/// Opens a connection that offers `offer`, and reads its welcome.
pub(crate) fn open(broker: &Broker, offer: &str) -> Socket {
    let line = format!("Sec-WebSocket-Extensions: {offer}");
    let lines: Vec<&str> = GOOD.into_iter().chain([line.as_str()]).collect();
    let (mut socket, answer) = Socket::request(broker, "GET /v1/ws HTTP/1.1", &lines);
    assert_eq!(answer.status, 101, "{answer:?}");
    assert!(
        answer
            .head
            .contains(&format!("sec-websocket-extensions: {ANSWER}")),
        "{answer:?}"
    );
    assert_eq!(socket.message()["op"], "welcome");
    socket
}

/// A frame that is marked as compressed.
pub(crate) fn compressed(opcode: Opcode, payload: &[u8]) -> Frame<'_> {
    Frame {
        reserved: 0x40,
        ..Frame::new(opcode, payload)
    }
}

/// Publishes short, long and very long messages to a topic and receives them.
fn exchange(client: &mut Client, topic: &str) {
    client.subscribe(1, &json!([topic]));
    for (id, data) in [
        (2, json!("short")),
        (3, json!(long(300))),
        (4, json!({"é": [long(5_000), "日本🦀"]})),
        (5, json!(long(60_000))),
    ] {
        client.send(&json!({"op": "publish", "id": id, "topic": topic, "data": data}));
        let mut seen = (false, false);
        while seen != (true, true) {
            let message = client.next();
            match message["op"].as_str() {
                Some("ack") => seen.0 = true,
                Some("update") => {
                    assert_eq!(message["data"], data);
                    seen.1 = true;
                }
                _ => panic!("{message}"),
            }
        }
    }
}

#[test]
fn python_with_every_offer_of_its_library() {
    let Some(python) = Tool::Python.find("python_with_every_offer_of_its_library") else {
        return;
    };
    let offers = [
        json!({}),
        json!({"server_no_context_takeover": true}),
        json!({"client_no_context_takeover": true}),
        json!({"server_max_window_bits": 12, "client_max_window_bits": 12}),
        json!({"server_max_window_bits": 9}),
        json!({"client_max_window_bits": 10, "compress_settings": {"level": 9, "memLevel": 4}}),
        json!({"server_no_context_takeover": true, "server_max_window_bits": 15}),
    ];
    let broker = Broker::start(&OPEN);
    for (number, (codec, offer)) in Codec::ALL
        .into_iter()
        .flat_map(|codec| offers.iter().map(move |offer| (codec, offer)))
        .enumerate()
    {
        let mut client = Client::python_with(&python, &broker, codec, Some(offer));
        let window = offer.get("server_max_window_bits").and_then(Value::as_u64);
        let expected = window.map_or(ANSWER.to_owned(), |bits| {
            format!("{ANSWER}; server_max_window_bits={bits}")
        });
        assert_eq!(client.extensions(), expected, "{offer}");
        exchange(&mut client, &format!("chat.{number}"));
        client.close(1000);
    }
    assert!(encodes(&broker, "json-deflate") >= 3.0 && encodes(&broker, "msgpack-deflate") >= 1.0);
    let bytes = |name: &str| {
        broker
            .metric(&format!("tickwire_compressed_{name}_bytes_total"))
            .expect("a counter")
    };
    assert!(
        bytes("output") < 0.9 * bytes("input"),
        "{} of {}",
        bytes("output"),
        bytes("input")
    );
    broker.stop();
}

#[test]
fn node_with_the_options_of_its_library() {
    let Some(node) = Tool::Node.find("node_with_the_options_of_its_library") else {
        return;
    };
    let broker = Broker::start(&OPEN);
    for (number, (options, extensions)) in [
        (json!(true), ANSWER.to_owned()),
        (json!(false), String::new()),
        (json!({"threshold": 0}), ANSWER.to_owned()),
        (
            json!({"serverMaxWindowBits": 10, "clientMaxWindowBits": 10, "threshold": 1}),
            format!("{ANSWER}; server_max_window_bits=10"),
        ),
        (
            json!({"serverNoContextTakeover": true, "clientNoContextTakeover": true, "threshold": 1}),
            ANSWER.to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::node_with(&node, &broker, &options);
        assert_eq!(client.extensions(), extensions, "{options}");
        exchange(&mut client, &format!("chat.{number}"));
        client.close(1000);
    }
    broker.stop();
}

#[test]
fn snapshots_and_replays_come_compressed() {
    let broker = Broker::start(&OPEN);
    let mut publisher = Socket::open(&broker);
    let mut reader = open(&broker, "permessage-deflate");
    for n in 0..3 {
        let data = long(400);
        publisher.send(Frame::text(&format!(
            r#"{{"op":"publish","id":{n},"topic":"chat.x","data":"{data}"}}"#
        )));
        assert_eq!(publisher.message()["op"], "ack");
    }
    reader.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.x"]}"#));
    let ack = reader.message();
    assert_eq!(ack["op"], "ack", "control messages are never compressed");
    assert_eq!(reader.deflated_message()["op"], "snapshot");
    let epoch = &ack["results"][0]["epoch"];
    let mut late = open(&broker, "permessage-deflate");
    late.send(Frame::text(&format!(
        r#"{{"op":"subscribe","id":1,"topics":[{{"topic":"chat.x","since":{{"epoch":{epoch},"seq":1}}}}]}}"#
    )));
    assert_eq!(late.message()["results"][0]["recovered"], true);
    for seq in [2, 3] {
        let update = late.deflated_message();
        assert_eq!((&update["op"], &update["seq"]), (&json!("update"), &json!(seq)));
    }
    broker.stop();
}

#[test]
fn what_a_client_compresses_is_bounded_and_checked() {
    let broker = Broker::start(&OPEN);
    let publish = |len: usize| {
        let head = r#"{"op":"publish","id":1,"topic":"chat.x","data":""#;
        format!("{head}{}\"}}", "x".repeat(len - head.len() - 2))
    };
    let fits = deflated(publish(65_536).as_bytes());
    let mut socket = open(&broker, "permessage-deflate");
    socket.send(compressed(Opcode::Text, &fits));
    assert_eq!(socket.message()["op"], "ack", "as long as a message may be");
    // Only the first of several fragments is marked as compressed. A ping may come between.
    let (front, back) = fits.split_at(fits.len() / 2);
    socket.send(compressed(Opcode::Text, front).unfinished());
    socket.send(Frame::new(Opcode::Ping, b"?"));
    assert_eq!(socket.frame(), (Opcode::Pong as u8, b"?".to_vec()));
    socket.send(Frame::new(Opcode::Continuation, back));
    assert_eq!(socket.message()["op"], "ack");
    // RFC 7692 §7.2.3.6: an empty message, which is not a request.
    socket.send(compressed(Opcode::Text, b"\0"));
    assert_eq!(socket.message()["code"], "bad_request");

    let too_long = deflated(publish(65_537).as_bytes());
    let bomb = deflated(&vec![b' '; 60_000_000]);
    assert!(bomb.len() < 65_536, "{} bytes", bomb.len());
    let not_utf8 = deflated(&[b'x', 0xff, b'x'].repeat(30));
    let cut = &fits[..fits.len() - 1];
    for (what, frame, code) in [
        ("a byte too long", compressed(Opcode::Text, &too_long), 1009),
        ("a bomb", compressed(Opcode::Text, &bomb), 1009),
        (
            "too long before it is inflated",
            compressed(Opcode::Text, &vec![0; 65_537]),
            1009,
        ),
        ("not UTF-8", compressed(Opcode::Text, &not_utf8), 1007),
        ("cut short", compressed(Opcode::Text, cut), 1007),
        ("no DEFLATE", compressed(Opcode::Binary, &[0xff; 40]), 1007),
        ("nothing at all", compressed(Opcode::Text, b""), 1007),
        ("a compressed ping", compressed(Opcode::Ping, b"\0"), 1002),
        ("a compressed close", compressed(Opcode::Close, b"\0"), 1002),
        (
            "RSV2",
            Frame {
                reserved: 0x20,
                ..Frame::text("{}")
            },
            1002,
        ),
    ] {
        let mut socket = open(&broker, "permessage-deflate");
        socket.send(frame);
        assert_eq!(socket.close_frame().0, code, "{what}");
    }
    let mut socket = open(&broker, "permessage-deflate");
    socket.send(compressed(Opcode::Text, front).unfinished());
    socket.send(compressed(Opcode::Continuation, back));
    assert_eq!(socket.close_frame().0, 1002, "a continuation that says so, too");
    broker.stop();
}

#[test]
fn who_did_not_agree_on_it_may_not_compress() {
    let hello = deflated(b"{}");
    let on = Broker::start(&OPEN);
    let off = Broker::start_with(&OPEN, &[("TICKWIRE_COMPRESSION__ENABLED", "false")]);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    for (broker, lines) in [
        (&on, GOOD.to_vec()),
        (
            &on,
            [
                &GOOD[..],
                &["Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7"],
            ]
            .concat(),
        ),
        (&off, [&GOOD[..], &[offer]].concat()),
    ] {
        let (mut socket, answer) = Socket::request(broker, "GET /v1/ws HTTP/1.1", &lines);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert!(!answer.head.contains("sec-websocket-extensions"), "{answer:?}");
        assert_eq!(socket.message()["op"], "welcome");
        socket.send(compressed(Opcode::Text, &hello));
        assert_eq!(socket.close_frame().0, 1002, "{lines:?}");
    }
    let malformed = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=";
    let (_, answer) = Socket::request(&on, "GET /v1/ws HTTP/1.1", &[&GOOD[..], &[malformed]].concat());
    assert_eq!(answer.status, 400, "{answer:?}");
    on.stop();
    off.stop();
}

/// The memory that 1,000 connections which offer `extension` add to the broker, in bytes.
fn memory_of_1000(extension: &str) -> f64 {
    // The soft limit of many users is 1,024.
    rlimit::increase_nofile_limit(4_096).expect("a thousand connections and more files");
    let broker = Broker::start(&["--feed", "none"]);
    let line = format!("Sec-WebSocket-Extensions: {extension}");
    let lines = [&GOOD[..], &[line.as_str()]].concat();
    let resident = || {
        broker
            .metric("process_resident_memory_bytes")
            .expect("Linux tells it")
    };
    let connect = |count: usize| -> Vec<Socket> {
        let open = |_| {
            let (mut socket, answer) = Socket::request(&broker, "GET /v1/ws HTTP/1.1", &lines);
            assert_eq!(answer.status, 101, "{answer:?}");
            assert_eq!(socket.message()["op"], "welcome");
            // A request, so that the buffers that a message needs for a while have been allocated once.
            socket.send(Frame::text(r#"{"op":"ping","id":1}"#));
            assert_eq!(socket.message()["op"], "pong");
            socket
        };
        (0..count).map(open).collect()
    };
    let warm = connect(20);
    let before = resident();
    let sockets = connect(1_000);
    let after = resident();
    drop((warm, sockets));
    broker.stop();
    after - before
}

#[test]
fn a_connection_that_agreed_on_it_costs_no_more_memory() {
    const MORE_PER_CONNECTION: f64 = 2_048.0;
    let (with, without) = (memory_of_1000("permessage-deflate"), memory_of_1000("x-none"));
    assert!(
        with <= without + 1_000.0 * MORE_PER_CONNECTION,
        "{with} bytes for 1,000 connections, {without} for such without compression"
    );
}
