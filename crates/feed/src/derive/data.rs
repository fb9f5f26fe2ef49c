//! Reads published trades and best quotes from JSON, as far as candles and tickers need them.
//!
//! Numbers may be texts, as the broker's own, or JSON numbers; either way they stay exact. Fields that nothing is derived
//! from are not looked at. Everything here comes from publishers.

use std::str::FromStr;

use rust_decimal::Decimal as Number;
use serde::Deserialize;
use serde_json::value::RawValue;
use tickwire_wire::limits::DECIMAL_BYTES_MAX;
use tickwire_wire::market::{Bbo, Trade};
use tickwire_wire::{Decimal, Micros};

/// The fields of a message that are looked at.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    bid_size: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_size: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
}

/// A trade or best quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// A trade.
    Trade {
        price: Decimal,
        size: Decimal,
        /// `None` if the publisher does not say when it was.
        time: Option<Micros>,
    },
    /// Best quotes.
    Quote(Quoted),
}

/// Best quotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Quoted {
    pub(super) bid: Decimal,
    pub(super) bid_size: Decimal,
    pub(super) ask: Decimal,
    pub(super) ask_size: Decimal,
}

impl Data {
    /// The trade or the quotes in `text`. A message with a `price` is a trade.
    pub(super) fn of_json(text: &str) -> Option<Self> {
        let fields: Fields<'_> = serde_json::from_str(text).ok()?;
        if fields.price.is_some() {
            return Some(Self::Trade {
                price: decimal(fields.price?)?,
                size: decimal(fields.size?)?,
                time: match fields.time {
                    None => None,
                    Some(time) => Some(Micros(time.get().parse().ok()?)),
                },
            });
        }
        Some(Self::Quote(Quoted {
            bid: decimal(fields.bid?)?,
            bid_size: decimal(fields.bid_size?)?,
            ask: decimal(fields.ask?)?,
            ask_size: decimal(fields.ask_size?)?,
        }))
    }
}

impl From<&Trade> for Data {
    fn from(trade: &Trade) -> Self {
        Self::Trade {
            price: trade.price,
            size: trade.size,
            time: Some(trade.time),
        }
    }
}

impl From<&Bbo> for Data {
    fn from(bbo: &Bbo) -> Self {
        Self::Quote(Quoted {
            bid: bbo.bid,
            bid_size: bbo.bid_size,
            ask: bbo.ask,
            ask_size: bbo.ask_size,
        })
    }
}

/// The decimal in a JSON value: a text without escapes, or a number.
fn decimal(value: &RawValue) -> Option<Decimal> {
    let text = value.get();
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.strip_suffix('"')?.parse().ok();
    }
    if let Ok(plain) = Decimal::from_str(text) {
        return Some(plain);
    }
    // With an exponent, as some languages write small and large numbers.
    let (mantissa, _) = text.split_once(['e', 'E'])?;
    let is_exact = text.len() <= DECIMAL_BYTES_MAX && Decimal::from_str(mantissa).is_ok();
    let number = is_exact.then(|| Number::from_scientific(text).ok())??;
    Some(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trades_and_quotes_of_every_form_are_read() {
        let decimal = |text: &str| text.parse::<Decimal>().expect("a decimal");
        let trade = |price: &str, size: &str, time: Option<u64>| {
            Some(Data::Trade {
                price: decimal(price),
                size: decimal(size),
                time: time.map(Micros),
            })
        };
        for (text, expected) in [
            (r#"{"price":"1.50","size":"2"}"#, trade("1.5", "2", None)),
            (r#"{"time":7,"size":2,"price":1.5}"#, trade("1.5", "2", Some(7))),
            (
                r#"{"price":0.12345678901234567,"size":1e-3}"#,
                trade("0.12345678901234567", "0.001", None),
            ),
            (
                r#"{"symbol":"A","id":1,"price":"1","size":"2","side":"buy","time":18446744073709551615,"bid":"5","x":[{}]}"#,
                trade("1", "2", Some(u64::MAX)),
            ),
            (r#"{"size":"2"}"#, None),
            (r#"{"price":"1"}"#, None),
            (r#"{"price":null,"size":"2"}"#, None),
            (r#"{"price":"1","size":"2","time":"now"}"#, None),
            (r#"{"price":"1","size":"2","time":1.5}"#, None),
            (r#"{"price":"1","size":"2","time":-1}"#, None),
            (r#"{"price":"1","price":"2","size":"2"}"#, None),
            (r#"{"price":"\u0031","size":"2"}"#, None),
            (r#"{"price":"","size":"2"}"#, None),
            (r#"{"price":"NaN","size":"2"}"#, None),
            (r#"{"price":1e400,"size":"2"}"#, None),
            (r#"{"price":[1],"size":"2"}"#, None),
            (r#"{"price":true,"size":"2"}"#, None),
            ("[]", None),
            ("5", None),
            ("\"price\"", None),
            ("null", None),
            (r#"{"bid":"1","bid_size":"2","ask":"3"}"#, None),
            (
                r#"{"bid":"1","bid_size":2,"ask":"3","ask_size":"4","time":1}"#,
                Some(Data::Quote(Quoted {
                    bid: decimal("1"),
                    bid_size: decimal("2"),
                    ask: decimal("3"),
                    ask_size: decimal("4"),
                })),
            ),
        ] {
            assert_eq!(Data::of_json(text), expected, "{text}");
        }
    }
}
