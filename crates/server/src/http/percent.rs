//! Percent-encoding (RFC 3986 §2.1), decoded strictly: a bad escape or text that is not UTF-8 is an error, and never
//! kept.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// Why a text cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum PercentError {
    /// A `%` is not followed by two hexadecimal digits.
    #[error("'%' at byte {0} is not followed by two hexadecimal digits")]
    NotAnEscape(usize),
    /// The decoded bytes are not UTF-8.
    #[error("it is not UTF-8 once decoded")]
    NotUtf8,
}

/// Decodes `encoded`.
pub(super) fn decode(encoded: &str) -> Result<Cow<'_, str>, PercentError> {
    let bytes = encoded.as_bytes();
    let is_escape = |at: usize| {
        bytes
            .get(at + 1..at + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if let Some(at) = (0..bytes.len()).find(|at| bytes[*at] == b'%' && !is_escape(*at)) {
        return Err(PercentError::NotAnEscape(at));
    }
    percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| PercentError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_or_says_where_not() {
        for (encoded, decoded) in [
            ("", Ok("")),
            ("trade.BTC-USD", Ok("trade.BTC-USD")),
            ("ticker.%2A", Ok("ticker.*")),
            ("%e2%82%AC", Ok("€")),
            ("%25", Ok("%")),
            ("%2541", Ok("%41")),
            ("a+b", Ok("a+b")),
            ("100%", Err(PercentError::NotAnEscape(3))),
            ("a%2", Err(PercentError::NotAnEscape(1))),
            ("%41%zz", Err(PercentError::NotAnEscape(3))),
            ("%%41", Err(PercentError::NotAnEscape(0))),
            ("%+1", Err(PercentError::NotAnEscape(0))),
            ("%é", Err(PercentError::NotAnEscape(0))),
            ("%ff", Err(PercentError::NotUtf8)),
            ("%e2%82", Err(PercentError::NotUtf8)),
        ] {
            assert_eq!(decode(encoded).as_deref(), decoded.as_deref(), "{encoded}");
        }
    }
}
