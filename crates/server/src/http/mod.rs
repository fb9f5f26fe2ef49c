//! The pure parts of the HTTP endpoints: what requests mean and how answers are written.
//!
//! Nothing here touches a socket or a topic: bytes and heads in, values or an [`ErrorResponse`] out. Refusals say what
//! was wrong with which part of the request.

mod error;

pub use self::error::ErrorResponse;
