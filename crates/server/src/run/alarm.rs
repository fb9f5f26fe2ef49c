//! Wakes a thread that waits for work or for a time.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// An alarm that one thread waits for and any thread rings. A ring before the wait ends it at once.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    /// Wakes the thread that waits, now or next.
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits until the alarm rings, but not longer than `most`.
    pub(crate) fn wait(&self, most: Duration) {
        let held = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(held, most, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
