//! Holds a feed until it may start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A gate that opens once, and a bell that ends all waiting at the end.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    open: AtomicBool,
    draining: AtomicBool,
    stopping: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Lifecycle {
    pub(crate) fn new(open: bool) -> Self {
        Self {
            open: AtomicBool::new(open),
            ..Self::default()
        }
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(crate) fn open(&self) {
        self.set(&self.open);
    }

    /// Whether the broker leaves, though it still serves.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn drain(&self) {
        self.set(&self.draining);
    }

    /// Whether the broker stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.set(&self.stopping);
    }

    fn set(&self, flag: &AtomicBool) {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits until the gate is open. Returns whether it is; if not, the broker stops.
    pub(crate) fn wait_open(&self) -> bool {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self
            .changed
            .wait_while(held, |()| !self.is_open() && !self.is_stopping())
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_stopping()
    }

    /// Waits for `time`, or until the broker stops. Returns whether it goes on.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self
            .changed
            .wait_timeout_while(held, time, |()| !self.is_stopping())
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_stopping()
    }
}
