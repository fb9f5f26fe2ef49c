//! Clients that send as fast as they can: they are told that they exceed the rate, then closed. No other client is
//! affected.

use std::io::Write as _;

use crate::support::{Broker, Frame, Opcode, Socket};

/// Sends a frame until the broker reads no more. Returns how the connection ended.
fn flood(broker: &Broker, frame: Frame<'_>) -> (bool, u16, String) {
    let mut socket = Socket::open(broker);
    let many = frame.bytes().repeat(2_000);
    let mut writer = socket.writer();
    let sending = std::thread::spawn(move || while writer.write_all(&many).is_ok() {});
    let mut told = false;
    let (code, reason) = loop {
        let (opcode, payload) = socket.frame();
        let text = String::from_utf8_lossy(&payload);
        told |= text.contains("rate_limited");
        if opcode == Opcode::Close as u8 {
            let (code, reason) = payload.split_at(2);
            let code = u16::from_be_bytes([code[0], code[1]]);
            break (code, String::from_utf8_lossy(reason).into_owned());
        }
    };
    drop(socket);
    sending.join().expect("it only writes");
    (told, code, reason)
}

#[test]
fn a_flood_of_anything_is_told_and_closed() {
    // Publications have the same limit as other requests.
    let broker = Broker::start_with(
        &["--feed", "none", "--shards", "1", "--anonymous-publish", ">"],
        &[
            ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "50"),
            ("TICKWIRE_LIMITS__PUBLISHES_BURST", "200"),
        ],
    );
    let mut honest = Socket::open(&broker);
    honest.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["t"]}"#));
    assert_eq!(honest.message()["op"], "ack");
    let mut published = 0;
    for frame in [
        Frame::new(Opcode::Ping, b"x"),
        Frame::new(Opcode::Ping, b""),
        Frame::new(Opcode::Pong, b""),
        Frame::text(r#"{"op":"ping","id":1}"#),
        Frame::text(r#"{"op":"subscribe","id":1,"topics":["t"]}"#),
        Frame::text(r#"{"op":"publish","topic":"t","data":1}"#),
        Frame::text(""),
    ] {
        let (told, code, reason) = flood(&broker, frame);
        assert_eq!(code, 1008, "{frame:?}: {reason}");
        if frame.payload.is_empty() && frame.opcode == Opcode::Text {
            // Ten invalid requests in a row close the connection before the rate is checked.
            assert_eq!(reason, "10 requests in a row were refused");
        } else {
            assert!(told, "{frame:?}: {reason}");
        }
        published += u64::from(frame.payload.starts_with(b"{\"op\":\"publish"));
    }
    assert_eq!(published, 1);
    // Each accepted message came to the subscriber, which is still served.
    honest.send(Frame::text(r#"{"op":"ping","id":2}"#));
    let (mut seq, mut updates) = (0, 0);
    loop {
        let message = honest.message();
        match message["op"].as_str() {
            Some("update") => {
                seq += 1;
                updates += 1;
                assert_eq!(message["seq"], seq);
            }
            Some("pong") if updates >= 200 => break,
            Some("pong") => honest.send(Frame::text(r#"{"op":"ping","id":2}"#)),
            other => panic!("{other:?}"),
        }
    }
    broker.stop();
}
