//! Changes the settings of a directory that is in use. No topic is made while they change.
//!
//! Afterwards the rules of silence and of expiry of each topic are looked up, which takes time. The list of topics is free meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Directory, DirectoryLimits};
use crate::expiry::ExpiryRule;
use crate::kinds::Kinds;
use crate::publication::TopicId;
use crate::staleness::StaleRule;

/// Topics that are taken from the list at once.
const TOPICS_AT_ONCE: usize = 1_024;

impl Directory {
    /// Applies other settings from now on. Existing topics keep their kind and their number of messages, even if there
    /// are more topics than `limits` now allows. How long they may be silent, and when they end, is decided anew.
    pub fn reconfigure(
        &self,
        limits: DirectoryLimits,
        kinds: Kinds,
        stale_rules: Vec<StaleRule>,
        expiry_rules: Vec<ExpiryRule>,
    ) {
        // No topic is made while this is held. Those that are made later are watched by the new rules.
        let topics = self.topics_read();
        self.topics_max.store(limits.topics_max, Ordering::Relaxed);
        self.topics_per_key_max
            .store(limits.topics_per_key_max, Ordering::Relaxed);
        self.memory.history.set_max(limits.history_bytes_max);
        self.memory.values.set_max(limits.value_bytes_max);
        self.memory.replays.set_max(limits.replay_bytes_max);
        self.dedupe.set_limits(limits.dedupe);
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
        self.staleness.looks.replace(stale_rules);
        self.expiries.replace(expiry_rules);
        let until = topics.next;
        drop(topics);
        let mut from = Some(TopicId::default());
        while let Some(at) = from.filter(|at| *at < until) {
            let mut cells = Vec::new();
            from = self.walk(at, TOPICS_AT_ONCE, |cell| cells.push(cell.clone()));
            for cell in cells.iter().filter(|cell| cell.id() < until) {
                self.staleness.looks.watch(cell.id(), cell.topic().as_str());
                self.expiries.watch(cell.id(), cell.topic().as_str());
            }
        }
    }
}
