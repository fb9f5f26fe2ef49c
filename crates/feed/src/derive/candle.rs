//! The candles of one symbol and interval, one at a time.
//!
//! An interval begins at a multiple of its length since the Unix epoch. An interval without trades has no candle. A
//! closed candle is never opened again: a trade that comes later for it is refused.

use std::sync::Arc;

use rust_decimal::Decimal as Number;
use tickwire_wire::market::{Candle, Trade};
use tickwire_wire::{Decimal, Micros, Symbol};

/// The names of the intervals, shared by all candles.
#[derive(Debug)]
pub(crate) struct Intervals {
    second: Arc<str>,
    minute: Arc<str>,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            second: "1s".into(),
            minute: "1m".into(),
        }
    }
}

impl Intervals {
    /// Creates the builder for seconds and the builder for minutes.
    pub(crate) fn builders(&self) -> (CandleBuilder, CandleBuilder) {
        let builder = |name: &Arc<str>, length_us| CandleBuilder {
            name: name.clone(),
            length_us,
            closed_until: Micros(0),
            open: None,
        };
        (
            builder(&self.second, 1_000_000),
            builder(&self.minute, 60_000_000),
        )
    }
}

/// The trades of the open interval.
#[derive(Debug)]
struct Open {
    start: Micros,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: Number,
    trades: u64,
}

/// Builds the candles of one symbol and interval.
#[derive(Debug)]
pub(crate) struct CandleBuilder {
    name: Arc<str>,
    length_us: u64,
    closed_until: Micros,
    open: Option<Open>,
}

impl CandleBuilder {
    /// Adds a trade to the open interval, or opens the trade's interval. Returns whether that interval could still take
    /// the trade.
    pub(super) fn add(&mut self, trade: &Trade) -> bool {
        let start = Micros(trade.time.0 - trade.time.0 % self.length_us);
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
        let end = self.open.as_ref()?.start.0.saturating_add(self.length_us);
        if now.0 < end {
            return None;
        }
        let open = self.open.take()?;
        self.closed_until = Micros(end);
        Some(self.message(&open, symbol, true))
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
