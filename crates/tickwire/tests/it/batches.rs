//! Many sessions that are written to in one cycle: each gets every byte once, in order.

use std::io::Write as _;

use serde_json::json;

use crate::support::{Broker, Frame, Opcode, Socket};

/// How many sessions of each sort are served in the same cycle.
const SESSIONS: usize = 40;
/// How many cycles are tried: timing decides which sessions one serves. About every second one used to fail.
const CYCLES: u64 = 8;

/// Asks for a snapshot, and then subscribes to the same topic before the snapshot is sent.
fn asks_twice() -> Vec<u8> {
    let snapshot = json!({"op": "subscribe", "id": 1, "topics": ["t"], "mode": "snapshot"}).to_string();
    let subscribe = json!({"op": "subscribe", "id": 2, "topics": ["t"], "snapshot": false}).to_string();
    [Frame::text(&snapshot).bytes(), Frame::text(&subscribe).bytes()].concat()
}

/// A request that takes the broker some time. What comes meanwhile is read in one cycle.
fn takes_long() -> String {
    let topics: Vec<String> = (0..1_000).map(|n| format!("n{n}.*.x.*.y")).collect();
    json!({"op": "subscribe", "id": 1, "topics": topics}).to_string()
}

/// Reads the answers of a session that asked twice. The snapshot may come before the second answer.
fn reads_answers(socket: &mut Socket, seq: u64) {
    let mut answered = Vec::new();
    for _ in 0..3 {
        let message = socket.message();
        match message["op"].as_str() {
            Some("ack") => answered.push(message["id"].clone()),
            _ => assert_eq!(
                (&message["op"], &message["seq"]),
                (&json!("snapshot"), &json!(seq))
            ),
        }
    }
    assert_eq!(answered, [json!(1), json!(2)]);
}

fn every_session_is_in_a_batch_once(egress: &str) {
    let broker = Broker::start_with(
        &["--feed", "none", "--shards", "1", "--anonymous-publish", ">"],
        &[("TICKWIRE_SOCKET__EGRESS", egress)],
    );
    let mut publisher = Socket::open(&broker);
    let mut publish = |seq: u64| {
        let publish = json!({"op": "publish", "id": seq, "topic": "t", "data": seq}).to_string();
        publisher.send(Frame::text(&publish));
        assert_eq!(publisher.message()["results"][0]["seq"], seq);
    };
    publish(1);
    let (asks, long) = (asks_twice(), takes_long());
    for cycle in 1..=CYCLES {
        let mut asking: Vec<Socket> = (0..SESSIONS).map(|_| Socket::open(&broker)).collect();
        let mut halves: Vec<Socket> = (0..SESSIONS).map(|_| Socket::open(&broker)).collect();
        let mut busy = Socket::open(&broker);
        let half = &Frame::new(Opcode::Text, b"{\"op\":\"ping\",\"id\":1}").bytes()[..9];
        busy.send(Frame::text(&long));
        for (asking, half_sent) in asking.iter_mut().zip(&mut halves) {
            asking.writer().write_all(&asks).expect("the broker takes bytes");
            half_sent.send_bytes(half);
        }
        assert_eq!(busy.message()["op"], "ack");
        for socket in &mut asking {
            reads_answers(socket, cycle);
        }
        publish(cycle + 1);
        // Nothing came twice before.
        for socket in &mut asking {
            let message = socket.message();
            let found = (&message["op"], &message["seq"]);
            assert_eq!(found, (&json!("update"), &json!(cycle + 1)), "{message}");
        }
    }
    broker.stop();
}

#[test]
fn every_session_is_in_a_batch_once_with_plain_writes() {
    every_session_is_in_a_batch_once("plain");
}

#[test]
fn every_session_is_in_a_batch_once_with_io_uring() {
    every_session_is_in_a_batch_once("io_uring");
}
