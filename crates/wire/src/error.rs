//! What the broker answers to a request that it refuses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The `code` of an `error` message or of a result's `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a request: malformed, a field missing or of the wrong type, a combination that makes no sense.
    BadRequest,
    /// Not a topic or pattern.
    BadTopic,
    /// An `op` that does not exist.
    UnknownOp,
    /// Unsubscribe or resync of a topic without a subscription.
    NotSubscribed,
    /// Needs a token, or a better one.
    Unauthenticated,
    /// The connection's rights do not cover it.
    Forbidden,
    /// The token has expired.
    TokenExpired,
    /// A count or size limit of the broker.
    LimitExceeded,
    /// Too many requests per second.
    RateLimited,
    /// The message is longer than allowed.
    TooLarge,
    /// The broker's fault.
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

    /// The code as the wire has it.
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

/// A refusal: the code a program acts on and the reason a person reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// What was wrong, naming the offending value.
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
