//! The simulated market: any number of symbols at any rate, with the same bytes for the same seed.
//!
//! `arrivals` decides who acts and when (self-exciting bursts, heavy-tailed activity). `factors` decides what prices
//! are worth (correlated random walks), `market` what an act does to a symbol, and `governor` how many ticks there are.
//! This file puts them together and times the derived messages: ticker and candles are published 0.1 s after a trade,
//! one message of each for all trades of that time.
//!
//! Virtual time begins with the whole book and best quotes of every symbol, as fast as the rate allows but within half
//! a second. These do not count against the rate. Only IEEE additions, multiplications, divisions and square roots are
//! used, whose results are the same on every platform. Memory is about 1.5 KB per symbol; nothing grows with time.

mod alias;
mod arrivals;
mod book;
mod chance;
mod factors;
mod governor;
mod instruments;
mod market;

use std::collections::VecDeque;

use thiserror::Error;
use tickwire_wire::{Micros, Topic};

use crate::derive::Intervals;
use crate::topics::{SymbolNo, Topics};
use crate::{FeedStats, SYMBOLS_MAX, Tick};

use arrivals::{Arrival, Arrivals};
use chance::Chance;
use factors::Factors;
use governor::Governor;
use market::{Market, Moment, Outlet};

/// Most ticks per virtual second.
pub const RATE_MAX: u32 = 1_000_000;

/// Latest start: 292,000 years of virtual time fit after it.
pub const START_MAX: Micros = Micros(u64::MAX / 2);

/// How long after a trade its ticker and candles are published, in nanoseconds.
const DERIVED_DELAY_NS: u64 = 100_000_000;
/// Longest time for the first books of all symbols, in nanoseconds.
const OPENING_NS_MAX: u64 = 500_000_000;
/// The ticks of a symbol's opening: its book and its best quotes.
const OPENING_TICKS: u64 = 2;

/// The settings of a simulated market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimConfig {
    /// Number of symbols, 1 to [`SYMBOLS_MAX`].
    pub symbols: u32,
    /// Mean number of ticks per virtual second over all topics in the long run, 1 to [`RATE_MAX`].
    pub rate: u32,
    /// The seed of all randomness.
    pub seed: u64,
    /// The start of virtual time, at most [`START_MAX`].
    pub start: Micros,
}

/// Why a market cannot be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SimError {
    /// The number of symbols is out of its range.
    #[error("{0} symbols were asked for; the simulated market has 1 to {SYMBOLS_MAX}")]
    Symbols(u32),
    /// The rate is out of its range.
    #[error("{0} ticks per second were asked for; the simulated market makes 1 to {RATE_MAX}")]
    Rate(u32),
    /// The start is so late that times would not fit.
    #[error("time {0} is too late to begin; at most {START_MAX} µs since the Unix epoch can be simulated")]
    Start(Micros),
}

/// The simulated market as a feed, which never ends.
#[derive(Debug)]
pub struct Sim {
    start: Micros,
    topics: Topics,
    markets: Vec<Market>,
    factors: Factors,
    arrivals: Arrivals,
    governor: Governor,
    chance: Chance,
    outlet: Outlet,
    /// How many symbols have published their first book.
    opened: u32,
    /// When the last first book is published, in nanoseconds since the start.
    opening_ns: u64,
    /// The time of the next arrival, in nanoseconds since the start, and the arrival.
    next: (u64, Arrival),
    /// The times at which derived messages are due, in nanoseconds since the start, and their symbols. Earliest first;
    /// a symbol is listed at most once.
    derived: VecDeque<(u64, SymbolNo)>,
    ticks: u64,
}

impl Sim {
    /// Creates the market that `config` describes.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn new(config: SimConfig) -> Result<Self, SimError> {
        let SimConfig {
            symbols,
            rate,
            seed,
            start,
        } = config;
        if !(1..=SYMBOLS_MAX).contains(&symbols) {
            return Err(SimError::Symbols(symbols));
        }
        if !(1..=RATE_MAX).contains(&rate) {
            return Err(SimError::Rate(rate));
        }
        if start > START_MAX {
            return Err(SimError::Start(start));
        }
        let mut chance = Chance::new(seed);
        let (mut topics, intervals) = (Topics::default(), Intervals::default());
        let markets = instruments::instruments(symbols)
            .enumerate()
            .map(|(number, instrument)| {
                let added = topics.add(&instrument.symbol);
                debug_assert!(added.is_ok(), "{} is a topic's token", instrument.symbol);
                Market::new(SymbolNo(number as u32), &instrument, &intervals, &mut chance)
            })
            .collect();
        let governor = Governor::new(rate);
        let mut arrivals = Arrivals::new(symbols, governor.events_per_s(), &mut chance);
        let opening_ns =
            (u64::from(symbols) * OPENING_TICKS * 1_000_000_000 / u64::from(rate)).min(OPENING_NS_MAX);
        let (gap_ns, arrival) = arrivals.next(&mut chance, governor.pace(0));
        Ok(Self {
            start,
            topics,
            markets,
            factors: Factors::default(),
            arrivals,
            governor,
            chance,
            outlet: Outlet::default(),
            opened: 0,
            opening_ns,
            next: (opening_ns + gap_ns, arrival),
            derived: VecDeque::new(),
            ticks: 0,
        })
    }

    /// The next tick.
    pub fn next_tick(&mut self) -> Tick {
        loop {
            if let Some(tick) = self.outlet.pop() {
                self.ticks += 1;
                return tick;
            }
            self.advance();
        }
    }

    /// The earliest time at which the next tick can be due.
    #[must_use]
    pub fn next_at(&self) -> Micros {
        self.outlet.next_at().unwrap_or_else(|| self.at(self.due_ns()))
    }

    /// The topics, by number.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        self.topics.as_slice()
    }

    /// The number of ticks so far.
    #[must_use]
    pub fn stats(&self) -> FeedStats {
        FeedStats {
            ticks: self.ticks,
            ..FeedStats::default()
        }
    }

    fn at(&self, since_start_ns: u64) -> Micros {
        Micros(self.start.0.saturating_add(since_start_ns / 1_000))
    }

    /// When the next thing happens, in nanoseconds since the start.
    fn due_ns(&self) -> u64 {
        if (self.opened as usize) < self.markets.len() {
            return self.opening_ns * u64::from(self.opened) / self.markets.len() as u64;
        }
        let derived_ns = self.derived.front().map_or(u64::MAX, |(due_ns, _)| *due_ns);
        derived_ns.min(self.next.0)
    }

    /// Lets the next thing happen.
    fn advance(&mut self) {
        let now_ns = self.due_ns();
        let at = self.at(now_ns);
        if let Some(market) = self.markets.get_mut(self.opened as usize) {
            market.open(at, &mut self.outlet);
            self.opened += 1;
            return;
        }
        if let Some((_, symbol)) = self.derived.pop_front_if(|(due_ns, _)| *due_ns <= now_ns) {
            self.markets[symbol.index()].publish_derived(at, &mut self.outlet);
            self.governor.published(self.outlet.len());
            return;
        }
        match self.next.1 {
            Arrival::Act { symbol, act } => {
                self.factors.advance(now_ns, &mut self.chance);
                let moment = Moment {
                    at,
                    now_ns,
                    factors: &self.factors,
                };
                let market = &mut self.markets[symbol.index()];
                if market.act(act, &moment, &mut self.chance, &mut self.outlet) {
                    self.derived.push_back((now_ns + DERIVED_DELAY_NS, symbol));
                }
                self.governor.acted(self.outlet.len());
                self.arrivals.excite(symbol, act, &mut self.chance);
            }
            Arrival::Shock => {
                self.factors.shock(&mut self.chance);
                self.arrivals.shock(&mut self.chance);
            }
        }
        self.arrivals.set_rate(self.governor.events_per_s());
        let pace = self.governor.pace(now_ns - self.opening_ns);
        let (gap_ns, arrival) = self.arrivals.next(&mut self.chance, pace);
        self.next = (now_ns + gap_ns, arrival);
    }
}
