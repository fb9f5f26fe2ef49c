//! Settings for threads without a queue of commands, which read them whenever they need them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;

/// Numbers from the settings.
#[derive(Debug, Default)]
pub(crate) struct LiveSettings {
    /// The silence of the feed that is too long, in milliseconds.
    pub(crate) silent_ms: AtomicU64,
    /// The time in milliseconds for which an operator's connection may take nothing of an answer.
    pub(crate) stall_ms: AtomicU64,
}

impl LiveSettings {
    /// Takes the numbers from `config`.
    pub(crate) fn set(&self, config: &Config) {
        self.silent_ms.store(config.feed.silent_ms, Ordering::Relaxed);
        self.stall_ms.store(config.limits.stall_ms, Ordering::Relaxed);
    }
}
