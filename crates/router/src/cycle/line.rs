//! What the cycle knows of one connection beside its socket.

use tickwire_wire::Micros;
use tickwire_wire::frame::{Limits, Parser};

use super::event_stream::{EventStream, Pieces, Taken};
use crate::outbox::{Delivery, Overrun};
use crate::session::SessionId;
use crate::shard::Shard;

/// What is spoken on a connection.
#[derive(Debug)]
pub enum Protocol {
    /// Frames, which this reads.
    WebSocket(Parser),
    /// Events. Boxed: most connections are no streams.
    Sse(Box<Events>),
}

/// A stream of events, whose client has nothing to say.
#[derive(Debug)]
pub struct Events {
    /// Bytes that its client may send yet.
    heard_left: usize,
    stream: EventStream,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Line {
    /// What is spoken on it.
    pub protocol: Protocol,
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

impl Line {
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
    pub fn sse(stream: EventStream, heard_max: usize) -> Self {
        Self::new(Protocol::Sse(Box::new(Events {
            heard_left: heard_max,
            stream,
        })))
    }

    fn new(protocol: Protocol) -> Self {
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

    fn stream_mut(&mut self) -> Option<&mut EventStream> {
        match &mut self.protocol {
            Protocol::WebSocket(_) => None,
            Protocol::Sse(events) => Some(&mut events.stream),
        }
    }

    /// Makes the next piece of a stream with positions, of at most `bytes_max` bytes. Its socket is then
    /// [offered](Self::offered) that piece. Does nothing for another connection.
    pub fn put_together(&mut self, shard: &Shard, id: SessionId, bytes_max: usize, pieces: &mut Pieces) {
        if let (Some(stream), Some(outbox)) = (self.stream_mut(), shard.outbox(id)) {
            stream.put_together(outbox, shard.directory(), bytes_max, pieces);
        }
    }

    /// The bytes that its socket is offered in place of its outbox, if there are any.
    #[must_use]
    pub fn offered<'a>(&'a self, pieces: &'a Pieces) -> Option<&'a [u8]> {
        match &self.protocol {
            Protocol::WebSocket(_) => None,
            Protocol::Sse(events) => events.stream.offered(pieces),
        }
    }

    /// Its socket took `count` bytes of what it was offered: tells the shard, as [`Shard::wrote`] says.
    ///
    /// # Errors
    /// When fewer bytes waited for it: the session cannot go on.
    pub fn took(
        &mut self,
        shard: &mut Shard,
        (id, count): (SessionId, usize),
        pieces: &Pieces,
        now: Micros,
        done: impl FnMut(&Delivery),
    ) -> Result<(), Overrun> {
        let taken = match self.stream_mut() {
            Some(stream) => stream.took(count, pieces),
            None => Taken {
                of_outbox: count,
                has_begun: false,
            },
        };
        shard.wrote(id, taken.of_outbox, now, done)?;
        if taken.has_begun {
            shard.front_begun(id);
        }
        if count > 0 && taken.of_outbox == 0 {
            shard.progressed(id);
        }
        Ok(())
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
