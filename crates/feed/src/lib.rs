//! Where ticks come from: a simulated market or the replay of recordings.
//!
//! A [`Feed`] is asked for one [`Tick`] after the other. Time is virtual: every tick says when it is due and the times
//! never decrease; whoever publishes the ticks waits for that moment, at whatever speed. Never a socket, a clock, a
//! thread or the environment; the replay alone touches the file system, and only the files it was given. Nothing is
//! queued beyond the ticks of one event or line, so memory is bounded by the number of symbols.

pub mod replay;
pub mod sim;

mod derive;
mod topics;

use tickwire_wire::{Micros, Payload, Topic};

pub use replay::{Fault, Replay, ReplayError};
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
}

/// What a feed has done so far. All counts are since the feed was opened; the simulated market has only `ticks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedStats {
    /// Ticks handed out.
    pub ticks: u64,
    /// Lines read from recordings, malformed ones among them.
    pub lines: u64,
    /// Lines that could not be used, and ends of files that were broken: see [`Feed::faults`].
    pub malformed: u64,
    /// Depth events that an earlier snapshot already covered; they were dropped.
    pub stale_depth: u64,
    /// Depth events that do not follow on the one before: the recording lost some, so that the book is a guess.
    pub depth_holes: u64,
    /// Lines whose time was before that of an earlier line of their file; they were given the earlier line's time.
    pub clamped_times: u64,
    /// Trades that came after a candle of theirs had been closed: in the ticker, in no candle.
    pub late_trades: u64,
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

    /// The first [`replay::FAULTS_MAX`] faults of the recordings, in the order they were met. The simulated market has
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
