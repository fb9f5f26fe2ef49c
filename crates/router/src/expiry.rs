//! Which topics end by themselves, and when.
//!
//! A rule has a pattern, and the first rule whose pattern matches a topic is the topic's. A topic without a rule never ends by
//! itself. Nothing here reads a clock.

use tickwire_wire::Pattern;

use crate::looks::LookRule;

/// A rule: topics of `pattern` end when nothing was published to them for `after_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryRule {
    /// The pattern of the topics.
    pub pattern: Pattern,
    /// The time in milliseconds since a topic's last message, at least 1.
    pub after_ms: u64,
    /// Whether a topic ends while connections are subscribed to its name. Wildcards that match it do not hold it up.
    pub even_if_watched: bool,
}

impl LookRule for ExpiryRule {
    fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}
