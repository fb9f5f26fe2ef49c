//! One connection as a shard knows it: what it subscribed to, what waits for it, when it was last heard.
//!
//! Never touches a socket. Memory is bounded by the limits on subscriptions and on the outbox, and by the topics that
//! its patterns match.

mod allowance;
mod reader;
mod subscriptions;
mod timers;

use std::rc::Rc;

use tickwire_wire::{Codec, Micros, Variant};

use crate::outbox::Outbox;
use crate::rights::{Publisher, Rights};
use crate::shard::Unfinished;

pub(crate) use allowance::{Allowance, TooFast};
pub(crate) use reader::Reader;
pub(crate) use subscriptions::{PatternSub, Place, SubRef, Subscriptions};
pub(crate) use timers::{Overdue, Timers};

/// A connection's number within its shard. Numbers of closed connections are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

impl SessionId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a connection reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket: requests come in, pings are answered.
    WebSocket,
    /// Server-sent events: nothing comes in.
    Sse,
    /// WebSocket without the protocol: each message comes back as it came, for conformance suites.
    Echo,
}

/// How far a connection's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// A close frame waits behind the data; from then on the data is not waited for.
    Leaving(Micros),
    /// A close frame is queued or sent; the connection is given up at the latest then.
    Closing(Micros),
    /// The connection is to be dropped: the session was entered among those that are handed out as gone.
    GivenUp,
    /// There is no connection any more: the session stays until its subscriptions are taken out.
    Gone,
}

/// Where a session stands in the rounds of writing. Only a dirty one is handed out, so a batch holds a session once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Nothing new is to be written.
    Idle,
    /// It is in the shard's list of dirty sessions.
    Dirty,
    /// It was handed out, and its socket has not taken all that waits since. Nothing is pulled in for it before its socket
    /// takes more, and it is not handed out again before it is known what became of the bytes.
    Offered,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) outbox: Outbox,
    pub(crate) variant: Variant,
    pub(crate) transport: Transport,
    pub(crate) phase: Phase,
    pub(crate) writing: Writing,
    pub(crate) reader: Reader,
    pub(crate) timers: Timers,
    /// Whether it has published anything.
    pub(crate) publishes: bool,
    /// To whom the topics count that it makes, if there are quotas.
    pub(crate) publisher: Option<Publisher>,
    /// Tells this connection from earlier ones with the same number.
    pub(crate) generation: u32,
    pub(crate) allowance: Allowance,
    pub(crate) rights: Rc<Rights>,
    pub(crate) subscriptions: Subscriptions,
    /// A request that is done piece by piece: until it is answered nothing is pulled in.
    pub(crate) unfinished: Option<Box<Unfinished>>,
}

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    #[inline]
    pub(crate) fn codec(&self) -> Codec {
        self.variant.codec()
    }
}
