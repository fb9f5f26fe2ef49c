//! Compressed messages: which frames may be marked as compressed, and what their bytes become.

use super::*;
use crate::deflate::{Deflater, Inflater, Settings};
use crate::frame::{deflated_client_frame, payload_of};

/// The compressed payload of `message`.
fn deflated(message: &[u8]) -> Vec<u8> {
    let mut deflater = Deflater::new(Settings {
        level: 6,
        threshold_bytes: 0,
    });
    let frame = deflater.frame(Opcode::Text, message).expect("it becomes smaller");
    payload_of(&frame).to_vec()
}

fn first(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    deflated_client_frame(fin, opcode, MASK, payload)
}

/// Does the same as [`super::parse`] on a connection that negotiated permessage-deflate.
fn parse(stream: &[u8]) -> (Vec<Got>, Option<(usize, Violation)>) {
    let mut inflater = Inflater::new();
    let mut feed = |parser: &mut Parser, bytes: &[u8], got: &mut Vec<Got>| {
        let mut scratch = bytes.to_vec();
        let mut input = &mut scratch[..];
        while let Some(event) = parser.next_with(&mut input, Some(&mut inflater))? {
            got.push(event.into());
        }
        assert!(input.is_empty(), "{} bytes were not taken", input.len());
        Ok(())
    };
    let mut at_once = Vec::new();
    let violation = feed(&mut Parser::new(SMALL), stream, &mut at_once).err();
    for split in 0..stream.len() {
        let (mut parser, mut got) = (Parser::new(SMALL), Vec::new());
        let (front, back) = stream.split_at(split);
        let parts = feed(&mut parser, front, &mut got).and_then(|()| feed(&mut parser, back, &mut got));
        assert_eq!((parts.err(), &got), (violation, &at_once), "split at {split}");
        assert_eq!(parser.heap_bytes(), 0, "split at {split}");
    }
    let stopped = by_byte(stream, SMALL, feed, (&at_once, violation));
    (at_once, stopped)
}

#[test]
fn what_is_allowed() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let long = "é".repeat(150);
    let packed = deflated(long.as_bytes());
    let (front, back) = packed.split_at(packed.len() / 2);
    let message = |text: &str| Got::Message(Opcode::Text, text.as_bytes().to_vec());
    for (what, stream, expected) in [
        (
            "7.2.3.1",
            first(Opcode::Text, true, hello),
            vec![message("Hello")],
        ),
        (
            "7.2.3.1, in fragments",
            [first(Opcode::Text, false, &hello[..3]), more(true, &hello[3..])].concat(),
            vec![message("Hello")],
        ),
        (
            "binary",
            first(Opcode::Binary, true, hello),
            vec![Got::Message(Opcode::Binary, b"Hello".to_vec())],
        ),
        (
            "plain and compressed messages in turn",
            [
                text(true, b"plain"),
                first(Opcode::Text, true, hello),
                text(false, b"pl"),
                more(true, b"ain"),
                first(Opcode::Text, true, &packed),
            ]
            .concat(),
            vec![
                message("plain"),
                message("Hello"),
                message("plain"),
                message(&long),
            ],
        ),
        (
            "a ping between fragments",
            [
                first(Opcode::Text, false, front),
                client_frame(true, Opcode::Ping, MASK, b"?"),
                more(false, b""),
                more(true, back),
            ]
            .concat(),
            vec![Got::Ping(b"?".to_vec()), message(&long)],
        ),
        (
            "7.2.3.6, empty",
            first(Opcode::Text, true, b"\x00"),
            vec![message("")],
        ),
        (
            "empty, in a fragment without bytes and one with",
            [first(Opcode::Text, false, b""), more(true, b"\x00")].concat(),
            vec![message("")],
        ),
    ] {
        assert_eq!(parse(&stream), (expected, None), "{what}");
    }
}

#[test]
#[rustfmt::skip] // a row a line
fn what_is_not() {
    use Violation::*;
    let bomb = deflated(&[b'a'; 301]);
    let packed = deflated(&[b'a'; 300]);
    assert_eq!(parse(&first(Opcode::Text, true, &packed)).1, None);
    let not_utf8 = deflated(&[&[b'a'; 40][..], b"\xff"].concat());
    let cut = deflated(&[&[b'a'; 40][..], b"\xf0\x9f\x98"].concat());
    let streams = b"\x03\x00".repeat(65);
    let rsv1 = ReservedBits(0x40);
    let whole = 6;
    for (what, stream, after, violation, close) in [
        ("RSV1 on a continuation", [first(Opcode::Text, false, b"\x00"), raw(0xc0, 0x80, &[], b"")].concat(), 8, rsv1, 1002),
        ("RSV1 on a ping", raw(0xc9, 0x80, &[], b""), 1, rsv1, 1002),
        ("RSV1 on a pong", raw(0xca, 0x80, &[], b""), 1, rsv1, 1002),
        ("RSV1 on a close", raw(0xc8, 0x80, &[], b""), 1, rsv1, 1002),
        ("RSV2 beside RSV1", raw(0xe1, 0x80, &[], b""), 1, ReservedBits(0x20), 1002),
        ("RSV3", raw(0x91, 0x80, &[], b""), 1, ReservedBits(0x10), 1002),
        ("RSV1 on a reserved opcode", raw(0xc3, 0x80, &[], b""), 1, rsv1, 1002),
        ("301 compressed bytes declared", raw(0xc2, 0xfe, &[1, 45], b""), 4, MessageTooBig { bytes: 301, limit: 300 }, 1009),
        ("inflates to 301", first(Opcode::Text, true, &bomb), whole + bomb.len(), InflatesTooBig { limit: 300 }, 1009),
        ("corrupt", first(Opcode::Binary, true, b"\xff\xff"), whole + 2, DeflateCorrupt, 1007),
        ("not even an empty one", first(Opcode::Text, true, b""), whole, DeflateCorrupt, 1007),
        ("cut short", first(Opcode::Text, true, &packed[..packed.len() - 1]), whole + packed.len() - 1, DeflateCorrupt, 1007),
        ("65 blocks marked as last", first(Opcode::Text, true, &streams), 8 + 130, TooManyStreams { limit: 64 }, 1008),
        ("not UTF-8", first(Opcode::Text, true, &not_utf8), whole + not_utf8.len(), TextNotUtf8 { at: 40 }, 1007),
        ("ends in a code point", first(Opcode::Text, true, &cut), whole + cut.len(), TextCutShort { at: 40 }, 1007),
    ] {
        assert_eq!(parse(&stream), (vec![], Some((after, violation))), "{what}");
        assert_eq!(violation.close_code(), CloseCode(close), "{what}");
        assert!(violation.to_string().len() <= 123, "{what}: it does not fit in a close frame");
    }
}

#[test]
fn who_did_not_negotiate_it_may_not_compress() {
    let stream = first(Opcode::Text, true, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    let refused = Some((1, Violation::ReservedBits(0x40)));
    assert_eq!(super::parse(&stream, SMALL), (vec![], refused));
}
