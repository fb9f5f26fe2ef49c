//! Which topics must have a message from time to time, and which of them fell silent.
//!
//! There are rules by pattern, of which the first match counts; a topic that no rule matches is never stale. A topic is
//! checked about once in its time, whatever is published, so publishing costs no timer. Never reads a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tickwire_wire::{Micros, Pattern};

use crate::publication::TopicId;

/// A rule: topics of `pattern` are stale when nothing was published to them for `after_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleRule {
    /// The pattern of the topics.
    pub pattern: Pattern,
    /// The longest time in milliseconds between two messages, at least 1.
    pub after_ms: u64,
}

/// A topic that is to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Look {
    /// When it is to be checked.
    pub(crate) due: Micros,
    pub(crate) topic: TopicId,
    pub(crate) after_ms: u64,
    /// The generation of the rules by which it is checked. After the rules were replaced it has no effect.
    pub(crate) rules: u32,
}

/// The rules, and the topics with a rule, by the time of their next check.
#[derive(Debug, Default)]
struct Looks {
    rules: Vec<StaleRule>,
    /// How often the rules were replaced.
    replaced: u32,
    heap: BinaryHeap<Reverse<Look>>,
}

/// The topics that are to be checked, and the counts of the results.
#[derive(Debug, Default)]
pub(crate) struct Staleness {
    looks: Mutex<Looks>,
    /// The number of stale topics. It is below 0 for a moment when a topic comes back before its silence was counted.
    stale: AtomicI64,
    changes: AtomicU64,
}

impl Staleness {
    pub(crate) fn with_rules(rules: Vec<StaleRule>) -> Self {
        let staleness = Self::default();
        staleness.replace(rules);
        staleness
    }

    /// Replaces the rules by `rules`. Afterwards no topic has a check; the caller has each of them watched again.
    pub(crate) fn replace(&self, rules: Vec<StaleRule>) {
        let mut looks = self.lock();
        looks.rules = rules;
        looks.replaced = looks.replaced.wrapping_add(1);
        looks.heap.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        // Nothing that holds the lock can panic half-way through a change.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a topic checked, if there is a rule for it.
    pub(crate) fn watch(&self, topic: TopicId, name: &str) {
        let mut looks = self.lock();
        if let Some(rule) = looks.rules.iter().find(|rule| rule.pattern.matches(name)) {
            let look = Look {
                due: Micros(0),
                topic,
                after_ms: rule.after_ms,
                rules: looks.replaced,
            };
            looks.heap.push(Reverse(look));
        }
    }

    /// The next topic that is to be checked by `now`.
    pub(crate) fn next_due(&self, now: Micros) -> Option<Look> {
        let mut looks = self.lock();
        looks.heap.peek().filter(|Reverse(look)| look.due <= now)?;
        looks.heap.pop().map(|Reverse(look)| look)
    }

    /// When a topic is to be checked next.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        self.lock().heap.peek().map(|Reverse(look)| look.due)
    }

    /// Plans a check again, unless the rules were replaced meanwhile.
    pub(crate) fn again(&self, look: Look) {
        let mut looks = self.lock();
        if look.rules == looks.replaced {
            looks.heap.push(Reverse(look));
        }
    }

    pub(crate) fn fell_silent(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn came_back(&self) {
        self.stale.fetch_sub(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stale(&self) -> u64 {
        u64::try_from(self.stale.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}
