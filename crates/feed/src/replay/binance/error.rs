//! The errors of a line of a recording.

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
    /// The bytes are not UTF-8.
    #[error("not UTF-8 after byte {}", .0.valid_up_to())]
    NotUtf8(#[from] Utf8Error),
    /// The text is UTF-16, as PowerShell writes it.
    #[error("UTF-16; a recording is UTF-8")]
    Utf16,
    /// The line is not a number, a space and a message.
    #[error("does not begin with the local time and a space, as in `1723161254087896568 {{…}}`")]
    NoTimestamp,
    /// The time has no known unit.
    #[error(transparent)]
    NoMoment(#[from] MomentError),
    /// The message is not JSON, a field is missing or has the wrong type, or a number is not an exact decimal.
    #[error("not a message of the exchange: {0}")]
    NotJson(#[from] serde_json::Error),
    /// The message is not one that a broker sends.
    #[error("not a message of a broker: {0}")]
    NotOfBroker(#[from] tickwire_wire::codec::BadMessage),
    /// The data of a message are refused.
    #[error("data that no broker takes: {0}")]
    BadData(#[from] tickwire_wire::Refusal),
    /// The topic of a message is none.
    #[error(transparent)]
    BadTopic(#[from] tickwire_wire::TopicError),
    /// The message of a broker has no data.
    #[error("a broker's message {0:?} holds nothing to replay")]
    UnusedMessage(String),
    /// There are more topics than a replay carries.
    #[error("topic {0} is one more than the {max} of brokers that a replay carries", max = crate::RECORDED_TOPICS_MAX)]
    TooManyTopics(tickwire_wire::Topic),
    /// The message is not a JSON object.
    #[error("not a JSON object")]
    NoObject,
    /// The name cannot be a symbol.
    #[error(transparent)]
    BadSymbol(#[from] SymbolError),
    /// The message is neither a stream with data nor a snapshot.
    #[error("neither a stream with data, an event, nor a snapshot with lastUpdateId, bids and asks")]
    NoEvent,
    /// The message is one of this other exchange.
    #[error("looks like a message of {0}; recordings of Binance are read")]
    OtherExchange(&'static str),
    /// The stream is of a kind that is not replayed.
    #[error("stream {0:?} is not replayed")]
    UnusedStream(String),
    /// The event is of a kind that is not replayed.
    #[error("event {0:?} is not replayed")]
    UnusedEvent(String),
    /// The message is a request, the answer to one, or the note that a connection was made.
    #[error("{0}, no market data")]
    NoData(&'static str),
    /// The data are of another event than the stream.
    #[error("event {event:?} of symbol {symbol:?} does not belong in stream {stream:?}")]
    WrongEvent {
        stream: String,
        event: String,
        symbol: String,
    },
    /// A price or size is below 0.
    #[error("{field} {value} is negative")]
    Negative { field: &'static str, value: Decimal },
    /// A side has too many levels.
    #[error("{0} levels on a side; at most {BOOK_LEVELS_MAX} are allowed")]
    TooManyLevels(usize),
    /// A depth event ends before it begins.
    #[error("first update U {first} is after the last, u {last}")]
    Backwards { first: u64, last: u64 },
}

impl LineError {
    /// The kind of fault that the error counts as.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::UnusedStream(_) | Self::UnusedEvent(_) | Self::NoData(_) | Self::UnusedMessage(_) => {
                FaultKind::Unused
            }
            _ => FaultKind::Malformed,
        }
    }
}
