//! Topics that are looked at from time to time, by rules for patterns of which the first match counts.
//!
//! A topic is looked at about once in the time of its rule, whatever is published, so publishing costs no timer. Never
//! reads a clock.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tickwire_wire::{Micros, Pattern};

use crate::publication::TopicId;

/// A rule for the topics of a pattern.
pub(crate) trait LookRule: Clone + Send {
    /// The pattern of the topics.
    fn pattern(&self) -> &Pattern;
}

/// A topic that is to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct Look<R> {
    /// When it is to be looked at.
    due: Micros,
    pub(crate) topic: TopicId,
    pub(crate) rule: R,
    /// The generation of the rules by which it is looked at. After the rules were replaced it has no effect.
    rules: u32,
}

impl<R> Look<R> {
    fn key(&self) -> (Micros, TopicId) {
        (self.due, self.topic)
    }
}

impl<R> Ord for Look<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<R> PartialOrd for Look<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> PartialEq for Look<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R> Eq for Look<R> {}

/// The rules, and the topics with a rule, by the time of their next look.
#[derive(Debug)]
struct Planned<R> {
    rules: Vec<R>,
    /// How often the rules were replaced.
    replaced: u32,
    heap: BinaryHeap<Reverse<Look<R>>>,
}

/// The looks at all topics, by rules of one sort.
#[derive(Debug)]
pub(crate) struct Looks<R>(Mutex<Planned<R>>);

impl<R> Default for Looks<R> {
    fn default() -> Self {
        Self(Mutex::new(Planned {
            rules: Vec::new(),
            replaced: 0,
            heap: BinaryHeap::new(),
        }))
    }
}

impl<R: LookRule> Looks<R> {
    /// Replaces the rules by `rules`. Afterwards no topic has a look; the caller has each of them watched again.
    pub(crate) fn replace(&self, rules: Vec<R>) {
        let mut planned = self.lock();
        planned.rules = rules;
        planned.replaced = planned.replaced.wrapping_add(1);
        planned.heap.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Planned<R>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a topic looked at, if there is a rule for it.
    pub(crate) fn watch(&self, topic: TopicId, name: &str) {
        let mut planned = self.lock();
        if let Some(rule) = planned.rules.iter().find(|rule| rule.pattern().matches(name)) {
            let look = Look {
                due: Micros(0),
                topic,
                rule: rule.clone(),
                rules: planned.replaced,
            };
            planned.heap.push(Reverse(look));
        }
    }

    /// The next topic that is to be looked at by `now`.
    pub(crate) fn next_due(&self, now: Micros) -> Option<Look<R>> {
        let mut planned = self.lock();
        planned.heap.peek().filter(|Reverse(look)| look.due <= now)?;
        planned.heap.pop().map(|Reverse(look)| look)
    }

    /// When a topic is to be looked at next.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        self.lock().heap.peek().map(|Reverse(look)| look.due)
    }

    /// Plans a look again at `due`, unless the rules were replaced meanwhile.
    pub(crate) fn again(&self, mut look: Look<R>, due: Micros) {
        look.due = due;
        let mut planned = self.lock();
        if look.rules == planned.replaced {
            planned.heap.push(Reverse(look));
        }
    }
}
