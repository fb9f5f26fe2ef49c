//! Rows 19, 21 and 24, as far as they concern repetition: refusals in a row, floods, and all connections from one
//! address.

use std::io::Write;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tickwire_wire::limits::{OPS_BURST, RATE_LIMITED_MAX, REFUSALS_IN_A_ROW_MAX};

use super::{Besieged, next_message};
use crate::handshake::{GET, GOOD};
use crate::support::{Answer, Broker, Frame, Opcode, Socket, poll};

/// The code of a refusal: of a whole request, or of its only topic.
fn code_of(message: &Value) -> Option<&str> {
    let of_topic = &message["results"][0]["error"]["code"];
    message["code"].as_str().or(of_topic.as_str())
}

#[test]
fn row_19_refusals_in_a_row() {
    let attack = Besieged::start(&[]);
    let long = "x".repeat(256);
    let requests: [(&str, Value); 4] = [
        (
            "forbidden",
            json!({"op": "publish", "id": 1, "topic": "trade.A", "data": 1}),
        ),
        (
            "bad_topic",
            json!({"op": "subscribe", "id": 1, "topics": ["chat.\0"]}),
        ),
        ("bad_topic", json!({"op": "subscribe", "id": 1, "topics": [long]})),
        ("bad_request", json!({"op": "subscribe", "id": 1, "topics": []})),
    ];
    for (code, request) in &requests {
        let mut socket = Socket::open(&attack.broker);
        let request = request.to_string();
        // A granted request in the middle interrupts the row of refusals.
        for times in [REFUSALS_IN_A_ROW_MAX - 1, REFUSALS_IN_A_ROW_MAX] {
            for _ in 0..times {
                socket.send(Frame::text(&request));
            }
            socket.send(Frame::text(r#"{"op":"ping","id":9}"#));
            if times < REFUSALS_IN_A_ROW_MAX {
                for _ in 0..times {
                    assert_eq!(code_of(&next_message(&mut socket)), Some(*code), "{request}");
                }
                assert_eq!(next_message(&mut socket)["op"], "pong", "{request}");
            }
        }
        let (messages, (closed, _)) = socket.until_closed();
        assert_eq!(closed, 1008, "{request}");
        assert_eq!(
            messages.len(),
            REFUSALS_IN_A_ROW_MAX as usize,
            "{request}: {messages:?}"
        );
        assert!(
            messages.iter().all(|message| code_of(message) == Some(code)),
            "{messages:?}"
        );
        socket.ended();
    }
    assert_eq!(REFUSALS_IN_A_ROW_MAX, 10);
    attack.outlives();
}

/// A client that sends a thousand requests a second is closed within one.
#[test]
fn row_21_floods() {
    // Publications have the same limit as other requests here. The next test covers the default limit.
    let attack = Besieged::start(&[
        ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "50"),
        ("TICKWIRE_LIMITS__PUBLISHES_BURST", "200"),
    ]);
    let most = OPS_BURST + RATE_LIMITED_MAX;
    for request in [
        json!({"op": "ping", "id": 1}),
        json!({"op": "subscribe", "id": 1, "topics": ["chat.none"]}),
        json!({"op": "publish", "id": 1, "topic": "chat.flood", "data": 1}),
    ] {
        let request = request.to_string();
        let mut socket = Socket::open(&attack.broker);
        let frames = Frame::text(&request).bytes().repeat(1_000);
        // What the client sends after the close is not taken.
        while socket.takes(&frames) && !socket.has_something() {}
        let (messages, (closed, _)) = socket.until_closed();
        assert_eq!(closed, 1008, "{request}");
        let limited = |message: &Value| code_of(message) == Some("rate_limited");
        let granted = messages.iter().take_while(|message| !limited(message)).count();
        assert!(granted >= OPS_BURST as usize, "{request}: {granted} were granted");
        let refused = messages.iter().filter(|message| limited(message)).count();
        assert!(
            refused >= RATE_LIMITED_MAX as usize,
            "{request}: {refused} were refused"
        );
        assert!(
            messages.len() <= most as usize + 300,
            "{request}: {} answers",
            messages.len()
        );
        socket.ended();
    }
    // Frames that are not requests cost as much.
    for opcode in [Opcode::Ping, Opcode::Pong] {
        let mut socket = Socket::open(&attack.broker);
        let frames = Frame::new(opcode, b"x").bytes().repeat(1_000);
        while socket.takes(&frames) && !socket.has_something() {}
        assert_eq!(socket.until_closed().1.0, 1008, "{opcode:?}");
    }
    assert!(most <= 1_000, "{most} requests of a thousand a second");
    attack.outlives();
}

/// A publisher that sends as fast as it can is closed, whether or not it may publish.
#[test]
fn row_21_flood_of_publications_by_default() {
    let attack = Besieged::start(&[]);
    for (topic, told) in [("chat.flood", "rate_limited"), ("trade.A", "forbidden")] {
        let request = json!({"op": "publish", "topic": topic, "data": 1}).to_string();
        let mut socket = Socket::open(&attack.broker);
        let frames = Frame::text(&request).bytes().repeat(1_000);
        while socket.takes(&frames) && !socket.has_something() {}
        // Publications without an id are not answered, so the first answer is a refusal.
        let mut writer = socket.writer();
        let flooding = std::thread::spawn(move || while writer.write_all(&frames).is_ok() {});
        let (messages, (closed, reason)) = socket.until_closed();
        assert_eq!(closed, 1008, "{topic}: {reason}");
        assert!(
            messages.iter().all(|message| code_of(message) == Some(told)),
            "{messages:?}"
        );
        let most = if topic == "trade.A" {
            REFUSALS_IN_A_ROW_MAX
        } else {
            RATE_LIMITED_MAX
        };
        assert!(messages.len() >= most as usize, "{topic}: {}", messages.len());
        drop(socket);
        flooding.join().expect("it only writes");
    }
    attack.outlives();
}

/// A handshake from the address `source`.
fn shake_from(broker: &Broker, source: Ipv4Addr) -> (Socket, Answer) {
    let mut socket = Socket::connect_from(broker, source);
    let answer = socket.ask(GET, &GOOD);
    (socket, answer)
}

#[test]
fn row_24_everything_from_one_address() {
    const MOST: usize = 20;
    let attack = Besieged::start(&[
        ("TICKWIRE_LIMITS__EXEMPT_ADDRESSES", "127.0.0.1"),
        ("TICKWIRE_LIMITS__CONNECTIONS_PER_ADDRESS", "20"),
        ("TICKWIRE_LIMITS__HANDSHAKES_PER_S_PER_ADDRESS", "1000000"),
        ("TICKWIRE_LIMITS__HANDSHAKE_BURST_PER_ADDRESS", "1000000"),
    ]);
    let (greedy, other) = (Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::new(127, 0, 0, 78));
    let mut open: Vec<Socket> = (0..MOST)
        .map(|_| {
            let (socket, answer) = shake_from(&attack.broker, greedy);
            assert_eq!(answer.status, 101, "{answer:?}");
            socket
        })
        .collect();
    for _ in 0..100 {
        let (mut socket, answer) = shake_from(&attack.broker, greedy);
        assert_eq!(answer.status, 429, "{answer:?}");
        assert!(answer.head.contains("\r\nretry-after: "), "{answer:?}");
        socket.ended();
    }
    let (_other, answer) = shake_from(&attack.broker, other);
    assert_eq!(answer.status, 101, "others are let in: {answer:?}");
    // As soon as the address has room, it is accepted again.
    open.truncate(MOST / 2);
    poll("it is let in again", || {
        let (_, answer) = shake_from(&attack.broker, greedy);
        (answer.status == 101).then_some(())
    });
    drop(open);
    attack.outlives();
}

#[test]
fn row_24_new_connections_again_and_again() {
    let attack = Besieged::start(&[
        ("TICKWIRE_LIMITS__EXEMPT_ADDRESSES", "127.0.0.1"),
        ("TICKWIRE_LIMITS__HANDSHAKES_PER_S_PER_ADDRESS", "5"),
        ("TICKWIRE_LIMITS__HANDSHAKE_BURST_PER_ADDRESS", "20"),
    ]);
    let restless = Ipv4Addr::new(127, 0, 0, 77);
    let mut refused = 0;
    for number in 0..200 {
        let (_, answer) = shake_from(&attack.broker, restless);
        if answer.status == 429 {
            refused += 1;
            assert!(answer.head.contains("\r\nretry-after: "), "{answer:?}");
        } else {
            assert_eq!(answer.status, 101, "{number}: {answer:?}");
        }
        assert!(
            number >= 20 || answer.status == 101,
            "{number} of 20 at once: {answer:?}"
        );
    }
    assert!(refused > 0, "two hundred at once are too many");
    poll("its time comes again", || {
        let (_, answer) = shake_from(&attack.broker, restless);
        (answer.status == 101).then_some(())
    });
    attack.outlives();
}
