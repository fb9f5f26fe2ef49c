//! One file of a replay: its lines as events, in order, with times that never decrease. Of a journal each entry counts as
//! a line, and the times are those of its messages; that they go back from one topic to another is no fault there.
//!
//! It reads one event ahead, so that files can be merged. A line whose time is more than [`JUMP_US_MAX`] after the line
//! before waits for the next line. If that line goes back as far, the first line's time was wrong and is a fault;
//! otherwise the replay would stand still for that time. At most [`NAMELESS_MAX`] snapshots wait for the line that
//! tells their symbol. Unusable lines are added to the fault log and skipped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use tickwire_lane::BlockReader;
use tickwire_wire::Micros;

use super::binance::{self, Event, Line, Said};
use super::fault::{FaultKind, Spot};
use super::lines::{LINE_BYTES_MAX, LineRead, Lines};
use super::log::{LogRead, LogSource};
use super::markets::Markets;
use super::recorded::Recorded;
use crate::topics::SymbolNo;

/// Most snapshots before the first line with a symbol.
const NAMELESS_MAX: usize = 4;
/// Longest time between two lines that is accepted at once, in microseconds: a day.
const JUMP_US_MAX: u64 = 24 * 60 * 60 * 1_000_000;

/// A line with everything that publishing it needs.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was received, made non-decreasing.
    pub(super) at: Micros,
    /// The number of the line in the file.
    pub(super) line: u64,
    /// What it says.
    pub(super) content: Content,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Content {
    /// An event of a symbol.
    Market(SymbolNo, Event),
    /// A message of a broker.
    Recorded(Recorded),
}

/// A line as it was read. A snapshot of an exchange has no symbol.
#[derive(Debug)]
struct Read {
    at: Micros,
    line: u64,
    content: ReadContent,
}

/// What a line says that was read.
#[derive(Debug)]
enum ReadContent {
    Market(Option<SymbolNo>, Event),
    Recorded(Recorded),
}

/// A snapshot that waits for its symbol.
#[derive(Debug)]
struct Nameless {
    at: Micros,
    line: u64,
    event: Event,
}

/// What a file holds.
#[derive(Debug)]
enum Input {
    Lines(Lines),
    Log(Box<LogSource>),
}

/// The bytes that tell a recording in the form of a journal from others.
const MAGIC_BYTES: u64 = 8;

impl Input {
    fn open(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Log(Box::new(LogSource::of_dir(path)?)));
        }
        let mut file = File::open(path)?;
        // A pipe cannot be read again, and no pipe holds a journal.
        if !file.metadata()?.is_file() {
            return Ok(Self::Lines(Lines::of(file)?));
        }
        let mut magic = Vec::new();
        (&mut file).take(MAGIC_BYTES).read_to_end(&mut magic)?;
        file.rewind()?;
        Ok(match BlockReader::<File>::begins(&magic) {
            true => Self::Log(Box::new(LogSource::of_file(file))),
            false => Self::Lines(Lines::of(file)?),
        })
    }
}

/// One file of a replay.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<Path>,
    input: Input,
    latest: Micros,
    /// The symbol of the first line that has one.
    symbol: Option<SymbolNo>,
    /// A line whose time is far after that of the line before.
    doubtful: Option<Read>,
    /// Snapshots whose symbol is not known yet.
    nameless: VecDeque<Nameless>,
    ready: VecDeque<Entry>,
}

impl Source {
    /// Opens `file`.
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        Ok(Self {
            file: file.into(),
            input: Input::open(file)?,
            latest: Micros(0),
            symbol: None,
            doubtful: None,
            nameless: VecDeque::new(),
            ready: VecDeque::new(),
        })
    }

    /// The place of line `line` in this file.
    fn spot(&self, line: u64) -> Spot<'_> {
        Spot {
            file: &self.file,
            line,
        }
    }

    /// The file's name.
    pub(super) fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// When the next event is due, if [`Source::fill`] found one.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.ready.front().map(|entry| entry.at)
    }

    /// The next event, if [`Source::fill`] found one.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.ready.pop_front()
    }

    /// Reads until an event is ready or the file has ended.
    pub(super) fn fill(&mut self, markets: &mut Markets) {
        while self.ready.is_empty() && self.advance(markets) {}
    }

    /// Reads one line, or the entry of a journal. Returns whether there was one.
    fn advance(&mut self, markets: &mut Markets) -> bool {
        let lines = match &mut self.input {
            Input::Lines(lines) => lines,
            Input::Log(log) => {
                let read = log.read();
                let line = log.entry_number();
                return self.take_log(read, line, markets);
            }
        };
        let (number, read) = lines.read();
        let line = match read {
            LineRead::Line(line) => line.trim_ascii_end(),
            LineRead::TooLong => {
                markets.count_line();
                let reason = format_args!("longer than {LINE_BYTES_MAX} bytes");
                markets.fault(FaultKind::Malformed, self.spot(number), &reason);
                return true;
            }
            LineRead::Broken(error) => {
                let reason = format_args!("the file ends here, it cannot be read on: {error}");
                markets.fault(FaultKind::Malformed, self.spot(number), &reason);
                return true;
            }
            LineRead::End => {
                if let Some(read) = self.doubtful.take() {
                    self.accept(read, markets);
                }
                for Nameless { line, .. } in std::mem::take(&mut self.nameless) {
                    let reason = "snapshot in a file without a line that tells its symbol";
                    markets.fault(FaultKind::Malformed, self.spot(line), &reason);
                }
                return !self.ready.is_empty();
            }
        };
        markets.count_line();
        if line.is_empty() {
            return true;
        }
        let parsed = binance::parse(line).and_then(|Line { at, said }| {
            let content = match said {
                Said::Exchange { symbol, event } => {
                    let symbol = symbol.map(|name| markets.symbol(&name)).transpose()?;
                    ReadContent::Market(symbol, event)
                }
                Said::Recorded(recorded) => ReadContent::Recorded(recorded),
            };
            Ok(Read {
                at,
                line: number,
                content,
            })
        });
        match parsed {
            Ok(read) => self.weigh(read, markets),
            Err(error) => markets.fault(error.kind(), self.spot(number), &error),
        }
        true
    }

    /// Takes what a journal holds next. Returns whether there was something.
    fn take_log(&mut self, read: LogRead, line: u64, markets: &mut Markets) -> bool {
        match read {
            LogRead::Entry(messages) => {
                markets.count_line();
                for (ts, recorded) in messages {
                    self.latest = self.latest.max(ts);
                    self.ready.push_back(Entry {
                        at: self.latest,
                        line,
                        content: Content::Recorded(recorded),
                    });
                }
                true
            }
            LogRead::Fault(reason) => {
                markets.fault(FaultKind::Malformed, self.spot(line), &reason);
                true
            }
            LogRead::End => false,
        }
    }

    /// Accepts `read`, and the line before it, if their times are credible.
    fn weigh(&mut self, read: Read, markets: &mut Markets) {
        if let Some(doubtful) = self.doubtful.take() {
            let ahead_us = doubtful.at.since(read.at);
            if ahead_us > JUMP_US_MAX {
                let ahead_s = ahead_us / 1_000_000;
                let reason = format_args!("time is {ahead_s} s after the next line's");
                markets.fault(FaultKind::Malformed, self.spot(doubtful.line), &reason);
            } else {
                self.accept(doubtful, markets);
            }
        }
        if read.at.since(self.latest) > JUMP_US_MAX {
            self.doubtful = Some(read);
        } else {
            self.accept(read, markets);
        }
    }

    /// Puts a line in order and gives it its symbol.
    fn accept(&mut self, mut read: Read, markets: &mut Markets) {
        if read.at < self.latest {
            let before_ms = self.latest.since(read.at) / 1_000;
            let reason = format_args!("time is {before_ms} ms before an earlier line's");
            markets.fault(FaultKind::TimeBack, self.spot(read.line), &reason);
            read.at = self.latest;
        }
        let Read { at, line, content } = read;
        self.latest = at;
        match content {
            ReadContent::Recorded(recorded) => {
                // A snapshot that waits on would come behind what is younger.
                self.give_up(0, markets);
                let content = Content::Recorded(recorded);
                self.ready.push_back(Entry { at, line, content });
            }
            ReadContent::Market(symbol, event) => {
                self.symbol = self.symbol.or(symbol);
                self.nameless.push_back(Nameless { at, line, event });
                let Some(first) = self.symbol else {
                    return self.give_up(NAMELESS_MAX, markets);
                };
                // Those before the last one have no symbol of their own.
                let last = self.nameless.len() - 1;
                let named = |(index, Nameless { at, line, event })| {
                    let symbol = symbol.filter(|_| index == last).unwrap_or(first);
                    let content = Content::Market(symbol, event);
                    Entry { at, line, content }
                };
                self.ready.extend(self.nameless.drain(..).enumerate().map(named));
            }
        }
    }

    /// Gives up snapshots without a symbol until at most `max` are left.
    fn give_up(&mut self, max: usize, markets: &mut Markets) {
        while self.nameless.len() > max
            && let Some(Nameless { line, .. }) = self.nameless.pop_front()
        {
            let reason = "snapshot too far before the first line that tells its symbol";
            markets.fault(FaultKind::Malformed, self.spot(line), &reason);
        }
    }
}
