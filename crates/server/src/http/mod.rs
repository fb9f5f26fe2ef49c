//! The pure parts of the HTTP endpoints: what requests mean and how answers are written.
//!
//! Nothing here touches a socket or a topic's state: bytes and heads in, values or an [`ErrorResponse`] out. Refusals say
//! what was wrong with which part of the request.

mod cursor;
mod error;
mod etag;
mod ndjson;
mod path;
mod percent;
mod query;
pub mod sse;

pub use self::cursor::{Cursor, CursorError};
pub use self::error::ErrorResponse;
pub use self::etag::Etag;
pub use self::ndjson::{BadLine, parse_lines};
pub use self::path::topic_of_segment;
pub use self::query::Query;
