//! The last messages of one topic, bounded by count and, over all topics, by bytes.
//!
//! Consecutive: the numbers it holds have no hole, and its newest message is never dropped. While all histories together
//! are over their byte budget, each message that comes in pushes out two of its own topic and shortens one other topic,
//! whichever is next, so the total falls back below it and quiet topics do not keep for ever what the busy ones lack.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tickwire_wire::Seq;

use crate::publication::Publication;

/// Bytes that all histories of a directory hold, and may hold.
#[derive(Debug)]
pub struct HistoryBudget {
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl HistoryBudget {
    /// A budget of `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(bytes_max),
        }
    }

    /// Allows `bytes_max` bytes from now on. What is above it goes as topics go on.
    pub(crate) fn allow(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A topic's history; the newest message is its last value.
#[derive(Debug)]
pub(crate) struct History {
    messages: VecDeque<Arc<Publication>>,
    capacity: usize,
}

impl History {
    /// An empty history for `capacity` messages, at least 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// Adds the next message and lets the oldest go. Returns whether all histories together were over their budget by
    /// it.
    pub(crate) fn push(&mut self, publication: Arc<Publication>, budget: &HistoryBudget) -> bool {
        if self.capacity == 1 {
            // A last value alone is bounded by the number of topics.
            self.messages.clear();
            self.messages.push_back(publication);
            return false;
        }
        let added = publication.memory_bytes();
        let total = budget.bytes.fetch_add(added, Ordering::Relaxed) + added;
        self.messages.push_back(publication);
        let beyond = self.messages.len().saturating_sub(self.capacity);
        let over = total > budget.bytes_max();
        self.drop_oldest(beyond.max(if over { 2 } else { 0 }), budget);
        over
    }

    /// Gives up the older half.
    pub(crate) fn shorten(&mut self, budget: &HistoryBudget) {
        if self.capacity > 1 {
            self.drop_oldest(self.messages.len().div_ceil(2), budget);
        }
    }

    /// Drops the oldest `count` messages, but never the newest one.
    fn drop_oldest(&mut self, count: usize, budget: &HistoryBudget) {
        let count = count.min(self.messages.len().saturating_sub(1));
        let mut freed = 0;
        for oldest in (0..count).map_while(|_| self.messages.pop_front()) {
            freed += oldest.memory_bytes();
        }
        if freed > 0 {
            budget.bytes.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    /// The newest message.
    pub(crate) fn newest(&self) -> Option<&Arc<Publication>> {
        self.messages.back()
    }

    /// Number of the oldest message.
    pub(crate) fn oldest_seq(&self) -> Option<Seq> {
        self.messages.front().map(|publication| publication.seq)
    }

    /// Whether every message after `seq` is here, given that `head` is the newest number of the topic.
    pub(crate) fn reaches(&self, seq: Seq, head: Seq) -> bool {
        seq == head
            || self
                .oldest_seq()
                .is_some_and(|oldest| oldest.0 <= seq.0.saturating_add(1))
    }

    /// The message with number `seq`.
    pub(crate) fn get(&self, seq: Seq) -> Option<&Arc<Publication>> {
        let index = seq.0.checked_sub(self.oldest_seq()?.0)?;
        self.messages.get(usize::try_from(index).ok()?)
    }

    /// The messages after `seq` that are here, oldest first.
    pub(crate) fn after(&self, seq: Seq) -> impl ExactSizeIterator<Item = &Arc<Publication>> {
        let oldest = self.oldest_seq().unwrap_or(Seq::ZERO);
        let skip = seq.0.saturating_add(1).saturating_sub(oldest.0);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.messages.range(skip.min(self.messages.len())..)
    }
}
