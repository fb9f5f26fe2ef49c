//! Random streams of client frames, valid and invalid, and the ways to feed them to a parser.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_wire::frame::{Event, Limits, Opcode, Parser, Violation, client_frame};

/// An event that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
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

/// A parser and all its results.
#[derive(Debug)]
pub(crate) struct Run {
    parser: Parser,
    pub(crate) events: Vec<Got>,
    pub(crate) violation: Option<Violation>,
}

impl Run {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            parser: Parser::new(limits),
            events: Vec::new(),
            violation: None,
        }
    }

    /// The run of a whole stream that arrives at once.
    pub(crate) fn of(stream: &[u8], limits: Limits) -> Self {
        let mut run = Self::new(limits);
        run.feed(stream);
        run
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut scratch = bytes.to_vec();
        let mut input = &mut scratch[..];
        loop {
            match self.parser.next(&mut input) {
                Ok(Some(event)) => self.events.push(event.into()),
                Ok(None) => break,
                Err(violation) => assert_eq!(self.violation.replace(violation), None, "two violations"),
            }
        }
        assert!(input.is_empty(), "{} bytes were not taken", input.len());
    }

    /// All results, for comparison.
    pub(crate) fn said(&self) -> (&[Got], Option<Violation>) {
        (&self.events, self.violation)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.parser.heap_bytes()
    }
}

/// A part of a stream.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// A message in fragments. Control frames follow each fragment except the last one.
    Message(Opcode, Vec<(Vec<u8>, Vec<Part>)>),
    /// A ping or pong.
    Control(Opcode, Vec<u8>),
    /// Bytes that are rarely a valid frame.
    Raw(Vec<u8>),
}

impl Part {
    /// Appends the part's frames.
    pub(crate) fn write(&self, mask: &mut impl FnMut() -> [u8; 4], out: &mut Vec<u8>) {
        match self {
            Self::Raw(bytes) => out.extend(bytes),
            Self::Control(opcode, payload) => out.extend(client_frame(true, *opcode, mask(), payload)),
            Self::Message(opcode, fragments) => {
                for (at, (payload, between)) in fragments.iter().enumerate() {
                    let opcode = if at == 0 { *opcode } else { Opcode::Continuation };
                    let last = at + 1 == fragments.len();
                    out.extend(client_frame(last, opcode, mask(), payload));
                    if !last {
                        between.iter().for_each(|part| part.write(mask, out));
                    }
                }
            }
        }
    }

    /// Appends the events of the part, which must have no raw bytes.
    pub(crate) fn expect(&self, events: &mut Vec<Got>) {
        match self {
            Self::Raw(_) => panic!("no telling what raw bytes give"),
            Self::Control(Opcode::Ping, payload) => events.push(Got::Ping(payload.clone())),
            Self::Control(_, payload) => events.push(Got::Pong(payload.clone())),
            Self::Message(opcode, fragments) => {
                let (last, earlier) = fragments.split_last().expect("a message has a fragment");
                for (_, between) in earlier {
                    between.iter().for_each(|part| part.expect(events));
                }
                let mut payload: Vec<u8> = earlier.iter().flat_map(|(payload, _)| payload).copied().collect();
                payload.extend(&last.0);
                events.push(Got::Message(*opcode, payload));
            }
        }
    }
}

/// Masks that differ from frame to frame.
pub(crate) fn masks(seed: u32) -> impl FnMut() -> [u8; 4] {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(0x9e37_79b1).rotate_left(7);
        state.to_be_bytes()
    }
}

/// The bytes of `parts`.
pub(crate) fn bytes_of(parts: &[Part], seed: u32) -> Vec<u8> {
    let (mut out, mut mask) = (Vec::new(), masks(seed));
    parts.iter().for_each(|part| part.write(&mut mask, &mut out));
    out
}

fn control() -> impl Strategy<Value = Part> {
    let opcode = prop_oneof![Just(Opcode::Ping), Just(Opcode::Pong)];
    (opcode, vec(any::<u8>(), 0..=125)).prop_map(|(opcode, payload)| Part::Control(opcode, payload))
}

/// A payload with one of the sizes around which a header or a buffer changes.
fn payload(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        4 => 0..=20_usize,
        3 => 100..=140_usize,
        2 => 0..=2_000_usize,
        1 => 65_500..=65_560_usize,
        1 => 0..=70_000_usize,
    ];
    (len, any::<u8>()).prop_map(move |(len, first)| {
        (0..len.min(max))
            .map(|at| first.wrapping_add((at % 251) as u8))
            .collect()
    })
}

fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let unit = prop_oneof![
        Just("a"),
        Just("é"),
        Just("€"),
        Just("😀"),
        Just("\0"),
        Just("\u{7ff}z")
    ];
    (payload(max), vec(unit, 1..6)).prop_map(move |(shape, units)| {
        let mut text: String = units.iter().copied().cycle().take(shape.len()).collect();
        while text.len() > shape.len() {
            text.pop();
        }
        text.into_bytes()
    })
}

/// A message or control frame; messages have at most `max` bytes and 12 fragments.
pub(crate) fn part(max: usize) -> impl Strategy<Value = Part> {
    part_with(max, control().boxed())
}

/// Does the same as [`part`], but one part in twenty is raw, also between fragments.
pub(crate) fn part_or_raw(max: usize) -> impl Strategy<Value = Part> {
    let between = prop_oneof![19 => control(), 1 => raw()];
    prop_oneof![19 => part_with(max, between.boxed()), 1 => raw()]
}

fn part_with(max: usize, between: BoxedStrategy<Part>) -> impl Strategy<Value = Part> {
    let opcode_and_payload = prop_oneof![
        text(max).prop_map(|payload| (Opcode::Text, payload)),
        payload(max).prop_map(|payload| (Opcode::Binary, payload)),
    ];
    let cuts = vec((any::<prop::sample::Index>(), vec(between, 0..3)), 0..12);
    let message = (opcode_and_payload, cuts).prop_map(|((opcode, payload), cuts)| {
        let mut ends: Vec<usize> = cuts.iter().map(|(at, _)| at.index(payload.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(payload.len());
        let mut start = 0;
        let mut between = cuts.into_iter().map(|(_, parts)| parts);
        let fragments = ends.into_iter().map(|end| {
            let fragment = payload[start..end].to_vec();
            start = end;
            (fragment, between.next().unwrap_or_default())
        });
        Part::Message(opcode, fragments.collect())
    });
    prop_oneof![3 => message, 1 => control()]
}

/// A close frame of any kind, a text that is rarely UTF-8, or any header with a few bytes after it.
fn raw() -> impl Strategy<Value = Part> {
    let mask = any::<[u8; 4]>;
    let code = prop_oneof![Just(1_000_u16), 0..5_100_u16];
    let close = (
        mask(),
        code,
        vec(prop_oneof![4 => Just(b'a'), 1 => any::<u8>()], 0..4),
    )
        .prop_map(|(mask, code, reason)| {
            client_frame(
                true,
                Opcode::Close,
                mask,
                &[&code.to_be_bytes()[..], &reason].concat(),
            )
        });
    let text = (any::<bool>(), mask(), vec(0x70..=0xff_u8, 1..9))
        .prop_map(|(fin, mask, text)| client_frame(fin, Opcode::Text, mask, &text));
    let first = (
        prop_oneof![Just(0), Just(0x80)],
        prop_oneof![3 => 0..3_u8, 1 => 0..16_u8, 1 => 0..128_u8],
    );
    let second = prop_oneof![9 => 0x80..=0xff_u8, 1 => any::<u8>()];
    let header = (first, second, vec(prop_oneof![Just(0), any::<u8>()], 0..20))
        .prop_map(|((fin, low), second, rest)| [&[fin | low, second][..], &rest].concat());
    prop_oneof![close, text, header].prop_map(Part::Raw)
}

/// A byte that is changed or lost on the way.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    at: prop::sample::Index,
    byte: Option<u8>,
}

impl Damage {
    pub(crate) fn apply(&self, stream: &mut Vec<u8>) {
        if stream.is_empty() {
            return;
        }
        let at = self.at.index(stream.len());
        match self.byte {
            Some(byte) => stream[at] = byte,
            None => drop(stream.remove(at)),
        }
    }
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    any::<(prop::sample::Index, Option<u8>)>().prop_map(|(at, byte)| Damage { at, byte })
}
