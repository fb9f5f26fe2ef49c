//! The key of a publication that may be repeated.

use std::fmt;
use std::str::FromStr;

use crate::error::Refusal;
use crate::limits::PUBLISH_KEY_BYTES_MAX;

/// A text of 1 to [`PUBLISH_KEY_BYTES_MAX`] bytes by which the broker knows a publication again that a client repeats.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishKey(Box<str>);

impl PublishKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublishKey {
    type Err = Refusal;

    /// # Errors
    /// `bad_request` if the text is empty or too long.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        if (1..=PUBLISH_KEY_BYTES_MAX).contains(&text.len()) {
            return Ok(Self(text.into()));
        }
        let length = text.len();
        let reason = format!("a key of {length} bytes; it has 1 to {PUBLISH_KEY_BYTES_MAX}");
        Err(Refusal::bad_request(reason))
    }
}

impl fmt::Display for PublishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
