//! One symbol of the simulated market: its fair value, its book, and what trades and quotes do to them.
//!
//! The book follows the fair value: makers quote around it and pull quotes that it has left behind, and takers hit
//! those first. The book never crosses (a quote is placed only where both best keys add up to more than 0) and never
//! becomes empty ([`Ladder::tidy`] ends every act). A trade is published before the book that it leaves, so the book
//! had the trade's price. Then come the levels that changed, then the best quotes if they changed. Nothing here waits
//! or grows.

use std::collections::VecDeque;

use tickwire_wire::market::{Bbo, Book, Candle, Level as WireLevel, Side, Trade};
use tickwire_wire::{Decimal, Micros, Payload};

use super::arrivals::Act;
use super::book::{Changes, LEVELS_MIN, Ladder, Level};
use super::chance::Chance;
use super::factors::Factors;
use super::instruments::Instrument;
use crate::Tick;
use crate::derive::{Derive, Interval, Intervals, Timeliness};
use crate::topics::{Channel, SymbolNo};

/// Lowest and highest fair value, in price steps. The lowest leaves room below it for a whole side of the book.
const FAIR: (f64, f64) = (1_000.0, 500_000_000.0);
/// The symbol's own relative change per square root of a second.
const OWN_VOLATILITY: f64 = 0.000_03;
/// How far the fair value may leave a quote behind before the quote is pulled or hit, in price steps.
const SLACK: i32 = 1;
/// Most levels that one taker reaches.
const SWEEP_LEVELS_MAX: usize = 3;

/// Probability that a maker narrows a spread that is wider than necessary.
const NARROW: f64 = 0.75;
/// Probability that a taker comes from the same side as the one before.
const SAME_SIDE: f64 = 0.62;

const BID: usize = 0;
const ASK: usize = 1;

/// The time of an act, and the factors at that time.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    /// The time that is published.
    pub(super) at: Micros,
    /// Nanoseconds since the start of the market.
    pub(super) now_ns: u64,
    pub(super) factors: &'a Factors,
}

/// The queue of ticks, with the working memory of one act.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    ticks: VecDeque<Tick>,
    changes: [Changes; 2],
}

impl Outlet {
    fn push(&mut self, at: Micros, symbol: SymbolNo, channel: Channel, payload: Payload) {
        self.ticks.push_back(Tick {
            is_whole: false,
            ts: None,
            at,
            topic: symbol.topic(channel),
            payload,
            doubt: None,
        });
    }

    fn push_candle(&mut self, at: Micros, symbol: SymbolNo, interval: Interval, candle: Candle) {
        if let Some(channel) = Channel::of_candles(interval) {
            self.push(at, symbol, channel, Payload::Candle(Box::new(candle)));
        }
    }

    /// Takes the next tick.
    pub(super) fn pop(&mut self) -> Option<Tick> {
        self.ticks.pop_front()
    }

    /// The number of ticks that wait.
    pub(super) fn len(&self) -> usize {
        self.ticks.len()
    }

    /// When the next tick that waits is due.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.ticks.front().map(|tick| tick.at)
    }
}

/// The state of one symbol.
#[derive(Debug)]
pub(super) struct Market {
    number: SymbolNo,
    price_digits: u32,
    lot_digits: u32,
    order_lots: u32,
    sector: usize,
    /// How strongly the symbol follows the market.
    beta: f64,
    /// The distance from the fair value at which makers quote, in price steps.
    half_spread: f64,
    /// The fair value, in price steps.
    fair: f64,
    /// When the fair value was last updated, and the factors at that time.
    seen_ns: u64,
    seen_market: f64,
    seen_sector: f64,
    /// The bids and the asks.
    sides: [Ladder; 2],
    /// The side that the last taker hit.
    last_hit: usize,
    next_trade: u64,
    derive: Derive,
    derived_due: bool,
}

const _: () = assert!(size_of::<Market>() <= 1_280, "10,000 symbols take little memory");

impl Market {
    /// Creates symbol number `number`; the first is the busiest.
    pub(super) fn new(
        number: SymbolNo,
        instrument: &Instrument,
        intervals: &Intervals,
        chance: &mut Chance,
    ) -> Self {
        let half_spread = match number.0 {
            0..10 => 0.5,
            10..100 => 1.0,
            100..1_000 => 1.5,
            _ => 2.5,
        };
        let fair = f64::from(instrument.price_steps) * (0.99 + 0.02 * chance.unit());
        let side =
            |key: f64, chance: &mut Chance| Ladder::new(key.ceil() as i32, instrument.order_lots, chance);
        Self {
            number,
            price_digits: instrument.price_digits,
            lot_digits: instrument.lot_digits,
            order_lots: instrument.order_lots,
            sector: instrument.sector,
            beta: 0.7 + 0.6 * chance.unit(),
            half_spread,
            fair,
            seen_ns: 0,
            seen_market: 0.0,
            seen_sector: 0.0,
            sides: [side(half_spread - fair, chance), side(half_spread + fair, chance)],
            last_hit: ASK,
            next_trade: 1,
            derive: Derive::new(instrument.symbol.as_str().into(), intervals),
            derived_due: false,
        }
    }

    /// Publishes the whole book and the best quotes.
    pub(super) fn open(&mut self, at: Micros, outlet: &mut Outlet) {
        let [bids, asks] = [BID, ASK].map(|side| {
            self.sides[side]
                .levels()
                .iter()
                .map(|level| self.wire_level(*level))
                .collect::<Vec<_>>()
        });
        self.publish_book(at, [bids, asks], true, outlet);
        self.publish_best(at, outlet);
    }

    /// Lets the symbol act. Returns whether derived messages have become due and were not due before.
    pub(super) fn act(
        &mut self,
        act: Act,
        moment: &Moment<'_>,
        chance: &mut Chance,
        outlet: &mut Outlet,
    ) -> bool {
        let at = moment.at;
        self.derive.close(at, |interval, candle| {
            outlet.push_candle(at, self.number, interval, candle);
        });
        self.follow(moment, chance);
        let before = [self.sides[BID].best(), self.sides[ASK].best()];
        match act {
            Act::Trade => self.take(at, chance, outlet),
            Act::Quote => self.quote(chance, &mut outlet.changes),
        }
        for side in [BID, ASK] {
            self.sides[side].tidy(chance, &mut outlet.changes[side]);
        }
        self.publish_changes(at, outlet);
        if before != [self.sides[BID].best(), self.sides[ASK].best()] {
            self.publish_best(at, outlet);
        }
        act == Act::Trade && !std::mem::replace(&mut self.derived_due, true)
    }

    /// Publishes the ticker and the candles.
    pub(super) fn publish_derived(&mut self, at: Micros, outlet: &mut Outlet) {
        self.derived_due = false;
        self.derive.close(at, |interval, candle| {
            outlet.push_candle(at, self.number, interval, candle);
        });
        if let Some(ticker) = self.derive.ticker() {
            outlet.push(
                at,
                self.number,
                Channel::Ticker,
                Payload::Ticker(Box::new(ticker)),
            );
        }
        self.derive
            .candles(|interval, candle| outlet.push_candle(at, self.number, interval, candle));
    }

    /// Moves the fair value with the factors and by its own random change.
    fn follow(&mut self, moment: &Moment<'_>, chance: &mut Chance) {
        let (market, sector) = moment.factors.of(self.sector);
        let elapsed_s = (moment.now_ns - self.seen_ns) as f64 * 1e-9;
        let own = OWN_VOLATILITY * elapsed_s.sqrt() * chance.normal();
        let change = self.beta * (market - self.seen_market) + (sector - self.seen_sector) + own;
        self.fair = (self.fair * (1.0 + change.clamp(-0.5, 0.5))).clamp(FAIR.0, FAIR.1);
        (self.seen_ns, self.seen_market, self.seen_sector) = (moment.now_ns, market, sector);
    }

    /// The best key that makers offer on `side`. The keys of both sides add up to at least twice the half spread.
    fn target(&self, side: usize) -> i32 {
        let fair = if side == BID { -self.fair } else { self.fair };
        (fair + self.half_spread).ceil() as i32
    }

    /// Whether the fair value has left the best quote of `side` behind.
    fn is_stale(&self, side: usize) -> bool {
        self.sides[side].best().key < self.target(side) - SLACK
    }

    /// A taker hits the best levels of one side.
    fn take(&mut self, at: Micros, chance: &mut Chance, outlet: &mut Outlet) {
        let hit = match (self.is_stale(BID), self.is_stale(ASK)) {
            (true, _) => BID,
            (_, true) => ASK,
            _ if chance.happens(SAME_SIDE) => self.last_hit,
            _ => 1 - self.last_hit,
        };
        self.last_hit = hit;
        let mut wanted = chance.heavy(self.order_lots, 60);
        for _ in 0..SWEEP_LEVELS_MAX {
            let best = self.sides[hit].best();
            let lots = wanted.min(best.lots);
            self.publish_trade(at, hit, Level { key: best.key, lots }, outlet);
            self.sides[hit].reduce(0, lots, &mut outlet.changes[hit]);
            wanted -= lots;
            if wanted == 0 {
                break;
            }
        }
    }

    /// A maker acts.
    fn quote(&mut self, chance: &mut Chance, changes: &mut [Changes; 2]) {
        let side = chance.below(2) as usize;
        let stale = [side, 1 - side].into_iter().find(|side| self.is_stale(*side));
        if let Some(side) = stale {
            return self.requote(side, chance, changes);
        }
        let target = self.target(side);
        // The best key that does not cross.
        let key = target.max(1 - self.sides[1 - side].best().key);
        if key < self.sides[side].best().key && chance.happens(NARROW) {
            self.sides[side].put(key, chance, &mut changes[side]);
        } else {
            Self::stir(&mut self.sides[side], self.order_lots, chance, &mut changes[side]);
        }
    }

    /// Makers pull the quotes of `side` that the fair value has left behind, and follow it on the other side.
    fn requote(&mut self, side: usize, chance: &mut Chance, changes: &mut [Changes; 2]) {
        let (here, there) = (self.target(side), self.target(1 - side));
        self.sides[side].retreat(here, chance, &mut changes[side]);
        let key = there.max(1 - self.sides[side].best().key);
        let other = &mut self.sides[1 - side];
        if key + SLACK < other.best().key {
            other.put(key, chance, &mut changes[1 - side]);
        }
    }

    /// Adds or cancels an order somewhere in `side`, mostly near the best level.
    fn stir(side: &mut Ladder, order_lots: u32, chance: &mut Chance, changes: &mut Changes) {
        let levels = side.levels();
        let index = (chance.halvings() as usize).min(levels.len() - 1);
        let level = levels[index];
        let sparse = levels.len() < LEVELS_MIN + 4;
        if chance.happens(if sparse { 0.65 } else { 0.48 }) {
            let behind = if chance.happens(0.4) {
                1 + chance.below(2) as i32
            } else {
                0
            };
            side.put(level.key + behind, chance, changes);
        } else if levels.len() > LEVELS_MIN && chance.happens(0.5) {
            side.remove(index, changes);
        } else {
            side.reduce(index, chance.heavy(order_lots, 60).min(level.lots - 1), changes);
        }
    }

    fn publish_trade(&mut self, at: Micros, hit: usize, fill: Level, outlet: &mut Outlet) {
        let WireLevel { price, size } = self.wire_level(fill);
        let trade = Trade {
            symbol: self.derive.symbol().clone(),
            id: self.next_trade,
            price,
            size,
            side: if hit == ASK { Side::Buy } else { Side::Sell },
            time: at,
        };
        self.next_trade += 1;
        let added = self.derive.trade(&trade);
        debug_assert_eq!(
            added,
            Ok(Timeliness::InTime),
            "times do not decrease and numbers are small"
        );
        outlet.push(at, self.number, Channel::Trade, Payload::Trade(Box::new(trade)));
    }

    fn publish_changes(&self, at: Micros, outlet: &mut Outlet) {
        let [bids, asks] = [BID, ASK]
            .map(|side| outlet.changes[side].take(&self.sides[side], |level| self.wire_level(level)));
        if bids.is_empty() && asks.is_empty() {
            return;
        }
        self.publish_book(at, [bids, asks], false, outlet);
    }

    /// Publishes levels of the book, or all of it to `replace` the one before.
    fn publish_book(
        &self,
        at: Micros,
        [bids, asks]: [Vec<WireLevel>; 2],
        replace: bool,
        outlet: &mut Outlet,
    ) {
        let book = Book {
            symbol: self.derive.symbol().clone(),
            bids,
            asks,
            checksum: 0,
            time: at,
            replace,
        };
        outlet.push(at, self.number, Channel::Book, Payload::Book(Box::new(book)));
    }

    fn publish_best(&mut self, at: Micros, outlet: &mut Outlet) {
        let [bid, ask] = [BID, ASK].map(|side| self.wire_level(self.sides[side].best()));
        let bbo = Bbo {
            symbol: self.derive.symbol().clone(),
            bid: bid.price,
            bid_size: bid.size,
            ask: ask.price,
            ask_size: ask.size,
            time: at,
        };
        self.derive.quote(&bbo);
        outlet.push(at, self.number, Channel::Bbo, Payload::Bbo(Box::new(bbo)));
    }

    fn wire_level(&self, level: Level) -> WireLevel {
        WireLevel {
            price: Decimal::new(i64::from(level.key.unsigned_abs()), self.price_digits),
            size: Decimal::new(i64::from(level.lots), self.lot_digits),
        }
    }
}
