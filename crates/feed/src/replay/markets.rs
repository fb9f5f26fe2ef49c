//! What a replay knows of each symbol, and how an event becomes ticks.
//!
//! Candles close by the exchange's clock: at once by a trade, since trades of a symbol come in order of time, and
//! [`CLOSE_GRACE_US`] late by a depth event, because depth events overtake trades (by up to 0.2 s in real recordings).
//! A best quote carries no time of the exchange and closes nothing.
//!
//! A snapshot that was asked for over REST arrives after depth events that are newer than it. Those are published again
//! behind it, so the [`RECENT_EVENTS_MAX`] last ones of each symbol are kept, of [`RECENT_LEVELS_MAX`] levels together.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tickwire_wire::market::{Bbo, Book, Candle, Level, Trade};
use tickwire_wire::{Micros, Payload, Symbol, Topic};

use super::binance::Event;
use super::fault::FaultLog;
use super::source::Entry;
use super::symbol::{SymbolError, symbol_of};
use crate::derive::{Derive, Intervals, Timeliness, TradeRefused};
use crate::topics::{Channel, SymbolNo, Topics};
use crate::{FeedStats, SYMBOLS_MAX, Tick};

/// How long after a candle's end a depth event closes it, in microseconds.
const CLOSE_GRACE_US: u64 = 1_000_000;
/// Most depth events of a symbol that are kept for a snapshot.
const RECENT_EVENTS_MAX: usize = 16;
/// Most levels in the depth events of a symbol that are kept for a snapshot.
const RECENT_LEVELS_MAX: usize = 512;

/// A depth event.
#[derive(Debug, Clone)]
struct Depth {
    first_id: u64,
    last_id: u64,
    bids: Vec<Level>,
    asks: Vec<Level>,
    time: Micros,
}

impl Depth {
    fn levels(&self) -> usize {
        self.bids.len() + self.asks.len()
    }
}

/// One symbol.
#[derive(Debug)]
struct Market {
    derive: Derive,
    /// The last snapshot's update.
    snapshot_id: Option<u64>,
    /// The last update that the book has.
    book_id: Option<u64>,
    recent: VecDeque<Depth>,
    recent_levels: usize,
}

impl Market {
    fn remember(&mut self, depth: Depth) {
        self.recent_levels += depth.levels();
        self.recent.push_back(depth);
        while self.recent.len() > RECENT_EVENTS_MAX || self.recent_levels > RECENT_LEVELS_MAX {
            let Some(oldest) = self.recent.pop_front() else {
                break;
            };
            self.recent_levels -= oldest.levels();
        }
    }
}

/// All symbols of a replay, the ticks that are ready, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Markets {
    topics: Topics,
    intervals: Intervals,
    by_name: BTreeMap<Box<str>, SymbolNo>,
    markets: Vec<Market>,
    out: VecDeque<Tick>,
    stats: FeedStats,
    faults: FaultLog,
}

impl Markets {
    /// The number of the symbol that the exchange calls `name`; a new one if it was not seen yet.
    pub(super) fn symbol(&mut self, name: &str) -> Result<SymbolNo, SymbolError> {
        if let Some(symbol) = self.by_name.get(name) {
            return Ok(*symbol);
        }
        let symbol = symbol_of(name)?;
        let number = SymbolNo(self.by_name.len() as u32);
        if number.0 >= SYMBOLS_MAX {
            return Err(SymbolError::TooMany(symbol));
        }
        self.topics.add(&symbol)?;
        self.markets.push(Market {
            derive: Derive::new(Symbol::from(symbol.as_str()), &self.intervals),
            snapshot_id: None,
            book_id: None,
            recent: VecDeque::new(),
            recent_levels: 0,
        });
        self.by_name.insert(name.into(), number);
        Ok(number)
    }

    /// Publishes what `entry`, of `file`, says.
    pub(super) fn apply(&mut self, file: &Arc<Path>, entry: Entry) {
        let Entry {
            at,
            line,
            symbol,
            event,
        } = entry;
        let derive = &mut self.markets[symbol.index()].derive;
        match event {
            Event::Trade {
                id,
                price,
                size,
                side,
                time,
            } => {
                let trade = Trade {
                    symbol: derive.symbol().clone(),
                    id,
                    price,
                    size,
                    side,
                    time,
                };
                if let Err(refused) = self.trade(at, symbol, trade) {
                    self.fault(file, line, &refused);
                }
            }
            Event::Bbo {
                bid,
                bid_size,
                ask,
                ask_size,
            } => {
                let bbo = Bbo {
                    symbol: derive.symbol().clone(),
                    bid,
                    bid_size,
                    ask,
                    ask_size,
                    time: at,
                };
                derive.quote(&bbo);
                self.push(at, symbol, Channel::Bbo, Payload::Bbo(Box::new(bbo)));
            }
            Event::Depth {
                first_id,
                last_id,
                bids,
                asks,
                time,
            } => {
                self.depth(
                    at,
                    symbol,
                    Depth {
                        first_id,
                        last_id,
                        bids,
                        asks,
                        time,
                    },
                );
            }
            Event::Snapshot { last_id, bids, asks } => self.snapshot(at, symbol, last_id, bids, asks),
        }
    }

    /// Closes every candle, symbol by symbol: the recordings are over.
    pub(super) fn finish(&mut self, at: Micros) {
        for number in 0..self.markets.len() {
            self.close(at, SymbolNo(number as u32), Micros(u64::MAX));
        }
    }

    fn trade(&mut self, at: Micros, symbol: SymbolNo, trade: Trade) -> Result<(), TradeRefused> {
        self.close(at, symbol, trade.time);
        let derive = &mut self.markets[symbol.index()].derive;
        if derive.trade(&trade)? == Timeliness::Late {
            self.stats.late_trades += 1;
        }
        let ticker = derive.ticker();
        self.push(at, symbol, Channel::Trade, Payload::Trade(Box::new(trade)));
        if let Some(ticker) = ticker {
            self.push(at, symbol, Channel::Ticker, Payload::Ticker(Box::new(ticker)));
        }
        let Self { markets, out, .. } = self;
        markets[symbol.index()]
            .derive
            .candles(|channel, candle| out.push_back(tick(at, symbol, channel, candle)));
        Ok(())
    }

    fn depth(&mut self, at: Micros, symbol: SymbolNo, depth: Depth) {
        self.close(at, symbol, Micros(depth.time.0.saturating_sub(CLOSE_GRACE_US)));
        let market = &mut self.markets[symbol.index()];
        if market.snapshot_id.is_some_and(|id| depth.last_id <= id) {
            self.stats.stale_depth += 1;
            return;
        }
        market.remember(depth.clone());
        self.change_book(at, symbol, depth);
    }

    fn snapshot(&mut self, at: Micros, symbol: SymbolNo, last_id: u64, bids: Vec<Level>, asks: Vec<Level>) {
        let market = &mut self.markets[symbol.index()];
        market.snapshot_id = Some(last_id);
        market.book_id = Some(last_id);
        let newer: Vec<Depth> = market
            .recent
            .iter()
            .filter(|depth| depth.last_id > last_id)
            .cloned()
            .collect();
        let name = market.derive.symbol().clone();
        let book = Book {
            symbol: name,
            bids,
            asks,
            checksum: 0,
            time: at,
            replace: true,
        };
        self.push(at, symbol, Channel::Book, Payload::Book(Box::new(book)));
        for depth in newer {
            self.change_book(at, symbol, depth);
        }
    }

    fn change_book(&mut self, at: Micros, symbol: SymbolNo, depth: Depth) {
        let market = &mut self.markets[symbol.index()];
        if market
            .book_id
            .is_some_and(|id| depth.first_id > id.saturating_add(1))
        {
            self.stats.depth_holes += 1;
        }
        market.book_id = Some(depth.last_id);
        let Depth { bids, asks, time, .. } = depth;
        let name = market.derive.symbol().clone();
        let book = Book {
            symbol: name,
            bids,
            asks,
            checksum: 0,
            time,
            replace: false,
        };
        self.push(at, symbol, Channel::Book, Payload::Book(Box::new(book)));
    }

    fn close(&mut self, at: Micros, symbol: SymbolNo, now: Micros) {
        let Self { markets, out, .. } = self;
        markets[symbol.index()].derive.close(now, |channel, candle| {
            out.push_back(tick(at, symbol, channel, candle));
        });
    }

    fn push(&mut self, at: Micros, symbol: SymbolNo, channel: Channel, payload: Payload) {
        self.out.push_back(Tick {
            at,
            topic: symbol.topic(channel),
            payload,
        });
    }

    /// The next tick that is ready.
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

    /// Names a fault.
    pub(super) fn fault(&mut self, file: &Arc<Path>, line: u64, reason: &dyn fmt::Display) {
        self.faults.add(file, line, reason);
    }

    /// The faults that are kept.
    pub(super) fn faults(&self) -> &FaultLog {
        &self.faults
    }

    /// Counts a line that was read.
    pub(super) fn count_line(&mut self) {
        self.stats.lines += 1;
    }

    /// Counts a line whose time had to be moved.
    pub(super) fn count_clamped(&mut self) {
        self.stats.clamped_times += 1;
    }

    /// The counts so far.
    pub(super) fn stats(&self) -> FeedStats {
        FeedStats {
            malformed: self.faults.count(),
            ..self.stats
        }
    }
}

fn tick(at: Micros, symbol: SymbolNo, channel: Channel, candle: Candle) -> Tick {
    Tick {
        at,
        topic: symbol.topic(channel),
        payload: Payload::Candle(Box::new(candle)),
    }
}
