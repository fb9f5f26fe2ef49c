//! The route for conformance suites: it is closed unless a setting opens it, and then returns each message unchanged.

use crate::handshake::GOOD;
use crate::support::{Broker, Frame, Opcode, Socket};

const FIRST: &str = "GET /v1/echo HTTP/1.1";

fn open(broker: &Broker) -> Socket {
    let (socket, answer) = Socket::request(broker, FIRST, &GOOD);
    assert_eq!(answer.status, 101, "{answer:?}");
    socket
}

#[test]
fn the_route_is_closed_by_default() {
    let broker = Broker::start(&["--feed", "none"]);
    let (_, answer) = Socket::request(&broker, FIRST, &GOOD);
    assert_eq!(answer.status, 404, "{answer:?}");
    broker.stop();
}

#[test]
fn each_message_comes_back_as_it_came() {
    for egress in ["plain", "auto"] {
        let broker = Broker::start_with(
            &["--feed", "none"],
            &[
                ("TICKWIRE_TEST__ECHO", "true"),
                ("TICKWIRE_SOCKET__EGRESS", egress),
                ("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "100"),
                ("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "100"),
                ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", "150"),
            ],
        );
        broker.wait_for_log("not for production");
        let mut socket = open(&broker);
        socket.send(Frame::text("né").unfinished());
        socket.send(Frame::new(Opcode::Ping, b"between"));
        socket.send(Frame::new(Opcode::Continuation, b"!"));
        assert_eq!(socket.frame(), (Opcode::Pong as u8, b"between".to_vec()));
        assert_eq!(socket.frame(), (Opcode::Text as u8, "né!".into()));
        socket.send(Frame::new(Opcode::Binary, &[0xff; 65_536]));
        assert_eq!(socket.frame(), (Opcode::Binary as u8, vec![0xff; 65_536]));
        // This route neither needs a request nor sends heartbeats: the next frame is a ping.
        assert_eq!(socket.frame().0, Opcode::Ping as u8);
        // Messages sent before a violation come back before the close.
        let last = Frame::text("last").bytes();
        let broken = Frame::new(Opcode::Reserved, b"").bytes();
        socket.send_bytes(&[last, broken].concat());
        assert_eq!(socket.frame(), (Opcode::Text as u8, b"last".to_vec()));
        let (code, reason) = socket.close_frame();
        assert_eq!(code, 1002, "{reason}");
        socket.ended();
        broker.stop();
    }
}

#[test]
fn who_does_not_take_his_answers_is_not_read() {
    let broker = Broker::start_with(
        &["--feed", "none"],
        &[
            ("TICKWIRE_TEST__ECHO", "true"),
            ("TICKWIRE_SOCKET__SEND_BUFFER_BYTES", "65536"),
        ],
    );
    let mut socket = open(&broker);
    let message = Frame::new(Opcode::Binary, &[7; 65_536]).bytes();
    // Far more than the outbox of an echo may hold. The broker stops reading long before.
    let (taken, begun) = socket.send_while_taken(&message, 1_000);
    assert!(taken < 1_000, "all {taken} messages were taken");
    // When the client reads again, everything comes back.
    for _ in 0..taken {
        assert_eq!(socket.frame(), (Opcode::Binary as u8, vec![7; 65_536]));
    }
    socket.send_bytes(&message[begun..]);
    assert_eq!(socket.frame(), (Opcode::Binary as u8, vec![7; 65_536]));
    broker.stop();
}
