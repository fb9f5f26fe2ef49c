//! What is derived, in a form that can be kept and gone on with: the open candles and the sums of each market.
//!
//! Sums have more digits than a decimal on the wire may have, so they are kept as texts of their own. Nothing is rounded.

use rust_decimal::Decimal as Number;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tickwire_wire::{Decimal, Micros};

use super::candle::{CandleBuilder, Open};
use super::data::Quoted;
use super::{Derive, Quote, Session};

/// The state of a market. It can be read again by the version that wrote it, and by later ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMarket {
    pub(super) name: Box<str>,
    /// When its last trade arrived.
    pub(super) heard: Micros,
    /// Whether the newest ticker and open candles were not published yet.
    pub(super) has_traded: bool,
    /// The best quotes: bid and its size, ask and its size.
    quotes: [Decimal; 4],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<KeptSession>,
    candles: Vec<KeptCandles>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSession {
    last: Decimal,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    volume: String,
    notional: String,
    time: Micros,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptCandles {
    interval: String,
    closed_until: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candle: Option<KeptCandle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptCandle {
    start: Micros,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: String,
    trades: u64,
}

/// What was kept of a market cannot be gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no sum of trades")]
pub struct NotKept(String);

impl KeptMarket {
    /// The state of a market.
    pub(super) fn of(name: &str, heard: Micros, has_traded: bool, derive: &Derive) -> Self {
        let Quote {
            bid,
            bid_size,
            ask,
            ask_size,
        } = derive.quote;
        Self {
            name: name.into(),
            heard,
            has_traded,
            quotes: [bid, bid_size, ask, ask_size],
            session: derive.session.as_ref().map(KeptSession::of),
            candles: derive.candles.iter().map(KeptCandles::of).collect(),
        }
    }

    pub(super) fn quoted(&self) -> Quoted {
        let [bid, bid_size, ask, ask_size] = self.quotes;
        Quoted {
            bid,
            bid_size,
            ask,
            ask_size,
        }
    }

    /// Has `derive` go on from this state. Intervals that it does not have are left out, and those that are new begin anew.
    pub(super) fn restore(&self, derive: &mut Derive) -> Result<(), NotKept> {
        let session = self.session.as_ref().map(KeptSession::session).transpose()?;
        let mut candles = Vec::new();
        for kept in &self.candles {
            let open = kept.candle.as_ref().map(KeptCandle::open).transpose()?;
            candles.push((kept.interval.as_str(), kept.closed_until, open));
        }
        let [bid, bid_size, ask, ask_size] = self.quotes;
        derive.quote = Quote {
            bid,
            bid_size,
            ask,
            ask_size,
        };
        derive.session = session;
        for (interval, closed_until, open) in candles {
            let mut builders = derive.candles.iter_mut();
            if let Some(builder) = builders.find(|builder| builder.interval().as_str() == interval) {
                builder.closed_until = closed_until;
                builder.open = open;
            }
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<Number, NotKept> {
    Number::from_str_exact(text).map_err(|_| NotKept(text.to_owned()))
}

impl KeptSession {
    fn of(session: &Session) -> Self {
        Self {
            last: session.last,
            open: session.open,
            high: session.high,
            low: session.low,
            volume: session.volume.to_string(),
            notional: session.notional.to_string(),
            time: session.time,
        }
    }

    fn session(&self) -> Result<Session, NotKept> {
        Ok(Session {
            last: self.last,
            open: self.open,
            high: self.high,
            low: self.low,
            volume: number(&self.volume)?,
            notional: number(&self.notional)?,
            time: self.time,
        })
    }
}

impl KeptCandles {
    fn of(builder: &CandleBuilder) -> Self {
        Self {
            interval: builder.interval().as_str().to_owned(),
            closed_until: builder.closed_until,
            candle: builder.open.as_ref().map(KeptCandle::of),
        }
    }
}

impl KeptCandle {
    fn of(open: &Open) -> Self {
        Self {
            start: open.start,
            open: open.open,
            high: open.high,
            low: open.low,
            close: open.close,
            volume: open.volume.to_string(),
            trades: open.trades,
        }
    }

    fn open(&self) -> Result<Open, NotKept> {
        Ok(Open {
            start: self.start,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: number(&self.volume)?,
            trades: self.trades,
        })
    }
}
