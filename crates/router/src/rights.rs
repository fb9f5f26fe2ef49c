//! What a connection may subscribe to and publish to: patterns that allow, and patterns that deny and win.
//!
//! A subscription is allowed when every topic that it could ever bring is: its pattern must lie within the allowed ones
//! together and meet none of the denied ones. So topics that appear later need no look. Nothing is allowed by default,
//! and cloning is cheap: everyone with the same rights shares the patterns.

use std::sync::Arc;

use tickwire_wire::pattern_sets::{common, covers, overlap};
use tickwire_wire::{ErrorCode, Pattern, Refusal};

/// The topics that one kind of request may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    allow: Arc<[Pattern]>,
    deny: Arc<[Pattern]>,
}

impl Grant {
    /// The topics of `allow` without those of `deny`.
    pub fn new(allow: impl Into<Arc<[Pattern]>>, deny: impl Into<Arc<[Pattern]>>) -> Self {
        Self {
            allow: allow.into(),
            deny: deny.into(),
        }
    }

    /// No topic.
    #[must_use]
    pub fn none() -> Self {
        Self::new([], [])
    }

    /// The patterns that allow.
    #[must_use]
    pub fn allow(&self) -> &[Pattern] {
        &self.allow
    }

    /// The patterns that deny.
    #[must_use]
    pub fn deny(&self) -> &[Pattern] {
        &self.deny
    }

    /// Whether it holds no topic because it allows none. One whose patterns deny all that they allow is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
    }

    /// Whether it holds `topic`.
    #[must_use]
    pub fn has(&self, topic: &str) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(topic))
            && !self.deny.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether it holds every topic that `pattern` matches.
    #[must_use]
    pub fn has_all(&self, pattern: &Pattern) -> bool {
        covers(&self.allow, pattern) && !self.deny.iter().any(|denied| overlap(denied, pattern))
    }

    /// A pattern within `pattern` of which it holds every topic, if there is one to be told: the part of `pattern` in one
    /// of the patterns that allow.
    #[must_use]
    pub fn narrower(&self, pattern: &Pattern) -> Option<Pattern> {
        let mut parts = self.allow.iter().filter_map(|allowed| common(allowed, pattern));
        parts.find(|part| !self.deny.iter().any(|denied| overlap(denied, part)))
    }
}

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Topics that it may subscribe to, ask the value and the history of, and see in listings.
    pub subscribe: Grant,
    /// Topics that it may publish to.
    pub publish: Grant,
}

impl Rights {
    /// The right to nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            subscribe: Grant::none(),
            publish: Grant::none(),
        }
    }

    /// The right to subscribe to everything and to publish to the topics of `publish`.
    ///
    /// # Panics
    /// Never: `>` is a pattern.
    #[must_use]
    pub fn open(publish: impl Into<Arc<[Pattern]>>) -> Self {
        let everything: Pattern = ">".parse().expect("a valid pattern");
        Self {
            subscribe: Grant::new([everything], []),
            publish: Grant::new(publish, []),
        }
    }

    /// Whether every topic of `pattern` may be subscribed to.
    ///
    /// # Errors
    /// `forbidden`, with a pattern that would be allowed where one can be told.
    pub fn check_subscribe(&self, pattern: &Pattern) -> Result<(), Refusal> {
        if self.subscribe.has_all(pattern) {
            return Ok(());
        }
        let mut reason = if pattern.is_wildcard() {
            format!("{pattern} holds topics that this connection may not subscribe to")
        } else {
            format!("this connection may not subscribe to {pattern}")
        };
        if let Some(narrower) = self.subscribe.narrower(pattern) {
            reason += &format!("; it may subscribe to {narrower}");
        }
        Err(Refusal::new(ErrorCode::Forbidden, reason))
    }

    /// Whether `topic` may be published to.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_publish(&self, topic: &str) -> Result<(), Refusal> {
        if self.publish.has(topic) {
            return Ok(());
        }
        let reason = format!("this connection may not publish to {topic}");
        Err(Refusal::new(ErrorCode::Forbidden, reason))
    }
}
