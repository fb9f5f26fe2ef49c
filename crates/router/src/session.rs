//! One connection as a shard knows it, made of parts that each know one thing: what it subscribed to, how its reader keeps up, when
//! it was last heard, what is left of its rates.
//!
//! Never touches a socket. Memory is bounded by the limits on subscriptions and on the outbox, and by the topics that
//! its patterns match.

mod allowance;
mod patterns;
mod reader;
mod subscriptions;
mod timers;

use std::rc::Rc;

use tickwire_wire::{CloseCode, Dialect, Micros};

use crate::outbox::Outbox;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::rights::{Publisher, Rights};
use crate::shard::{ShardSettings, Unfinished};

pub(crate) use allowance::{Allowance, TooFast};
pub(crate) use patterns::{PatternSub, Patterns};
pub(crate) use reader::Reader;
pub(crate) use subscriptions::{Place, SubRef, Subscriptions};
pub(crate) use timers::Timers;

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
    /// Tells this connection from earlier ones with the same number.
    pub(crate) generation: u32,
    pub(crate) dialect: Dialect,
    pub(crate) transport: Transport,
    pub(crate) rights: Rc<Rights>,
    /// To whom the topics count that it makes, if there are quotas.
    pub(crate) publisher: Option<Publisher>,
    /// Whether it has published anything.
    pub(crate) publishes: bool,
    pub(crate) phase: Phase,
    pub(crate) writing: Writing,
    pub(crate) outbox: Outbox,
    pub(crate) reader: Reader,
    pub(crate) timers: Timers,
    pub(crate) allowance: Allowance,
    pub(crate) subscriptions: Subscriptions,
    /// A request that is done piece by piece: until it is answered nothing is pulled in.
    pub(crate) unfinished: Option<Box<Unfinished>>,
}

// Ten thousands of them are idle: what few of them need is behind a pointer.
const _: () = assert!(size_of::<Session>() <= 608);

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// With which code and reason it is to be closed, if its client lets it wait for too long.
    pub(crate) fn overdue(&mut self, settings: &ShardSettings, now: Micros) -> Option<(CloseCode, String)> {
        if let Some(overdue) = self.timers.overdue(settings, now) {
            return Some(overdue);
        }
        let lags = self.reader.lags() && !self.subscriptions.pulls.is_empty();
        if lags || !self.outbox.is_empty() {
            // There is no room for what it has yet to get, be it only answers, whether or not anything is published meanwhile.
            self.reader.waits(now);
        }
        let stall_ms = settings.stall_ms;
        let reason = if self.reader.is_stalled(stall_ms, now) && !is_planted(Fault::StalledNeverClosed) {
            format!("slow reader: nothing of what waited for it was taken for {stall_ms} ms")
        } else if self
            .subscriptions
            .replay_is_overdue(settings.session_limits.replay_ms, now)
        {
            "slow reader: messages that it was promised waited too long".to_owned()
        } else {
            return None;
        };
        Some((CloseCode::SLOW, reason))
    }

    /// Its socket takes bytes: messages are about to be pulled in. Returns whether something newer may replace those that were
    /// pulled in before.
    pub(crate) fn catch_up(&mut self) -> bool {
        // What a rate holds back is newer, too, and nothing tells the reader of it.
        let mut patterns = self.subscriptions.patterns.iter();
        let lags = self.reader.lags();
        self.reader.catch_up() || (lags && patterns.any(|(_, sub)| sub.pace.class().is_limited()))
    }

    /// A subscription of it, to `every` message of a topic or to the newest, goes on from the directory. It has a turn in the next
    /// round of pulling.
    #[inline]
    pub(crate) fn fall_behind(&mut self, topic: TopicId, every: bool) {
        if !every {
            self.reader.supersede();
        }
        self.subscriptions.pulls.follow_later(topic, every);
    }

    /// What it was offered is not being written any more.
    pub(crate) fn take_back_offer(&mut self) {
        if self.writing == Writing::Offered {
            self.writing = Writing::Idle;
        }
    }
}
