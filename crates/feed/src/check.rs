//! What a recording holds and what is wrong with it, without a broker: `tickwire check-recording`.
//!
//! It replays the files as a broker would. It also keeps the books, at most [`BOOK_LEVELS_MAX`] levels a side, to find
//! crossed ones. Memory is that of a replay and of its books.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tickwire_wire::limits::BOOK_LEVELS_MAX;
use tickwire_wire::market::{Book, Level};
use tickwire_wire::{Decimal, Micros, Payload, Symbol, Topic};

use crate::replay::FaultLog;
use crate::{FaultCounts, FaultKind, RecordingFault, Replay, ReplayError, Tick};

/// What a recording holds for one symbol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SymbolCounts {
    /// Trades that the replay accepts.
    pub trades: u64,
    /// Best quotes that the replay accepts.
    pub quotes: u64,
    /// Changes of the book.
    pub changes: u64,
    /// Whole books.
    pub whole_books: u64,
}

/// What a recording holds for one topic of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicCounts {
    /// Messages that the replay accepts.
    pub messages: u64,
    /// Whole values among them.
    pub values: u64,
}

/// The two sides of a symbol's book.
#[derive(Debug, Default)]
struct Sides {
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
    crossed: bool,
}

impl Sides {
    /// Applies a message. Returns whether the book stays within its limit of levels.
    fn apply(&mut self, book: &Book) -> bool {
        if book.replace {
            self.bids.clear();
            self.asks.clear();
        }
        let mut fits = true;
        for (side, levels) in [(&mut self.bids, &book.bids), (&mut self.asks, &book.asks)] {
            for Level { price, size } in levels {
                if size.is_zero() {
                    side.remove(price);
                } else if side.len() < BOOK_LEVELS_MAX || side.contains_key(price) {
                    side.insert(*price, *size);
                } else {
                    fits = false;
                }
            }
        }
        fits
    }

    /// Returns the best bid and ask if the book has just become crossed.
    fn crosses(&mut self) -> Option<(Decimal, Decimal)> {
        let best = self.bids.keys().next_back().zip(self.asks.keys().next());
        let best = best
            .map(|(bid, ask)| (*bid, *ask))
            .filter(|(bid, ask)| bid >= ask);
        let was = std::mem::replace(&mut self.crossed, best.is_some());
        best.filter(|_| !was)
    }
}

/// The check of a recording, from its first tick to its last.
#[derive(Debug)]
pub struct Check {
    replay: Replay,
    symbols: BTreeMap<Symbol, SymbolCounts>,
    topics: BTreeMap<Topic, TopicCounts>,
    books: BTreeMap<Symbol, Sides>,
    /// The faults that the replay itself does not find.
    found: FaultLog,
    first: Option<Micros>,
    last: Option<Micros>,
}

impl Check {
    /// Opens `files`. They are replayed together.
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn open(files: &[PathBuf]) -> Result<Self, ReplayError> {
        Ok(Self {
            replay: Replay::open(files)?,
            symbols: BTreeMap::new(),
            topics: BTreeMap::new(),
            books: BTreeMap::new(),
            found: FaultLog::default(),
            first: None,
            last: None,
        })
    }

    /// Takes the next tick. Returns whether there was one.
    pub fn step(&mut self) -> bool {
        let Some(tick) = self.replay.next_tick() else {
            return false;
        };
        self.first = self.first.or(Some(tick.at));
        self.last = Some(tick.at);
        self.take(&tick);
        true
    }

    fn take(&mut self, tick: &Tick) {
        match &tick.payload {
            Payload::Trade(trade) => self.held(&trade.symbol).trades += 1,
            Payload::Bbo(bbo) => self.held(&bbo.symbol).quotes += 1,
            Payload::Book(book) => {
                let held = self.held(&book.symbol);
                if book.replace {
                    held.whole_books += 1;
                } else {
                    held.changes += 1;
                }
                self.book(book);
            }
            Payload::Json(_) | Payload::Packed(_) => {
                let topic = self.replay.topics()[tick.topic.index()].clone();
                let held = self.topics.entry(topic).or_default();
                held.messages += 1;
                held.values += u64::from(tick.is_whole);
            }
            Payload::Ticker(_) | Payload::Candle(_) => {}
        }
    }

    fn held(&mut self, symbol: &Symbol) -> &mut SymbolCounts {
        self.symbols.entry(symbol.clone()).or_default()
    }

    fn book(&mut self, book: &Book) {
        let sides = self.books.entry(book.symbol.clone()).or_default();
        let fits = sides.apply(book);
        let crosses = sides.crosses();
        let Some(spot) = self.replay.position() else {
            return;
        };
        if !fits {
            let reason = format_args!(
                "the book of {} has more than {BOOK_LEVELS_MAX} levels a side",
                book.symbol
            );
            self.found.add(FaultKind::RefusedChange, spot, &reason);
        }
        if let Some((bid, ask)) = crosses {
            let reason = format_args!("the book of {} is crossed: bid {bid}, ask {ask}", book.symbol);
            self.found.add(FaultKind::CrossedBook, spot, &reason);
        }
    }

    /// The number of lines read so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.replay.stats().lines
    }

    /// The times of the first and the last event.
    #[must_use]
    pub fn span(&self) -> Option<(Micros, Micros)> {
        self.first.zip(self.last)
    }

    /// Each symbol so far, with what the recording holds for it.
    pub fn symbols(&self) -> impl Iterator<Item = (&Symbol, &SymbolCounts)> {
        self.symbols.iter()
    }

    /// Each topic of a broker so far, with what the recording holds for it.
    pub fn topics(&self) -> impl Iterator<Item = (&Topic, &TopicCounts)> {
        self.topics.iter()
    }

    /// The number of faults so far, by kind.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        let mut counts = self.replay.stats().faults;
        for kind in [FaultKind::RefusedChange, FaultKind::CrossedBook] {
            counts.add(kind, self.found.counts().of(kind));
        }
        counts
    }

    /// The kept faults, the first of each kind, ordered by kind.
    #[must_use]
    pub fn faults(&self) -> Vec<&RecordingFault> {
        let mut faults: Vec<&RecordingFault> = self.replay.faults().iter().chain(self.found.kept()).collect();
        faults.sort_by_key(|fault| fault.kind);
        faults
    }
}
