//! The parser of client frames: its events and verdict are the same however the bytes are cut. They also equal those of
//! a parser that was written from the RFC without regard to speed.

use tickwire_wire::CloseCode;
use tickwire_wire::deflate::Inflater;
use tickwire_wire::frame::{Event, Limits, Opcode, Parser, client_frame};

use crate::reference;

/// The limits are small, so that inputs reach them.
pub(crate) const LIMITS: Limits = Limits {
    message_bytes: 300,
    fragments: 5,
};

/// An event of the parser, with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Message(Opcode, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
    /// The connection fails with this code.
    Failed(CloseCode),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { opcode, payload } => Self::Message(opcode, payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Parses a stream of frames. The first byte says how the stream is cut, whether compression was negotiated, and
/// whether the rest is the frames themselves or a description of frames. A fuzzer would hardly find valid payloads
/// through their masks.
///
/// # Panics
/// When the parser is wrong, or its result for the whole stream differs from that for its parts.
pub fn frames(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else {
        return;
    };
    let stream = if how & 0x80 == 0 {
        rest.to_vec()
    } else {
        described(rest)
    };
    let compressed = how & 0x40 != 0;
    let whole = in_pieces(&stream, &[stream.len().max(1)], compressed);
    assert_eq!(whole, in_pieces(&stream, &[1], compressed), "byte by byte");
    let piece = usize::from(how & 0x3f);
    let sizes = [piece + 1, 1, piece / 3 + 1];
    assert_eq!(whole, in_pieces(&stream, &sizes, compressed), "in pieces");
    if !compressed {
        assert_eq!(whole, reference::read(&stream, LIMITS), "the reference");
    }
}

/// The stream of frames that `input` describes. A frame is two bytes for the head and the length, four for the mask,
/// and the payload unmasked.
fn described(input: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = input;
    while let Some((&[head, length, a, b, c, d], after)) = rest.split_first_chunk() {
        // Lengths go up to 510, so that some need more than seven bits and some exceed the limit.
        let length = usize::from(length) * if head & 0x40 == 0 { 1 } else { 2 };
        let (payload, after) = after.split_at(length.min(after.len()));
        if let Some(opcode) = Opcode::from_bits(head & 0x0f) {
            let mut frame = client_frame(head & 0x80 != 0, opcode, [a, b, c, d], payload);
            frame[0] |= (head & 0x20) << 1; // RSV1: the message is compressed (RFC 7692 §6)
            stream.extend(frame);
        }
        rest = after;
    }
    stream
}

/// The parser's events when `stream` comes in pieces of the given `sizes`, which are used in turn.
fn in_pieces(stream: &[u8], sizes: &[usize], compressed: bool) -> Vec<Got> {
    let mut inflater = compressed.then(Inflater::new);
    let (mut parser, mut got, mut rest) = (Parser::new(LIMITS), Vec::new(), stream);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        let mut scratch = piece.to_vec();
        let mut input = &mut scratch[..];
        loop {
            match parser.next_with(&mut input, inflater.as_mut()) {
                Ok(Some(event)) => got.push(event.into()),
                Ok(None) => break,
                Err(violation) => got.push(Got::Failed(violation.close_code())),
            }
        }
        assert!(input.is_empty(), "{} bytes were not taken", input.len());
        assert!(
            parser.heap_bytes() <= LIMITS.message_bytes + 512,
            "{} bytes are held",
            parser.heap_bytes()
        );
        if rest.is_empty() {
            break;
        }
    }
    got
}
