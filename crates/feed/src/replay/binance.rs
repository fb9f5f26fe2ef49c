//! Parses one line of a Binance recording (RECORDINGS.md): the local time, then a message of spot or of USD-M futures.
//!
//! It never guesses. A line is an error that says what is wrong if a field is missing, a number is negative or not
//! exact, a time has no known unit, or the message is another exchange's. Unused fields are ignored. Nothing here keeps
//! state.
//! here keeps state.

mod error;

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tickwire_wire::limits::BOOK_LEVELS_MAX;
use tickwire_wire::market::{Level, Side};
use tickwire_wire::{Decimal, Micros};

use super::book_line::Depth;
use super::moment;
use super::recorded::{self, Recorded};

pub(super) use error::LineError;

/// A parsed line.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    /// When it was received, by the recorder's clock.
    pub(super) at: Micros,
    /// What it says.
    pub(super) said: Said<'a>,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Said<'a> {
    /// A message of the exchange.
    Exchange {
        /// The exchange's name of the symbol. Most snapshots have none.
        symbol: Option<Cow<'a, str>>,
        /// The event of the line.
        event: Event,
    },
    /// A message of a broker.
    Recorded(Recorded),
}

/// The event that a line tells.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// One execution, or several executions of one order at one price.
    Trade(Traded),
    /// New best quotes.
    Bbo(Quoted),
    /// Levels that changed.
    Depth(Depth),
    /// The whole book.
    Snapshot {
        last_id: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
    },
    /// The best levels, which replace the whole book.
    Top {
        last_id: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
        time: Option<Micros>,
    },
}

/// A trade.
#[derive(Debug, PartialEq)]
pub(super) struct Traded {
    pub(super) id: u64,
    pub(super) price: Decimal,
    pub(super) size: Decimal,
    pub(super) side: Side,
    pub(super) time: Micros,
    pub(super) aggregated: bool,
}

/// The best quotes.
#[derive(Debug, PartialEq)]
pub(super) struct Quoted {
    /// The number of the book's update with these quotes.
    pub(super) id: Option<u64>,
    pub(super) bid: Decimal,
    pub(super) bid_size: Decimal,
    pub(super) ask: Decimal,
    pub(super) ask_size: Decimal,
    /// The time of the event. Only futures have it.
    pub(super) time: Option<Micros>,
}

/// A text, borrowed unless it contains escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a field is present, with any value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    stream: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<u64>,
    #[serde(borrow)]
    bids: Option<&'a RawValue>,
    #[serde(borrow)]
    asks: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<Text<'a>>,
    #[serde(borrow)]
    s: Option<Text<'a>>,
    /// Best quotes of spot do not name an event.
    #[serde(rename = "B", default, deserialize_with = "present")]
    bid_size: bool,
    #[serde(rename = "A", default, deserialize_with = "present")]
    ask_size: bool,
}

/// Fields that tell what a message is, if it is not market data of Binance.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Marks {
    #[serde(deserialize_with = "present")]
    result: bool,
    #[serde(deserialize_with = "present")]
    method: bool,
    #[serde(deserialize_with = "present")]
    arg: bool,
    #[serde(deserialize_with = "present")]
    product_id: bool,
    #[serde(deserialize_with = "present")]
    product_ids: bool,
    #[serde(deserialize_with = "present")]
    channels: bool,
    #[serde(deserialize_with = "present")]
    topic: bool,
    #[serde(deserialize_with = "present")]
    jsonrpc: bool,
    #[serde(deserialize_with = "present")]
    event: bool,
    #[serde(deserialize_with = "present")]
    channel: bool,
}

impl Marks {
    /// The error for a message without an event.
    fn verdict(&self) -> LineError {
        if self.arg {
            LineError::OtherExchange("OKX")
        } else if self.product_id || self.product_ids || self.channels {
            LineError::OtherExchange("Coinbase")
        } else if self.topic {
            LineError::OtherExchange("Bybit")
        } else if self.jsonrpc {
            LineError::OtherExchange("Deribit")
        } else if self.event || self.channel {
            LineError::OtherExchange("Kraken")
        } else if self.result {
            LineError::NoData("the answer to a request")
        } else if self.method {
            LineError::NoData("a request")
        } else {
            LineError::NoEvent
        }
    }
}

#[derive(Deserialize)]
struct TradeData<'a> {
    #[serde(borrow)]
    e: Text<'a>,
    #[serde(borrow)]
    s: Text<'a>,
    t: Option<u64>,
    a: Option<u64>,
    p: Decimal,
    q: Decimal,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

#[derive(Deserialize)]
struct BookTickerData<'a> {
    #[serde(borrow)]
    s: Text<'a>,
    u: Option<u64>,
    b: Decimal,
    #[serde(rename = "B")]
    bid_size: Decimal,
    a: Decimal,
    #[serde(rename = "A")]
    ask_size: Decimal,
    #[serde(rename = "T")]
    time: Option<u64>,
}

#[derive(Deserialize)]
struct DepthData<'a> {
    #[serde(borrow)]
    e: Text<'a>,
    #[serde(borrow)]
    s: Text<'a>,
    #[serde(rename = "E")]
    time: u64,
    #[serde(rename = "U")]
    first_id: u64,
    u: u64,
    pu: Option<u64>,
    b: Vec<Level>,
    a: Vec<Level>,
}

/// The best levels. Spot sends them as a snapshot, futures as a depth event.
#[derive(Deserialize)]
struct TopData {
    #[serde(rename = "E")]
    time: Option<u64>,
    #[serde(rename = "lastUpdateId", alias = "u")]
    last_id: u64,
    #[serde(alias = "b")]
    bids: Vec<Level>,
    #[serde(alias = "a")]
    asks: Vec<Level>,
}

/// The events that are replayed, as their field `e` names them.
const TRADE: &str = "trade";
const AGGREGATED: &str = "aggTrade";
const DEPTH: &str = "depthUpdate";
const QUOTE: &str = "bookTicker";

/// A symbol's name and its event.
type Named<'a> = (Cow<'a, str>, Event);

/// Parses one line, without its line end.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, LineError> {
    if line.starts_with(&[0xff, 0xfe]) || line.starts_with(&[0xfe, 0xff]) {
        return Err(LineError::Utf16);
    }
    let text = std::str::from_utf8(line)?;
    let (asked, text) = captured(text)?;
    let (time, json) = text.split_once(' ').ok_or(LineError::NoTimestamp)?;
    let time = time.strip_suffix(':').unwrap_or(time);
    let at = moment::of_text(time)?.ok_or(LineError::NoTimestamp)?;
    if recorded::is_message(json) {
        let said = Said::Recorded(recorded::parse(json)?);
        return Ok(Line { at, said });
    }
    let (symbol, event) = message(json)?;
    let symbol = symbol.or(asked.map(Cow::Borrowed));
    let said = Said::Exchange { symbol, event };
    Ok(Line { at, said })
}

/// Splits a line of a raw capture: returns its message and the symbol that its address names. `ADDRESS -> TIME: BODY`
/// is an answer over HTTP, `ADDRESS <- TIME: …` was sent, `ADDRESS <-> TIME` is a connection.
fn captured(text: &str) -> Result<(Option<&str>, &str), LineError> {
    let schemes = ["https://", "http://", "wss://", "ws://"];
    if !schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return Ok((None, text));
    }
    let (address, rest) = text.split_once(' ').ok_or(LineError::NoTimestamp)?;
    let Some(answer) = rest.strip_prefix("-> ") else {
        return Err(LineError::NoData("what a client sent"));
    };
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let symbol = query.split('&').find_map(|pair| pair.strip_prefix("symbol="));
    Ok((symbol, answer))
}

/// Parses the message `json`. It has a symbol unless it is a snapshot.
fn message(json: &str) -> Result<(Option<Cow<'_, str>>, Event), LineError> {
    if json.trim_ascii_start().starts_with('[') {
        return Err(LineError::OtherExchange("Kraken or Bitfinex"));
    }
    let envelope: Envelope<'_> = object(json)?;
    let named = |(symbol, event)| (Some(symbol), event);
    if let (Some(stream), Some(data)) = (&envelope.stream, envelope.data) {
        return streamed(&stream.0, data.get()).map(named);
    }
    if let Some(Text(name)) = &envelope.e {
        return event(name, json).map(named);
    }
    match envelope {
        Envelope {
            stream: None,
            last_update_id: Some(last_id),
            bids: Some(bids),
            asks: Some(asks),
            ..
        } => Ok((None, snapshot(last_id, bids, asks)?)),
        Envelope {
            bid_size: true,
            ask_size: true,
            ..
        } => book_ticker(json).map(named),
        _ => Err(object::<Marks>(json)?.verdict()),
    }
}

/// Parses the data of `stream` in a message of a combined stream.
fn streamed<'a>(stream: &str, data: &'a str) -> Result<Named<'a>, LineError> {
    let unused = || LineError::UnusedStream(stream.to_owned());
    let (lower, kind) = stream.split_once('@').ok_or_else(unused)?;
    let (kind, speed) = kind
        .split_once('@')
        .map_or((kind, None), |(kind, speed)| (kind, Some(speed)));
    let ms = |speed: &str| {
        let digits = speed.strip_suffix("ms");
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let expected = match (kind, speed) {
        (TRADE, None) => TRADE,
        (AGGREGATED, None) => AGGREGATED,
        (QUOTE, None) => QUOTE,
        ("depth", speed) if speed.is_none_or(ms) => DEPTH,
        ("depth5" | "depth10" | "depth20", speed) if speed.is_none_or(ms) => {
            // The best levels of spot name no symbol.
            return Ok((Cow::Owned(lower.to_uppercase()), top(data)?));
        }
        _ => return Err(unused()),
    };
    let (symbol, event) =
        event(expected, data).map_err(|error| misplaced(stream, expected, data).unwrap_or(error))?;
    // Some symbols have letters whose case only Unicode defines.
    if symbol.to_lowercase() != lower.to_lowercase() {
        return Err(wrong(stream, expected, &symbol));
    }
    Ok((symbol, event))
}

fn wrong(stream: &str, event: &str, symbol: &str) -> LineError {
    LineError::WrongEvent {
        stream: stream.to_owned(),
        event: event.to_owned(),
        symbol: symbol.to_owned(),
    }
}

/// The error for unreadable data if they are of another event than `expected`.
fn misplaced(stream: &str, expected: &str, data: &str) -> Option<LineError> {
    let Envelope {
        e: Some(Text(e)), s, ..
    } = object(data).ok()?
    else {
        return None;
    };
    let symbol = s.map_or(Cow::Borrowed(""), |Text(symbol)| symbol);
    (e != expected).then(|| wrong(stream, &e, &symbol))
}

/// Parses `data` of the event `name`. Data of another event are refused.
fn event<'a>(name: &str, data: &'a str) -> Result<Named<'a>, LineError> {
    match name {
        TRADE | AGGREGATED => trade(name, object(data)?),
        DEPTH => depth(name, object(data)?),
        QUOTE => book_ticker(data),
        _ => Err(LineError::UnusedEvent(name.to_owned())),
    }
}

/// Parses a JSON object. Serde alone would also take an array of the fields' values.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, LineError> {
    if text.trim_ascii_start().starts_with('{') {
        Ok(serde_json::from_str(text)?)
    } else {
        Err(LineError::NoObject)
    }
}

fn trade<'a>(name: &str, data: TradeData<'a>) -> Result<Named<'a>, LineError> {
    if data.e.0 != name {
        return Err(wrong(name, &data.e.0, &data.s.0));
    }
    let aggregated = name == AGGREGATED;
    let (id, field) = if aggregated { (data.a, "a") } else { (data.t, "t") };
    let missing = || LineError::NotJson(serde::de::Error::missing_field(field));
    let traded = Traded {
        id: id.ok_or_else(missing)?,
        price: not_negative("p", data.p)?,
        size: not_negative("q", data.q)?,
        // The buyer was the maker, so the taker sold.
        side: if data.m { Side::Sell } else { Side::Buy },
        time: moment::of_number(data.time)?,
        aggregated,
    };
    Ok((data.s.0, Event::Trade(traded)))
}

fn book_ticker(data: &str) -> Result<Named<'_>, LineError> {
    let data: BookTickerData<'_> = object(data)?;
    let quoted = Quoted {
        id: data.u,
        bid: not_negative("b", data.b)?,
        bid_size: not_negative("B", data.bid_size)?,
        ask: not_negative("a", data.a)?,
        ask_size: not_negative("A", data.ask_size)?,
        time: data.time.map(moment::of_number).transpose()?,
    };
    Ok((data.s.0, Event::Bbo(quoted)))
}

fn depth<'a>(name: &str, data: DepthData<'a>) -> Result<Named<'a>, LineError> {
    if data.e.0 != name {
        return Err(wrong(name, &data.e.0, &data.s.0));
    }
    check_levels(&data.b)?;
    check_levels(&data.a)?;
    if data.first_id > data.u {
        return Err(LineError::Backwards {
            first: data.first_id,
            last: data.u,
        });
    }
    let depth = Depth {
        first_id: data.first_id,
        last_id: data.u,
        previous_id: data.pu,
        bids: data.b,
        asks: data.a,
        time: moment::of_number(data.time)?,
    };
    Ok((data.s.0, Event::Depth(depth)))
}

fn top(data: &str) -> Result<Event, LineError> {
    let data: TopData = object(data)?;
    check_levels(&data.bids)?;
    check_levels(&data.asks)?;
    Ok(Event::Top {
        last_id: data.last_id,
        bids: data.bids,
        asks: data.asks,
        time: data.time.map(moment::of_number).transpose()?,
    })
}

fn snapshot(last_id: u64, bids: &RawValue, asks: &RawValue) -> Result<Event, LineError> {
    let levels = |side: &RawValue| -> Result<Vec<Level>, LineError> {
        let levels: Vec<Level> = serde_json::from_str(side.get())?;
        check_levels(&levels)?;
        Ok(levels)
    };
    Ok(Event::Snapshot {
        last_id,
        bids: levels(bids)?,
        asks: levels(asks)?,
    })
}

fn not_negative(field: &'static str, value: Decimal) -> Result<Decimal, LineError> {
    if value.is_negative() {
        Err(LineError::Negative { field, value })
    } else {
        Ok(value)
    }
}

fn check_levels(levels: &[Level]) -> Result<(), LineError> {
    if levels.len() > BOOK_LEVELS_MAX {
        return Err(LineError::TooManyLevels(levels.len()));
    }
    for level in levels {
        not_negative("price", level.price)?;
        not_negative("size", level.size)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
