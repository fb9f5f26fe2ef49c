//! Replay of Binance recordings: files of `local_timestamp_ns {"stream":…,"data":…}` lines, plain or gzip.
//!
//! Several files merge by their local timestamps, files in the order they were given where those are equal. Every line
//! yields its ticks in order; a trade also yields a ticker and candles. A line that cannot be used is counted and named
//! ([`Replay::faults`]) and never ends the replay; only a file that cannot be opened does, before it begins. Blank lines
//! are skipped. Files are read as the replay goes on: memory is one line per file and a fixed amount per symbol.

mod binance;
mod fault;
mod lines;
mod markets;
mod source;
mod symbol;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tickwire_wire::{Micros, Topic};

pub use fault::{FAULTS_MAX, Fault, REASON_BYTES_MAX};
pub use lines::LINE_BYTES_MAX;
use markets::Markets;
use source::Source;

use crate::{FeedStats, Tick};

/// Why a replay cannot begin.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// No file was given.
    #[error("a replay needs at least one recording; none was given")]
    NoFiles,
    /// A file that cannot be opened, or whose first bytes cannot be read.
    #[error("recording {} cannot be opened: {cause}", file.display())]
    Unreadable {
        /// The file as it was given.
        file: PathBuf,
        /// What the operating system or the decompressor said.
        #[source]
        cause: io::Error,
    },
}

/// Recordings as a feed.
#[derive(Debug)]
pub struct Replay {
    sources: Vec<Source>,
    /// When each source that is not over goes on, earliest first.
    order: BinaryHeap<Reverse<(Micros, usize)>>,
    markets: Markets,
}

impl Replay {
    /// Opens `files` and reads up to the first event of each.
    ///
    /// # Errors
    /// When there are none, or one of them cannot be opened. Bad lines are no error: see [`Replay::faults`].
    pub fn open(files: &[PathBuf]) -> Result<Self, ReplayError> {
        if files.is_empty() {
            return Err(ReplayError::NoFiles);
        }
        let open = |file: &PathBuf| {
            Source::open(file).map_err(|cause| ReplayError::Unreadable {
                file: file.clone(),
                cause,
            })
        };
        let sources = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut replay = Self {
            order: BinaryHeap::with_capacity(sources.len()),
            sources,
            markets: Markets::default(),
        };
        for index in 0..replay.sources.len() {
            replay.enqueue(index);
        }
        Ok(replay)
    }

    /// The next tick, or `None` when the recordings are over.
    pub fn next_tick(&mut self) -> Option<Tick> {
        loop {
            if let Some(tick) = self.markets.pop() {
                return Some(tick);
            }
            if !self.advance() {
                return None;
            }
        }
    }

    /// When the next event is due: at the beginning, the first timestamp of the recordings. `None` when they are over.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        let ready = self.markets.next_at();
        ready.or_else(|| self.order.peek().map(|Reverse((at, _))| *at))
    }

    /// The topics of the symbols so far, by number. Those of a symbol are added before its first tick.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        self.markets.topics()
    }

    /// The first [`FAULTS_MAX`] faults, in the order they were met.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        self.markets.faults().first()
    }

    /// What was read and published so far.
    #[must_use]
    pub fn stats(&self) -> FeedStats {
        self.markets.stats()
    }

    /// Takes one event; after the last one, the end. Whether there was an event.
    fn advance(&mut self) -> bool {
        let Some(Reverse((at, index))) = self.order.pop() else {
            return false;
        };
        let source = &mut self.sources[index];
        if let Some(entry) = source.pop() {
            self.markets.apply(source.file(), entry);
        }
        self.enqueue(index);
        if self.order.is_empty() {
            self.markets.finish(at);
        }
        true
    }

    /// Gets the next event of source `index` ready and puts it in order.
    fn enqueue(&mut self, index: usize) {
        let source = &mut self.sources[index];
        source.fill(&mut self.markets);
        if let Some(at) = source.next_at() {
            self.order.push(Reverse((at, index)));
        }
    }
}
