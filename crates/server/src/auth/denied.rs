//! Why a client was not admitted, or its token not accepted.
//!
//! These messages go to the client. None of them repeats any part of the token.

use thiserror::Error;
use tickwire_metrics::AuthFailure;
use tickwire_wire::{ErrorCode, Refusal};

/// The longest token that is checked, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Why a token, or a request without one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Denied {
    #[error("pages of this origin may not connect to this broker")]
    ForeignOrigin,
    #[error("a token is required: send it as \"Authorization: Bearer …\"")]
    NoToken,
    #[error("more than one token was shown; show one")]
    TwoTokens,
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    #[error("this broker has no tokens configured; everyone has the anonymous rights")]
    NoTokens,
    #[error("no such key")]
    UnknownKey,
    #[error("the token is signed by an algorithm that is not taken here")]
    Algorithm,
    #[error("the token is not signed by a key that is known here")]
    Signature,
    #[error("the token's claims cannot be used: {0}")]
    Claims(String),
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token has expired")]
    Expired,
    #[error("the token belongs to someone else than the one that this connection was opened with")]
    OtherHolder,
    #[error("the token was revoked")]
    Revoked,
}

impl Denied {
    /// Its code on the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::ForeignOrigin | Self::OtherHolder => ErrorCode::Forbidden,
            Self::Expired => ErrorCode::TokenExpired,
            _ => ErrorCode::Unauthenticated,
        }
    }

    /// Its label in the metrics.
    pub(crate) fn failure(&self) -> AuthFailure {
        match self {
            Self::ForeignOrigin => AuthFailure::Origin,
            Self::NoToken => AuthFailure::NoToken,
            Self::TwoTokens | Self::TooLong | Self::Malformed(_) => AuthFailure::Malformed,
            Self::NoTokens | Self::UnknownKey => AuthFailure::UnknownKey,
            Self::Algorithm => AuthFailure::Algorithm,
            Self::Signature => AuthFailure::Signature,
            Self::Claims(_) => AuthFailure::Claims,
            Self::Audience => AuthFailure::Audience,
            Self::Issuer => AuthFailure::Issuer,
            Self::NotYet => AuthFailure::NotYet,
            Self::Expired => AuthFailure::Expired,
            Self::OtherHolder => AuthFailure::Holder,
            Self::Revoked => AuthFailure::Revoked,
        }
    }

    /// The refusal to send.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::new(self.code(), self.to_string())
    }
}
