//! Why a line of a recording cannot be used.

use std::str::Utf8Error;

use thiserror::Error;
use tickwire_wire::Decimal;
use tickwire_wire::limits::BOOK_LEVELS_MAX;

use crate::replay::fault::FaultKind;
use crate::replay::moment::MomentError;
use crate::replay::symbol::SymbolError;

/// Why a line cannot be used.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    /// Bytes that are no text.
    #[error("not UTF-8 after byte {}", .0.valid_up_to())]
    NotUtf8(#[from] Utf8Error),
    /// Text of another encoding, as PowerShell writes it.
    #[error("UTF-16; a recording is UTF-8")]
    Utf16,
    /// No number, then a space, then the message.
    #[error("does not begin with the local time and a space, as in `1723161254087896568 {{…}}`")]
    NoTimestamp,
    /// A time of no unit that is known.
    #[error(transparent)]
    NoMoment(#[from] MomentError),
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
    #[error("neither a stream with data, an event, nor a snapshot with lastUpdateId, bids and asks")]
    NoEvent,
    /// What another exchange sends.
    #[error("looks like a message of {0}; recordings of Binance are read")]
    OtherExchange(&'static str),
    /// A stream of another kind.
    #[error("stream {0:?} is not replayed")]
    UnusedStream(String),
    /// An event of another kind.
    #[error("event {0:?} is not replayed")]
    UnusedEvent(String),
    /// The answer to a request, a request, or the note that a connection was made.
    #[error("{0}, no market data")]
    NoData(&'static str),
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
    /// A depth event that ends before it begins.
    #[error("first update U {first} is after the last, u {last}")]
    Backwards { first: u64, last: u64 },
}

impl LineError {
    /// What kind of fault it is.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::UnusedStream(_) | Self::UnusedEvent(_) | Self::NoData(_) => FaultKind::Unused,
            _ => FaultKind::Malformed,
        }
    }
}
