//! HTTP on the clients' listener: how requests are read, the endpoints that answer them, and how answers are written.
//!
//! `error`, `etag`, `ndjson`, `path`, `percent` and `query` are pure: they turn bytes and heads into values
//! or an [`ErrorResponse`]. The others are the endpoints. A refusal says what was wrong with which part of the request,
//! and every answer except a stream is bounded.

mod api;
mod body;
mod bulk;
mod coding;
mod context;
mod cors;
mod delete;
mod error;
mod etag;
mod gzip;
mod history;
mod host;
pub(crate) mod identify;
mod ndjson;
mod path;
mod percent;
mod progress;
mod publish;
mod query;
mod reply;
mod requester;
mod routes;
pub(crate) mod service;
pub(crate) mod shutdown;
mod smuggling;
mod stream;
mod takeover;
mod topics;
mod unreadable;

pub(crate) use self::api::answer;
pub(crate) use self::body::{read_operators as read_operators_body, read_rest};
pub(crate) use self::coding::check_transfer;
pub(crate) use self::context::{HttpContext, REFUSED_STATUSES};
pub use self::error::ErrorResponse;
pub use self::etag::Etag;
pub(crate) use self::etag::is_named_by;
pub(crate) use self::gzip::{Encoder, of_answer as gzip_of_answer, replace as replace_by_gzip};
pub(crate) use self::host::{ONE_HOST, is_named};
pub use self::ndjson::{BadLine, LineExtras, LineMessage, Lines, parse_line};
pub use self::path::topic_of_segment;
pub(crate) use self::progress::{Exchange, Progress};
pub use self::query::Query;
pub(crate) use self::query::UnreadQuery;
pub(crate) use self::reply::Reply;
pub(crate) use self::requester::Requester;
pub(crate) use self::routes::{Endpoint, LABELS as ENDPOINT_LABELS, METHODS_OF_STREAMS};
pub(crate) use self::smuggling::Smuggling;
pub(crate) use self::takeover::Takeover;
pub(crate) use self::topics::WantedTopics;
