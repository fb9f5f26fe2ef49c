//! Text that must not be shown: tokens and keys.

use std::fmt;

/// A token. It is formatted as `[redacted]`, so that it cannot reach a log inside another value. [`Secret::expose`] is
/// the only way to the text, and easy to search for.
///
/// ```
/// use tickwire_wire::Secret;
/// let token = Secret::from("tw_0123".to_owned());
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// assert_eq!(token.expose(), "tw_0123");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The text itself. It must not go into messages of any kind.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_boxed_str())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
