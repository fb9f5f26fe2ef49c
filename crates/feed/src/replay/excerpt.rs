//! A part of recordings, once or again and again.
//!
//! An order book consists of all its changes, so changes before the beginning are handed out at the beginning, all at
//! once; of other topics nothing before it is. Each time through, the recordings are opened anew, and virtual time
//! goes on where it was. The times in the messages are always those of the recordings.

use std::collections::HashMap;
use std::path::PathBuf;

use tickwire_wire::{Micros, Topic};

use super::{RecordingFault, Replay, ReplayError};
use crate::{FeedStats, Tick, TopicNo};

/// The beginning of the names of order books.
const BOOKS: &str = "book.";

/// The shortest time, in microseconds, after which a part begins again. All messages of a recording may have one time.
const TIME_THROUGH_US_MIN: u64 = 1_000;

/// The part of recordings that is replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it begins, by the local times of the recordings. `None` for their beginning.
    pub from: Option<Micros>,
    /// Where it ends: nothing of this moment or later is replayed. `None` for their end.
    pub until: Option<Micros>,
    /// Whether it begins again at its end.
    pub repeats: bool,
}

/// A replay of a [`Part`] of recordings.
#[derive(Debug)]
pub struct Excerpt {
    files: Vec<PathBuf>,
    part: Part,
    replay: Replay,
    /// All topics, in the order in which they came first.
    topics: Vec<Topic>,
    numbers: HashMap<Topic, TopicNo>,
    /// The number of each topic of the current time through.
    renumbered: Vec<TopicNo>,
    /// When the current time through began in the recordings, once it has.
    begun: Option<Micros>,
    /// What is added to the recordings' times.
    shift_us: u64,
    /// The time of the last tick, shifted.
    last: Micros,
    /// The counts of the times through that are over.
    before: FeedStats,
    /// The ticks that were handed out.
    ticks: u64,
    /// The faults of the first time through, once it is over. The others find the same ones.
    faults: Option<Vec<RecordingFault>>,
    failure: Option<ReplayError>,
}

impl Excerpt {
    /// Opens `files` to replay `part` of them.
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn open(files: &[PathBuf], part: Part) -> Result<Self, ReplayError> {
        Ok(Self {
            replay: Replay::open(files)?,
            files: files.to_owned(),
            part,
            topics: Vec::new(),
            numbers: HashMap::new(),
            renumbered: Vec::new(),
            begun: None,
            shift_us: 0,
            last: Micros(0),
            before: FeedStats::default(),
            ticks: 0,
            faults: None,
            failure: None,
        })
    }

    /// The next tick, or `None` at the end of the part, or when it cannot begin again.
    pub fn next_tick(&mut self) -> Option<Tick> {
        loop {
            if let Some(tick) = self.next_of_this_time() {
                self.ticks += 1;
                return Some(tick);
            }
            if !self.begin_again() {
                return None;
            }
        }
    }

    /// The earliest time at which the next event is due. `None` at the end of the part, unless it begins again.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        match self.replay.next_at().filter(|at| self.is_before_end(*at)) {
            Some(next) => Some(self.shifted(next)),
            None => self.may_begin_again().then_some(self.last),
        }
    }

    /// The topics so far, by number.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The first faults of each kind, of the first time through.
    #[must_use]
    pub fn faults(&self) -> &[RecordingFault] {
        self.faults.as_deref().unwrap_or(self.replay.faults())
    }

    /// What was read and handed out so far, each time through.
    #[must_use]
    pub fn stats(&self) -> FeedStats {
        let mut stats = self.before;
        stats.add(&self.replay.stats());
        stats.ticks = self.ticks;
        stats
    }

    /// Why the part could not begin again, if that is why it has ended.
    #[must_use]
    pub fn failure(&self) -> Option<&ReplayError> {
        self.failure.as_ref()
    }

    fn next_of_this_time(&mut self) -> Option<Tick> {
        loop {
            if !self.replay.next_at().is_some_and(|at| self.is_before_end(at)) {
                return None;
            }
            let tick = self.replay.next_tick()?;
            let topic = self.renumber(tick.topic);
            let is_early = self.part.from.is_some_and(|from| tick.at < from);
            if is_early && !self.topics[topic.index()].as_str().starts_with(BOOKS) {
                continue;
            }
            if !self.is_before_end(tick.at) {
                return None;
            }
            self.begun
                .get_or_insert(tick.at.max(self.part.from.unwrap_or_default()));
            self.last = self.shifted(tick.at).max(self.last);
            return Some(Tick {
                at: self.last,
                topic,
                ..tick
            });
        }
    }

    fn is_before_end(&self, at: Micros) -> bool {
        self.part.until.is_none_or(|until| at < until)
    }

    fn shifted(&self, at: Micros) -> Micros {
        let at = at.max(self.part.from.unwrap_or_default());
        Micros(at.0.saturating_add(self.shift_us))
    }

    /// The number that a topic of the current time through has in all of them.
    fn renumber(&mut self, topic: TopicNo) -> TopicNo {
        for name in &self.replay.topics()[self.renumbered.len()..] {
            let next = TopicNo(self.topics.len() as u32);
            let number = *self.numbers.entry(name.clone()).or_insert(next);
            if number == next {
                self.topics.push(name.clone());
            }
            self.renumbered.push(number);
        }
        self.renumbered[topic.index()]
    }

    /// Whether the part repeats and had any tick this time.
    fn may_begin_again(&self) -> bool {
        self.part.repeats && self.begun.is_some() && self.failure.is_none()
    }

    /// Begins the part again if it repeats. Returns whether it has begun.
    fn begin_again(&mut self) -> bool {
        let Some(begun) = self.begun.filter(|_| self.may_begin_again()) else {
            return false;
        };
        let replay = match Replay::open(&self.files) {
            Ok(replay) => replay,
            Err(error) => {
                self.failure = Some(error);
                return false;
            }
        };
        let over = std::mem::replace(&mut self.replay, replay);
        self.before.add(&over.stats());
        self.faults.get_or_insert_with(|| over.faults().to_vec());
        self.renumbered.clear();
        self.begun = None;
        // The part is as long as it was set, or else as its ticks.
        let end = match self.part.until {
            Some(until) => until.0.saturating_add(self.shift_us),
            None => self.last.0,
        };
        let begun_at = begun.0.saturating_add(self.shift_us);
        self.shift_us += end.saturating_sub(begun_at).max(TIME_THROUGH_US_MIN);
        true
    }
}
