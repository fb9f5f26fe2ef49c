//! Text that is known to be JSON: the form of published data inside the broker.
//!
//! A [`JsonText`] is made only by reading text or MessagePack from the first byte to the last. Code that has one need
//! not check it again. The text is one JSON value (RFC 8259) in UTF-8 without white space around it. Its arrays and
//! maps are nested no deeper than [`NESTING_MAX`], its numbers are finite as 64-bit floats, and its escapes are whole
//! characters. Names of fields have no meaning here; equal names stay, in their order.

pub(crate) mod check;
mod number;
mod packed;
mod scan;

use std::fmt;

use thiserror::Error;

use self::scan::Scanner;
use crate::error::Refusal;
use crate::limits::NESTING_MAX;
pub use crate::msgpack::read::Malformed;

/// One JSON value as text.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Box<str>);

/// A [`JsonText`] that is not copied: its text is lent by the bytes that it came in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JsonSlice<'a>(&'a str);

/// Why a text is no [`JsonText`]. Offsets are bytes from the start, beginning with 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("the text is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// The text ends before its value does.
    #[error("the text ends at byte {0}, where {1} is expected")]
    CutShort(usize, &'static str),
    /// The text has something that the grammar does not allow there.
    #[error("{expected} is expected at byte {at}")]
    Unexpected {
        /// The offset in the text, in bytes from 0.
        at: usize,
        /// What the grammar expects there.
        expected: &'static str,
    },
    /// Arrays and maps are nested deeper than [`NESTING_MAX`].
    #[error("nested deeper than {NESTING_MAX}")]
    TooDeep,
    /// The number is too large for a 64-bit float.
    #[error("the number at byte {0} is out of range")]
    OutOfRange(usize),
    /// A string holds a character below U+0020 that is not escaped.
    #[error("the control character at byte {0} must be escaped")]
    ControlCharacter(usize),
    /// The text has an escape that JSON does not have.
    #[error("the escape at byte {0} is none of JSON's")]
    BadEscape(usize),
    /// The text has half of a surrogate pair, which no other codec can carry.
    #[error("the escape at byte {0} is half a character")]
    LoneSurrogate(usize),
}

impl JsonText {
    /// Checks `text` and takes it over, without the white space around it.
    ///
    /// # Errors
    /// When it is no JSON value, or more than a [`JsonText`] may hold.
    ///
    /// ```
    /// use tickwire_wire::JsonText;
    /// assert_eq!(JsonText::parse(b" [1, 2] ").unwrap().as_str(), "[1, 2]");
    /// assert!(JsonText::parse("[".repeat(65).as_bytes()).is_err());
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        JsonSlice::parse(text).map(JsonSlice::to_text)
    }

    /// Takes over `text`, which was written as JSON from a value that was checked.
    pub(crate) fn made(text: Vec<u8>) -> Self {
        let text = String::from_utf8(text).expect("JSON is written from strings and ASCII");
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, taken out.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

impl<'a> JsonSlice<'a> {
    /// Checks `text`. Leaves out the white space around it.
    ///
    /// # Errors
    /// As [`JsonText::parse`].
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(text).map_err(|error| JsonError::NotUtf8(error.valid_up_to()))?;
        let trimmed = scan::trimmed(text);
        if check::value_end(trimmed.as_bytes(), 0) != Some(trimmed.len()) {
            let mut scanner = Scanner::new(text);
            while scanner.next()?.is_some() {}
        }
        Ok(Self(trimmed))
    }

    /// `text`, which [`check::value_end`] has found to be one value.
    pub(crate) const fn checked(text: &'a str) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// A copy of the text.
    #[must_use]
    pub fn to_text(self) -> JsonText {
        JsonText(self.0.into())
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JsonSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        let reason = match error {
            JsonError::TooDeep => format!("data is {error}"),
            JsonError::OutOfRange(_) | JsonError::LoneSurrogate(_) => {
                format!("data is not usable JSON: {error}")
            }
            _ => format!("data is not JSON: {error}"),
        };
        Self::bad_request(reason)
    }
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::TooDeep(_) => Self::bad_request(format!("data is {error}")),
            _ => Self::bad_request(format!("data: {error}")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
