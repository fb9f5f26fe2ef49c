//! The state of each symbol of a replay, and how an event becomes ticks.
//!
//! Candles close by the exchange's clock. A trade closes them at once, since the trades of a symbol come in order of
//! time. A depth event closes them [`CLOSE_GRACE_US`] late, since depth events overtake trades (by up to 0.2 s in real
//! recordings). A best quote closes nothing.
//!
//! Trades, best quotes and the events of a book ([`BookLine`]) have numbers, and each counts once. What comes late or
//! again is dropped. What is missing is reported: as a fault and, for a book, as the doubt that its ticks carry. If a
//! recording has a symbol's trades or book from two kinds of streams, the kind that comes first counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use tickwire_wire::market::{Bbo, Book, Candle, Level, Trade};
use tickwire_wire::{Micros, Payload, Symbol, Topic};

use super::binance::{Event, Quoted, Traded};
use super::book_line::{BookLine, Change, Depth, Whole};
use super::fault::{FaultKind, FaultLog, Spot};
use super::recorded::RecordedTopics;
use super::source::{Content, Entry};
use super::symbol::{SymbolError, symbol_of};
use crate::derive::{Derive, Interval, Intervals, Timeliness, TradeRefused};
use crate::topics::{Channel, SymbolNo, Topics};
use crate::{FeedStats, SYMBOLS_MAX, Tick, TopicNo};

/// How long after a candle's end a depth event closes it, in microseconds.
const CLOSE_GRACE_US: u64 = 1_000_000;
/// The kind of stream that a symbol's book is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BookSource {
    /// Changes, and snapshots that were requested.
    Changes,
    /// The best levels, each time as a whole.
    Top,
}

/// The state of one symbol.
#[derive(Debug)]
struct Market {
    /// The number of its first topic.
    first: TopicNo,
    derive: Derive,
    book: BookLine,
    book_source: Option<BookSource>,
    /// Whether its trades are aggregated; `None` before the first.
    aggregated: Option<bool>,
    /// The number of the newest trade.
    trade_id: Option<u64>,
    /// The update number of the newest best quote.
    quote_id: Option<u64>,
}

/// All symbols of a replay, the ticks that are ready, and the faults.
#[derive(Debug, Default)]
pub(super) struct Markets {
    topics: Topics,
    intervals: Intervals,
    by_name: BTreeMap<Box<str>, SymbolNo>,
    symbols: BTreeSet<Symbol>,
    markets: Vec<Market>,
    recorded: RecordedTopics,
    out: VecDeque<Tick>,
    stats: FeedStats,
    faults: FaultLog,
    /// The number of levels that all books keep for snapshots.
    recent_levels: usize,
}

impl Markets {
    /// The number of the symbol that the exchange calls `name`. A new symbol gets the next number.
    pub(super) fn symbol(&mut self, name: &str) -> Result<SymbolNo, SymbolError> {
        if let Some(symbol) = self.by_name.get(name) {
            return Ok(*symbol);
        }
        let symbol = symbol_of(name)?;
        let number = SymbolNo(self.by_name.len() as u32);
        if number.0 >= SYMBOLS_MAX {
            return Err(SymbolError::TooMany(symbol));
        }
        let named = Symbol::from(symbol.as_str());
        if self.symbols.contains(&named) {
            let name = name.to_owned();
            return Err(SymbolError::Taken { name, symbol });
        }
        let first = self.topics.add(&symbol)?;
        self.symbols.insert(named.clone());
        self.markets.push(Market {
            first,
            derive: Derive::new(named, &self.intervals),
            book: BookLine::default(),
            book_source: None,
            aggregated: None,
            trade_id: None,
            quote_id: None,
        });
        self.by_name.insert(name.into(), number);
        Ok(number)
    }

    /// Publishes what `entry`, which is at `spot`, says.
    pub(super) fn apply(&mut self, spot: Spot<'_>, entry: Entry) {
        let Entry { at, content, .. } = entry;
        let (symbol, event) = match content {
            Content::Market(symbol, event) => (symbol, event),
            Content::Recorded(recorded) => {
                let Self { topics, faults, .. } = self;
                let tick = self.recorded.take(at, spot, recorded, topics, faults);
                return self.out.extend(tick);
            }
        };
        match event {
            Event::Trade(traded) => self.trade(at, spot, symbol, &traded),
            Event::Bbo(quoted) => self.quote(at, spot, symbol, &quoted),
            Event::Depth(depth) => self.depth(at, spot, symbol, depth),
            Event::Snapshot { last_id, bids, asks } => self.snapshot(at, spot, symbol, last_id, (bids, asks)),
            Event::Top {
                last_id,
                bids,
                asks,
                time,
            } => self.top(at, spot, symbol, last_id, (bids, asks, time)),
        }
    }

    /// Closes every candle, symbol by symbol, since the recordings have ended.
    pub(super) fn finish(&mut self, at: Micros) {
        for number in 0..self.markets.len() {
            self.close(at, SymbolNo(number as u32), Micros(u64::MAX));
        }
    }

    fn trade(&mut self, at: Micros, spot: Spot<'_>, symbol: SymbolNo, traded: &Traded) {
        let market = &mut self.markets[symbol.index()];
        let (id, aggregated) = (traded.id, traded.aggregated);
        if *market.aggregated.get_or_insert(aggregated) != aggregated {
            let reason = "trades both single and aggregated; the kind that came first counts";
            return self.fault(FaultKind::SecondStream, spot, &reason);
        }
        match market.trade_id {
            Some(last) if id <= last => {
                let reason = format_args!("trade {id} after trade {last}");
                return self.fault(FaultKind::RepeatedTrade, spot, &reason);
            }
            Some(last) if id - last > 1 => {
                market.trade_id = Some(id);
                let (from, to) = (last + 1, id - 1);
                let reason = format_args!("trades {from} to {to} are missing before trade {id}");
                self.fault(FaultKind::TradeHole, spot, &reason);
            }
            Some(_) | None => market.trade_id = Some(id),
        }
        let trade = Trade {
            symbol: self.markets[symbol.index()].derive.symbol().clone(),
            id,
            price: traded.price,
            size: traded.size,
            side: traded.side,
            time: traded.time,
        };
        match self.execute(at, symbol, trade) {
            Ok(Timeliness::InTime) => {}
            Ok(Timeliness::Late) => {
                let reason = format_args!("trade {id} comes after a candle of its time was closed");
                self.fault(FaultKind::LateTrade, spot, &reason);
            }
            Err(refused) => self.fault(FaultKind::Malformed, spot, &refused),
        }
    }

    fn execute(&mut self, at: Micros, symbol: SymbolNo, trade: Trade) -> Result<Timeliness, TradeRefused> {
        self.close(at, symbol, trade.time);
        let derive = &mut self.markets[symbol.index()].derive;
        let timeliness = derive.trade(&trade)?;
        let ticker = derive.ticker();
        self.push(at, symbol, Channel::Trade, Payload::Trade(Box::new(trade)));
        if let Some(ticker) = ticker {
            self.push(at, symbol, Channel::Ticker, Payload::Ticker(Box::new(ticker)));
        }
        let Self { markets, out, .. } = self;
        let Market { first, derive, .. } = &markets[symbol.index()];
        derive.candles(|interval, candle| out.extend(tick(at, *first, interval, candle)));
        Ok(timeliness)
    }

    fn quote(&mut self, at: Micros, spot: Spot<'_>, symbol: SymbolNo, quoted: &Quoted) {
        let market = &mut self.markets[symbol.index()];
        if let (Some(id), Some(last)) = (quoted.id, market.quote_id)
            && id <= last
        {
            let reason = format_args!("best quotes of update {id} after those of {last}");
            return self.fault(FaultKind::StaleQuote, spot, &reason);
        }
        market.quote_id = quoted.id.or(market.quote_id);
        let bbo = Bbo {
            symbol: market.derive.symbol().clone(),
            bid: quoted.bid,
            bid_size: quoted.bid_size,
            ask: quoted.ask,
            ask_size: quoted.ask_size,
            time: quoted.time.unwrap_or(at),
        };
        market.derive.quote(&bbo);
        self.push(at, symbol, Channel::Bbo, Payload::Bbo(Box::new(bbo)));
    }

    /// Whether a symbol's book is made of `source`. If it is not, adds a fault.
    fn is_source(&mut self, spot: Spot<'_>, symbol: SymbolNo, source: BookSource) -> bool {
        let first = *self.markets[symbol.index()].book_source.get_or_insert(source);
        if first != source {
            let reason = "a book both as changes and as its best levels; the kind that came first counts";
            self.fault(FaultKind::SecondStream, spot, &reason);
        }
        first == source
    }

    fn depth(&mut self, at: Micros, spot: Spot<'_>, symbol: SymbolNo, depth: Depth) {
        self.close(at, symbol, Micros(depth.time.0.saturating_sub(CLOSE_GRACE_US)));
        if !self.is_source(spot, symbol, BookSource::Changes) {
            return;
        }
        let book = &mut self.markets[symbol.index()].book;
        let (first, last) = (depth.first_id, depth.last_id);
        match book.depth(at, &depth, &mut self.recent_levels) {
            Change::Covered => self.stats.covered_depth += 1,
            Change::Stale { seen } => {
                let reason = format_args!("depth event U {first}, u {last} after one with u {seen}");
                self.fault(FaultKind::StaleDepth, spot, &reason);
            }
            Change::Applies { hole_after } => {
                if let Some(id) = hole_after {
                    let before = depth
                        .previous_id
                        .map_or_else(String::new, |pu| format!(", pu {pu}"));
                    let reason = format_args!(
                        "depth event U {first}, u {last}{before} does not follow on {id}: the book is stale until a snapshot"
                    );
                    self.fault(FaultKind::DepthHole, spot, &reason);
                }
                self.change_book(at, symbol, depth);
            }
        }
    }

    fn snapshot(
        &mut self,
        at: Micros,
        spot: Spot<'_>,
        symbol: SymbolNo,
        last_id: u64,
        (bids, asks): (Vec<Level>, Vec<Level>),
    ) {
        let book = &mut self.markets[symbol.index()].book;
        match book.snapshot(last_id, &mut self.recent_levels) {
            Whole::Applies { newer } => {
                self.push_book(at, symbol, (bids, asks), at, true);
                for depth in newer {
                    self.change_book(at, symbol, depth);
                }
            }
            Whole::Old { book_id } => {
                let reason = format_args!("snapshot of update {last_id} of a book that has update {book_id}");
                self.fault(FaultKind::OldSnapshot, spot, &reason);
            }
            Whole::Unreachable { book_id } => {
                let reason = format_args!(
                    "snapshot of update {last_id}, and not every change from there to {book_id} is there"
                );
                self.fault(FaultKind::OldSnapshot, spot, &reason);
            }
        }
    }

    /// Takes the best levels, which replace the whole book.
    fn top(
        &mut self,
        at: Micros,
        spot: Spot<'_>,
        symbol: SymbolNo,
        last_id: u64,
        (bids, asks, time): (Vec<Level>, Vec<Level>, Option<Micros>),
    ) {
        if !self.is_source(spot, symbol, BookSource::Top) {
            return;
        }
        let book = &mut self.markets[symbol.index()].book;
        if book.is_at(last_id) {
            // The best levels are sent at a fixed pace, even if unchanged.
            self.stats.covered_depth += 1;
            return;
        }
        match book.snapshot(last_id, &mut self.recent_levels) {
            Whole::Applies { .. } => self.push_book(at, symbol, (bids, asks), time.unwrap_or(at), true),
            Whole::Old { book_id } | Whole::Unreachable { book_id } => {
                let reason =
                    format_args!("best levels of update {last_id} of a book that has update {book_id}");
                self.fault(FaultKind::OldSnapshot, spot, &reason);
            }
        }
    }

    fn change_book(&mut self, at: Micros, symbol: SymbolNo, depth: Depth) {
        let Depth { bids, asks, time, .. } = depth;
        self.push_book(at, symbol, (bids, asks), time, false);
    }

    fn push_book(
        &mut self,
        at: Micros,
        symbol: SymbolNo,
        (bids, asks): (Vec<Level>, Vec<Level>),
        time: Micros,
        replace: bool,
    ) {
        let market = &self.markets[symbol.index()];
        let book = Book {
            symbol: market.derive.symbol().clone(),
            bids,
            asks,
            checksum: 0,
            time,
            replace,
        };
        self.out.push_back(Tick {
            at,
            topic: Channel::Book.of(market.first),
            payload: Payload::Book(Box::new(book)),
            doubt: market.book.doubt(),
            is_whole: false,
            ts: None,
        });
    }

    fn close(&mut self, at: Micros, symbol: SymbolNo, now: Micros) {
        let Self { markets, out, .. } = self;
        let Market { first, derive, .. } = &mut markets[symbol.index()];
        derive.close(now, |interval, candle| {
            out.extend(tick(at, *first, interval, candle));
        });
    }

    fn push(&mut self, at: Micros, symbol: SymbolNo, channel: Channel, payload: Payload) {
        self.out.push_back(Tick {
            at,
            topic: channel.of(self.markets[symbol.index()].first),
            payload,
            doubt: None,
            is_whole: false,
            ts: None,
        });
    }

    /// Takes the next tick that is ready.
    pub(super) fn pop(&mut self) -> Option<Tick> {
        let tick = self.out.pop_front()?;
        self.stats.ticks += 1;
        Some(tick)
    }

    /// When the next tick that is ready is due.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.out.front().map(|tick| tick.at)
    }

    /// The topics so far.
    pub(super) fn topics(&self) -> &[Topic] {
        self.topics.as_slice()
    }

    /// Adds a fault.
    pub(super) fn fault(&mut self, kind: FaultKind, spot: Spot<'_>, reason: &dyn fmt::Display) {
        self.faults.add(kind, spot, reason);
    }

    /// The faults so far.
    pub(super) fn faults(&self) -> &FaultLog {
        &self.faults
    }

    /// Counts a line that was read.
    pub(super) fn count_line(&mut self) {
        self.stats.lines += 1;
    }

    /// The counts so far.
    pub(super) fn stats(&self) -> FeedStats {
        FeedStats {
            faults: self.faults.counts(),
            ..self.stats
        }
    }
}

/// The tick of a candle of the symbol whose first topic is `first`.
fn tick(at: Micros, first: TopicNo, interval: Interval, candle: Candle) -> Option<Tick> {
    Some(Tick {
        at,
        topic: Channel::of_candles(interval)?.of(first),
        payload: Payload::Candle(Box::new(candle)),
        doubt: None,
        is_whole: false,
        ts: None,
    })
}
