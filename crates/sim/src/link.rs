//! One connection: the bytes on their way in both directions, and what both ends know about it.
//!
//! The broker may put at most `capacity` bytes into it; the client takes them out when it reads. Nothing is lost or
//! changed on the way, but a connection may end with bytes in it.

use tickwire_router::SessionId;
use tickwire_router::cycle::Line;
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Codec, Micros};

use crate::client::StreamRequest;
use crate::topics::NAMES;

/// A request, or a piece of one, that the broker handled, and the newest numbers at that time.
#[derive(Debug)]
pub(crate) struct Handled {
    pub(crate) id: u64,
    /// How many of its topics were handled by then.
    pub(crate) topics: usize,
    pub(crate) heads: [u64; NAMES.len()],
    /// If the first of those topics is a wildcard that an earlier piece began: the newest numbers for it.
    pub(crate) first: Option<[u64; NAMES.len()]>,
    /// If it is a publication whose key is known: the number of the message that had the key first.
    pub(crate) duplicate_of: Option<u64>,
}

/// A publication of a client that is about to be handled.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) request: u64,
    pub(crate) topic: usize,
    pub(crate) text: Vec<u8>,
    pub(crate) key: Option<PublishKey>,
    pub(crate) at: Micros,
}

/// A wildcard that the broker handles in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Wide {
    /// The newest numbers when its topics were determined. Topics that are made later join it.
    pub(crate) decided: [u64; NAMES.len()],
    /// The newest number of each topic when the topic was handled.
    pub(crate) seen: [Option<u64>; NAMES.len()],
}

impl Wide {
    /// The newest number of each topic when it was handled, or `now` for topics that are being handled now.
    pub(crate) fn heads(&self, now: &[u64; NAMES.len()]) -> [u64; NAMES.len()] {
        std::array::from_fn(|topic| match self.decided[topic] {
            0 => 0,
            _ => self.seen[topic].unwrap_or(now[topic]),
        })
    }
}

/// The position in the stream at which an answer must begin at the latest, so that it is not behind market data.
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
    /// The session; `None` once the broker has dropped it.
    pub(crate) session: Option<SessionId>,
    /// The stream that its client asked for, while the broker does not have the answer.
    pub(crate) opening: Option<StreamRequest>,
    /// What the broker's cycle knows of it, once it does.
    pub(crate) line: Option<Line>,
    /// The bytes from the client to the broker.
    pub(crate) up: Vec<u8>,
    /// Whether the client sends no more.
    pub(crate) up_ended: bool,
    /// The bytes from the broker to the client.
    pub(crate) down: Vec<u8>,
    pub(crate) capacity: usize,
    /// Whether the broker sends no more.
    pub(crate) down_ended: bool,
    /// Whether something came from the client that the broker's poller has not told yet.
    pub(crate) news: bool,
    /// Whether its shard leaves.
    pub(crate) drained: bool,
    /// Whether the session accepted requests when the round began.
    pub(crate) was_open: bool,
    /// Whether the socket took bytes again in this round.
    pub(crate) went_on: bool,
    /// How many bytes the socket took so far.
    pub(crate) sent: u64,
    /// When the socket last took a byte while the session was open.
    pub(crate) taken_before_close: Micros,
    /// When the broker last read a byte while the session was open.
    pub(crate) heard_before_close: Micros,
    pub(crate) opened_at: Micros,
    /// Whether the broker handled a request on this connection.
    pub(crate) requested: bool,
    /// The bytes of published messages that must reach the client, since the socket last took a byte.
    pub(crate) owed: usize,
    /// When `owed` first exceeded what may wait for the client.
    pub(crate) full_since: Option<Micros>,
    /// Since when something has waited and the full socket has taken nothing.
    pub(crate) stuck_since: Option<Micros>,
    /// The topics, as bits, where only the newest message counts; none while requests are on their way.
    pub(crate) newest_only: u32,
    /// The publication that the broker is handling.
    pub(crate) said: Option<Said>,
    /// The request that the broker is handling.
    pub(crate) under_way: Option<u64>,
    /// How many of its topics were handled.
    pub(crate) handled_topics: Option<usize>,
    /// The wildcard that the broker is handling, once its topics are determined.
    pub(crate) wide: Option<Wide>,
    pub(crate) handled: Vec<Handled>,
    pub(crate) due: Vec<Due>,
    /// The pings of the protocol, with the time when the broker read each.
    pub(crate) pings: Vec<(u64, Micros)>,
}

impl Link {
    pub(crate) fn new(shard: usize, codec: Codec, session: SessionId, capacity: usize, now: Micros) -> Self {
        Self {
            shard,
            codec,
            session: Some(session),
            opening: None,
            line: None,
            news: false,
            drained: false,
            was_open: true,
            said: None,
            up: Vec::new(),
            up_ended: false,
            down: Vec::new(),
            capacity,
            down_ended: false,
            went_on: false,
            sent: 0,
            taken_before_close: now,
            heard_before_close: now,
            opened_at: now,
            requested: false,
            owed: 0,
            full_since: None,
            stuck_since: None,
            newest_only: 0,
            under_way: None,
            handled_topics: None,
            wide: None,
            handled: Vec::new(),
            due: Vec::new(),
            pings: Vec::new(),
        }
    }

    /// Sends bytes to the broker.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.up.extend_from_slice(bytes);
        self.news = true;
    }

    /// Ends the client's sending side.
    pub(crate) fn end(&mut self) {
        self.up_ended = true;
        self.news = true;
    }

    /// Whether the socket was full and takes bytes again.
    pub(crate) fn goes_on(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.blocked) && self.room() > 0
    }

    /// How many bytes the socket takes now.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.down.len()
    }
}
