//! Rows 1 to 8: frames that break RFC 6455, or that cost more than they may.

use tickwire_wire::limits::{MESSAGE_BYTES_MAX, MESSAGE_FRAGMENTS_MAX};

use super::{Besieged, frames, resident_bytes};
use crate::support::{Frame, Opcode, Socket};

const PING: &str = r#"{"op":"ping","id":1}"#;

/// Every opcode that is defined (RFC 6455 §5.2).
const OPCODES: [Opcode; 6] = [
    Opcode::Continuation,
    Opcode::Text,
    Opcode::Binary,
    Opcode::Close,
    Opcode::Ping,
    Opcode::Pong,
];

/// A frame's bytes, with `bits` as its opcode.
fn with_opcode(frame: Frame<'_>, bits: u8) -> Vec<u8> {
    let mut bytes = frame.bytes();
    bytes[0] = bytes[0] & 0xf0 | bits;
    bytes
}

/// The header of a masked frame that declares `length` bytes in 64 bits.
fn declares(length: u64) -> Vec<u8> {
    let mut bytes = vec![0x82, 0xff];
    bytes.extend(length.to_be_bytes());
    bytes
}

#[test]
fn row_01_unmasked_client_frame() {
    let attack = Besieged::start(&[]);
    for opcode in OPCODES {
        for payload in [&b""[..], PING.as_bytes(), &[b'x'; 200]] {
            let frame = Frame {
                masked: false,
                ..Frame::new(opcode, payload)
            };
            if opcode != Opcode::Continuation {
                attack.closes(&format!("{frame:?}"), &frame.bytes(), 1002);
            }
            // Also after a valid frame, and inside a message.
            let begun = Frame::text("").unfinished();
            attack.closes(&format!("{frame:?}"), &frames(&[begun, frame]), 1002);
        }
    }
    attack.outlives();
}

#[test]
fn row_02_reserved_bits_and_opcodes() {
    let attack = Besieged::start(&[]);
    for reserved in (0x10..=0x70).step_by(0x10) {
        for opcode in OPCODES {
            let frame = Frame {
                reserved,
                ..Frame::new(opcode, b"")
            };
            attack.closes(&format!("{frame:?}"), &frame.bytes(), 1002);
        }
    }
    for bits in (0x3..=0x7).chain(0xb..=0xf) {
        let frame = Frame::text(PING);
        attack.closes(&format!("opcode {bits:#x}"), &with_opcode(frame, bits), 1002);
        let part = with_opcode(frame.unfinished(), bits);
        attack.closes(&format!("opcode {bits:#x}, unfinished"), &part, 1002);
    }
    attack.outlives();
}

#[test]
fn row_03_control_frames_too_long_or_fragmented() {
    let attack = Besieged::start(&[]);
    let long = [b'x'; 70_000];
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        for length in [126, 127, 65_535, 65_536] {
            // The header alone is enough: the broker does not wait for the payload.
            let mut header = Frame::new(opcode, &long[..length]).bytes();
            header.truncate(2);
            attack.closes(&format!("{opcode:?} of {length} bytes"), &header, 1002);
        }
        let part = Frame::new(opcode, b"").unfinished();
        attack.closes(&format!("{opcode:?} in fragments"), &part.bytes(), 1002);
        let inside = frames(&[Frame::text("a").unfinished(), part]);
        attack.closes(&format!("{opcode:?} in fragments, in a message"), &inside, 1002);
    }
    // A ping of the longest length is answered.
    let mut socket = Socket::open(&attack.broker);
    socket.send(Frame::new(Opcode::Ping, &long[..125]));
    assert_eq!(socket.frame(), (Opcode::Pong as u8, long[..125].to_vec()));
    attack.outlives();
}

#[test]
fn row_04_close_frames_that_no_one_may_send() {
    let attack = Besieged::start(&[]);
    attack.closes("one byte", &Frame::new(Opcode::Close, b"\x03").bytes(), 1002);
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16,
    ] {
        let frame = Frame::new(Opcode::Close, &code.to_be_bytes()).bytes();
        attack.closes(&format!("code {code}"), &frame, 1002);
    }
    for reason in [&b"\xff"[..], b"bye \xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let payload = [b"\x03\xe8", reason].concat();
        let frame = Frame::new(Opcode::Close, &payload).bytes();
        attack.closes(&format!("{reason:?}"), &frame, 1007);
    }
    attack.outlives();
}

/// Each case ends with the first byte that is wrong, and the frame would go on. A broker that waits for the rest would
/// wait forever.
#[test]
fn row_05_utf8_broken_inside_a_code_point() {
    let attack = Besieged::start(&[]);
    for (bad, what) in [
        (&b"\xff"[..], "a byte that is never used"),
        (b"\x80", "a continuation of nothing"),
        (b"\xc0", "an overlong form"),
        (b"\xce\xce", "a second start inside a code point"),
        (b"\xe2\x82x", "a letter inside a code point"),
        (b"\xed\xa0", "a surrogate"),
        (b"\xf4\x90", "beyond U+10FFFF"),
        (b"\xf0\x80", "an overlong form of four bytes"),
    ] {
        for before in ["", "κόσμε"] {
            let text = [before.as_bytes(), bad].concat();
            let place = format!("byte {}", before.len());
            // In a frame that declares more bytes than are sent.
            let mut more = text.clone();
            more.resize(text.len() + 40, b'x');
            let mut frame = Frame::new(Opcode::Text, &more).bytes();
            frame.truncate(6 + text.len());
            let reason = attack.closes(what, &frame, 1007);
            assert!(reason.contains(&place), "{what}: {reason}");
            // In fragments of one byte, of a message that never ends.
            let mut fragments = Frame::text("").unfinished().bytes();
            for byte in text.chunks(1) {
                fragments.extend(Frame::new(Opcode::Continuation, byte).unfinished().bytes());
            }
            let reason = attack.closes(what, &fragments, 1007);
            assert!(reason.contains(&place), "{what}: {reason}");
        }
    }
    attack.outlives();
}

#[test]
fn row_06_declared_length_beyond_the_limit() {
    let mut attack = Besieged::start(&[]);
    let limit = MESSAGE_BYTES_MAX as u64;
    for length in [limit + 1, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1] {
        attack.closes(&format!("{length} bytes"), &declares(length), 1009);
    }
    // All fragments together.
    let whole = vec![b'x'; MESSAGE_BYTES_MAX];
    let mut fragments = Frame::new(Opcode::Binary, &whole).unfinished().bytes();
    fragments.extend([0x00, 0x81]);
    attack.closes("one byte more in a second fragment", &fragments, 1009);
    // RFC 6455 §5.2: the most significant bit must be 0.
    attack.closes("2^63 bytes", &declares(1 << 63), 1002);
    // Frames on 250 connections that declare the largest length cost nothing until their bytes come.
    let before = resident_bytes(&attack.broker);
    let waiting: Vec<Socket> = (0..250)
        .map(|_| {
            let mut socket = Socket::open(&attack.broker);
            socket.send_bytes(&declares(limit));
            socket.send_bytes(b"\0\0\0\0x");
            socket
        })
        .collect();
    attack.bystander.is_served();
    let each = (resident_bytes(&attack.broker) - before) / waiting.len() as f64;
    assert!(each < limit as f64 / 2.0, "{each} bytes for each declaration");
    drop(waiting);
    attack.outlives();
}

#[test]
fn row_07_message_that_never_ends() {
    const ATTACKERS: usize = 100;
    let mut attack = Besieged::start(&[]);
    let eighth = vec![b'x'; MESSAGE_BYTES_MAX / 8];
    // A message up to the limit that is not finished costs no more than the bytes sent.
    let held: Vec<Socket> = (0..ATTACKERS)
        .map(|_| {
            let mut socket = Socket::open(&attack.broker);
            socket.send(Frame::new(Opcode::Text, &eighth).unfinished());
            for _ in 1..8 {
                socket.send(Frame::new(Opcode::Continuation, &eighth).unfinished());
            }
            // The pong shows that everything was read.
            socket.send(Frame::new(Opcode::Ping, b""));
            assert_eq!(socket.frame().0, Opcode::Pong as u8);
            socket
        })
        .collect();
    attack.lives_on();
    for mut socket in held {
        socket.send(Frame::new(Opcode::Continuation, b"x").unfinished());
        let (code, reason) = socket.close_frame();
        assert_eq!(code, 1009, "{reason}");
        socket.ended();
    }
    attack.outlives();
}

#[test]
fn row_08_fragments_of_nothing() {
    let attack = Besieged::start(&[]);
    for piece in [&b""[..], b"x"] {
        let mut socket = Socket::open(&attack.broker);
        socket.send(Frame::new(Opcode::Text, piece).unfinished());
        for _ in 1..MESSAGE_FRAGMENTS_MAX {
            socket.send(Frame::new(Opcode::Continuation, piece).unfinished());
        }
        // This many fragments are allowed.
        socket.send(Frame::new(Opcode::Ping, b""));
        assert_eq!(socket.frame().0, Opcode::Pong as u8);
        socket.send(Frame::new(Opcode::Continuation, piece).unfinished());
        let (code, reason) = socket.close_frame();
        assert_eq!(code, 1008, "{reason}");
        socket.ended();
    }
    assert_eq!(MESSAGE_FRAGMENTS_MAX, 64);
    attack.outlives();
}
