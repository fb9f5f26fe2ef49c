//! The events and the memory of the parser. Refusals are in [`rules`], properties over random streams in the crate's
//! `tests/it`.

mod deflated;
mod rules;

use super::*;
use crate::frame::client_frame;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Limits that are small enough to read the numbers: 300 bytes, 3 fragments.
const SMALL: Limits = Limits {
    message_bytes: 300,
    fragments: 3,
};

/// An event that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Message(Opcode, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { opcode, payload } => Self::Message(opcode, payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code, reason } => Self::Close(code.map(|code| code.0), reason.to_owned()),
        }
    }
}

/// Gives `bytes` to the parser and collects the events up to the violation.
fn feed(parser: &mut Parser, bytes: &[u8], got: &mut Vec<Got>) -> Result<(), Violation> {
    let mut scratch = bytes.to_vec();
    let mut input = &mut scratch[..];
    while let Some(event) = parser.next(&mut input)? {
        got.push(event.into());
    }
    assert!(input.is_empty(), "{} bytes were not taken", input.len());
    Ok(())
}

/// The violation of `stream`, and the number of bytes after which it came. The stream is given to a parser byte by byte
/// with `feed`. The result must be the same as `at_once`.
fn by_byte(
    stream: &[u8],
    limits: Limits,
    mut feed: impl FnMut(&mut Parser, &[u8], &mut Vec<Got>) -> Result<(), Violation>,
    at_once: (&Vec<Got>, Option<Violation>),
) -> Option<(usize, Violation)> {
    let (mut parser, mut got) = (Parser::new(limits), Vec::new());
    let stopped = (0..stream.len()).find_map(|at| {
        let violation = feed(&mut parser, &stream[at..=at], &mut got).err()?;
        Some((at + 1, violation))
    });
    assert_eq!(at_once, (&got, stopped.map(|(_, violation)| violation)));
    stopped
}

/// The longest stream that is cut at every byte.
const CUT_BYTES_MAX: usize = 1_000;

/// The events of `stream`, its violation, and the number of bytes after which that came. The results must agree at
/// once, byte by byte, and cut in two at every byte.
fn parse(stream: &[u8], limits: Limits) -> (Vec<Got>, Option<(usize, Violation)>) {
    let mut at_once = Vec::new();
    let violation = feed(&mut Parser::new(limits), stream, &mut at_once).err();
    let stopped = by_byte(stream, limits, feed, (&at_once, violation));
    for cut in 0..=stream.len().min(CUT_BYTES_MAX) {
        let (mut parser, mut in_two) = (Parser::new(limits), Vec::new());
        let (head, tail) = stream.split_at(cut);
        let first = feed(&mut parser, head, &mut in_two).err();
        let second = feed(&mut parser, tail, &mut in_two).err();
        assert!(
            first.is_none() || second.is_none(),
            "two violations, cut at {cut}"
        );
        assert_eq!((&at_once, violation), (&in_two, first.or(second)), "cut at {cut}");
    }
    (at_once, stopped)
}

/// A masked frame with these first two bytes, extended length and payload.
fn raw(first: u8, second: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    mask::apply(&mut payload, MASK);
    [&[first, second], length, &MASK, &payload].concat()
}

fn text(fin: bool, payload: &[u8]) -> Vec<u8> {
    client_frame(fin, Opcode::Text, MASK, payload)
}

fn more(fin: bool, payload: &[u8]) -> Vec<u8> {
    client_frame(fin, Opcode::Continuation, MASK, payload)
}

fn closing(payload: &[u8]) -> Vec<u8> {
    client_frame(true, Opcode::Close, MASK, payload)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_allowed() {
    let message = |payload: &[u8]| Got::Message(Opcode::Text, payload.to_vec());
    let big = vec![7; 65_536];
    for (what, stream, expected) in [
        ("5.7: a text", text(true, b"Hello"), vec![message(b"Hello")]),
        (
            "5.7: in two fragments",
            [text(false, b"Hel"), more(true, b"lo")].concat(),
            vec![message(b"Hello")],
        ),
        ("5.6: an empty text", text(true, b""), vec![message(b"")]),
        (
            "5.4: empty fragments",
            [text(false, b""), more(false, b""), more(true, b"")].concat(),
            vec![message(b"")],
        ),
        (
            "5.5: control frames between fragments",
            [
                text(false, b"a"),
                client_frame(true, Opcode::Ping, MASK, b"1"),
                more(false, b"b"),
                client_frame(true, Opcode::Pong, MASK, &[b'2'; 125]),
                more(true, b"c"),
            ]
            .concat(),
            vec![
                Got::Ping(b"1".to_vec()),
                Got::Pong(vec![b'2'; 125]),
                message(b"abc"),
            ],
        ),
        (
            "8.1: a code point in four fragments",
            [
                text(false, b"\xf0"),
                more(false, b"\x9f"),
                more(false, b"\x98"),
                more(true, b"\x80"),
            ]
            .concat(),
            vec![message("😀".as_bytes())],
        ),
        (
            "5.2: lengths at the edges",
            [125, 126, 65_535, 65_536]
                .map(|len| client_frame(true, Opcode::Binary, MASK, &big[..len]))
                .concat(),
            [125, 126, 65_535, 65_536]
                .map(|len| Got::Message(Opcode::Binary, big[..len].to_vec()))
                .to_vec(),
        ),
        (
            "5.5.1: close without a code",
            closing(b""),
            vec![Got::Close(None, String::new())],
        ),
        (
            "5.5.1: close with a code",
            closing(b"\x03\xe8"),
            vec![Got::Close(Some(1000), String::new())],
        ),
        (
            "5.5.1: close with a reason",
            closing(b"\x0f\xa0\xc3\xa9"),
            vec![Got::Close(Some(4000), "é".into())],
        ),
        (
            "5.5.1: nothing after a close",
            [closing(b""), text(true, b"x"), b"\x81\x01x".to_vec()].concat(),
            vec![Got::Close(None, String::new())],
        ),
    ] {
        assert_eq!(parse(&stream, Limits::default()), (expected, None), "{what}");
    }
}

#[test]
fn nothing_comes_after_a_violation() {
    let mut parser = Parser::new(SMALL);
    let mut got = Vec::new();
    let broken = [text(false, b"kept"), text(true, b"x"), text(true, b"y")].concat();
    assert_eq!(
        feed(&mut parser, &broken, &mut got),
        Err(Violation::MessageInterrupted(Opcode::Text))
    );
    assert_eq!(parser.heap_bytes(), 0);
    assert_eq!(feed(&mut parser, &text(true, b"z"), &mut got), Ok(()));
    assert_eq!(got, []);
}

#[test]
fn a_close_inside_a_message_ends_both() {
    let (mut parser, mut got) = (Parser::new(SMALL), Vec::new());
    let stream = [text(false, b"kept"), closing(b""), more(true, b"x")].concat();
    assert_eq!(feed(&mut parser, &stream, &mut got), Ok(()));
    assert_eq!(
        (got, parser.heap_bytes()),
        (vec![Got::Close(None, String::new())], 0)
    );
}

#[test]
fn a_whole_message_is_lent_from_the_input() {
    let mut parser = Parser::new(SMALL);
    let mut scratch = [text(true, b"one"), client_frame(true, Opcode::Ping, MASK, b"two")].concat();
    let range = scratch.as_ptr_range();
    let mut input = &mut scratch[..];
    let mut events = 0;
    while let Some(event) = parser.next(&mut input).expect("valid") {
        let (Event::Message { payload, .. } | Event::Ping(payload)) = event else {
            panic!("{event:?}");
        };
        assert!(range.contains(&payload.as_ptr()));
        events += 1;
    }
    assert_eq!((events, parser.heap_bytes()), (2, 0));
}

#[test]
fn between_messages_the_parser_holds_no_heap() {
    assert_eq!(size_of::<Parser>(), 32);
    let stream = [
        text(false, "é".repeat(60).as_bytes()),
        client_frame(true, Opcode::Ping, MASK, &[b'p'; 125]),
        more(true, b"!"),
    ]
    .concat();
    for piece in 1..stream.len() {
        let (mut parser, mut got) = (Parser::new(SMALL), Vec::new());
        for part in stream.chunks(piece) {
            feed(&mut parser, part, &mut got).expect("valid");
        }
        assert_eq!(got.len(), 2);
        assert_eq!(parser.heap_bytes(), 0, "in pieces of {piece}");
    }
}

#[test]
fn memory_follows_the_bytes_received_and_never_passes_the_limit() {
    let limits = Limits::default();
    let stream = client_frame(true, Opcode::Binary, MASK, &vec![1; limits.message_bytes]);
    let mut parser = Parser::new(limits);
    for (at, byte) in stream[..stream.len() - 1].iter().enumerate() {
        feed(&mut parser, &[*byte], &mut Vec::new()).expect("valid");
        let payload = (at + 1).saturating_sub(14);
        let message = parser.heap_bytes() - size_of::<Rest>();
        assert!(
            message <= (2 * payload).min(limits.message_bytes),
            "{message} bytes held for {payload}"
        );
    }
    let mut got = Vec::new();
    feed(&mut parser, &stream[stream.len() - 1..], &mut got).expect("valid");
    assert_eq!((got.len(), parser.heap_bytes()), (1, 0));
}
