//! Rows 11 to 14: requests that never become a connection, and connections that never send a request.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rustls::RootCertStore;
use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::{FIRST_REQUEST_MS, HANDSHAKE_MS, HEADER_BYTES_MAX, HEADERS_MAX};

use super::{GET, GOOD, asks, frame, head, repeat, seconds, send, then};
use crate::swarm::trusting;
use crate::trials::attack::row::{Ending, Row, Step, Variant};

/// How long after a limit the answer must have come.
const LATE: Duration = seconds(2);
/// The time between two bytes of a slowly sent handshake.
const DRIBBLE_EVERY: Duration = Duration::from_millis(500);
/// The bytes of a ClientHello before its random: the headers of record and message, and a version (RFC 8446 §4.1.2).
const BEFORE_RANDOM_BYTES: usize = 5 + 4 + 2;

pub(super) fn rows() -> Vec<Row> {
    let slow = Row {
        within: Duration::from_millis(HANDSHAKE_MS) + LATE,
        ..Row::new(12, "slowloris handshake", slow())
    };
    let stalled = Row {
        secured: true,
        within: Duration::from_millis(HANDSHAKE_MS) + LATE,
        ..Row::new(12, "stalled TLS handshake", stalled())
    };
    let silent = Row {
        within: Duration::from_millis(FIRST_REQUEST_MS) + LATE,
        ..Row::new(13, "upgraded, then silent", silent())
    };
    vec![
        Row::new(11, "huge, many or dribbled headers", headers()),
        slow,
        stalled,
        silent,
        Row::new(14, "handshakes that are none", wrong()),
    ]
}

fn headers() -> Vec<Variant> {
    let huge = format!("X-Huge: {}", "x".repeat(HEADER_BYTES_MAX));
    let many = vec!["X: 1"; HEADERS_MAX];
    // A kilobyte at a time of a head that never ends.
    let dribbled = vec![
        send(format!("{GET}\r\nHost: tickwire\r\nX: ")),
        repeat("x".repeat(1_024), Duration::from_millis(20)),
    ];
    vec![
        asks("huge", head(GET, &[&GOOD[..], &[&huge]].concat()), 431),
        asks("many", head(GET, &[&GOOD[..], &many].concat()), 431),
        Variant::new("dribbled", dribbled, Ending::Status(431)),
    ]
}

fn ended(what: &str, steps: Vec<Step>) -> Variant {
    Variant::new(what, steps, Ending::Ended)
}

fn slow() -> Vec<Variant> {
    let whole = head(GET, &GOOD);
    let cut = &whole[..whole.len() - 2];
    vec![
        ended("silent", vec![Step::Stay(seconds(3_600))]),
        ended("all but the end", vec![send(cut)]),
        ended(
            "a byte every half second",
            vec![send(format!("{GET}\r\nX: ")), repeat("x", DRIBBLE_EVERY)],
        ),
    ]
}

/// The first record of a present-day TLS client: one record with a ClientHello.
fn client_hello() -> Vec<u8> {
    let client = trusting(RootCertStore::empty()).expect("there are versions that the provider knows");
    let mut session = client
        .session(IpAddr::from(Ipv4Addr::LOCALHOST))
        .expect("an address is a name to connect to");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("a vector takes all of it");
    hello
}

fn stalled() -> Vec<Variant> {
    let hello = client_hello();
    vec![
        ended("silent", vec![Step::Stay(seconds(3_600))]),
        ended("half a ClientHello", vec![send(&hello[..hello.len() / 2])]),
        ended("a ClientHello and no more", vec![send(&hello)]),
        ended(
            "a byte every half second",
            vec![
                send(&hello[..BEFORE_RANDOM_BYTES]),
                // The random is 32 arbitrary bytes. Sending them takes longer than the limit.
                repeat("x", DRIBBLE_EVERY),
            ],
        ),
    ]
}

fn silent() -> Vec<Variant> {
    let closed = |what, steps| Variant::new(what, steps, Ending::Close(4008));
    let begun = frame(false, Opcode::Text, br#"{"op":"#);
    let ping = frame(true, Opcode::Ping, b"");
    vec![
        closed("silent", then([])),
        closed("half a message", then([send(begun)])),
        closed("pings only", then([repeat(ping, seconds(1))])),
    ]
}

/// The valid lines with the one that begins with `name` replaced by `line`.
fn instead_of(name: &str, line: &'static str) -> String {
    let kept = GOOD.iter().filter(|good| !good.starts_with(name)).copied();
    let lines: Vec<&str> = kept.chain((!line.is_empty()).then_some(line)).collect();
    head(GET, &lines)
}

fn wrong() -> Vec<Variant> {
    let both = [&GOOD[..], &["Content-Length: 3", "Transfer-Encoding: chunked"]].concat();
    let (version, key) = ("Sec-WebSocket-Version", "Sec-WebSocket-Key");
    let short_key = instead_of(key, "Sec-WebSocket-Key: c2hvcnQ=");
    vec![
        asks("version 8", instead_of(version, "Sec-WebSocket-Version: 8"), 426),
        asks("no version", instead_of(version, ""), 426),
        asks("no key", instead_of(key, ""), 400),
        asks("a short key", short_key, 400),
        asks("HTTP/1.0", head("GET /v1/ws HTTP/1.0", &GOOD), 426),
        // The broker answers other methods with 400, although RFC 9110 §15.5.6 has the status 405 for them.
        asks("POST", head("POST /v1/ws HTTP/1.1", &GOOD), 400),
        asks("a length", instead_of("none", "Content-Length: 3"), 400),
        asks("a length and chunks", head(GET, &both), 400),
    ]
}

#[cfg(test)]
mod tests {
    use rustls::server::Acceptor;

    use super::*;

    /// Whether a server accepts `bytes` as a ClientHello; false as long as it waits for more.
    #[track_caller]
    fn is_hello(bytes: &[u8]) -> bool {
        let mut acceptor = Acceptor::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).expect("a slice can be read");
        }
        match acceptor.accept() {
            Ok(accepted) => accepted.is_some(),
            Err((error, _)) => panic!("{error}: {bytes:?}"),
        }
    }

    /// A handshake that is refused at once does not test the deadline.
    #[test]
    fn a_server_waits_for_the_rest_of_a_stalled_handshake() {
        for variant in stalled() {
            let mut sent = Vec::new();
            for step in &variant.steps {
                match step {
                    Step::Send(bytes) => sent.extend_from_slice(bytes),
                    Step::Repeat(piece, pause) => {
                        let pieces = HANDSHAKE_MS / pause.as_millis() as u64 + 1;
                        sent.extend(piece.repeat(pieces as usize));
                    }
                    Step::Stay(_) => {}
                    other => panic!("{other:?} is nothing that is done to TLS"),
                }
            }
            let whole = variant.what == "a ClientHello and no more";
            assert_eq!(is_hello(&sent), whole, "{}", variant.what);
        }
    }
}
