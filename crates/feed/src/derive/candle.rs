//! The candles of one symbol and interval, one at a time.
//!
//! An interval begins at a multiple of its length since the Unix epoch. An interval without trades has no candle. A
//! closed candle is never opened again: a trade that comes later for it is refused.

use std::sync::Arc;

use rust_decimal::Decimal as Number;
use tickwire_wire::market::{Candle, Trade};
use tickwire_wire::{Decimal, Micros, Symbol};

/// The length of a candle. Days and hours are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    /// `1s`
    Second,
    /// `1m`
    Minute,
    /// `5m`
    FiveMinutes,
    /// `15m`
    QuarterHour,
    /// `1h`
    Hour,
    /// `1d`
    Day,
}

impl Interval {
    /// Every interval, the shortest first.
    pub const ALL: [Self; 6] = [
        Self::Second,
        Self::Minute,
        Self::FiveMinutes,
        Self::QuarterHour,
        Self::Hour,
        Self::Day,
    ];
    /// The intervals of the candles that the built-in feeds publish.
    pub const OF_FEEDS: [Self; 2] = [Self::Second, Self::Minute];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::QuarterHour => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The length in microseconds.
    #[must_use]
    pub const fn length_us(self) -> u64 {
        1_000_000
            * match self {
                Self::Second => 1,
                Self::Minute => 60,
                Self::FiveMinutes => 300,
                Self::QuarterHour => 900,
                Self::Hour => 3_600,
                Self::Day => 86_400,
            }
    }
}

/// Intervals with their names, which all candles share.
#[derive(Debug)]
pub(crate) struct Intervals(Vec<(Interval, Arc<str>)>);

impl Default for Intervals {
    fn default() -> Self {
        Self::new(&Interval::OF_FEEDS)
    }
}

impl Intervals {
    /// These intervals.
    pub(crate) fn new(intervals: &[Interval]) -> Self {
        let named = intervals
            .iter()
            .map(|interval| (*interval, interval.as_str().into()));
        Self(named.collect())
    }

    /// Creates a builder for each interval, in their order.
    pub(super) fn builders(&self) -> Box<[CandleBuilder]> {
        let builders = self.0.iter().map(|(interval, name)| CandleBuilder {
            interval: *interval,
            name: name.clone(),
            closed_until: Micros(0),
            open: None,
        });
        builders.collect()
    }
}

/// The trades of the open interval.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) start: Micros,
    pub(super) open: Decimal,
    pub(super) high: Decimal,
    pub(super) low: Decimal,
    pub(super) close: Decimal,
    pub(super) volume: Number,
    pub(super) trades: u64,
}

/// Builds the candles of one symbol and interval.
#[derive(Debug)]
pub(super) struct CandleBuilder {
    interval: Interval,
    name: Arc<str>,
    pub(super) closed_until: Micros,
    pub(super) open: Option<Open>,
}

impl CandleBuilder {
    /// The interval of its candles.
    pub(super) fn interval(&self) -> Interval {
        self.interval
    }

    /// When the open interval is over, if there is one.
    pub(super) fn open_until(&self) -> Option<Micros> {
        let open = self.open.as_ref()?;
        Some(Micros(open.start.0.saturating_add(self.interval.length_us())))
    }

    /// Adds a trade to the open interval, or opens the trade's interval. Returns whether that interval could still take
    /// the trade.
    pub(super) fn add(&mut self, trade: &Trade) -> bool {
        let start = Micros(trade.time.0 - trade.time.0 % self.interval.length_us());
        match &mut self.open {
            Some(candle) if candle.start == start => {
                candle.high = candle.high.max(trade.price);
                candle.low = candle.low.min(trade.price);
                candle.close = trade.price;
                candle.volume += trade.size.get();
                candle.trades += 1;
                true
            }
            None if start >= self.closed_until => {
                self.open = Some(Open {
                    start,
                    open: trade.price,
                    high: trade.price,
                    low: trade.price,
                    close: trade.price,
                    volume: trade.size.get(),
                    trades: 1,
                });
                true
            }
            _ => false,
        }
    }

    /// The candle of the open interval, if there is one.
    pub(super) fn candle(&self, symbol: &Symbol) -> Option<Candle> {
        self.open.as_ref().map(|open| self.message(open, symbol, false))
    }

    /// Closes the open candle if its interval is over at `now`.
    pub(super) fn close(&mut self, now: Micros, symbol: &Symbol) -> Option<Candle> {
        let end = self.open_until()?;
        if now < end {
            return None;
        }
        let open = self.open.take()?;
        self.closed_until = end;
        Some(self.message(&open, symbol, true))
    }

    /// Learns that the candle that began at `start` was published as closed.
    pub(super) fn was_closed(&mut self, start: Micros) {
        self.open.take_if(|open| open.start <= start);
        let end = Micros(start.0.saturating_add(self.interval.length_us()));
        self.closed_until = self.closed_until.max(end);
    }

    fn message(&self, open: &Open, symbol: &Symbol, closed: bool) -> Candle {
        Candle {
            symbol: symbol.clone(),
            interval: self.name.clone(),
            start: open.start,
            open: open.open,
            high: open.high,
            low: open.low,
            close: open.close,
            volume: open.volume.into(),
            trades: open.trades,
            closed,
        }
    }
}
