//! What a view copies, how much later, and under which names.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tickwire_wire::{Pattern, Topic};

/// A rule: the topics of `pattern` are copied, `delay_ms` later, to topics of the same names behind `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRule {
    /// The topics. Copies of views are never among them.
    pub pattern: Pattern,
    /// What the names of the copies begin with.
    pub prefix: ViewPrefix,
    /// How much later the copies come, in milliseconds.
    pub delay_ms: u64,
    /// Most bytes of the messages that wait.
    pub bytes_max: usize,
}

/// The beginning of the names of a view's topics: tokens without wildcards, with a dot behind them, such as `delayed.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewPrefix(Box<str>);

/// A text is no beginning of names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be the beginning of topics with a dot at its end, such as delayed.")]
pub struct NoViewPrefix;

impl FromStr for ViewPrefix {
    type Err = NoViewPrefix;

    fn from_str(text: &str) -> Result<Self, NoViewPrefix> {
        let tokens = text.strip_suffix('.').ok_or(NoViewPrefix)?;
        tokens.parse::<Topic>().map_err(|_| NoViewPrefix)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ViewPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ViewPrefix {
    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` begins with it.
    #[must_use]
    pub fn heads(&self, name: &str) -> bool {
        name.starts_with(&*self.0)
    }

    /// The name of the copy of `source`. `None` if it is too long for a topic.
    pub(crate) fn topic(&self, source: &str) -> Option<Topic> {
        format!("{self}{source}").parse().ok()
    }

    /// The name of the topic of which `copy` is the copy.
    pub(crate) fn source<'a>(&self, copy: &'a str) -> Option<&'a str> {
        copy.strip_prefix(&*self.0)
    }

    /// The pattern of the copies of the topics of `pattern`. `None` if they are too long for topics.
    #[must_use]
    pub fn pattern(&self, pattern: &Pattern) -> Option<Pattern> {
        format!("{self}{pattern}").parse().ok()
    }

    /// The pattern of all topics that begin with it. `None` if it is too long for one.
    #[must_use]
    pub fn all(&self) -> Option<Pattern> {
        format!("{self}>").parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_tokens_with_a_dot_behind_them() {
        for good in ["delayed.", "a.b.", "delayed-15m."] {
            assert_eq!(good.parse::<ViewPrefix>().expect(good).to_string(), good);
        }
        for bad in ["", ".", "delayed", "delayed..", "*.", ">.", "a.*.", "a b."] {
            assert_eq!(bad.parse::<ViewPrefix>(), Err(NoViewPrefix), "{bad:?}");
        }
    }
}
