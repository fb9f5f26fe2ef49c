//! Settings for threads without a queue of commands, which read them whenever they need them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::auth::Access;
use crate::config::Config;

/// Numbers from the settings, and the settings themselves.
#[derive(Debug)]
pub(crate) struct LiveSettings {
    /// The silence of the feed that is too long, in milliseconds.
    pub(crate) silent_ms: AtomicU64,
    /// The time in milliseconds for which an operator's connection may take nothing of an answer.
    pub(crate) stall_ms: AtomicU64,
    rules: RwLock<(Arc<Config>, Arc<Access>)>,
}

impl LiveSettings {
    /// The numbers from `config`, and the rules.
    pub(crate) fn new(config: &Arc<Config>, access: &Arc<Access>) -> Self {
        Self {
            silent_ms: AtomicU64::new(config.feed.silent_ms),
            stall_ms: AtomicU64::new(config.limits.stall_ms),
            rules: RwLock::new((config.clone(), access.clone())),
        }
    }

    /// Takes the numbers from `config`, and the rules.
    pub(crate) fn set(&self, config: &Arc<Config>, access: &Arc<Access>) {
        self.silent_ms.store(config.feed.silent_ms, Ordering::Relaxed);
        self.stall_ms.store(config.limits.stall_ms, Ordering::Relaxed);
        let rules = self.rules.write();
        *rules.unwrap_or_else(PoisonError::into_inner) = (config.clone(), access.clone());
    }

    /// The settings, and the rules of access that belong to them.
    pub(crate) fn rules(&self) -> (Arc<Config>, Arc<Access>) {
        // It holds both of one reload at any time.
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
