//! Changes the settings of a directory that is in use. No topic is made while they change.
//!
//! Afterwards the rule of silence of each topic is looked up, which takes time. The list of topics is free meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Directory, DirectoryLimits};
use crate::kinds::Kinds;
use crate::staleness::StaleRule;

/// Topics that are taken from the list at once.
const TOPICS_AT_ONCE: usize = 1_024;

impl Directory {
    /// Applies other settings from now on. Existing topics keep their kind and their number of messages, even if there
    /// are more topics than `limits` now allows. How long they may be silent is decided anew.
    pub fn reconfigure(&self, limits: DirectoryLimits, kinds: Kinds, stale_rules: Vec<StaleRule>) {
        // No topic is made while this is held. Those that are made later are watched by the new rules.
        let topics = self.topics_read();
        self.topics_max.store(limits.topics_max, Ordering::Relaxed);
        self.topics_per_key_max
            .store(limits.topics_per_key_max, Ordering::Relaxed);
        self.memory.history.set_max(limits.history_bytes_max);
        self.memory.values.set_max(limits.value_bytes_max);
        self.memory.replays.set_max(limits.replay_bytes_max);
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
        self.staleness.replace(stale_rules);
        let before = topics.by_id.len();
        drop(topics);
        for from in (0..before).step_by(TOPICS_AT_ONCE) {
            let until = before.min(from + TOPICS_AT_ONCE);
            let cells = self.topics_read().by_id[from..until].to_vec();
            for cell in cells {
                self.staleness.watch(cell.id(), cell.topic().as_str());
            }
        }
    }
}
