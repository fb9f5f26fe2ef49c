//! Refusals: the broker's answers to requests that it does not fulfil.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::later;

/// The `code` of an `error` message or of a result's `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message is no request: it is malformed, a field is missing or of the wrong type, or the fields contradict
    /// each other.
    BadRequest,
    /// The text is not a topic or pattern.
    BadTopic,
    /// There is no such `op`.
    UnknownOp,
    /// The topic of an `unsubscribe` or `resync` has no subscription.
    NotSubscribed,
    /// The request needs a token, or another one.
    Unauthenticated,
    /// The connection's rights do not allow it.
    Forbidden,
    /// The token has expired.
    TokenExpired,
    /// The request exceeds a count or size limit of the broker.
    LimitExceeded,
    /// Too many requests came per second.
    RateLimited,
    /// The message is longer than allowed.
    TooLarge,
    /// The broker has a fault.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of PROTOCOL.md.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::BadTopic,
        Self::UnknownOp,
        Self::NotSubscribed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TokenExpired,
        Self::LimitExceeded,
        Self::RateLimited,
        Self::TooLarge,
        Self::Internal,
    ];

    /// The code on the wire.
    ///
    /// ```
    /// assert_eq!(tickwire_wire::ErrorCode::BadTopic.as_str(), "bad_topic");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadTopic => "bad_topic",
            Self::UnknownOp => "unknown_op",
            Self::NotSubscribed => "not_subscribed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::TokenExpired => "token_expired",
            Self::LimitExceeded => "limit_exceeded",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::LimitExceeded | Self::RateLimited | Self::Internal)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: a code for programs and a reason for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// The kind of refusal.
    #[serde(deserialize_with = "later::code")]
    pub code: ErrorCode,
    /// The fault, with the offending value.
    pub reason: String,
}

impl Refusal {
    /// A refusal with `code` because of `reason`.
    pub fn new(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// A `bad_request` because of `reason`.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, reason)
    }
}

impl From<crate::TopicError> for Refusal {
    fn from(error: crate::TopicError) -> Self {
        Self::new(ErrorCode::BadTopic, error.to_string())
    }
}
