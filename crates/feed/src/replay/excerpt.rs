//! A part of recordings, once or again and again.
//!
//! An order book consists of all its changes, so changes before the beginning are handed out at the beginning, all at
//! once; of other topics nothing before it is. Each time through, the recordings are opened anew, and virtual time
//! goes on where it was. A book does not go on: its first message of each time through replaces it. The times in the
//! messages are always those of the recordings.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tickwire_lane::Chain;
use tickwire_wire::{Micros, Payload, Topic};

use super::{RecordingFault, Replay, ReplayError, log};
use crate::{FeedStats, Tick, TopicNo};

/// The most ticks before the beginning that are taken at a time.
const SKIPPED_MAX: usize = 4_096;

/// The bytes of each file that tell recordings apart.
const IDENTITY_BYTES: u64 = 4_096;

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

/// Tells the topics that are order books.
pub struct Books(Box<dyn Fn(&Topic) -> bool + Send>);

impl Books {
    /// The topics for which `is_book` is true.
    pub fn new(is_book: impl Fn(&Topic) -> bool + Send + 'static) -> Self {
        Self(Box::new(is_book))
    }
}

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Books")
    }
}

/// A topic of the current time through.
#[derive(Debug, Clone, Copy)]
struct TopicOfThisTime {
    /// The number that it has in all of them.
    number: TopicNo,
    is_book: bool,
    /// Whether it is a book that had a message before this time through and none in it.
    begins_anew: bool,
}

/// A replay of a [`Part`] of recordings.
#[derive(Debug)]
pub struct Excerpt {
    books: Books,
    files: Vec<PathBuf>,
    part: Part,
    replay: Replay,
    /// All topics, in the order in which they came first.
    topics: Vec<Topic>,
    numbers: HashMap<Topic, TopicNo>,
    /// The topics of the current time through, by their numbers in it.
    current: Vec<TopicOfThisTime>,
    /// The next tick, if it was found while others were skipped.
    found: Option<Tick>,
    is_first: bool,
    /// Whether the current time through had a tick that was not before the beginning.
    had_any: bool,
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
    /// Tells the recordings and the part from others, if that can be told without reading a pipe.
    identity: Option<u32>,
    /// How many ticks are still passed over.
    passing: u64,
    /// The ticks of the current time through.
    ticks_of_time: u64,
}

impl Excerpt {
    /// Opens `files` to replay `part` of them. `books` tells which topics are order books.
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn open(files: &[PathBuf], part: Part, books: Books) -> Result<Self, ReplayError> {
        let identity =
            identity(files, part).map_err(|(file, cause)| ReplayError::Unreadable { file, cause })?;
        Ok(Self {
            books,
            replay: Replay::open(files)?,
            files: files.to_owned(),
            part,
            topics: Vec::new(),
            numbers: HashMap::new(),
            current: Vec::new(),
            found: None,
            is_first: true,
            had_any: false,
            begun: None,
            shift_us: 0,
            last: Micros(0),
            before: FeedStats::default(),
            ticks: 0,
            faults: None,
            failure: None,
            identity,
            passing: 0,
            ticks_of_time: 0,
        })
    }

    /// What tells this part of these recordings from others: the same part has the same ticks in the same order. `None` if
    /// a file is none that can be read twice.
    #[must_use]
    pub fn identity(&self) -> Option<u32> {
        self.identity
    }

    /// Passes over the first `count` ticks. They do not count as handed out. Call it before the first tick.
    pub fn pass_over(&mut self, count: u64) {
        self.passing = count;
    }

    /// Skips some of what is before the beginning. Returns whether there may be more of it: then [`Self::next_tick`] would take
    /// long.
    pub fn skip_some(&mut self) -> bool {
        if self.passing > 0 {
            return self.pass_over_some();
        }
        if self.found.is_none() && !self.had_any && self.part.from.is_some() {
            self.found = match self.next_of_this_time(SKIPPED_MAX) {
                Next::Tick(tick) => Some(tick),
                Next::Skipped => return true,
                Next::End => None,
            };
        }
        false
    }

    /// The next tick, or `None` at the end of the part, or when it cannot begin again.
    pub fn next_tick(&mut self) -> Option<Tick> {
        while self.passing > 0 {
            self.pass_over_some();
        }
        let tick = self.advance()?;
        self.ticks += 1;
        Some(tick)
    }

    /// Passes over some ticks. Returns whether there are more to pass over.
    fn pass_over_some(&mut self) -> bool {
        for _ in 0..SKIPPED_MAX {
            if self.passing == 0 || self.advance().is_none() {
                self.passing = 0;
                return false;
            }
            self.passing -= 1;
        }
        self.passing > 0
    }

    fn advance(&mut self) -> Option<Tick> {
        loop {
            let tick = match self.found.take() {
                Some(tick) => Next::Tick(tick),
                None => self.next_of_this_time(usize::MAX),
            };
            if let Next::Tick(tick) = tick {
                self.ticks_of_time += 1;
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

    /// The next tick of the current time through, unless `most` are skipped before it.
    fn next_of_this_time(&mut self, most: usize) -> Next {
        for _ in 0..most {
            if !self.replay.next_at().is_some_and(|at| self.is_before_end(at)) {
                return Next::End;
            }
            let Some(mut tick) = self.replay.next_tick() else {
                return Next::End;
            };
            let at = tick.topic.index();
            self.learn_topics();
            let topic = self.current[at];
            let is_early = self.part.from.is_some_and(|from| tick.at < from);
            if is_early && !topic.is_book {
                continue;
            }
            if !self.is_before_end(tick.at) {
                return Next::End;
            }
            if std::mem::take(&mut self.current[at].begins_anew) {
                replace_book(&mut tick);
            }
            self.had_any |= !is_early;
            self.begun
                .get_or_insert(tick.at.max(self.part.from.unwrap_or_default()));
            self.last = self.shifted(tick.at).max(self.last);
            let ts = tick.ts.map(|ts| Micros(ts.0.saturating_add(self.shift_us)));
            return Next::Tick(Tick {
                at: self.last,
                topic: topic.number,
                ts,
                ..tick
            });
        }
        Next::Skipped
    }

    fn is_before_end(&self, at: Micros) -> bool {
        self.part.until.is_none_or(|until| at < until)
    }

    fn shifted(&self, at: Micros) -> Micros {
        let at = at.max(self.part.from.unwrap_or_default());
        Micros(at.0.saturating_add(self.shift_us))
    }

    /// Gives the new topics of the current time through the numbers that they have in all of them.
    fn learn_topics(&mut self) {
        for name in &self.replay.topics()[self.current.len()..] {
            let next = TopicNo(self.topics.len() as u32);
            let number = *self.numbers.entry(name.clone()).or_insert(next);
            if number == next {
                self.topics.push(name.clone());
            }
            let is_book = (self.books.0)(name);
            self.current.push(TopicOfThisTime {
                number,
                is_book,
                begins_anew: is_book && !self.is_first,
            });
        }
    }

    /// Whether the part repeats and had any tick this time.
    fn may_begin_again(&self) -> bool {
        self.part.repeats && self.had_any && self.failure.is_none()
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
        self.current.clear();
        (self.begun, self.had_any, self.is_first) = (None, false, false);
        // The part is as long as it was set, or else as its ticks.
        let end = match self.part.until {
            Some(until) => until.0.saturating_add(self.shift_us),
            None => self.last.0,
        };
        let begun_at = begun.0.saturating_add(self.shift_us);
        let length = end.saturating_sub(begun_at).max(TIME_THROUGH_US_MIN);
        // Each time through has the same ticks, so whole ones need not be read to be passed over. The tick that is asked for just
        // now is still among those.
        let ticks = std::mem::take(&mut self.ticks_of_time);
        let times = self.passing.saturating_sub(1) / ticks.max(1);
        self.passing -= times * ticks;
        self.shift_us = self.shift_us.saturating_add(length.saturating_mul(times + 1));
        true
    }
}

/// See [`Excerpt::identity`].
fn identity(files: &[PathBuf], part: Part) -> Result<Option<u32>, (PathBuf, io::Error)> {
    let mut told = format!("{:?} {:?}", part.from, part.until).into_bytes();
    for file in files {
        let first = first_bytes(file).map_err(|cause| (file.clone(), cause))?;
        let Some(first) = first else { return Ok(None) };
        told.extend_from_slice(&Chain::of(&first).0.to_le_bytes());
    }
    let hash = Chain::of(&told).0;
    Ok(Some((hash ^ (hash >> 32)) as u32))
}

/// The first bytes of a file, or of a journal's oldest segment.
fn first_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = match path.is_dir() {
        true => log::first_segment(path)?,
        false => path.to_owned(),
    };
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut first = Vec::new();
    file.take(IDENTITY_BYTES).read_to_end(&mut first)?;
    Ok(Some(first))
}

/// A step of a replay.
enum Next {
    Tick(Tick),
    /// As many as may be skipped at a time were skipped.
    Skipped,
    End,
}

/// Makes the message of a book the whole book.
fn replace_book(tick: &mut Tick) {
    match &mut tick.payload {
        Payload::Book(book) => book.replace = true,
        _ => tick.is_whole = true,
    }
}
