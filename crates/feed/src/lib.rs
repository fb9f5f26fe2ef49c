//! Where ticks come from: a simulated market or the replay of recordings.
//!
//! A [`Feed`] is asked for one [`Tick`] after the other. Time is virtual: every tick says when it is due and the times
//! never decrease; whoever publishes the ticks waits for that moment, at whatever speed. Never a socket, a clock, a
//! thread or the environment; the replay alone touches the file system, and only the files it was given. Nothing is
//! queued beyond the ticks of one event or line, so memory is bounded by the number of symbols.

pub mod check;
pub mod replay;
pub mod sim;

mod derive;
mod topics;

use tickwire_wire::message::StaleReason;
use tickwire_wire::{Micros, Payload, Topic};

pub use check::Check;
pub use replay::{Fault, FaultCounts, FaultKind, Replay, ReplayError};
pub use sim::{Sim, SimConfig, SimError};

/// Most symbols that one feed carries, simulated or replayed.
pub const SYMBOLS_MAX: u32 = 10_000;

/// The number of a topic within its feed: dense from 0, never reused.
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
    /// When it is due, in the feed's virtual time: never before the tick that came before it.
    pub at: Micros,
    /// The topic it is for.
    pub topic: TopicNo,
    /// What is published.
    pub payload: Payload,
    /// Why the book is not to be relied on from this tick on, until one replaces it as a whole.
    pub doubt: Option<StaleReason>,
}

/// What a feed has done so far. All counts are since the feed was opened; the simulated market has only `ticks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedStats {
    /// Ticks handed out.
    pub ticks: u64,
    /// Lines read from recordings, malformed ones among them.
    pub lines: u64,
    /// Depth events that the snapshot before them had already, as it is after each snapshot; they were dropped.
    pub covered_depth: u64,
    /// What is wrong with the recordings, by kind: see [`Feed::faults`].
    pub faults: FaultCounts,
}

/// A source of ticks.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one feed in a process, and it is asked for every tick"
)]
pub enum Feed {
    /// The simulated market; never ends.
    Sim(Sim),
    /// Recordings; ends when they do.
    Replay(Replay),
}

impl Feed {
    /// The next tick, or `None` when the recordings are over.
    pub fn next_tick(&mut self) -> Option<Tick> {
        match self {
            Self::Sim(sim) => Some(sim.next_tick()),
            Self::Replay(replay) => replay.next_tick(),
        }
    }

    /// When the next tick is due, or `None` when the recordings are over. Before the first call of
    /// [`Feed::next_tick`] this is where the feed's virtual time begins.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        match self {
            Self::Sim(sim) => Some(sim.next_at()),
            Self::Replay(replay) => replay.next_at(),
        }
    }

    /// The topics so far, by number. The simulated market has all of them from the beginning; a replay adds those of a
    /// symbol before its first tick.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        match self {
            Self::Sim(sim) => sim.topics(),
            Self::Replay(replay) => replay.topics(),
        }
    }

    /// The topic with number `number`.
    ///
    /// # Panics
    /// When `number` is of another feed.
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

    /// The first [`replay::FAULTS_MAX`] faults of each kind of the recordings, in the order they were met. The simulated market has
    /// none.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
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
