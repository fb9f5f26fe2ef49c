//! The replay of recordings (RECORDINGS.md) of Binance and of brokers: files of `local_timestamp {"stream":…,"data":…}`
//! and `local_timestamp {"op":"update",…}` lines, plain, gzip or zstd.
//!
//! Several files are merged by local timestamp. Where timestamps are equal, the files come in the order in which they
//! were given. Every line yields its ticks in order; a trade also yields a ticker and candles. A line that cannot be
//! used is counted, kept as a fault ([`Replay::faults`]), and never ends the replay. Only a file that cannot be opened
//! or has no usable line does, before the replay begins. Blank lines are skipped. Files are read during the replay:
//! memory is one line per file and a fixed amount per symbol.

mod binance;
mod book_line;
mod excerpt;
mod fault;
mod lines;
mod log;
mod markets;
mod moment;
mod recorded;
mod source;
mod symbol;
mod zstd;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tickwire_wire::{Micros, Topic};

pub use excerpt::{Books, Excerpt, Part};
pub use fault::{FAULTS_MAX, FaultCounts, FaultKind, REASON_BYTES_MAX, RecordingFault};
pub(crate) use fault::{FaultLog, Spot};
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
    /// A file cannot be opened, or its first bytes cannot be read.
    #[error("recording {} cannot be opened: {cause}", file.display())]
    Unreadable {
        /// The file as it was given.
        file: PathBuf,
        /// What the operating system or the decompressor said.
        #[source]
        cause: io::Error,
    },
    /// No line of a file can be used.
    #[error("recording {} holds nothing that can be replayed: {why}", file.display())]
    NothingUsable {
        /// The file as it was given.
        file: PathBuf,
        /// The reason of its first fault, or that it has no lines.
        why: String,
    },
}

/// A replay of recordings.
#[derive(Debug)]
pub struct Replay {
    sources: Vec<Source>,
    /// The time of each source's next event, earliest first, without the sources that have ended.
    order: BinaryHeap<Reverse<(Micros, usize)>>,
    markets: Markets,
    /// The file and line of the last event.
    position: Option<(Arc<Path>, u64)>,
}

impl Replay {
    /// Opens `files` and reads each up to its first event.
    ///
    /// # Errors
    /// When no file is given, or a file cannot be opened or has nothing to replay. Bad lines are not an error: see
    /// [`Replay::faults`].
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
            position: None,
        };
        for (index, file) in files.iter().enumerate() {
            if !replay.enqueue(index) {
                return Err(replay.nothing_usable(file));
            }
        }
        Ok(replay)
    }

    fn nothing_usable(&self, file: &Path) -> ReplayError {
        let mut its = self.faults().iter().filter(|fault| *fault.file == *file);
        let first = its
            .clone()
            .find(|fault| fault.kind.is_wrong())
            .or_else(|| its.next());
        ReplayError::NothingUsable {
            file: file.to_owned(),
            why: first.map_or_else(
                || "it has no line".to_owned(),
                |fault| format!("line {}: {}", fault.line, fault.reason),
            ),
        }
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

    /// When the next event is due, or `None` when the recordings are over. At first this is the first timestamp of the
    /// recordings.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        let ready = self.markets.next_at();
        ready.or_else(|| self.order.peek().map(|Reverse((at, _))| *at))
    }

    /// The topics of the symbols so far, by number. The topics of a symbol are added before its first tick.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        self.markets.topics()
    }

    /// The first [`FAULTS_MAX`] faults of each kind, in the order in which they were found.
    #[must_use]
    pub fn faults(&self) -> &[RecordingFault] {
        self.markets.faults().kept()
    }

    /// The place of the line that the last tick was made of.
    pub(crate) fn position(&self) -> Option<Spot<'_>> {
        let (file, line) = self.position.as_ref()?;
        Some(Spot { file, line: *line })
    }

    /// The counts of what was read and published so far.
    #[must_use]
    pub fn stats(&self) -> FeedStats {
        self.markets.stats()
    }

    /// Takes one event, or finishes after the last one. Returns whether there was an event.
    fn advance(&mut self) -> bool {
        let Some(Reverse((at, index))) = self.order.pop() else {
            return false;
        };
        let source = &mut self.sources[index];
        if let Some(entry) = source.pop() {
            let (file, line) = (source.file().clone(), entry.line);
            self.markets.apply(Spot { file: &file, line }, entry);
            self.position = Some((file, line));
        }
        self.enqueue(index);
        if self.order.is_empty() {
            self.markets.finish(at);
        }
        true
    }

    /// Reads the next event of source `index` and puts it in order. Returns whether there is one.
    fn enqueue(&mut self, index: usize) -> bool {
        let source = &mut self.sources[index];
        source.fill(&mut self.markets);
        let next = source.next_at();
        self.order.extend(next.map(|at| Reverse((at, index))));
        next.is_some()
    }
}
