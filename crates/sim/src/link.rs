//! One connection: the bytes on their way in both directions, and what both ends know of it.
//!
//! The broker's side may put at most `capacity` bytes in; the client takes them out when it reads. Nothing is lost or
//! changed on the way, but a connection may end with bytes in it.

use tickwire_router::SessionId;
use tickwire_wire::frame::{Limits, Parser};
use tickwire_wire::{Codec, Micros};

use crate::topics::NAMES;

/// A request that the broker handled, as far as it did at once, and the newest numbers at that time.
#[derive(Debug)]
pub(crate) struct Handled {
    pub(crate) id: u64,
    /// Topics of it that were seen to by then.
    pub(crate) topics: usize,
    pub(crate) heads: [u64; NAMES.len()],
    /// The same numbers for the first of those topics, if it is a wildcard that was begun before.
    pub(crate) first: Option<[u64; NAMES.len()]>,
}

/// A wildcard that the broker sees to in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Wide {
    /// The newest numbers when it was decided which topics it is about: those that are made later join it.
    pub(crate) decided: [u64; NAMES.len()],
    /// The newest number of each when it was seen to.
    pub(crate) seen: [Option<u64>; NAMES.len()],
}

impl Wide {
    /// The newest number of each topic when it was seen to, the rest of them when these were the newest.
    pub(crate) fn heads(&self, now: &[u64; NAMES.len()]) -> [u64; NAMES.len()] {
        std::array::from_fn(|topic| match self.decided[topic] {
            0 => 0,
            _ => self.seen[topic].unwrap_or(now[topic]),
        })
    }
}

/// Where in the stream an answer must begin at the latest, not to stand behind market data.
#[derive(Debug)]
pub(crate) struct Due {
    /// The request's id, or the ping frame's payload.
    pub(crate) id: u64,
    pub(crate) begins_by: u64,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) codec: Codec,
    /// The session; none once the broker has dropped it.
    pub(crate) session: Option<SessionId>,
    pub(crate) parser: Parser,
    /// From the client to the broker.
    pub(crate) up: Vec<u8>,
    /// The client sends no more.
    pub(crate) up_ended: bool,
    /// From the broker to the client.
    pub(crate) down: Vec<u8>,
    pub(crate) capacity: usize,
    /// The broker sends no more.
    pub(crate) down_ended: bool,
    /// The socket took less than was offered, and has not said since that it takes more.
    pub(crate) blocked: bool,
    /// Whether that ended in this round.
    pub(crate) went_on: bool,
    /// Bytes that the socket took so far.
    pub(crate) sent: u64,
    /// When the socket last took a byte while the session was open.
    pub(crate) taken_before_close: Micros,
    /// When the broker last read a byte while the session was open.
    pub(crate) heard_before_close: Micros,
    pub(crate) opened_at: Micros,
    /// Whether the broker handled a request of it.
    pub(crate) requested: bool,
    /// Bytes of messages that were published for it and must reach it, since the socket last took a byte.
    pub(crate) owed: usize,
    /// When that was first more than may wait for it.
    pub(crate) full_since: Option<Micros>,
    /// Topics of which only the newest counts, by bits; none while requests are on their way.
    pub(crate) newest_only: u32,
    /// The request that the broker is at.
    pub(crate) under_way: Option<u64>,
    /// Topics of it that were seen to.
    pub(crate) handled_topics: Option<usize>,
    /// The wildcard of it that the broker is at, once its topics are known.
    pub(crate) wide: Option<Wide>,
    pub(crate) handled: Vec<Handled>,
    pub(crate) due: Vec<Due>,
    /// When the broker read which ping of the protocol.
    pub(crate) pings: Vec<(u64, Micros)>,
}

impl Link {
    pub(crate) fn new(shard: usize, codec: Codec, session: SessionId, capacity: usize, now: Micros) -> Self {
        Self {
            shard,
            codec,
            session: Some(session),
            parser: Parser::new(Limits::default()),
            up: Vec::new(),
            up_ended: false,
            down: Vec::new(),
            capacity,
            down_ended: false,
            blocked: false,
            went_on: false,
            sent: 0,
            taken_before_close: now,
            heard_before_close: now,
            opened_at: now,
            requested: false,
            owed: 0,
            full_since: None,
            newest_only: 0,
            under_way: None,
            handled_topics: None,
            wide: None,
            handled: Vec::new(),
            due: Vec::new(),
            pings: Vec::new(),
        }
    }

    /// Whether the socket was full and takes bytes again.
    pub(crate) fn goes_on(&self) -> bool {
        self.blocked && self.room() > 0
    }

    /// Bytes that the socket takes now.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.down.len()
    }
}
