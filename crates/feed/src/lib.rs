//! The sources of ticks: a simulated market, the replay of recordings, and what is derived from published trades and
//! books. Also writes recordings.
//!
//! A [`Feed`] hands out one [`Tick`] after the other. Time is virtual: each tick says when it is due, and these times
//! never decrease. The caller waits for that moment, at any speed, and publishes the tick. This crate never uses a
//! socket, a clock, a thread or the environment. Only the replay reads files, and only those that it was given. No
//! ticks are queued beyond those of one event or line, so the number of symbols bounds the memory.

pub mod check;
pub mod record;
pub mod record_log;
pub mod replay;
pub mod sim;

mod derive;
mod topics;

use tickwire_wire::message::StaleReason;
use tickwire_wire::{Micros, Payload, Topic};

pub use check::Check;
pub use derive::published::{DeriveRule, Deriver, NotDerived, SourceNo, Tally};
pub use derive::{Interval, KeptMarket, NotKept, TradeRefused};
pub use record::{Recorder, RecordingForm};
pub use record_log::{LogRecorder, whole_blocks};
pub use replay::{Books, Excerpt, FaultCounts, FaultKind, Part, RecordingFault, Replay, ReplayError};
pub use sim::{Sim, SimConfig, SimError};

/// Most symbols of one feed, simulated or replayed.
pub const SYMBOLS_MAX: u32 = 10_000;
/// Most topics of recorded brokers that one replay carries.
pub const RECORDED_TOPICS_MAX: usize = 1_000_000;

/// The number of a topic within its feed: dense from 0, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicNo(pub u32);

impl TopicNo {
    /// The number as an index into [`Feed::topics`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One message that a feed publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// When the tick is due, in the feed's virtual time. It is never before the previous tick.
    pub at: Micros,
    /// The topic to publish to.
    pub topic: TopicNo,
    /// The data to publish.
    pub payload: Payload,
    /// Why the book cannot be relied on from this tick on, until a tick replaces the whole book.
    pub doubt: Option<StaleReason>,
    /// Whether a payload that is JSON is the topic's whole value. If the topic is a book, it replaces the book.
    pub is_whole: bool,
    /// The time that the message had in the broker that it was recorded of.
    pub ts: Option<Micros>,
}

/// What a feed has done since it was opened. The simulated market counts only `ticks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedStats {
    /// Ticks handed out.
    pub ticks: u64,
    /// Lines read from recordings, including malformed ones.
    pub lines: u64,
    /// Depth events that were dropped because the snapshot before them already contains them. This is normal after each
    /// snapshot.
    pub covered_depth: u64,
    /// The faults of the recordings, by kind: see [`Feed::faults`].
    pub faults: FaultCounts,
}

impl FeedStats {
    /// Adds the counts of another replay.
    pub(crate) fn add(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.lines += other.lines;
        self.covered_depth += other.covered_depth;
        self.faults.merge(&other.faults);
    }
}

/// A source of ticks.
#[derive(Debug)]
pub enum Feed {
    /// The simulated market, which never ends.
    Sim(Sim),
    /// A part of recordings. The feed ends when it does, unless it repeats.
    Replay(Excerpt),
}

impl Feed {
    /// The next tick, or `None` when the recordings are over.
    pub fn next_tick(&mut self) -> Option<Tick> {
        match self {
            Self::Sim(sim) => Some(sim.next_tick()),
            Self::Replay(replay) => replay.next_tick(),
        }
    }

    /// Skips some of what a replay does not publish. Returns whether there may be more of it: then [`Self::next_tick`] would take
    /// long.
    pub fn skip_some(&mut self) -> bool {
        match self {
            Self::Sim(_) => false,
            Self::Replay(replay) => replay.skip_some(),
        }
    }

    /// What tells a feed from others, if it has the same ticks in the same order each time that it is opened. The simulated
    /// market begins another day each time.
    #[must_use]
    pub fn identity(&self) -> Option<u32> {
        match self {
            Self::Sim(_) => None,
            Self::Replay(replay) => replay.identity(),
        }
    }

    /// Passes over the first `count` ticks of a replay. Call it before the first tick; [`Self::skip_some`] then does it.
    pub fn pass_over(&mut self, count: u64) {
        match self {
            Self::Sim(_) => {}
            Self::Replay(replay) => replay.pass_over(count),
        }
    }

    /// When the next tick is due, or `None` when the recordings are over. Before the first call of [`Feed::next_tick`]
    /// it is the start of the feed's virtual time.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        match self {
            Self::Sim(sim) => Some(sim.next_at()),
            Self::Replay(replay) => replay.next_at(),
        }
    }

    /// The topics so far, by number. The simulated market has all of them from the start. A replay adds those of a
    /// symbol before the symbol's first tick.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        match self {
            Self::Sim(sim) => sim.topics(),
            Self::Replay(replay) => replay.topics(),
        }
    }

    /// The topic that has this number.
    ///
    /// # Panics
    /// When the number is not one of this feed.
    #[must_use]
    pub fn topic(&self, number: TopicNo) -> &Topic {
        &self.topics()[number.index()]
    }

    /// What the feed has done so far.
    #[must_use]
    pub fn stats(&self) -> FeedStats {
        match self {
            Self::Sim(sim) => sim.stats(),
            Self::Replay(replay) => replay.stats(),
        }
    }

    /// Why a replay that repeats could not begin again, if that is why it has ended.
    #[must_use]
    pub fn failure(&self) -> Option<&ReplayError> {
        match self {
            Self::Sim(_) => None,
            Self::Replay(replay) => replay.failure(),
        }
    }

    /// The first [`replay::FAULTS_MAX`] faults of each kind in the recordings, in the order in which they were found.
    /// The simulated market has none.
    #[must_use]
    pub fn faults(&self) -> &[RecordingFault] {
        match self {
            Self::Sim(_) => &[],
            Self::Replay(replay) => replay.faults(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_can_move_to_a_thread() {
        fn sendable<T: Send>() {}
        sendable::<Feed>();
        sendable::<Tick>();
    }
}
