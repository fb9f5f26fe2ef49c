//! Everything that Tickwire sends and receives: topics, messages, codecs, dialects, frames and events, close codes, and
//! limits.
//!
//! The crate never uses a socket, a clock, a thread or the environment. Both the broker and its clients use it.
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
pub mod moment;
mod msgpack;
pub mod pattern_sets;
pub mod secret;
pub mod speed;
pub mod sse;
pub mod topic;

pub use close::CloseCode;
pub use codec::Codec;
pub use decimal::{Decimal, DecimalError};
pub use deflate::Variant;
pub use dialect::Dialect;
pub use error::{ErrorCode, Refusal};
pub use ids::{Epoch, Micros, Seq};
pub use json_text::{JsonError, JsonSlice, JsonText};
pub use market::Symbol;
pub use message::{ClientMessage, Control, Kind, Mode, Payload, RequestId, ServerMessage};
pub use moment::{BadMoment, Moment};
pub use msgpack::value::{PackedSlice, PackedValue};
pub use secret::Secret;
pub use speed::{BadSpeed, ReplaySpeed};
pub use topic::{Pattern, Topic, TopicError};
