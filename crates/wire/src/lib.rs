//! What crosses a Tickwire socket: topics, messages, codecs, dialects, frames and events encoded once, close codes, limits.
//!
//! Pure: never a socket, a clock, a thread or the environment. Both sides of the wire use it, the broker and its clients;
//! PROTOCOL.md is its specification.

pub mod byte_order_mark;
pub mod close;
pub mod codec;
pub mod decimal;
pub mod deflate;
pub mod dialect;
pub mod error;
pub mod frame;
pub mod ids;
pub mod json_text;
pub mod limits;
pub mod market;
pub mod message;
mod msgpack;
pub mod pattern_sets;
pub mod secret;
pub mod sse;
pub mod topic;

pub use close::CloseCode;
pub use codec::Codec;
pub use decimal::{Decimal, DecimalError};
pub use deflate::Variant;
pub use dialect::Dialect;
pub use error::{ErrorCode, Refusal};
pub use ids::{Epoch, Micros, Seq};
pub use json_text::{JsonError, JsonText};
pub use market::Symbol;
pub use message::{ClientMessage, Control, Kind, Mode, Payload, RequestId, ServerMessage};
pub use secret::Secret;
pub use topic::{Pattern, Topic, TopicError};
