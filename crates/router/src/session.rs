//! One connection as its shard knows it. Each part of it has one task: what it is subscribed to, how its reader keeps
//! up, when it was last heard, and what is left of its rates.
//!
//! Never touches a socket. Its memory is bounded by the limits on subscriptions and on the outbox, and by the number of
//! topics that its patterns match.

mod allowance;
mod beginnings;
mod patterns;
mod reader;
mod replayed;
mod subscriptions;
mod timers;
mod topics;

use std::rc::Rc;

use tickwire_wire::{CloseCode, Dialect, Micros};

use crate::accounts::SessionAccount;
use crate::bucket::Bucket;
use crate::ledger::Settled;
use crate::outbox::Outbox;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::rights::{Publisher, Rights};
use crate::settings::ShardSettings;
use crate::shard::Unfinished;

pub(crate) use allowance::{Allowance, TooFast};
pub(crate) use patterns::{PatternSub, Patterns};
pub(crate) use reader::Reader;
pub(crate) use replayed::ReplayWait;
pub(crate) use subscriptions::{OneShot, Place, SubRef, Subscriptions};
pub(crate) use timers::Timers;
pub(crate) use topics::SubscribedTopics;

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
    /// WebSocket: requests come in, and pings are answered.
    WebSocket,
    /// Server-sent events: nothing comes in.
    Sse,
    /// WebSocket without the protocol, for conformance suites: each message is sent back unchanged.
    Echo,
}

/// The stages of the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// A close frame waits behind the data. From this time on the data is not waited for.
    Leaving(Micros),
    /// A close frame is queued or sent. The connection is given up at this time at the latest.
    Closing(Micros),
    /// The connection will be dropped: the session waits to be handed out as gone.
    GivenUp,
    /// The connection has ended. The session stays until its subscriptions are taken out.
    Gone,
}

/// The place of a session in the rounds of writing. Only a dirty session is handed out, so a batch holds a session
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// It has nothing new to write.
    Idle,
    /// It is in the shard's list of dirty sessions.
    Dirty,
    /// It was handed out, and its socket has not taken everything since. Until the result of that write is known, it is
    /// not handed out again. Until its socket takes more bytes, nothing is pulled in for it.
    Offered,
    /// It was written more than its own rate of bytes allows, and is written nothing for a while.
    Paused,
}

/// The messages that a session was owed and did not get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    pub(crate) conflated: u64,
    pub(crate) gapped: u64,
}

/// What is counted of a session apart from the sums of its shard.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    losses: Losses,
    /// The bytes that it was written, if it has a rate of its own for them.
    pub(crate) written: Bucket,
    /// Whom its deliveries count for, if they are accounted.
    pub(crate) account: Option<SessionAccount>,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Distinguishes this connection from earlier ones with the same number.
    pub(crate) generation: u32,
    pub(crate) dialect: Dialect,
    pub(crate) transport: Transport,
    pub(crate) rights: Rc<Rights>,
    /// The publisher that the topics it makes count for, if there are quotas.
    pub(crate) publisher: Option<Publisher>,
    /// Whether it has published anything.
    pub(crate) publishes: bool,
    /// Whether it may publish nothing, whatever its rights are.
    pub(crate) only_reads: bool,
    /// What is counted of it apart. Without accounting, most sessions have nothing of it.
    pub(crate) counted: Option<Box<Counted>>,
    pub(crate) phase: Phase,
    pub(crate) writing: Writing,
    pub(crate) outbox: Outbox,
    pub(crate) reader: Reader,
    pub(crate) timers: Timers,
    pub(crate) allowance: Allowance,
    pub(crate) subscriptions: Subscriptions,
    /// The request that is being done in pieces. Nothing is pulled in before it is answered.
    pub(crate) unfinished: Option<Box<Unfinished>>,
}

// Ten thousands of them are idle: what few of them need is behind a pointer.
const _: () = assert!(size_of::<Session>() <= 608);

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The code and reason with which to close it, if its client has kept it waiting for too long.
    pub(crate) fn overdue(&mut self, settings: &ShardSettings, now: Micros) -> Option<(CloseCode, String)> {
        if let Some(overdue) = self.timers.overdue(settings, now) {
            return Some(overdue);
        }
        if self.writing == Writing::Paused {
            return None;
        }
        let lags = self.reader.lags() && !self.subscriptions.pulls.is_empty();
        if lags || !self.outbox.is_empty() {
            // There is no room for what it is still to get, even if these are only answers and nothing is published
            // meanwhile.
            self.reader.waits(now);
        }
        let stall_ms = settings.stall_ms;
        let reason = if self.reader.is_stalled(stall_ms, now) && !is_planted(Fault::StalledNeverClosed) {
            format!("slow reader: nothing of what waited for it was taken for {stall_ms} ms")
        } else if self
            .subscriptions
            .replays
            .are_overdue(settings.session_limits.replay_ms, now)
        {
            "slow reader: messages that it was promised waited too long".to_owned()
        } else {
            return None;
        };
        Some((CloseCode::SLOW, reason))
    }

    /// Prepares for pulling messages in, because its socket takes bytes. Returns whether newer messages may replace
    /// those that were pulled in before.
    pub(crate) fn catch_up(&mut self) -> bool {
        // A message that a rate holds back is newer, too, and the reader does not know of it.
        let mut patterns = self.subscriptions.patterns.iter();
        let lags = self.reader.lags();
        self.reader.catch_up() || (lags && patterns.any(|(_, sub)| sub.pace.class().is_limited()))
    }

    /// Records that one of its subscriptions, to `every` message of a topic or to the newest, continues from the
    /// directory. The subscription has a turn in the next round of pulling.
    #[inline]
    pub(crate) fn fall_behind(&mut self, topic: TopicId, every: bool) {
        if !every {
            self.reader.supersede();
        }
        self.subscriptions.pulls.follow_later(topic, every);
    }

    /// Its messages that were conflated or gapped, as the ledger counts them.
    pub(crate) fn losses(&self) -> Losses {
        self.counted
            .as_ref()
            .map(|counted| counted.losses)
            .unwrap_or_default()
    }

    /// Counts messages that it was owed and will not get, by the outcome of frames that were written.
    #[inline]
    pub(crate) fn count_losses(&mut self, settled: Settled) {
        if settled.conflated + settled.gapped > 0 {
            let losses = &mut self.counted.get_or_insert_default().losses;
            losses.conflated += settled.conflated;
            losses.gapped += settled.gapped;
        }
    }

    /// Lets it be written again, if it was written too much before. Returns whether it was.
    pub(crate) fn end_pause(&mut self) -> bool {
        if self.writing != Writing::Paused {
            return false;
        }
        self.writing = Writing::Idle;
        // Meanwhile its client could take nothing.
        self.reader.took();
        true
    }

    /// Records that the messages it was offered are no longer being written.
    pub(crate) fn take_back_offer(&mut self) {
        if self.writing == Writing::Offered {
            self.writing = Writing::Idle;
        }
    }
}
