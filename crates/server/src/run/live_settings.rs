//! Settings that threads without a message queue read whenever they need them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;

/// Numbers that settings give and that a thread reads when it needs them.
#[derive(Debug, Default)]
pub(crate) struct LiveSettings {
    /// Silence of the feed in milliseconds that is too long.
    pub(crate) silent_ms: AtomicU64,
    /// Time in milliseconds that an operator's connection may take nothing of an answer.
    pub(crate) stall_ms: AtomicU64,
}

impl LiveSettings {
    /// Sets them as `config` has them.
    pub(crate) fn set(&self, config: &Config) {
        self.silent_ms.store(config.feed.silent_ms, Ordering::Relaxed);
        self.stall_ms.store(config.limits.stall_ms, Ordering::Relaxed);
    }
}
