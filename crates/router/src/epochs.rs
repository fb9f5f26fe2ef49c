//! The epoch of each topic's numbers.
//!
//! All topics of a broker alone have one epoch, its start, until topics end. A topic that is made again has another
//! epoch than each of its earlier lives, so that nobody goes on in the wrong life. Ended names are not kept: their hashes
//! are counted in a table of fixed size, and a topic's epoch names the count at its hash. So a topic with the hash of an
//! ended one may get another epoch, too. Other code must not rely on any of this: it asks for the epoch of a topic.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use rustc_hash::FxBuildHasher;
use tickwire_wire::{Epoch, Pattern};

/// The number of hashes whose ends are counted.
const HASHES: usize = 4_096;

/// What sets a topic's life apart from its earlier ones: how many topics with its hash had ended when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life(u32);

impl Life {
    /// Whether the topic may have had an earlier life.
    pub(crate) const fn is_later(self) -> bool {
        self.0 > 0
    }
}

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
    /// How many topics have ended, by the hash of their names.
    ended: Box<[AtomicU32]>,
}

impl Epochs {
    /// One epoch for all topics.
    pub(crate) fn one(epoch: Epoch) -> Self {
        Self {
            rules: Vec::new(),
            others: epoch,
            ended: (0..HASHES).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The same epochs with `rules`, tried in order.
    pub(crate) fn with_rules(self, rules: Vec<EpochRule>) -> Self {
        Self { rules, ..self }
    }

    /// The epoch that `topic` has if it is made now, and its life.
    pub(crate) fn of(&self, topic: &str) -> (Epoch, Life) {
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(topic));
        let first = rule.map_or(&self.others, |rule| &rule.epoch);
        match self.count(topic).load(Ordering::Relaxed) {
            0 => (first.clone(), Life(0)),
            ended => (Epoch::from(format!("{first}-{ended}").as_str()), Life(ended)),
        }
    }

    /// Records that `topic` has ended. From now on it has another epoch.
    pub(crate) fn ended(&self, topic: &str) {
        self.count(topic).fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, topic: &str) -> &AtomicU32 {
        // Whoever chooses names with one hash only gives them new epochs.
        &self.ended[FxBuildHasher.hash_one(topic) as usize % HASHES]
    }
}
