//! The two codecs: the same messages as JSON text or MessagePack.
//!
//! The broker's side turns the bytes of requests into [`ClientMessage`]s and server messages into bytes; the client's
//! side does the reverse. Decoding hostile bytes returns an error: it never panics, and its recursion is bounded (by
//! the protocol's types in requests, by serde_json's limit of 128 in messages that a client reads). Its memory is
//! bounded by a small multiple of the input. Published data never becomes a tree: it goes from the bytes of a request
//! into a [`JsonText`] or a [`PackedValue`](crate::PackedValue), and from there into the bytes of each codec.

pub(crate) mod book;
mod fields;
mod json;
pub(crate) mod later;
mod msgpack;
mod publish;
mod request;

use std::fmt;

use crate::error::Refusal;
use crate::frame::Opcode;
use crate::ids::{Epoch, Micros, Seq};
use crate::json_text::JsonText;
use crate::message::{BadRequest, ClientMessage, Control, Payload, ServerMessage};
pub use msgpack::publish::PackedPublish;
pub use publish::PlainPublish;

/// The encoding of a connection's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Codec {
    /// JSON in text messages.
    #[default]
    Json,
    /// MessagePack in binary messages.
    MessagePack,
}

/// A request as it was read.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A `publish` of JSON in its usual form.
    Publish(PlainPublish<'a>),
    /// A `publish` of MessagePack in its usual form.
    PackedPublish(PackedPublish<'a>),
    /// Any other request, or the refusal to answer with and the request's id if that could be read.
    Other(Result<ClientMessage, BadRequest>),
}

/// A server message that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable message from the broker: {0}")]
pub struct BadMessage(pub String);

/// A publication's topic, number and time, which both data messages carry.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The lineage of the numbers.
    pub epoch: &'a Epoch,
    /// The message's number.
    pub seq: Seq,
    /// When it entered the broker.
    pub ts: Micros,
}

/// One of the two data messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataOp {
    /// A topic's next message.
    Update,
    /// A topic's current value.
    Snapshot,
}

impl Codec {
    /// Both codecs.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// Its name in `Sec-WebSocket-Protocol`.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "tickwire.v1.json",
            Self::MessagePack => "tickwire.v1.msgpack",
        }
    }

    /// The opcode of its messages (RFC 6455 §5.2).
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Json => Opcode::Text,
            Self::MessagePack => Opcode::Binary,
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// The refusal to answer with, and the request's id if that could be read.
    pub fn decode_request(self, bytes: &[u8]) -> Result<ClientMessage, BadRequest> {
        match self.receive(bytes) {
            Incoming::Publish(publish) => Ok(publish.into()),
            Incoming::PackedPublish(publish) => Ok(publish.into()),
            Incoming::Other(request) => request,
        }
    }

    /// Reads a request. Does not copy a `publish` in its usual form.
    #[must_use]
    pub fn receive(self, bytes: &[u8]) -> Incoming<'_> {
        match self {
            Self::Json => match publish::read(bytes) {
                Some(publish) => Incoming::Publish(publish),
                None => Incoming::Other(json::decode_request(bytes)),
            },
            Self::MessagePack => match msgpack::publish::read(bytes) {
                Some(publish) => Incoming::PackedPublish(publish),
                None => Incoming::Other(msgpack::decode_request(bytes)),
            },
        }
    }

    /// Writes a request.
    pub fn encode_request(self, message: &ClientMessage, out: &mut Vec<u8>) {
        request::encode(self, message, out);
    }

    /// Writes a control message.
    pub fn encode_control(self, message: &Control, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::write(message, out),
            Self::MessagePack => msgpack::write(message, out),
        }
    }

    /// Writes an `update` or a `snapshot`.
    pub fn encode_data(self, op: DataOp, stamp: Stamp<'_>, payload: &Payload, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_data(op, stamp, payload, out),
            Self::MessagePack => msgpack::encode_data(op, stamp, payload, out),
        }
    }

    /// Reads a message from the broker.
    ///
    /// # Errors
    /// If the bytes are no message of PROTOCOL.md.
    pub fn decode_server(self, bytes: &[u8]) -> Result<ServerMessage, BadMessage> {
        match self {
            Self::Json => json::decode_server(bytes),
            Self::MessagePack => msgpack::decode_server(bytes),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::MessagePack => "msgpack",
        })
    }
}

impl Payload {
    /// The payload of published JSON text.
    ///
    /// # Errors
    /// `bad_request` if the text is no [`JsonText`].
    pub fn from_json(text: &[u8]) -> Result<Self, Refusal> {
        Ok(Self::Json(JsonText::parse(text)?))
    }

    /// Appends the payload as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => out.extend_from_slice(text.as_str().as_bytes()),
            Self::Packed(value) => value.as_slice().write_json(out),
            Self::Ticker(data) => json::write(data, out),
            Self::Bbo(data) => json::write(data, out),
            Self::Trade(data) => json::write(data, out),
            Self::Candle(data) => json::write(data, out),
            Self::Book(data) => json::write(data, out),
        }
    }

    /// Appends the payload as MessagePack: as it came, if it came so. JSON is converted as [`JsonText::write_msgpack`]
    /// says.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => text.write_msgpack(out),
            Self::Packed(value) => out.extend_from_slice(value.as_bytes()),
            Self::Ticker(data) => msgpack::write(data, out),
            Self::Bbo(data) => msgpack::write(data, out),
            Self::Trade(data) => msgpack::write(data, out),
            Self::Candle(data) => msgpack::write(data, out),
            Self::Book(data) => msgpack::write(data, out),
        }
    }

    /// Whether this is a candle whose interval is over, from the broker itself or from a publisher.
    #[must_use]
    pub fn is_closed_candle(&self) -> bool {
        /// The one field of a candle that is looked at.
        #[derive(serde::Deserialize)]
        struct Closing {
            closed: bool,
        }
        let closes = |text: &str| serde_json::from_str::<Closing>(text).is_ok_and(|candle| candle.closed);
        match self {
            Self::Candle(candle) => candle.closed,
            Self::Json(text) => closes(text.as_str()),
            Self::Packed(value) => closes(value.as_slice().to_json().as_str()),
            Self::Ticker(_) | Self::Bbo(_) | Self::Trade(_) | Self::Book(_) => false,
        }
    }

    /// The length of published data as it is kept, or 0.
    pub(crate) fn kept_bytes(&self) -> usize {
        match self {
            Self::Json(text) => text.as_str().len(),
            Self::Packed(value) => value.as_bytes().len(),
            _ => 0,
        }
    }

    /// About how many bytes the payload holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Json(text) => text.as_str().len(),
            Self::Packed(value) => value.as_bytes().len(),
            Self::Ticker(_) => size_of::<crate::market::Ticker>(),
            Self::Bbo(_) => size_of::<crate::market::Bbo>(),
            Self::Trade(_) => size_of::<crate::market::Trade>(),
            Self::Candle(_) => size_of::<crate::market::Candle>(),
            Self::Book(book) => {
                size_of::<crate::market::Book>()
                    + (book.bids.len() + book.asks.len()) * size_of::<crate::market::Level>()
            }
        }
    }
}

#[cfg(test)]
mod tests;
