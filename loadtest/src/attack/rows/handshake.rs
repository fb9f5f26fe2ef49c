//! Rows 11 to 14: requests that never become a connection, and connections that never become a request.

use std::time::Duration;

use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::{FIRST_REQUEST_MS, HANDSHAKE_MS, HEADER_BYTES_MAX, HEADERS_MAX};

use super::{GET, GOOD, asks, connected, frame, head, seconds, then};
use crate::attack::attackers::shared;
use crate::attack::row::{Answer, Ending, Row, Step, Variant};

/// Time beyond a limit's in which the answer must have come.
const LATE: Duration = seconds(2);

pub(super) fn rows() -> Vec<Row> {
    let slow = Row {
        within: Duration::from_millis(HANDSHAKE_MS) + LATE,
        ..Row::new(12, "slowloris handshake", slow())
    };
    let silent = Row {
        within: Duration::from_millis(FIRST_REQUEST_MS) + LATE,
        ..Row::new(13, "upgraded, then silent", silent())
    };
    vec![
        Row::new(11, "huge, many or dribbled headers", headers()),
        slow,
        silent,
        Row::new(14, "handshakes that are none", wrong()),
    ]
}

fn headers() -> Vec<Variant> {
    let huge = format!("X-Huge: {}", "x".repeat(HEADER_BYTES_MAX));
    let many = vec!["X: 1"; HEADERS_MAX];
    // A kilobyte now and then, of a head that never ends.
    let dribbled = vec![
        Step::Send(shared(format!("{GET}\r\nHost: tickwire\r\nX: "))),
        Step::Repeat(shared("x".repeat(1_024)), Duration::from_millis(20)),
    ];
    vec![
        asks("huge", head(GET, &[&GOOD[..], &[&huge]].concat()), 431),
        asks("many", head(GET, &[&GOOD[..], &many].concat()), 431),
        Variant::new("dribbled", dribbled, Answer::of(Ending::Status(431))),
    ]
}

fn slow() -> Vec<Variant> {
    let ended = |what, steps| Variant::new(what, steps, Answer::of(Ending::Ended));
    let whole = head(GET, &GOOD);
    let cut = &whole[..whole.len() - 2];
    vec![
        ended("silent", vec![Step::Stay(seconds(3_600))]),
        ended("all but the end", vec![Step::Send(shared(cut))]),
        ended(
            "a byte every half second",
            vec![
                Step::Send(shared(format!("{GET}\r\nX: "))),
                Step::Repeat(shared("x"), Duration::from_millis(500)),
            ],
        ),
    ]
}

fn silent() -> Vec<Variant> {
    let closed = |what, steps| Variant::new(what, steps, Answer::of(Ending::Close(4008)));
    let begun = frame(false, Opcode::Text, br#"{"op":"#);
    let ping = frame(true, Opcode::Ping, b"");
    vec![
        closed("silent", connected()),
        closed("half a message", then([Step::Send(shared(begun))])),
        closed("pings only", then([Step::Repeat(shared(ping), seconds(1))])),
    ]
}

/// The good lines without the one that begins with `name`, and with `line` instead.
fn instead_of(name: &str, line: &'static str) -> String {
    let kept = GOOD.iter().filter(|good| !good.starts_with(name)).copied();
    let lines: Vec<&str> = kept.chain((!line.is_empty()).then_some(line)).collect();
    head(GET, &lines)
}

fn wrong() -> Vec<Variant> {
    let both = [&GOOD[..], &["Content-Length: 3", "Transfer-Encoding: chunked"]].concat();
    vec![
        asks(
            "version 8",
            instead_of("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
            426,
        ),
        asks("no version", instead_of("Sec-WebSocket-Version", ""), 426),
        asks("no key", instead_of("Sec-WebSocket-Key", ""), 400),
        asks(
            "a short key",
            instead_of("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="),
            400,
        ),
        asks("HTTP/1.0", head("GET /v1/ws HTTP/1.0", &GOOD), 426),
        // RFC 9110 §15.5.6 has a status of its own for other methods.
        asks("POST", head("POST /v1/ws HTTP/1.1", &GOOD), 405),
        asks("a length", instead_of("none", "Content-Length: 3"), 400),
        asks("a length and chunks", head(GET, &both), 400),
    ]
}
