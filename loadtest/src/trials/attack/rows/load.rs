//! Rows 20 to 26: requests and readers that cost more than they may, too many of them, and keys with a meaning within a
//! library.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::{OUTBOX_BYTES_MAX, PING_AFTER_MS, PONG_TIMEOUT_MS, SUBSCRIPTIONS_MAX};

use super::{asks, closes, frame, head, offering, refused, repeat, seconds, send, then};
use crate::trials::attack::row::{Ending, Judge, Row, Step, Variant};

/// The header line that offers MessagePack.
const PACKED: &str = "Sec-WebSocket-Protocol: tickwire.v1.msgpack";
/// The address from which the flood of one address comes.
const THE_ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
/// The loopback addresses without that one.
const ALL_BUT_ONE: &str = "127.0.0.1,127.1.0.0/16,127.2.0.0/15,127.4.0.0/14,127.8.0.0/13,127.16.0.0/12,127.32.0.0/11,127.64.0.0/10,127.128.0.0/9";

pub(super) fn rows() -> Vec<Row> {
    let flood = Row {
        // An attacker makes one attempt after the other, or the flood would be one of handshakes.
        every: seconds(10),
        // Publications have the same limit as other requests. By default, a flood of them would need more than
        // attackers have here.
        settings: vec![
            ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "50"),
            ("TICKWIRE_LIMITS__PUBLISHES_BURST", "200"),
        ],
        ..Row::new(21, "ping, subscribe or publish flood", flood())
    };
    let closed_window = Row {
        judge: Judge::Closes(4002),
        within: seconds(50),
        // All outboxes are full at the same time. The messages in them are shared, their entries are not.
        growth_each_bytes: OUTBOX_BYTES_MAX as u64 / 2,
        ..Row::new(22, "reader with a closed window", closed_window())
    };
    let half_open = Row {
        judge: Judge::Gone,
        within: seconds(45),
        ..Row::new(23, "half-open peer", half_open())
    };
    let storm = Row {
        every: seconds(10),
        within: seconds(20),
        ..Row::new(25, "storm of overlapping wildcards", storm())
    };
    vec![
        Row::new(20, "nesting and counts that only declare", deep()),
        flood,
        closed_window,
        half_open,
        Row {
            every: seconds(2),
            settings: vec![("TICKWIRE_LIMITS__CONNECTIONS", "{half}")],
            ..Row::new(24, "connection flood", more_than_may_be(503))
        },
        Row {
            every: seconds(2),
            settings: vec![
                ("TICKWIRE_LIMITS__EXEMPT_ADDRESSES", ALL_BUT_ONE),
                // The limit is low enough for a small run to reach it.
                ("TICKWIRE_LIMITS__CONNECTIONS_PER_ADDRESS", "{half-attackers}"),
            ],
            one_address: Some(THE_ONE),
            ..Row::new(24, "connection flood from one address", more_than_may_be(429))
        },
        storm,
        Row::new(26, "a library's private key, nested", private_keys()),
    ]
}

fn deep() -> Vec<Variant> {
    // As deep as fits in a message.
    let arrays = "[".repeat(65_000);
    let maps = r#"{"a":"#.repeat(13_000);
    let more = frame(true, Opcode::Text, "[".repeat(100_000).as_bytes());
    let packed = |what: &str, value: &[u8]| {
        let ping = [b"\x83\xa2op\xa4ping\xa2id\x01\xa1x", value].concat();
        let steps = offering(&[PACKED], [send(frame(true, Opcode::Binary, &ping))]);
        Variant::new(what, steps, "bad_request")
    };
    vec![
        refused("arrays", &arrays, "bad_request"),
        refused("maps", &maps, "bad_request"),
        closes("100,000 arrays", more, 1009),
        packed("an array of 2^32 - 1", b"\xdd\xff\xff\xff\xff"),
        packed("a map of 2^32 - 1", b"\xdf\xff\xff\xff\xff"),
        packed("60,000 arrays in MessagePack", &[0x91; 60_000]),
    ]
}

fn flood() -> Vec<Variant> {
    let flood = |what: &str, request: &str| {
        let piece = frame(true, Opcode::Text, request.as_bytes()).repeat(50);
        let steps = then([repeat(piece, Duration::from_millis(50))]);
        Variant::new(what, steps, "rate_limited, then 1008")
    };
    vec![
        flood("pings", r#"{"op":"ping","id":1}"#),
        flood(
            "subscribes",
            r#"{"op":"subscribe","id":1,"topics":["none.at.all"]}"#,
        ),
        flood("publishes", r#"{"op":"publish","topic":"storm.flood","data":1}"#),
    ]
}

fn closed_window() -> Vec<Variant> {
    let subscribe = frame(true, Opcode::Text, br#"{"op":"subscribe","id":1,"topics":[">"]}"#);
    let reader = |what: &str, sips| {
        let steps = then([send(&subscribe), Step::StopReading { sips }]);
        Variant::new(what, steps, Ending::Stayed)
    };
    vec![reader("closed", false), reader("a byte a second", true)]
}

fn half_open() -> Vec<Variant> {
    let lost = |what: &str, request: &[u8], heard: &'static str| {
        let request = frame(true, Opcode::Text, request);
        let steps = then([
            send(request),
            Step::Hear(heard),
            Step::LoseNetwork,
            Step::Stay(seconds(3_600)),
        ]);
        Variant::new(what, steps, Ending::Stayed)
    };
    assert!(Duration::from_millis(PING_AFTER_MS + PONG_TIMEOUT_MS) < seconds(45));
    vec![
        lost("nothing for it", br#"{"op":"ping","id":1}"#, r#""op":"pong""#),
        lost(
            "data for it",
            br#"{"op":"subscribe","id":1,"topics":["bbo.>"]}"#,
            r#""op":"ack""#,
        ),
    ]
}

/// Twice as many connections as allowed at once: the others get `status`.
fn more_than_may_be(status: u16) -> Vec<Variant> {
    let stays = Variant::new("handshake", then([Step::Stay(seconds(2))]), Ending::Stayed);
    vec![Variant {
        expected: [Ending::Stayed, Ending::Status(status)].map(String::from).into(),
        ..stays
    }]
}

/// Keys that serde_json uses internally. With one of them it reads their text as JSON, with a depth limit of its own.
const PRIVATE_KEYS: [&str; 2] = ["$serde_json::private::RawValue", "$serde_json::private::Number"];
/// How many arrays are around a value: as many as allowed, with the map in it.
const ARRAYS: usize = 60;
/// How many arrays are around each text within it: as many as serde_json reads.
const ARRAYS_WITHIN: usize = 120;
/// How many texts are within texts.
const LAYERS: usize = 10;

fn packed_text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("fits in a message");
    [&[0xda][..], &len.to_be_bytes(), text.as_bytes()].concat()
}

/// A value in JSON and in MessagePack: arrays around a map with one `key`, whose text contains such a value again.
fn layered(key: &str) -> (String, Vec<u8>) {
    let nested = |depth: usize, inner: &str| "[".repeat(depth) + inner + &"]".repeat(depth);
    let mut text = nested(ARRAYS_WITHIN, "");
    for _ in 1..LAYERS {
        text = nested(ARRAYS_WITHIN, &json!({ key: text }).to_string());
    }
    let json = nested(ARRAYS, &json!({ key: text }).to_string());
    let packed = [
        &[0x91; ARRAYS][..],
        &[0x81],
        &packed_text(key),
        &packed_text(&text),
    ];
    (json, packed.concat())
}

/// Publications in all four ways, by a client without the right to publish, and by one that may publish and reads them
/// itself.
fn private_keys() -> Vec<Variant> {
    PRIVATE_KEYS.into_iter().flat_map(private_key).collect()
}

fn private_key(key: &'static str) -> [Variant; 5] {
    let (json, packed) = layered(key);
    let post = |path: &str, body: &str| {
        let length = format!("Content-Length: {}", body.len());
        head(&format!("POST {path} HTTP/1.1"), &["Host: tickwire", &length]) + body
    };
    let say = |parts: &[&[u8]]| send(frame(true, Opcode::Binary, &parts.concat()));
    let publish = |topic: &[u8]| {
        say(&[
            b"\x84\xa2op\xa7publish\xa2id\x01\xa5topic",
            topic,
            b"\xa4data",
            &packed,
        ])
    };
    let reads_it = [
        say(&[b"\x83\xa2op\xa9subscribe\xa2id\x01\xa6topics\x91\xa9storm.key"]),
        publish(b"\xa9storm.key"),
        Step::Hear(key),
        Step::Stay(seconds(1)),
    ];
    let request = format!(r#"{{"op":"publish","id":1,"topic":"bbo.A","data":{json}}}"#);
    let line = format!(r#"{{"topic":"bbo.A","data":{json}}}"#);
    [
        refused(&format!("{key} in JSON"), request, "forbidden"),
        Variant::new(
            format!("{key} in MessagePack"),
            offering(&[PACKED], [publish(b"\xa5bbo.A")]),
            "forbidden",
        ),
        asks(&format!("{key} over HTTP"), post("/v1/topics/bbo.A", &json), 403),
        asks(&format!("{key} in NDJSON"), post("/v1/publish", &line), 400),
        Variant::new(
            format!("{key} to oneself"),
            offering(&[PACKED], reads_it),
            Ending::Stayed,
        ),
    ]
}

/// All patterns of ten tokens that are each `x` or a wildcard. All of them match the same topic.
fn overlapping() -> Vec<String> {
    let token = |bits: usize, at: usize| if bits >> at & 1 == 0 { "x" } else { "*" };
    (0..SUBSCRIPTIONS_MAX)
        .map(|bits| {
            let tokens: Vec<&str> = (0..10).map(|at| token(bits, at)).collect();
            format!("storm.{}", tokens.join("."))
        })
        .collect()
}

fn storm() -> Vec<Variant> {
    let subscribe = format!(
        r#"{{"op":"subscribe","id":1,"topics":["{}"]}}"#,
        overlapping().join(r#"",""#)
    );
    let more = r#"{"op":"subscribe","id":2,"topics":["storm.>"]}"#;
    let steps = then([
        send(frame(true, Opcode::Text, subscribe.as_bytes())),
        send(frame(true, Opcode::Text, more.as_bytes())),
        Step::Hear(r#""id":2"#),
        Step::Stay(seconds(8)),
    ]);
    vec![Variant::new(
        "1,024 and one more",
        steps,
        "limit_exceeded, then stayed",
    )]
}
