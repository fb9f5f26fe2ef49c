//! Random streams of client frames, valid and not, and the ways of feeding them to a parser.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_wire::frame::{Event, Limits, Opcode, Parser, Violation, client_frame};

/// An event with its bytes.
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

/// A parser and all that it said.
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

    /// Everything that was said, for comparison.
    pub(crate) fn said(&self) -> (&[Got], Option<Violation>) {
        (&self.events, self.violation)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.parser.heap_bytes()
    }
}

/// A part of a valid stream.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// A message in fragments, each followed by control frames if it isn't the last.
    Message(Opcode, Vec<(Vec<u8>, Vec<Part>)>),
    /// A ping or pong.
    Control(Opcode, Vec<u8>),
}

impl Part {
    /// Appends the part's frames.
    pub(crate) fn write(&self, mask: &mut impl FnMut() -> [u8; 4], out: &mut Vec<u8>) {
        match self {
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

    /// Appends the events that the part gives.
    pub(crate) fn expect(&self, events: &mut Vec<Got>) {
        match self {
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

/// A payload of some of the sizes at which a frame's header or a buffer changes.
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
    let opcode_and_payload = prop_oneof![
        text(max).prop_map(|payload| (Opcode::Text, payload)),
        payload(max).prop_map(|payload| (Opcode::Binary, payload)),
    ];
    let cuts = vec((any::<prop::sample::Index>(), vec(control(), 0..3)), 0..12);
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

/// Something wrong to be done to a stream.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index),
    Append(Vec<u8>),
}

impl Damage {
    pub(crate) fn apply(&self, stream: &mut Vec<u8>) {
        match self {
            Self::Append(bytes) => stream.extend(bytes),
            Self::Insert(at, bytes) => {
                let at = at.index(stream.len() + 1);
                stream.splice(at..at, bytes.iter().copied());
            }
            _ if stream.is_empty() => {}
            Self::Set(at, byte) => {
                let at = at.index(stream.len());
                stream[at] = *byte;
            }
            Self::Remove(at) => {
                stream.remove(at.index(stream.len()));
            }
        }
    }
}

/// Any damage, mostly where it reaches a header.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let close = (
        any::<[u8; 4]>(),
        prop_oneof![Just(1_000_u16), 0..5_100_u16],
        vec(any::<u8>(), 0..4),
    );
    let close = close.prop_map(|(mask, code, reason)| {
        client_frame(
            true,
            Opcode::Close,
            mask,
            &[&code.to_be_bytes()[..], &reason].concat(),
        )
    });
    let broken_text = (any::<bool>(), any::<[u8; 4]>(), vec(0x70..=0xff_u8, 1..9));
    let broken_text = broken_text.prop_map(|(fin, mask, text)| client_frame(fin, Opcode::Text, mask, &text));
    let header = (
        any::<u8>(),
        0x80..=0xff_u8,
        vec(prop_oneof![Just(0), any::<u8>()], 0..20),
    );
    let header = header.prop_map(|(first, second, rest)| [&[first, second][..], &rest].concat());
    let frame = || prop_oneof![close.clone(), broken_text.clone(), header.clone()];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), frame()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        at().prop_map(Damage::Remove),
        frame().prop_map(Damage::Append),
    ]
}
