//! One line of a Binance recording: `local_timestamp_ns {"stream":…,"data":…}`, or a REST depth snapshot without a stream.
//!
//! Reads, never guesses: a field that is missing, a number that is negative or not exact, a stream that is not known
//! each make the line an error that says so. Fields that are not used are ignored. Nothing here keeps state.

use std::str::Utf8Error;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tickwire_wire::limits::BOOK_LEVELS_MAX;
use tickwire_wire::market::{Level, Side};
use tickwire_wire::{Decimal, Micros};

use super::symbol::SymbolError;

/// Why a line cannot be used.
#[derive(Debug, Error)]
pub(super) enum LineError {
    /// Bytes that are no text.
    #[error("not UTF-8 after byte {}", .0.valid_up_to())]
    NotUtf8(#[from] Utf8Error),
    /// No number, then a space, then the message.
    #[error("does not begin with the local time in nanoseconds and a space")]
    NoTimestamp,
    /// Not JSON, a field missing or of the wrong type, or not an exact decimal.
    #[error("not a message of the exchange: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON perhaps, but not an object.
    #[error("not a JSON object")]
    NoObject,
    /// A name that cannot be a symbol.
    #[error(transparent)]
    BadSymbol(#[from] SymbolError),
    /// Neither a stream with data nor a snapshot.
    #[error("neither a stream with data nor a snapshot with lastUpdateId, bids and asks")]
    NoEvent,
    /// A stream of another kind.
    #[error("stream {0:?} is not one of <symbol>@trade, @bookTicker, @depth, @depth@100ms, @depth@1000ms")]
    UnknownStream(String),
    /// The data are of another event than the stream.
    #[error("event {event:?} of symbol {symbol:?} does not belong in stream {stream:?}")]
    WrongEvent {
        stream: String,
        event: String,
        symbol: String,
    },
    /// A price or size below 0.
    #[error("{field} {value} is negative")]
    Negative { field: &'static str, value: Decimal },
    /// A side with too many levels.
    #[error("{0} levels on a side; at most {BOOK_LEVELS_MAX} are allowed")]
    TooManyLevels(usize),
    /// A time that does not fit in microseconds.
    #[error("time {0} ms is out of range")]
    TimeOutOfRange(u64),
}

/// A line that was understood.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    /// When it was received, by the recorder's clock.
    pub(super) at: Micros,
    /// The exchange's name of the symbol; a snapshot has none.
    pub(super) symbol: Option<&'a str>,
    /// What happened.
    pub(super) event: Event,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// An execution.
    Trade {
        id: u64,
        price: Decimal,
        size: Decimal,
        side: Side,
        time: Micros,
    },
    /// New best quotes.
    Bbo {
        bid: Decimal,
        bid_size: Decimal,
        ask: Decimal,
        ask_size: Decimal,
    },
    /// Levels that changed.
    Depth {
        first_id: u64,
        last_id: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
        time: Micros,
    },
    /// The whole book.
    Snapshot {
        last_id: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<u64>,
    bids: Option<Vec<Level>>,
    asks: Option<Vec<Level>>,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    e: &'a str,
    s: &'a str,
    t: u64,
    p: Decimal,
    q: Decimal,
    #[serde(rename = "T")]
    time_ms: u64,
    m: bool,
}

#[derive(Deserialize)]
struct BookTickerData<'a> {
    s: &'a str,
    b: Decimal,
    #[serde(rename = "B")]
    bid_size: Decimal,
    a: Decimal,
    #[serde(rename = "A")]
    ask_size: Decimal,
}

#[derive(Deserialize)]
struct DepthData<'a> {
    e: &'a str,
    s: &'a str,
    #[serde(rename = "E")]
    time_ms: u64,
    #[serde(rename = "U")]
    first_id: u64,
    u: u64,
    b: Vec<Level>,
    a: Vec<Level>,
}

/// Reads one line, without its end.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, LineError> {
    let text = std::str::from_utf8(line)?;
    let (time, json) = text.split_once(' ').ok_or(LineError::NoTimestamp)?;
    if time.starts_with('+') {
        return Err(LineError::NoTimestamp);
    }
    let time_ns: u64 = time.parse().map_err(|_| LineError::NoTimestamp)?;
    let at = Micros(time_ns / 1_000);
    let envelope: Envelope<'_> = object(json)?;
    if let (Some(stream), Some(data)) = (envelope.stream, envelope.data) {
        let (symbol, event) = streamed(stream, data.get())?;
        return Ok(Line {
            at,
            symbol: Some(symbol),
            event,
        });
    }
    let Envelope {
        stream: None,
        last_update_id: Some(last_id),
        bids: Some(bids),
        asks: Some(asks),
        ..
    } = envelope
    else {
        return Err(LineError::NoEvent);
    };
    check_levels(&bids)?;
    check_levels(&asks)?;
    Ok(Line {
        at,
        symbol: None,
        event: Event::Snapshot { last_id, bids, asks },
    })
}

fn streamed<'a>(stream: &str, data: &'a str) -> Result<(&'a str, Event), LineError> {
    let unknown = || LineError::UnknownStream(stream.to_owned());
    let (lower, kind) = stream.split_once('@').ok_or_else(unknown)?;
    let (expected, event, symbol, read) = match kind {
        "trade" => {
            let data: TradeData<'_> = object(data)?;
            ("trade", data.e, data.s, trade(&data)?)
        }
        "bookTicker" => {
            let data: BookTickerData<'_> = object(data)?;
            ("", "", data.s, book_ticker(&data)?)
        }
        "depth" | "depth@100ms" | "depth@1000ms" => {
            let data: DepthData<'_> = object(data)?;
            ("depthUpdate", data.e, data.s, depth(data)?)
        }
        _ => return Err(unknown()),
    };
    if event != expected || !symbol.eq_ignore_ascii_case(lower) {
        return Err(LineError::WrongEvent {
            stream: stream.to_owned(),
            event: event.to_owned(),
            symbol: symbol.to_owned(),
        });
    }
    Ok((symbol, read))
}

/// Reads a JSON object. Serde alone would also take an array of the fields' values.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, LineError> {
    if text.trim_ascii_start().starts_with('{') {
        Ok(serde_json::from_str(text)?)
    } else {
        Err(LineError::NoObject)
    }
}

fn trade(data: &TradeData<'_>) -> Result<Event, LineError> {
    Ok(Event::Trade {
        id: data.t,
        price: not_negative("p", data.p)?,
        size: not_negative("q", data.q)?,
        // The buyer was the maker, so the taker sold.
        side: if data.m { Side::Sell } else { Side::Buy },
        time: micros(data.time_ms)?,
    })
}

fn book_ticker(data: &BookTickerData<'_>) -> Result<Event, LineError> {
    Ok(Event::Bbo {
        bid: not_negative("b", data.b)?,
        bid_size: not_negative("B", data.bid_size)?,
        ask: not_negative("a", data.a)?,
        ask_size: not_negative("A", data.ask_size)?,
    })
}

fn depth(data: DepthData<'_>) -> Result<Event, LineError> {
    check_levels(&data.b)?;
    check_levels(&data.a)?;
    let time = micros(data.time_ms)?;
    Ok(Event::Depth {
        first_id: data.first_id,
        last_id: data.u,
        bids: data.b,
        asks: data.a,
        time,
    })
}

fn micros(time_ms: u64) -> Result<Micros, LineError> {
    time_ms
        .checked_mul(1_000)
        .map(Micros)
        .ok_or(LineError::TimeOutOfRange(time_ms))
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
