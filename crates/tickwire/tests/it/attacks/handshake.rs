//! Rows 11 to 14: requests that never become a connection, and connections that never send a request.

use tickwire_wire::limits::{FIRST_REQUEST_MS, HANDSHAKE_MS, HEADER_BYTES_MAX, HEADERS_MAX};

use super::{Besieged, cpu_time};
use crate::handshake::{GET, GOOD, instead_of};
use crate::support::{Answer, Frame, Opcode, Socket, poll};

/// The answer to a handshake with these lines. It must have the given status and be the last on its connection.
fn refused(attack: &Besieged, what: &str, first: &str, lines: &[&str], status: u16) -> Answer {
    let (_, answer) = Socket::request(&attack.broker, first, lines);
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    answer
}

#[test]
fn row_11_headers_huge_or_many_or_dribbled() {
    let attack = Besieged::start(&[]);
    let huge = format!("X-Huge: {}", "x".repeat(HEADER_BYTES_MAX));
    let name = format!("{}: x", "x".repeat(HEADER_BYTES_MAX));
    for line in [&huge, &name] {
        refused(&attack, "huge", GET, &[&GOOD[..], &[line]].concat(), 431);
    }
    let target = format!("GET /v1/ws?{} HTTP/1.1", "x".repeat(HEADER_BYTES_MAX));
    refused(&attack, "huge target", &target, &GOOD, 431);
    // The Host line counts too.
    let many = vec!["X: 1"; HEADERS_MAX - GOOD.len()];
    refused(&attack, "many", GET, &[&GOOD[..], &many].concat(), 431);
    // A head that never ends is answered as soon as it is too long.
    let mut socket = Socket::connect(&attack.broker);
    socket.send_bytes(format!("{GET}\r\nHost: a\r\n").as_bytes());
    socket.send_bytes(
        "X-Endless: 12345\r\n"
            .repeat(HEADER_BYTES_MAX / 18 + 1)
            .as_bytes(),
    );
    assert_eq!(socket.read_answer().status, 431);
    socket.ended();
    assert_eq!((HEADER_BYTES_MAX, HEADERS_MAX), (16 * 1024, 100));
    attack.outlives();
}

/// A parser that starts again with each byte would cost sixteen times as much for four times the bytes.
#[test]
fn row_11_dribbled_headers_cost_what_their_bytes_cost() {
    const PIECE: &[u8] = b"xxxx";
    let attack = Besieged::start(&[
        ("TICKWIRE_LIMITS__HEADER_BYTES", "1048576"),
        ("TICKWIRE_LIMITS__HANDSHAKE_MS", "60000"),
    ]);
    let dribble = |bytes: usize| {
        let mut socket = Socket::connect(&attack.broker);
        socket.push_at_once();
        socket.send_bytes(format!("{GET}\r\nHost: a\r\n{}\r\nX-Long: ", GOOD.join("\r\n")).as_bytes());
        let before = cpu_time(&attack.broker);
        for _ in 0..bytes / PIECE.len() {
            socket.send_bytes(PIECE);
        }
        socket.send_bytes(b"\r\n\r\n");
        assert_eq!(
            socket.read_answer().status,
            101,
            "{bytes} bytes are fewer than may be"
        );
        cpu_time(&attack.broker).saturating_sub(before)
    };
    dribble(64 * 1024);
    // Other work of the machine makes one run dearer. If many pieces wait and are read together, a run is cheaper.
    let costs = |bytes| [(); 3].map(|()| dribble(bytes)).into_iter();
    let short = costs(64 * 1024).max().expect("three");
    let long = costs(256 * 1024).min().expect("three");
    assert!(long < short * 8, "64 KiB cost {short:?}, 256 KiB {long:?}");
    attack.outlives();
}

#[test]
fn row_12_slowloris() {
    let attack = Besieged::start(&[("TICKWIRE_LIMITS__HANDSHAKE_MS", "500")]);
    let head = format!("{GET}\r\nHost: a\r\n{}\r\n", GOOD.join("\r\n"));
    let mut slow: Vec<Socket> = (0..40)
        .map(|number| {
            let mut socket = Socket::connect(&attack.broker);
            // A client sends nothing, half of the head, or the head without its end.
            socket.send_bytes(&head.as_bytes()[..head.len() * (number % 3) / 2]);
            socket
        })
        .collect();
    // A byte from time to time does not extend the deadline.
    let mut dribbling = Socket::connect(&attack.broker);
    dribbling.send_bytes(format!("{GET}\r\nX-Slow: ").as_bytes());
    dribbling.push_at_once();
    poll("the dribbling is ended", || {
        (!dribbling.takes(b"x") || dribbling.is_at_end()).then_some(())
    });
    for socket in &mut slow {
        socket.ended();
    }
    assert_eq!(HANDSHAKE_MS, 5_000);
    attack.outlives();
}

#[test]
fn row_12_stalled_tls_handshake() {
    let attack = Besieged::start_secured(&[("TICKWIRE_TLS__HANDSHAKE_MS", "500")]);
    // The head of a record whose 512 bytes never come (RFC 8446 §5.1).
    let head = [0x16, 3, 1, 2, 0];
    let mut slow: Vec<Socket> = (0..40)
        .map(|number| {
            let mut socket = Socket::connect(&attack.broker);
            // A client sends nothing, a part of the head, or the head with the first byte of the record.
            socket.send_bytes([&head[..0], &head[..3], &[&head[..], &[1]].concat()][number % 3]);
            socket
        })
        .collect();
    // A byte from time to time does not extend the deadline.
    let mut dribbling = Socket::connect(&attack.broker);
    dribbling.send_bytes(&[&head[..], &[1, 0, 1, 0xfc]].concat());
    dribbling.push_at_once();
    poll("the dribbling is ended", || {
        (!dribbling.takes(b"x") || dribbling.is_at_end()).then_some(())
    });
    for socket in &mut slow {
        socket.ended();
    }
    let failed = "tickwire_tls_handshakes_failed_total";
    attack.broker.wait_for_metric(failed, |count| count == 41.0);
    attack.outlives();
}

#[test]
fn row_13_upgraded_then_silent() {
    let attack = Besieged::start(&[("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "500")]);
    let mut silent: Vec<Socket> = (0..20).map(|_| Socket::open(&attack.broker)).collect();
    // Only a request counts, not a ping or the beginning of a message.
    for (number, socket) in silent.iter_mut().enumerate() {
        match number % 4 {
            0 => {}
            1 => {
                socket.send(Frame::new(Opcode::Ping, b"a"));
                assert_eq!(socket.frame().0, Opcode::Pong as u8);
            }
            2 => socket.send(Frame::new(Opcode::Pong, b"a")),
            _ => socket.send(Frame::text(r#"{"op":"#).unfinished()),
        }
    }
    for socket in &mut silent {
        let (code, reason) = socket.close_frame();
        assert_eq!(code, 4008, "{reason}");
        socket.ended();
    }
    assert_eq!(FIRST_REQUEST_MS, 10_000);
    attack.outlives();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn row_14_handshakes_that_are_none() {
    let attack = Besieged::start(&[]);
    let line = |name, line| instead_of(name, line);
    for (what, first, lines, status) in [
        (
            "version 8",
            GET,
            line("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
            426,
        ),
        (
            "version 12, 13",
            GET,
            line("Sec-WebSocket-Version", "Sec-WebSocket-Version: 12, 13"),
            426,
        ),
        ("no version", GET, line("Sec-WebSocket-Version", ""), 426),
        (
            "two versions",
            GET,
            line("none", "Sec-WebSocket-Version: 13"),
            426,
        ),
        ("no key", GET, line("Sec-WebSocket-Key", ""), 400),
        (
            "an empty key",
            GET,
            line("Sec-WebSocket-Key", "Sec-WebSocket-Key: "),
            400,
        ),
        (
            "a short key",
            GET,
            line("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="),
            400,
        ),
        (
            "two keys",
            GET,
            line("none", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
            400,
        ),
        ("no upgrade", GET, line("Upgrade", ""), 426),
        ("another upgrade", GET, line("Upgrade", "Upgrade: h2c"), 426),
        ("HTTP/1.0", "GET /v1/ws HTTP/1.0", GOOD.to_vec(), 426),
        ("a length", GET, line("none", "Content-Length: 3"), 400),
        (
            "two lengths",
            GET,
            [&GOOD[..], &["Content-Length: 0", "Content-Length: 3"]].concat(),
            400,
        ),
        ("chunks", GET, line("none", "Transfer-Encoding: chunked"), 400),
        (
            "a length and chunks",
            GET,
            [&GOOD[..], &["Content-Length: 3", "Transfer-Encoding: chunked"]].concat(),
            400,
        ),
        (
            "chunks and a length",
            GET,
            [&GOOD[..], &["Transfer-Encoding: chunked", "Content-Length: 0"]].concat(),
            400,
        ),
    ] {
        refused(&attack, what, first, &lines, status);
    }
    for method in ["POST", "PUT", "DELETE", "BREW"] {
        refused(&attack, method, &format!("{method} /v1/ws HTTP/1.1"), &GOOD, 400);
    }
    smuggles_nothing(&attack);
    attack.outlives();
}

/// A request with both a length and chunks is read in one way only, and the bytes after it are not another request (RFC
/// 9112 §6.3).
fn smuggles_nothing(attack: &Besieged) {
    let mut socket = Socket::connect(&attack.broker);
    let inner = "POST /v1/topics/chat.smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    let outer = format!(
        "POST /v1/topics/chat.open HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        5 + inner.len()
    );
    socket.send_bytes(outer.as_bytes());
    assert_eq!(socket.read_answer().status, 400);
    let smuggled = crate::support::get(attack.broker.listen, "/v1/topics/chat.smuggled");
    assert_eq!(smuggled.status, 404, "{smuggled:?}");
}
