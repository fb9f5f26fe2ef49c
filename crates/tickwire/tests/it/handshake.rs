//! RFC 6455 over a plain socket: valid and invalid handshakes, frames that no library would send, and how a connection
//! is closed.

use crate::support::{Broker, Frame, Opcode, Socket};

/// The lines of a valid handshake. The key is that of RFC 6455 §1.3.
pub(crate) const GOOD: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

pub(crate) const GET: &str = "GET /v1/ws HTTP/1.1";
const PING: &str = r#"{"op":"ping","id":1}"#;

fn quiet() -> Broker {
    Broker::start(&["--feed", "none"])
}

/// The valid lines with the one that begins with `name` replaced by `line`.
pub(crate) fn instead_of(name: &str, line: &'static str) -> Vec<&'static str> {
    let kept = GOOD.iter().filter(|good| !good.starts_with(name)).copied();
    kept.chain((!line.is_empty()).then_some(line)).collect()
}

#[test]
fn the_subprotocol_chooses_the_codec_and_the_first_message_is_a_welcome() {
    let broker = quiet();
    for (offer, chosen, opcode) in [
        ("", None, Opcode::Text),
        ("tickwire.v1.json", Some("tickwire.v1.json"), Opcode::Text),
        ("tickwire.v1.msgpack", Some("tickwire.v1.msgpack"), Opcode::Binary),
        (
            "mqtt, tickwire.v1.msgpack, tickwire.v1.json",
            Some("tickwire.v1.msgpack"),
            Opcode::Binary,
        ),
    ] {
        let line = format!("Sec-WebSocket-Protocol: {offer}");
        let mut lines = GOOD.to_vec();
        lines.extend((!offer.is_empty()).then_some(line.as_str()));
        let (mut socket, answer) = Socket::request(&broker, GET, &lines);
        assert_eq!(answer.status, 101, "{offer}: {answer:?}");
        // The answer of RFC 6455 §1.3.
        assert!(
            answer
                .head
                .contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{answer:?}"
        );
        let named = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(named, chosen, "{offer}");
        let (found, welcome) = socket.frame();
        assert_eq!(found, opcode as u8, "{offer}");
        assert!(welcome.windows(7).any(|part| part == b"welcome"), "{welcome:?}");
    }
    broker.stop();
}

#[test]
fn handshakes_that_are_wrong_are_answered_with_what_to_do() {
    let broker = quiet();
    for (first, lines, status, said) in [
        (
            GET,
            instead_of("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
            426,
            "Sec-WebSocket-Version: 13",
        ),
        (
            GET,
            instead_of("Sec-WebSocket-Version", ""),
            426,
            "Sec-WebSocket-Version: 13",
        ),
        (GET, instead_of("Sec-WebSocket-Key", ""), 400, "Sec-WebSocket-Key"),
        (
            GET,
            instead_of("Sec-WebSocket-Key", "Sec-WebSocket-Key: short"),
            400,
            "Sec-WebSocket-Key",
        ),
        (GET, instead_of("Upgrade", ""), 426, "Upgrade: websocket"),
        (
            GET,
            instead_of("Connection", "Connection: keep-alive"),
            426,
            "Connection: Upgrade",
        ),
        (
            GET,
            instead_of("none", "Sec-WebSocket-Protocol: mqtt"),
            400,
            "tickwire.v1.json and tickwire.v1.msgpack",
        ),
        (GET, instead_of("none", "Content-Length: 3"), 400, "no body"),
        ("POST /v1/ws HTTP/1.1", GOOD.to_vec(), 400, "is a GET"),
        ("POST /v1/ws HTTP/1.1", instead_of("Upgrade", ""), 405, "GET"),
        ("GET /v1/nothing HTTP/1.1", GOOD.to_vec(), 404, "/v1/nothing"),
    ] {
        let (_socket, answer) = Socket::request(&broker, first, &lines);
        assert_eq!(answer.status, status, "{first} {lines:?}: {answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("a refusal is JSON");
        let reason = body["error"]["reason"].as_str().expect("a refusal has a reason");
        assert!(reason.contains(said), "{first} {lines:?}: {reason}");
        let version = answer.head.contains("\r\nsec-websocket-version: 13\r\n");
        assert_eq!(version, said.contains("Version"), "RFC 6455 §4.4: {answer:?}");
    }
    // Requests that were meant for the WebSocket endpoint count as handshakes.
    broker.wait_for_metric(r#"tickwire_handshakes_refused_total{status="426"}"#, |count| {
        count == 4.0
    });
    broker.wait_for_metric(r#"tickwire_handshakes_refused_total{status="400"}"#, |count| {
        count == 5.0
    });
    broker.wait_for_metric(r#"tickwire_handshakes_refused_total{status="405"}"#, |count| {
        count == 1.0
    });
    broker.stop();
}

#[test]
fn frames_sent_right_behind_the_handshake_are_not_lost() {
    let broker = quiet();
    let mut socket = Socket::connect(&broker);
    let mut bytes = format!("{GET}\r\nHost: a\r\n{}\r\n\r\n", GOOD.join("\r\n")).into_bytes();
    bytes.extend(Frame::text(PING).bytes());
    socket.send_bytes(&bytes);
    assert_eq!(socket.read_answer().status, 101);
    assert_eq!(socket.message()["op"], "welcome");
    assert_eq!(socket.message()["op"], "pong");
    drop(socket);
    broker.stop();
}

/// `attacks::frames` tests the other violations of the RFC, row by row.
#[test]
fn what_breaks_the_order_of_frames_or_the_form_of_lengths_ends_the_connection() {
    let broker = quiet();
    let text = Frame::text(PING);
    let frames = |frames: &[Frame<'_>]| frames.iter().flat_map(|frame| frame.bytes()).collect::<Vec<u8>>();
    for (what, bytes, code) in [
        (
            "a continuation of nothing",
            frames(&[Frame::new(Opcode::Continuation, b"")]),
            1002,
        ),
        (
            "a message within a message",
            frames(&[text.unfinished(), text]),
            1002,
        ),
        (
            "a length not in its shortest form",
            vec![0x81, 0xfe, 0, 125],
            1002,
        ),
        (
            "a text that ends inside a character",
            frames(&[Frame::new(Opcode::Text, b"\xe2\x82")]),
            1007,
        ),
    ] {
        let mut socket = Socket::open(&broker);
        socket.send_bytes(&bytes);
        let (found, reason) = socket.close_frame();
        assert_eq!(found, code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
        socket.ended();
    }
    let mut other = Socket::open(&broker);
    other.send(text);
    assert_eq!(other.message()["op"], "pong", "the others go on");
    drop(other);
    broker.stop();
}

#[test]
fn a_message_in_64_fragments_with_pings_between_them_is_read() {
    let broker = quiet();
    let mut socket = Socket::open(&broker);
    // Fragments of one byte each; the last has the rest. A ping between two of them is answered at once (RFC 6455
    // §5.4).
    let message = format!("{PING}{}", " ".repeat(64 - PING.len()));
    for (at, byte) in message.as_bytes().chunks(1).enumerate() {
        let opcode = if at == 0 {
            Opcode::Text
        } else {
            Opcode::Continuation
        };
        let frame = Frame::new(opcode, byte);
        socket.send(if at < 63 { frame.unfinished() } else { frame });
        if at % 16 == 0 {
            let payload = [at as u8; 125];
            socket.send(Frame::new(Opcode::Ping, &payload));
            assert_eq!(socket.frame(), (Opcode::Pong as u8, payload.to_vec()));
        }
    }
    assert_eq!(socket.message()["op"], "pong");
    // The end of a fragment may cut a character.
    socket.send(Frame::new(Opcode::Text, b"{\"op\":\"ping\",\"id\":2,\"x\":\"\xe2\x82").unfinished());
    socket.send(Frame::new(Opcode::Continuation, b"\xac\"}"));
    assert_eq!(socket.message()["id"], 2);
    drop(socket);
    broker.stop();
}

#[test]
fn a_close_frame_comes_back_and_the_connection_ends() {
    let broker = quiet();
    for (payload, answer) in [
        (b"\x03\xe8bye".as_slice(), 1000),
        (b"\x0f\xa0", 4000),
        // For a close frame without a code, the answer may have a code or none (§5.5.1).
        (b"", 1000),
    ] {
        let mut socket = Socket::open(&broker);
        socket.send(Frame::new(Opcode::Close, payload));
        // Nothing after a close frame is read (§5.5.1).
        socket.send(Frame::text(PING));
        assert_eq!(socket.close_frame().0, answer);
        socket.ended();
    }
    // A client that closes its socket without a close frame.
    let mut socket = Socket::open(&broker);
    socket.shut();
    socket.ended();
    broker.wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
        open == 0.0
    });
    broker.stop();
}

/// Bytes and the end that arrive together are one event of the poller, which does not report the end again.
#[test]
fn a_client_that_speaks_and_leaves_at_once_is_forgotten() {
    // Nothing else would end these connections.
    let late = "150000";
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[
            ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", late),
            ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", late),
        ],
    );
    let sockets: Vec<Socket> = (0..50)
        .map(|_| {
            let mut socket = Socket::open(&broker);
            socket.send(Frame::text(PING));
            socket.shut();
            socket
        })
        .collect();
    broker.wait_for_metric(r#"tickwire_connections{transport="websocket"}"#, |open| {
        open == 0.0
    });
    drop(sockets);
    broker.stop();
}
