//! Rows 9 and 10: compressed messages that are far larger than they look, or invalid (RFC 7692).

use tickwire_wire::limits::MESSAGE_BYTES_MAX;

use super::{Besieged, cpu_time, frames};
use crate::compression::{compressed, deflated, open};
use crate::support::{Broker, Frame, Opcode, Socket};

const PING: &str = r#"{"op":"ping","id":1}"#;

/// Opens a connection that negotiated compression, and reads its welcome.
fn deflating(broker: &Broker) -> Socket {
    open(broker, "permessage-deflate")
}

/// Sends `bytes` on a new connection with compression. Returns the code with which it is closed.
fn closes(attack: &Besieged, what: &str, bytes: &[u8]) -> u16 {
    let mut socket = deflating(&attack.broker);
    socket.send_bytes(bytes);
    let (code, reason) = socket.close_frame();
    assert!(!reason.is_empty(), "{what}");
    socket.ended();
    code
}

/// A ping of `bytes` bytes.
fn ping_of(bytes: usize) -> Vec<u8> {
    let mut ping = PING.as_bytes().to_vec();
    ping.resize(bytes, b' ');
    ping
}

#[test]
fn row_09_deflate_bomb() {
    const BOMBS: usize = 50;
    let attack = Besieged::start(&[]);
    let largest = deflated(&ping_of(MESSAGE_BYTES_MAX));
    let mut socket = deflating(&attack.broker);
    socket.send(compressed(Opcode::Text, &largest));
    assert_eq!(socket.message()["op"], "pong", "as many as there may be");
    let one_more = deflated(&ping_of(MESSAGE_BYTES_MAX + 1));
    let code = closes(
        &attack,
        "one byte more",
        &compressed(Opcode::Text, &one_more).bytes(),
    );
    assert_eq!(code, 1009);
    // The largest message that fits: some sixty megabytes, a thousand bytes for each one sent.
    let bomb = deflated(&vec![b' '; 1_000 * MESSAGE_BYTES_MAX - 3_000_000]);
    assert!(bomb.len() <= MESSAGE_BYTES_MAX, "{} bytes", bomb.len());
    let whole = compressed(Opcode::Text, &bomb).bytes();
    let (one, other) = bomb.split_at(bomb.len() / 2);
    let parts = [
        compressed(Opcode::Text, one).unfinished(),
        Frame::new(Opcode::Continuation, other),
    ];
    for bytes in [whole.clone(), frames(&parts)] {
        assert_eq!(closes(&attack, "a bomb", &bytes), 1009);
    }
    // Inflating stops at the limit: it costs as much as for a valid message, not a thousand times as much.
    let cost = |what: &dyn Fn()| {
        let before = cpu_time(&attack.broker);
        (0..BOMBS).for_each(|_| what());
        cpu_time(&attack.broker).saturating_sub(before)
    };
    let honest = cost(&|| {
        let mut socket = deflating(&attack.broker);
        socket.send(compressed(Opcode::Text, &largest));
        assert_eq!(socket.message()["op"], "pong");
    });
    let bombs = cost(&|| assert_eq!(closes(&attack, "a bomb", &whole), 1009));
    assert!(
        bombs < honest * 20,
        "{BOMBS} bombs cost {bombs:?}, as many messages {honest:?}"
    );
    attack.outlives();
}

#[test]
fn row_10_compressed_frames_that_are_none() {
    let attack = Besieged::start(&[]);
    let good = deflated(PING.as_bytes());
    let far = [0x02, 0x01, 0x00]; // a distance before the first byte
    let not_utf8 = deflated(b"\"\xed\xa0\x80\"");
    for (what, frame, code) in [
        ("no bytes", compressed(Opcode::Text, b""), 1007),
        ("a reserved block type", compressed(Opcode::Text, b"\x07"), 1007),
        (
            "cut short",
            compressed(Opcode::Text, &good[..good.len() / 2]),
            1007,
        ),
        (
            "a stored block's length",
            compressed(Opcode::Text, b"\0\x05\0\x05\0hello"),
            1007,
        ),
        ("a distance too far back", compressed(Opcode::Text, &far), 1007),
        (
            "not UTF-8 once inflated",
            compressed(Opcode::Text, &not_utf8),
            1007,
        ),
        (
            "65 blocks marked as last",
            compressed(Opcode::Text, &b"\x03\x00".repeat(65)),
            1008,
        ),
        ("a compressed ping", compressed(Opcode::Ping, &good), 1002),
        ("a compressed close", compressed(Opcode::Close, b""), 1002),
        (
            "RSV2 besides",
            Frame {
                reserved: 0x60,
                ..Frame::new(Opcode::Text, &good)
            },
            1002,
        ),
    ] {
        assert_eq!(closes(&attack, what, &frame.bytes()), code, "{what}");
    }
    // RFC 7692 §6.1: only the first fragment has RSV1.
    let twice = frames(&[
        compressed(Opcode::Text, &good[..1]).unfinished(),
        compressed(Opcode::Continuation, &good[1..]),
    ]);
    assert_eq!(closes(&attack, "RSV1 on a continuation", &twice), 1002);
    // On a connection that did not negotiate compression.
    attack.closes("not negotiated", &compressed(Opcode::Text, &good).bytes(), 1002);
    attack.closes(
        "nothing, not negotiated",
        &compressed(Opcode::Binary, b"").bytes(),
        1002,
    );
    noise_is_survived(&attack);
    attack.outlives();
}

/// Random bytes. If some can be inflated by chance, the message is refused as a bad request, or closes the connection
/// since it is not UTF-8.
fn noise_is_survived(attack: &Besieged) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    for _ in 0..200 {
        let noise: Vec<u8> = (0..1 + usize::from(random())).map(|_| random()).collect();
        let mut socket = deflating(&attack.broker);
        socket.send(compressed(Opcode::Text, &noise));
        let (opcode, payload) = socket.frame();
        let said = String::from_utf8_lossy(&payload);
        match opcode {
            opcode if opcode == Opcode::Close as u8 => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                assert!(matches!(code, Some(1002 | 1007)), "{noise:?}: {said}");
            }
            _ => assert!(said.contains("bad_request"), "{noise:?}: {said}"),
        }
    }
}
