//! The epoch of each topic's numbers.
//!
//! All topics of a broker alone have one epoch, its start, until topics end. A topic that is made again has another
//! epoch than each of its earlier lives, so that nobody goes on in the wrong life. Ended names are not kept: their hashes
//! are counted in a table of fixed size, and a topic's epoch names the count at its hash. So a topic with the hash of an
//! ended one may get another epoch, too. Other code must not rely on any of this: it asks for the epoch of a topic.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use rustc_hash::FxBuildHasher;
use tickwire_wire::{Epoch, Pattern};

/// The number of hashes whose ends are counted.
const HASHES: usize = 4_096;

/// What sets a topic's life apart from its earlier ones: how many topics with its hash had ended when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life(u32);

impl Life {
    /// The life with this number.
    pub(crate) const fn numbered(number: u32) -> Self {
        Self(number)
    }

    /// Its number: 0 for the first.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

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
    others: RwLock<Epoch>,
    /// How many topics have ended, by the hash of their names. Each hash also counts the epochs that have begun since.
    ended: Box<[AtomicU32]>,
    /// The least of these counts: so often has another epoch begun.
    least: AtomicU32,
}

impl Epochs {
    /// One epoch for all topics.
    pub(crate) fn one(epoch: Epoch) -> Self {
        Self {
            rules: Vec::new(),
            others: RwLock::new(epoch),
            ended: (0..HASHES).map(|_| AtomicU32::new(0)).collect(),
            least: AtomicU32::new(0),
        }
    }

    /// The same epochs with `rules`, tried in order.
    pub(crate) fn with_rules(self, rules: Vec<EpochRule>) -> Self {
        Self { rules, ..self }
    }

    /// The epoch that `topic` has if it is made now, and its life.
    pub(crate) fn of(&self, topic: &str) -> (Epoch, Life) {
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(topic));
        let first = rule.map_or_else(|| self.common(), |rule| rule.epoch.clone());
        let count = self.count(topic).load(Ordering::Relaxed);
        match count.saturating_sub(self.least.load(Ordering::Relaxed)) {
            0 => (first, Life(count)),
            ended => (Epoch::from(format!("{first}-{ended}").as_str()), Life(count)),
        }
    }

    /// The epoch of topics that no rule matches.
    pub(crate) fn common(&self) -> Epoch {
        self.others.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on in another epoch. Each topic is in another life then, whether it has existed or not.
    pub(crate) fn begin(&self, epoch: Epoch) {
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = epoch;
        for ended in &self.ended {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        self.find_least();
    }

    fn find_least(&self) {
        let counts = self.ended.iter().map(|ended| ended.load(Ordering::Relaxed));
        self.least.store(counts.min().unwrap_or(0), Ordering::Relaxed);
    }

    /// Goes on in the epoch of a lane that was joined.
    pub(crate) fn join(&self, epoch: Epoch) {
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// Records that `topic` has ended. From now on it has another epoch.
    pub(crate) fn ended(&self, topic: &str) {
        self.count(topic).fetch_add(1, Ordering::Relaxed);
    }

    /// Tells functions of hashing apart, and how many topics have ended by the hashes of their names, but for 0.
    pub(crate) fn counts(&self) -> (u64, Vec<(u32, u32)>) {
        let counts = self.ended.iter().enumerate();
        let counts = counts.map(|(slot, count)| (slot as u32, count.load(Ordering::Relaxed)));
        (hashing(), counts.filter(|(_, count)| *count > 0).collect())
    }

    /// Takes over what [`Self::counts`] said before a restart. If names have other hashes now, each counts as often as
    /// the most frequent did then: no epoch comes again.
    pub(crate) fn restore_counts(&self, hashed_by: u64, counts: impl Iterator<Item = (u32, u32)>) {
        let counts: Vec<(u32, u32)> = counts.collect();
        let highest = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let others = if hashed_by == hashing() { 0 } else { highest };
        for (slot, ended) in self.ended.iter().enumerate() {
            let known = counts.iter().find(|(at, _)| *at as usize == slot && others == 0);
            ended.fetch_max(known.map_or(others, |(_, count)| *count), Ordering::Relaxed);
        }
        self.find_least();
    }

    fn count(&self, topic: &str) -> &AtomicU32 {
        // Whoever chooses names with one hash only gives them new epochs.
        &self.ended[FxBuildHasher.hash_one(topic) as usize % HASHES]
    }
}

/// The hash of a name.
fn hashing() -> u64 {
    FxBuildHasher.hash_one("trade.BTC-USDT")
}
