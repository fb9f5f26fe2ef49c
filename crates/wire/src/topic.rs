//! Topics and the patterns that select them: the rules of NATS subjects, with tokens of `[A-Za-z0-9_-]+`.
//!
//! A [`Topic`] or [`Pattern`] is always valid: there is no way to make one that is not. Errors name the byte.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::limits::{TOPIC_BYTES_MAX, TOPIC_TOKENS_MAX};

/// Why a text is no topic or pattern. Offsets are bytes from the start, beginning with 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// The text is empty.
    #[error("topic is empty")]
    Empty,
    /// The text is longer than [`TOPIC_BYTES_MAX`].
    #[error("topic has {0} bytes; at most {TOPIC_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The text has more tokens than [`TOPIC_TOKENS_MAX`].
    #[error("topic has {0} tokens; at most {TOPIC_TOKENS_MAX} are allowed")]
    TooManyTokens(usize),
    /// There are two dots in a row, or a dot at an end.
    #[error("empty token at byte {0}")]
    EmptyToken(usize),
    /// There is a byte outside `[A-Za-z0-9_-]`.
    #[error("byte {0} ({1:?}) is not one of A-Z a-z 0-9 _ - .")]
    BadByte(usize, char),
    /// There is a `*` or `>` where a topic without wildcards is needed.
    #[error("wildcard at byte {0}: a single topic is needed here")]
    Wildcard(usize),
    /// A `*` or `>` is part of a longer token.
    #[error("wildcard at byte {0} must be a whole token")]
    PartialWildcard(usize),
    /// A `>` is not the last token.
    #[error("'>' at byte {0} must be the last token")]
    NotLast(usize),
}

/// Checks `text` by the rules of patterns. Returns the position of its first wildcard.
fn validate(text: &str) -> Result<Option<usize>, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong(text.len()));
    }
    let (mut wildcard, mut tokens, mut start) = (None, 0, 0);
    for token in text.split('.') {
        tokens += 1;
        let end = start + token.len();
        if token.is_empty() {
            return Err(TopicError::EmptyToken(start));
        }
        if token == "*" || token == ">" {
            if token == ">" && end != text.len() {
                return Err(TopicError::NotLast(start));
            }
            wildcard = wildcard.or(Some(start));
        } else if let Some(at) = token
            .bytes()
            .position(|b| !matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        {
            let bad = text[start + at..].chars().next().unwrap_or('\u{fffd}');
            return Err(if bad == '*' || bad == '>' {
                TopicError::PartialWildcard(start + at)
            } else {
                TopicError::BadByte(start + at, bad)
            });
        }
        start = end + 1;
    }
    if tokens > TOPIC_TOKENS_MAX {
        return Err(TopicError::TooManyTokens(tokens));
    }
    Ok(wildcard)
}

/// The name of a sequence of messages, such as `trade.BTC-USDT`. Cheap to clone.
///
/// ```
/// use tickwire_wire::{Topic, TopicError};
/// assert_eq!("bad..topic".parse::<Topic>(), Err(TopicError::EmptyToken(4)));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        match validate(text)? {
            Some(at) => Err(TopicError::Wildcard(at)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The name in a subscription: a topic, or a topic with `*` (exactly one token) and a final `>` (one or more tokens).
///
/// ```
/// use tickwire_wire::Pattern;
/// let pattern: Pattern = "candle.*.BTC-USD".parse()?;
/// assert!(pattern.matches("candle.1m.BTC-USD"));
/// assert!(!pattern.matches("candle.BTC-USD"));
/// # Ok::<(), tickwire_wire::TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: Arc<str>,
    wildcard: bool,
}

impl Pattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tokens between the dots, including wildcards.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.text.split('.')
    }

    /// Whether it has a wildcard, so that it can match more than one topic.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The topic, if the pattern has no wildcard.
    #[must_use]
    pub fn as_topic(&self) -> Option<Topic> {
        (!self.wildcard).then(|| Topic(self.text.clone()))
    }

    /// Whether the pattern matches `topic`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if !self.wildcard {
            return *self.text == *topic;
        }
        let mut topic_tokens = topic.split('.');
        for token in self.tokens() {
            match (token, topic_tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (token, Some(other)) if token == other => {}
                _ => return false,
            }
        }
        topic_tokens.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let wildcard = validate(text)?.is_some();
        Ok(Self {
            text: text.into(),
            wildcard,
        })
    }
}

impl From<Topic> for Pattern {
    fn from(topic: Topic) -> Self {
        Self {
            text: topic.0,
            wildcard: false,
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_topic() {
        for (text, message) in [
            ("", "topic is empty"),
            (".a", "empty token at byte 0"),
            ("a.", "empty token at byte 2"),
            ("bad..topic", "empty token at byte 4"),
            ("a b", "byte 1 (' ') is not one of A-Z a-z 0-9 _ - ."),
            ("a.\0", "byte 2 ('\\0') is not one of A-Z a-z 0-9 _ - ."),
            ("a.é", "byte 2 ('é') is not one of A-Z a-z 0-9 _ - ."),
            ("a.*", "wildcard at byte 2: a single topic is needed here"),
            ("a.>", "wildcard at byte 2: a single topic is needed here"),
            ("a.b*", "wildcard at byte 3 must be a whole token"),
            (">.a", "'>' at byte 0 must be the last token"),
        ] {
            assert_eq!(
                text.parse::<Topic>().expect_err(text).to_string(),
                message,
                "{text:?}"
            );
        }
        assert_eq!("a".repeat(256).parse::<Topic>(), Err(TopicError::TooLong(256)));
        assert_eq!(
            ["a"; 17].join(".").parse::<Topic>(),
            Err(TopicError::TooManyTokens(17))
        );
        assert!("a".repeat(255).parse::<Topic>().is_ok());
        assert!(["a"; 16].join(".").parse::<Topic>().is_ok());
    }

    #[test]
    fn patterns_match_by_nats_rules() {
        for (pattern, topic, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*", "a", true),
            ("*", "a.b", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c.d", true),
        ] {
            let parsed: Pattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(topic), expected, "{pattern} against {topic}");
        }
    }
}
