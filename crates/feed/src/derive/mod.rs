//! Ticker and candles of one symbol, computed from its trades and best quotes; the same for both feeds and for what
//! clients publish ([`published`]).
//!
//! The session of a ticker begins with the first trade and never ends. `vwap` is rounded to [`VWAP_DIGITS`] and `change_pct` to
//! [`CHANGE_DIGITS`] digits after the point, halves to the even digit; everything else is exact. Every trade that
//! [`Derive::trade`] accepts is in the ticker and in one candle per interval. A trade that would make a sum inexact is
//! refused before anything changes. Memory is fixed; nothing here can overflow.

mod candle;
mod data;
mod kept;
pub(crate) mod published;

use rust_decimal::Decimal as Number;
use thiserror::Error;
use tickwire_wire::market::{Bbo, Candle, Ticker, Trade};
use tickwire_wire::{Decimal, Micros, Symbol};

use candle::CandleBuilder;
pub use candle::Interval;
pub(crate) use candle::Intervals;
pub use kept::{KeptMarket, NotKept};

/// Digits after the point of a ticker's `vwap`.
pub(crate) const VWAP_DIGITS: u32 = 8;
/// Digits after the point of a ticker's `change_pct`.
pub(crate) const CHANGE_DIGITS: u32 = 4;

/// Most digits after the point of a trade's price and size.
const FRACTION_DIGITS_MAX: u32 = 12;
/// Highest price: 10^12.
const PRICE_MAX: Number = Number::from_parts(3_567_587_328, 232, 0, false, 0);
/// Largest volume of a session: 10^16. With 12 digits after the point it has 28 digits, which are exact. Multiplied by
/// the highest price it is 10^28, which is in range.
const VOLUME_MAX: Number = Number::from_parts(1_874_919_424, 2_328_306, 0, false, 0);

/// Why a trade is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TradeRefused {
    /// The price is 0, negative, too high or has too many digits after the point.
    #[error(
        "price {0} is not above 0 and at most {PRICE_MAX} with {FRACTION_DIGITS_MAX} digits after the point"
    )]
    Price(Decimal),
    /// The size is 0, negative or has too many digits after the point.
    #[error("size {0} is not above 0 with at most {FRACTION_DIGITS_MAX} digits after the point")]
    Size(Decimal),
    /// The session's volume would become too large.
    #[error("size {0} would take the session's volume over {VOLUME_MAX}")]
    Volume(Decimal),
}

/// Whether a trade came in time for its candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Timeliness {
    /// The trade is in a candle of each interval.
    InTime,
    /// A candle of the trade's time had been closed, or a later one begun. The trade is in the ticker but not in that
    /// candle.
    Late,
}

/// The sums over all trades so far.
#[derive(Debug)]
struct Session {
    last: Decimal,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    volume: Number,
    notional: Number,
    time: Micros,
}

/// The latest best quotes; 0 before the first.
#[derive(Debug, Default)]
struct Quote {
    bid: Decimal,
    bid_size: Decimal,
    ask: Decimal,
    ask_size: Decimal,
}

/// Ticker and candles of one symbol.
#[derive(Debug)]
pub(crate) struct Derive {
    symbol: Symbol,
    quote: Quote,
    session: Option<Session>,
    candles: Box<[CandleBuilder]>,
}

impl Derive {
    /// Starts without any trade or quote.
    pub(crate) fn new(symbol: Symbol, intervals: &Intervals) -> Self {
        Self {
            symbol,
            quote: Quote::default(),
            session: None,
            candles: intervals.builders(),
        }
    }

    /// The symbol.
    pub(crate) fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    /// Records the best quotes.
    pub(crate) fn quote(&mut self, bbo: &Bbo) {
        self.quote = Quote {
            bid: bbo.bid,
            bid_size: bbo.bid_size,
            ask: bbo.ask,
            ask_size: bbo.ask_size,
        };
    }

    /// Checks that `trade` can be added. Returns its price and size for calculations.
    ///
    /// # Errors
    /// If a sum would not be exact.
    pub(crate) fn check(&self, trade: &Trade) -> Result<(Number, Number), TradeRefused> {
        let (price, size) = (trade.price.get(), trade.size.get());
        let in_range = |number: Number| number > Number::ZERO && number.scale() <= FRACTION_DIGITS_MAX;
        if !in_range(price) || price > PRICE_MAX {
            return Err(TradeRefused::Price(trade.price));
        }
        if !in_range(size) {
            return Err(TradeRefused::Size(trade.size));
        }
        let traded = self
            .session
            .as_ref()
            .map_or(Number::ZERO, |session| session.volume);
        if size > VOLUME_MAX || traded + size > VOLUME_MAX {
            return Err(TradeRefused::Volume(trade.size));
        }
        Ok((price, size))
    }

    /// Adds a trade. Call [`Derive::close`] with the trade's time first.
    pub(crate) fn trade(&mut self, trade: &Trade) -> Result<Timeliness, TradeRefused> {
        let (price, size) = self.check(trade)?;
        let notional = price * size;
        match &mut self.session {
            Some(session) => {
                session.last = trade.price;
                session.high = session.high.max(trade.price);
                session.low = session.low.min(trade.price);
                session.volume += size;
                session.notional += notional;
                session.time = trade.time;
            }
            session @ None => {
                *session = Some(Session {
                    last: trade.price,
                    open: trade.price,
                    high: trade.price,
                    low: trade.price,
                    volume: size,
                    notional,
                    time: trade.time,
                });
            }
        }
        let mut in_time = true;
        for candle in &mut self.candles {
            in_time &= candle.add(trade);
        }
        Ok(if in_time {
            Timeliness::InTime
        } else {
            Timeliness::Late
        })
    }

    /// The ticker, or `None` before the first trade. Its time is that of the last trade.
    pub(crate) fn ticker(&self) -> Option<Ticker> {
        let session = self.session.as_ref()?;
        let (last, open) = (session.last.get(), session.open.get());
        let vwap = (session.notional / session.volume).round_dp(VWAP_DIGITS);
        let change_pct = ((last - open) * Number::ONE_HUNDRED / open).round_dp(CHANGE_DIGITS);
        Some(Ticker {
            symbol: self.symbol.clone(),
            last: session.last,
            bid: self.quote.bid,
            bid_size: self.quote.bid_size,
            ask: self.quote.ask,
            ask_size: self.quote.ask_size,
            open: session.open,
            high: session.high,
            low: session.low,
            volume: session.volume.into(),
            vwap: vwap.into(),
            change_pct: change_pct.into(),
            time: session.time,
        })
    }

    /// Emits the open candles, the shorter interval first.
    pub(crate) fn candles(&self, mut emit: impl FnMut(Interval, Candle)) {
        for builder in &self.candles {
            if let Some(candle) = builder.candle(&self.symbol) {
                emit(builder.interval(), candle);
            }
        }
    }

    /// Closes the candles whose interval is over at `now`, the shorter interval first.
    pub(crate) fn close(&mut self, now: Micros, mut emit: impl FnMut(Interval, Candle)) {
        for builder in &mut self.candles {
            if let Some(candle) = builder.close(now, &self.symbol) {
                emit(builder.interval(), candle);
            }
        }
    }

    /// Learns that the candle of `interval` that began at `start` was published as closed: nothing is added to it, or to one
    /// before it.
    pub(crate) fn was_closed(&mut self, interval: Interval, start: Micros) {
        for builder in &mut self.candles {
            if builder.interval() == interval {
                builder.was_closed(start);
            }
        }
    }

    /// When the first of the open candles is over, if there is one.
    pub(crate) fn open_until(&self) -> Option<Micros> {
        self.candles.iter().filter_map(CandleBuilder::open_until).min()
    }
}

#[cfg(test)]
mod tests;
