//! Which epoch the numbers of a topic are of.
//!
//! All topics of a broker alone have one epoch, its start. No other code may rely on that: it asks for the epoch of a topic.

use tickwire_wire::{Epoch, Pattern};

/// Topics of `pattern` have the epoch `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRule {
    /// Which topics.
    pub pattern: Pattern,
    /// The lineage of their numbers.
    pub epoch: Epoch,
}

/// The epochs of all topics, those that do not exist yet included.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The first that matches a topic counts.
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

    /// The same with `rules`, tried in order.
    pub(crate) fn with_rules(self, rules: Vec<EpochRule>) -> Self {
        Self { rules, ..self }
    }

    /// The epoch of `topic`.
    pub(crate) fn of(&self, topic: &str) -> &Epoch {
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(topic));
        rule.map_or(&self.others, |rule| &rule.epoch)
    }
}
