//! One file of a replay: its lines as events, in order, with times that never decrease.
//!
//! Reads one event ahead, so that files can be merged; at most [`NAMELESS_MAX`] snapshots wait for the line that tells
//! their symbol. What cannot be used is put into the fault log and skipped.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tickwire_wire::Micros;

use super::binance::{self, Event, Line};
use super::lines::{LINE_BYTES_MAX, LineRead, Lines};
use super::markets::Markets;
use crate::topics::SymbolNo;

/// Most snapshots that come before the first line with a symbol.
const NAMELESS_MAX: usize = 4;

/// An event with everything that is needed to publish it.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was received, made non-decreasing.
    pub(super) at: Micros,
    /// Its line in the file.
    pub(super) line: u64,
    /// Whose event it is.
    pub(super) symbol: SymbolNo,
    /// What happened.
    pub(super) event: Event,
}

/// A snapshot whose symbol is not known yet.
#[derive(Debug)]
struct Nameless {
    at: Micros,
    line: u64,
    event: Event,
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<Path>,
    lines: Lines,
    latest: Micros,
    symbol: Option<SymbolNo>,
    nameless: VecDeque<Nameless>,
    ready: VecDeque<Entry>,
}

impl Source {
    /// Opens `file`.
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        Ok(Self {
            file: file.into(),
            lines: Lines::open(file)?,
            latest: Micros(0),
            symbol: None,
            nameless: VecDeque::new(),
            ready: VecDeque::new(),
        })
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

    /// Reads until an event is ready or the file is over.
    pub(super) fn fill(&mut self, markets: &mut Markets) {
        while self.ready.is_empty() && self.read(markets) {}
    }

    /// Reads one line. Whether there was one.
    fn read(&mut self, markets: &mut Markets) -> bool {
        // The text of the line stays borrowed from `lines` until its symbol is known.
        let Self {
            file,
            lines,
            latest,
            symbol,
            nameless,
            ready,
        } = self;
        let (number, read) = lines.read();
        let line = match read {
            LineRead::Line(line) => line.trim_ascii_end(),
            LineRead::TooLong => {
                markets.count_line();
                markets.fault(file, number, &format_args!("longer than {LINE_BYTES_MAX} bytes"));
                return true;
            }
            LineRead::Broken(error) => {
                markets.fault(
                    file,
                    number,
                    &format_args!("the file ends here, it cannot be read on: {error}"),
                );
                return true;
            }
            LineRead::End => {
                for Nameless { line, .. } in nameless.drain(..) {
                    markets.fault(
                        file,
                        line,
                        &"snapshot in a file without a line that tells its symbol",
                    );
                }
                return false;
            }
        };
        markets.count_line();
        if line.is_empty() {
            return true;
        }
        let Line {
            at,
            symbol: name,
            event,
        } = match binance::parse(line) {
            Ok(parsed) => parsed,
            Err(error) => {
                markets.fault(file, number, &error);
                return true;
            }
        };
        let name = match name.map(|name| markets.symbol(name)).transpose() {
            Ok(name) => name,
            Err(error) => {
                markets.fault(file, number, &error);
                return true;
            }
        };
        if at < *latest {
            markets.count_clamped();
        }
        *latest = at.max(*latest);
        let at = *latest;
        *symbol = symbol.or(name);
        let Some(first) = *symbol else {
            nameless.push_back(Nameless {
                at,
                line: number,
                event,
            });
            if nameless.len() > NAMELESS_MAX
                && let Some(Nameless { line, .. }) = nameless.pop_front()
            {
                markets.fault(
                    file,
                    line,
                    &"snapshot too far before the first line that tells its symbol",
                );
            }
            return true;
        };
        let named = |Nameless { at, line, event }| Entry {
            at,
            line,
            symbol: first,
            event,
        };
        ready.extend(nameless.drain(..).map(named));
        ready.push_back(Entry {
            at,
            line: number,
            symbol: name.unwrap_or(first),
            event,
        });
        true
    }
}
