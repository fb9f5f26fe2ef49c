//! What the cycle knows of one connection beside its socket.

use tickwire_wire::frame::{Limits, Parser};

/// What is spoken on a connection.
#[derive(Debug)]
pub enum Protocol<E> {
    /// Frames, which this reads.
    WebSocket(Parser),
    /// Events. Boxed: most connections are no streams.
    Sse(Box<Events<E>>),
}

/// A stream of events, whose client has nothing to say.
#[derive(Debug)]
pub struct Events<E> {
    /// Bytes that its client may send yet.
    heard_left: usize,
    /// What its owner has of it.
    pub stream: E,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Line<E> {
    /// What is spoken on it.
    pub protocol: Protocol<E>,
    /// Bytes that came behind the handshake or a request that is not done, and were not looked at yet.
    #[expect(
        clippy::box_collection,
        reason = "few connections ever have some, and all pay for its size"
    )]
    early: Option<Box<Vec<u8>>>,
    /// The socket took less than was offered and has not said since that it is writable.
    pub blocked: bool,
    /// It was blocked, and something has waited for it ever since.
    pub slow: bool,
    /// Whether it is among the connections with something to read.
    pub(super) unread: bool,
    /// It is not read until it has taken what waits for it: one that echoes.
    pub(super) held: bool,
    /// The sending side is shut.
    pub shut: bool,
    /// The far end sends no more: what it sent is to be read to its end.
    pub ended: bool,
}

impl<E> Line<E> {
    /// A connection that speaks WebSocket, with the bytes that came behind its handshake. With some, it
    /// [is to be read](super::Turn::read_later).
    #[must_use]
    pub fn websocket(limits: Limits, early: Vec<u8>) -> Self {
        Self {
            early: (!early.is_empty()).then(|| Box::new(early)),
            ..Self::new(Protocol::WebSocket(Parser::new(limits)))
        }
    }

    /// A stream of events whose client may send `heard_max` bytes, which mean nothing.
    #[must_use]
    pub fn sse(stream: E, heard_max: usize) -> Self {
        Self::new(Protocol::Sse(Box::new(Events {
            heard_left: heard_max,
            stream,
        })))
    }

    fn new(protocol: Protocol<E>) -> Self {
        Self {
            protocol,
            early: None,
            blocked: false,
            slow: false,
            unread: false,
            held: false,
            shut: false,
            ended: false,
        }
    }

    /// Whether it is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.protocol, Protocol::Sse(_))
    }

    /// What its owner has of it as a stream, if it is one.
    #[must_use]
    pub fn stream(&self) -> Option<&E> {
        match &self.protocol {
            Protocol::WebSocket(_) => None,
            Protocol::Sse(events) => Some(&events.stream),
        }
    }

    /// As [`Self::stream`].
    pub fn stream_mut(&mut self) -> Option<&mut E> {
        match &mut self.protocol {
            Protocol::WebSocket(_) => None,
            Protocol::Sse(events) => Some(&mut events.stream),
        }
    }

    /// Whether nothing that its client sends is read any more.
    pub(super) fn is_deaf(&self) -> bool {
        matches!(&self.protocol, Protocol::Sse(events) if events.heard_left == 0)
    }

    /// Takes out the parser of its frames, to be put back; `None` for a stream, whose client has sent `count` bytes, which mean
    /// nothing.
    pub(super) fn hear(&mut self, count: usize) -> Option<Parser> {
        match &mut self.protocol {
            Protocol::WebSocket(parser) => {
                let none = Parser::new(Limits::default());
                Some(std::mem::replace(parser, none))
            }
            Protocol::Sse(events) => {
                events.heard_left = events.heard_left.saturating_sub(count);
                None
            }
        }
    }

    /// Puts bytes back that were read and not looked at.
    pub(super) fn put_back(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.early
                .get_or_insert_default()
                .splice(..0, rest.iter().copied());
        }
    }

    /// Bytes that were read and not looked at.
    pub(super) fn early_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, |early| early.len())
    }

    /// Moves what was not looked at yet to `buffer`, as much as fits. Returns how much that is, if there was something.
    pub(super) fn take_early(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let mut early = self.early.take()?;
        let count = early.len().min(buffer.len());
        buffer[..count].copy_from_slice(&early[..count]);
        if count < early.len() {
            early.drain(..count);
            self.early = Some(early);
        }
        Some(count)
    }
}
