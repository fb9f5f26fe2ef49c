//! Market data in the field `data` (PROTOCOL.md, "Market data carried in `data`"), and the checksum of a book.
//!
//! Field order is the order on the wire. Times are microseconds since the Unix epoch.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::book;
use crate::decimal::Decimal;
use crate::ids::Micros;
use crate::limits::BOOK_CHECKSUM_LEVELS;

/// The name of an instrument: `BTC-USDT`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Symbol {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// `ticker.<symbol>`: the last trade, the best quotes and the session's statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticker {
    /// The instrument.
    pub symbol: Symbol,
    /// Price of the last trade.
    pub last: Decimal,
    /// Best bid price.
    pub bid: Decimal,
    /// Size at the best bid.
    pub bid_size: Decimal,
    /// Best ask price.
    pub ask: Decimal,
    /// Size at the best ask.
    pub ask_size: Decimal,
    /// Price of the session's first trade.
    pub open: Decimal,
    /// Highest traded price of the session.
    pub high: Decimal,
    /// Lowest traded price of the session.
    pub low: Decimal,
    /// Traded size of the session, in the base currency.
    pub volume: Decimal,
    /// Volume-weighted average price of the session.
    pub vwap: Decimal,
    /// Change of `last` against `open`, in percent.
    pub change_pct: Decimal,
    /// When the event behind this message happened.
    pub time: Micros,
}

/// `bbo.<symbol>`: the best bid and offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bbo {
    /// The instrument.
    pub symbol: Symbol,
    /// Best bid price.
    pub bid: Decimal,
    /// Size at the best bid.
    pub bid_size: Decimal,
    /// Best ask price.
    pub ask: Decimal,
    /// Size at the best ask.
    pub ask_size: Decimal,
    /// When the quote took effect.
    pub time: Micros,
}

/// The side of the trade's taker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The taker bought: the trade lifted an ask.
    Buy,
    /// The taker sold: the trade hit a bid.
    Sell,
}

/// `trade.<symbol>`: one execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// The instrument.
    pub symbol: Symbol,
    /// The venue's number of the trade, increasing per instrument.
    pub id: u64,
    /// Price of one unit of the base currency, in the quote currency.
    pub price: Decimal,
    /// Size in the base currency.
    pub size: Decimal,
    /// The taker's side.
    pub side: Side,
    /// When it was executed.
    pub time: Micros,
}

/// `candle.<interval>.<symbol>`: open, high, low and close of the trades of one interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candle {
    /// The instrument.
    pub symbol: Symbol,
    /// The interval's name: `1s`, `1m`.
    pub interval: Arc<str>,
    /// When the interval began.
    pub start: Micros,
    /// Price of the first trade.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Price of the last trade so far.
    pub close: Decimal,
    /// Traded size so far.
    pub volume: Decimal,
    /// Number of trades so far.
    pub trades: u64,
    /// Whether the interval is over. Then no later message for it follows.
    pub closed: bool,
}

/// One price level of a book, `[price, size]` on the wire. Size 0 in an update removes the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Price of the level, in the quote currency.
    pub price: Decimal,
    /// Total size at the price.
    pub size: Decimal,
}

impl From<(Decimal, Decimal)> for Level {
    fn from((price, size): (Decimal, Decimal)) -> Self {
        Self { price, size }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Level;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a level: [price, size]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Level, A::Error> {
                let price = pair.next_element()?;
                let price = price.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let size = pair.next_element()?;
                let size = size.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                Ok(Level { price, size })
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&self.price)?;
        pair.serialize_element(&self.size)?;
        pair.end()
    }
}

/// `book.<symbol>`: a whole L2 book (best levels first) or the levels that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "a book: {\"symbol\",\"bids\",\"asks\",\"time\"}")]
pub struct Book {
    /// The instrument.
    pub symbol: Symbol,
    /// Bid levels.
    #[serde(default)]
    pub bids: Vec<Level>,
    /// Ask levels.
    #[serde(default)]
    pub asks: Vec<Level>,
    /// [`BookChecksum`] of the book after the change. The broker computes it and ignores the one of a publisher.
    #[serde(default)]
    pub checksum: u32,
    /// When the book took this state.
    pub time: Micros,
    /// In a publisher's message: whether these levels are the whole book and not changes of it. Never sent to
    /// subscribers.
    #[serde(default, skip_serializing)]
    pub replace: bool,
}

impl Book {
    /// Reads a message that is one JSON value.
    ///
    /// # Errors
    /// If it is no book message.
    ///
    /// ```
    /// use tickwire_wire::market::Book;
    /// let book = Book::from_json(r#"{"symbol":"A","bids":[["99.5","2"]],"time":0}"#)?;
    /// assert_eq!(book.bids[0].price.to_string(), "99.5");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        match book::read(text, 0) {
            Some((book, end)) if end == text.len() => Ok(book),
            _ => serde_json::from_str(text),
        }
    }
}

/// CRC-32 (IEEE) over the top 10 asks, then the top 10 bids: for each level the digits of price, then size, without
/// the point and leading zeros (Kraken's WebSocket v2 rule).
///
/// Feed it the asks best first, then the bids best first.
///
/// ```
/// use tickwire_wire::market::{BookChecksum, Level};
/// let level = |price: &str, size: &str| Level { price: price.parse().unwrap(), size: size.parse().unwrap() };
/// let mut sum = BookChecksum::default();
/// sum.side([level("0.05005", "0.0000050")].into_iter());
/// assert_eq!(sum.finish(), 0x8f21_db4f); // crc32(b"50055")
/// ```
#[derive(Debug)]
pub struct BookChecksum {
    /// The text is gathered first, since CRC-32 over one long text is several times faster than over many short ones.
    text: [u8; CHECKSUM_BYTES_MAX],
    len: usize,
}

/// Most digits of a decimal's 96-bit mantissa.
const DIGITS_MAX: usize = 29;
/// Most bytes of the prices and sizes of the covered levels of both sides.
const CHECKSUM_BYTES_MAX: usize = 2 * BOOK_CHECKSUM_LEVELS * 2 * DIGITS_MAX;

impl Default for BookChecksum {
    fn default() -> Self {
        Self {
            text: [0; CHECKSUM_BYTES_MAX],
            len: 0,
        }
    }
}

impl BookChecksum {
    /// Adds the first ten of the levels of a side, which must be the best first. A third side is ignored.
    pub fn side(&mut self, levels: impl Iterator<Item = Level>) {
        for level in levels.take(BOOK_CHECKSUM_LEVELS) {
            self.digits(level.price.digits());
            self.digits(level.size.digits());
        }
    }

    fn digits(&mut self, number: u128) {
        if number == 0 {
            return; // zero has only leading zeros
        }
        let mut buffer = itoa::Buffer::new();
        // Nearly all fit in 64 bits, which are formatted faster.
        let digits = match u64::try_from(number) {
            Ok(small) => buffer.format(small),
            Err(_) => buffer.format(number),
        };
        let digits = digits.as_bytes();
        if let Some(place) = self.text.get_mut(self.len..self.len + digits.len()) {
            place.copy_from_slice(digits);
            self.len += digits.len();
        }
    }

    /// The checksum.
    #[must_use]
    pub fn finish(self) -> u32 {
        crc32fast::hash(&self.text[..self.len])
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "`expect![…]` is meant to be an argument"
    )]
    fn what_is_wrong_with_a_published_book() {
        fn check(data: &str, expected: Expect) {
            let error = serde_json::from_str::<Book>(data).expect_err(data);
            expected.assert_eq(&error.to_string());
        }
        check(
            "5",
            expect![[
                r#"invalid type: integer `5`, expected a book: {"symbol","bids","asks","time"} at line 1 column 1"#
            ]],
        );
        check("{}", expect!["missing field `symbol` at line 1 column 2"]);
        check(
            r#"{"symbol":"A","time":"now"}"#,
            expect![[
                r#"invalid type: string "now", expected an integer from 0 to 18446744073709551615 at line 1 column 26"#
            ]],
        );
        check(
            r#"{"symbol":"A","time":-1}"#,
            expect![
                "invalid value: integer `-1`, expected an integer from 0 to 18446744073709551615 at line 1 column 23"
            ],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":5}"#,
            expect!["invalid type: integer `5`, expected a sequence at line 1 column 31"],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":[5]}"#,
            expect!["invalid type: integer `5`, expected a level: [price, size] at line 1 column 32"],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":[[]]}"#,
            expect!["invalid length 0, expected a level: [price, size] at line 1 column 33"],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":[["1"]]}"#,
            expect!["invalid length 1, expected a level: [price, size] at line 1 column 36"],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":[["1","2","3"]]}"#,
            expect!["trailing characters at line 1 column 41"],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":[[1.5,"2"]]}"#,
            expect![
                "invalid type: floating point `1.5`, expected a decimal number as a string at line 1 column 35"
            ],
        );
        check(
            r#"{"symbol":"A","time":1,"bids":[["1","two"]]}"#,
            expect![[r#""two" is not a decimal number of at most 28 digits at line 1 column 41"#]],
        );
    }
}
