//! Parsing the frames of clients: headers, unmasking, the UTF-8 of texts, and joining fragments.

use std::fmt;

use tickwire_wire::frame::{Event, Limits, Opcode, Parser, client_frame};

use crate::case::HotPath;

/// How the messages are cut into frames and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Text messages of one frame each, all in one read.
    Whole,
    /// As [`Self::Whole`], but binary: their UTF-8 is not checked, so nearly all of the work is unmasking.
    Binary,
    /// Text messages with this many frames each, all in one read.
    Fragments(usize),
    /// Text messages of one frame each, read byte by byte.
    Dribbled,
}

/// What a client sends, and the parser of its connection.
pub struct FrameParse {
    payload: Vec<u8>,
    messages: usize,
    /// The bytes as the client sends them.
    sent: Vec<u8>,
    /// The bytes as they are read; the parser unmasks them in place.
    read: Vec<u8>,
    read_bytes: usize,
    parser: Parser,
}

impl fmt::Debug for FrameParse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameParse")
            .field("messages", &self.messages)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl FrameParse {
    /// Parses `messages` messages of `bytes` bytes each.
    #[must_use]
    pub fn new(bytes: usize, messages: usize, cut: Cut) -> Self {
        let payload: Vec<u8> = (0..bytes).map(|at| b' ' + (at % 95) as u8).collect();
        let opcode = if cut == Cut::Binary {
            Opcode::Binary
        } else {
            Opcode::Text
        };
        let parts = match cut {
            Cut::Fragments(parts) => parts,
            Cut::Whole | Cut::Binary | Cut::Dribbled => 1,
        };
        let fragments: Vec<&[u8]> = payload.chunks(bytes.div_ceil(parts)).collect();
        let mut sent = Vec::new();
        for message in 0..messages {
            for (at, fragment) in fragments.iter().enumerate() {
                let opcode = if at == 0 { opcode } else { Opcode::Continuation };
                let mask = [0x37, 0xfa, 0x21, message as u8];
                sent.extend(client_frame(at + 1 == fragments.len(), opcode, mask, fragment));
            }
        }
        let read_bytes = if cut == Cut::Dribbled { 1 } else { sent.len() };
        Self {
            payload,
            messages,
            read: sent.clone(),
            sent,
            read_bytes,
            parser: Parser::new(Limits::default()),
        }
    }

    fn parse(&mut self, mut message: impl FnMut(&[u8])) {
        for mut input in self.read.chunks_mut(self.read_bytes) {
            while let Some(event) = self.parser.next(&mut input).expect("valid frames") {
                match event {
                    Event::Message { payload, .. } => message(payload),
                    other => panic!("only messages were sent: {other:?}"),
                }
            }
        }
    }
}

impl HotPath for FrameParse {
    /// The number of messages and that of their bytes.
    type Output = (usize, usize);

    const PREPARES: bool = true;

    fn prepare(&mut self) {
        self.read.copy_from_slice(&self.sent);
    }

    fn run(&mut self) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0);
        self.parse(|payload| {
            messages += 1;
            bytes += payload.len();
        });
        (messages, bytes)
    }

    fn check(&mut self, counted: &(usize, usize)) {
        assert_eq!(*counted, (self.messages, self.messages * self.payload.len()));
        self.prepare();
        let expected = self.payload.clone();
        self.parse(|payload| assert_eq!(payload, expected));
        assert_eq!(self.parser.heap_bytes(), 0, "nothing is kept between messages");
    }
}
