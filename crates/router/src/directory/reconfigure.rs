//! Changes the settings of a directory that is in use. No topic is made while they change.
//!
//! This takes time for each topic, because its rule of silence is looked up. Whoever makes a topic waits meanwhile, and
//! behind it whoever reads the list of topics.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Directory, DirectoryLimits};
use crate::kinds::Kinds;
use crate::staleness::StaleRule;

impl Directory {
    /// Applies other settings from now on. Existing topics keep their kind and their number of messages, even if there
    /// are more topics than `limits` now allows. How long they may be silent is decided anew.
    pub fn reconfigure(&self, limits: DirectoryLimits, kinds: Kinds, stale_rules: Vec<StaleRule>) {
        // No topic is made meanwhile.
        let topics = self.topics_read();
        self.topics_max.store(limits.topics_max, Ordering::Relaxed);
        self.topics_per_key_max
            .store(limits.topics_per_key_max, Ordering::Relaxed);
        self.memory.history.set_max(limits.history_bytes_max);
        self.memory.values.set_max(limits.value_bytes_max);
        self.memory.replays.set_max(limits.replay_bytes_max);
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
        self.staleness.replace(stale_rules);
        for cell in &topics.by_id {
            self.staleness.watch(cell.id(), cell.topic().as_str());
        }
    }
}
