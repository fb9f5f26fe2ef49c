//! The epoch of each topic's numbers.
//!
//! All topics of a broker alone have one epoch, its start. Other code must not rely on that: it asks for the epoch of a
//! topic.

use tickwire_wire::{Epoch, Pattern};

/// A rule: topics that match `pattern` have the epoch `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRule {
    /// The pattern of the topics.
    pub pattern: Pattern,
    /// The epoch of their numbers.
    pub epoch: Epoch,
}

/// The epochs of all topics, including those that do not exist yet.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The rules. The first one that matches a topic counts.
    rules: Vec<EpochRule>,
    /// The epoch of topics that no rule matches.
    others: Epoch,
}

impl Epochs {
    /// One epoch for all topics.
    pub(crate) fn one(epoch: Epoch) -> Self {
        Self {
            rules: Vec::new(),
            others: epoch,
        }
    }

    /// The same epochs with `rules`, tried in order.
    pub(crate) fn with_rules(self, rules: Vec<EpochRule>) -> Self {
        Self { rules, ..self }
    }

    /// The epoch of `topic`.
    pub(crate) fn of(&self, topic: &str) -> &Epoch {
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(topic));
        rule.map_or(&self.others, |rule| &rule.epoch)
    }
}
