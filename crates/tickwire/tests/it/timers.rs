//! What the broker does when nothing happens: heartbeats, pings, and the end of silent connections.

use serde_json::{Value, json};

use crate::support::{Broker, Client, Codec, Frame, Opcode, Socket, Tool};

#[test]
fn an_idle_connection_gets_heartbeats_and_answers_pings() {
    let Some(python) = Tool::Python.find("an_idle_connection_gets_heartbeats") else {
        return;
    };
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[
            ("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "100"),
            ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", "150"),
            ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", "150"),
            ("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "100"),
        ],
    );
    for codec in Codec::ALL {
        let mut client = Client::python(&python, &broker, codec);
        assert_eq!(client.welcome["heartbeat_ms"], 100);
        // One request, so that the connection does not count as one that never asked for anything.
        assert_eq!(client.until_pong(), [] as [Value; 0]);
        let mut before = 0;
        // Ten heartbeats take longer than a client may leave a ping unanswered: the library has answered some.
        for _ in 0..10 {
            let beat = client.next();
            assert_eq!(beat["op"], "heartbeat", "{beat}");
            let ts = beat["ts"].as_u64().expect("a heartbeat has a time");
            assert!(ts >= before + 100_000, "{ts} comes too soon after {before}");
            before = ts;
        }
        client.close(1000);
    }
    broker.stop();
}

#[test]
fn a_heartbeat_comes_only_when_nothing_else_did() {
    let Some(python) = Tool::Python.find("a_heartbeat_comes_only_when_nothing_else_did") else {
        return;
    };
    let broker = Broker::start_with(
        &["--feed", "sim", "--symbols", "1", "--rate", "200"],
        &[("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "500")],
    );
    let mut client = Client::python(&python, &broker, Codec::Json);
    client.send(&json!({"op": "subscribe", "id": 1, "topics": [">"]}));
    let ts = |message: &Value| message["ts"].as_u64();
    let (mut first, mut last) = (None, 0);
    // This lasts four times the quiet time, by the broker's clock.
    while last < first.unwrap_or(u64::MAX - 4_000_000) + 2_000_000 {
        let message = client.next();
        match message["op"].as_str() {
            Some("heartbeat") => {
                let quiet = ts(&message).expect("a time") - last;
                assert!(quiet >= 500_000, "a heartbeat {quiet} µs after other data");
            }
            Some("update") => {
                last = ts(&message).expect("a time");
                first = first.or(Some(last));
            }
            _ => {}
        }
    }
    client.close(1000);
    broker.stop();
}

#[test]
fn who_never_asks_for_anything_is_closed_with_4008() {
    let Some(python) = Tool::Python.find("who_never_asks_for_anything_is_closed") else {
        return;
    };
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "100")],
    );
    let mut client = Client::python(&python, &broker, Codec::Json);
    let (code, reason) = client.closed();
    assert_eq!(code, 4008, "{reason}");
    assert!(reason.contains("100 ms"), "{reason}");
    broker.stop();
}

#[test]
fn who_does_not_answer_a_ping_is_closed_with_4001() {
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[
            ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", "100"),
            ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", "100"),
        ],
    );
    let mut socket = Socket::open(&broker);
    socket.send(Frame::text(r#"{"op":"ping","id":1}"#));
    assert_eq!(socket.message()["op"], "pong");
    // Any byte counts as an answer. A pong is the usual one.
    let (opcode, payload) = socket.frame();
    assert_eq!(opcode, Opcode::Ping as u8);
    socket.send(Frame::new(Opcode::Pong, &payload));
    assert_eq!(
        socket.frame().0,
        Opcode::Ping as u8,
        "the answer was heard, so there is another"
    );
    let (code, reason) = socket.close_frame();
    assert_eq!(code, 4001, "{reason}");
    socket.ended();
    broker.wait_for_metric(r#"tickwire_closes_total{code="4001"}"#, |count| count == 1.0);
    broker.stop();
}
