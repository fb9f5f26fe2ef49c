//! Rows 1 to 8: frames that break RFC 6455, or that cost more than they may.

use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::{MESSAGE_BYTES_MAX, MESSAGE_FRAGMENTS_MAX};

use super::{closes, frame};
use crate::trials::attack::row::{Row, Variant};

const PING: &[u8] = br#"{"op":"ping","id":1}"#;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(1, "unmasked client frame", unmasked()),
        Row::new(2, "reserved bits and opcodes", reserved()),
        Row::new(3, "control frames too long or fragmented", control()),
        Row::new(4, "close frames that no one may send", close()),
        Row::new(5, "UTF-8 broken inside a code point", utf8()),
        Row::new(6, "declared length beyond the limit", declared()),
        Row::new(7, "message that never ends", endless()),
        Row::new(8, "fragments of 0 and 1 bytes", fragments()),
    ]
}

fn unmasked() -> Vec<Variant> {
    let begun = frame(false, Opcode::Text, b"");
    vec![
        closes("a text", b"\x81\x14{\"op\":\"ping\",\"id\":1}", 1002),
        closes("a ping", b"\x89\0", 1002),
        closes("a fragment", [&begun[..], b"\x80\0"].concat(), 1002),
    ]
}

fn reserved() -> Vec<Variant> {
    let first = |byte: u8| {
        let mut bytes = frame(true, Opcode::Text, PING);
        bytes[0] = byte;
        closes(format!("first byte {byte:#04x}"), bytes, 1002)
    };
    [0xc1, 0xa1, 0x91, 0xf1, 0xc9, 0x83, 0x87, 0x8b, 0x8f]
        .map(first)
        .into()
}

fn control() -> Vec<Variant> {
    let of = |opcode| {
        let (long, begun) = (frame(true, opcode, &[b'x'; 126]), frame(false, opcode, b""));
        [
            closes(format!("a {opcode} of 126 bytes"), long, 1002),
            closes(format!("a {opcode} in fragments"), begun, 1002),
        ]
    };
    [Opcode::Ping, Opcode::Pong, Opcode::Close]
        .into_iter()
        .flat_map(of)
        .collect()
}

fn close() -> Vec<Variant> {
    let of_code = |code: u16| {
        let frame = frame(true, Opcode::Close, &code.to_be_bytes());
        closes(format!("code {code}"), frame, 1002)
    };
    let bad = frame(true, Opcode::Close, b"\x03\xe8\xff");
    let mut variants = vec![
        closes("one byte", frame(true, Opcode::Close, b"\x03"), 1002),
        closes("a reason that is not UTF-8", bad, 1007),
    ];
    variants.extend([1005, 1006, 2999].map(of_code));
    variants
}

fn utf8() -> Vec<Variant> {
    let of = |bad: &[u8]| {
        // The frame would go on. A broker that waits for its end would wait forever.
        let text = ["κόσμε".as_bytes(), bad].concat();
        let mut cut = frame(true, Opcode::Text, &[&text[..], &[b'x'; 40]].concat());
        cut.truncate(cut.len() - 40);
        let mut fragments = frame(false, Opcode::Text, b"");
        for byte in text.chunks(1) {
            fragments.extend(frame(false, Opcode::Continuation, byte));
        }
        [
            closes(format!("{bad:?} in a frame"), cut, 1007),
            closes(format!("{bad:?} across fragments"), fragments, 1007),
        ]
    };
    let bad: [&[u8]; 4] = [b"\xff", b"\xe2\x82x", b"\xed\xa0", b"\xf4\x90"];
    bad.into_iter().flat_map(of).collect()
}

fn declared() -> Vec<Variant> {
    let of = |length: u64| {
        let bytes = [&[0x82, 0xff][..], &length.to_be_bytes()].concat();
        closes(format!("{length} bytes"), bytes, 1009)
    };
    [MESSAGE_BYTES_MAX as u64 + 1, 1 << 32, (1 << 63) - 1]
        .map(of)
        .into()
}

fn endless() -> Vec<Variant> {
    let of = |size: usize| {
        let piece = vec![b'x'; size];
        let mut bytes = frame(false, Opcode::Text, &piece);
        for _ in 0..MESSAGE_BYTES_MAX / size {
            bytes.extend(frame(false, Opcode::Continuation, &piece));
        }
        closes(format!("{size} bytes at a time"), bytes, 1009)
    };
    [2_048, 16_384].map(of).into()
}

fn fragments() -> Vec<Variant> {
    let of = |piece: &[u8]| {
        let mut bytes = frame(false, Opcode::Text, piece);
        for _ in 0..MESSAGE_FRAGMENTS_MAX {
            bytes.extend(frame(false, Opcode::Continuation, piece));
        }
        closes(format!("{} bytes each", piece.len()), bytes, 1008)
    };
    vec![of(b""), of(b"x")]
}
