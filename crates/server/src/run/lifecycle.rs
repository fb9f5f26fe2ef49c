//! The state of a broker: whether its feed may start, whether it drains, and whether it stops. Threads can wait for a
//! change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::run::alarm::Alarm;

/// The state of a broker. Each flag is set once and stays set.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Whether the feed may start.
    open: AtomicBool,
    draining: AtomicBool,
    stopping: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
    alarm: Alarm,
    view_alarm: Alarm,
}

impl Lifecycle {
    pub(crate) fn new(open: bool) -> Self {
        Self {
            open: AtomicBool::new(open),
            ..Self::default()
        }
    }

    /// Whether the feed may start.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Lets the feed start.
    pub(crate) fn open(&self) {
        self.set(&self.open);
    }

    /// Whether the broker drains: it still serves, and stops soon.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Records that the broker drains.
    pub(crate) fn drain(&self) {
        self.set(&self.draining);
    }

    /// Whether the broker stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Records that the broker stops. Threads that wait here continue at once.
    pub(crate) fn stop(&self) {
        self.set(&self.stopping);
        self.alarm.ring();
        self.view_alarm.ring();
    }

    /// The alarm of the thread of the views. It also rings when the broker stops.
    pub(crate) fn view_alarm(&self) -> &Alarm {
        &self.view_alarm
    }

    /// The alarm of the thread that derives. It also rings when the broker stops.
    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn set(&self, flag: &AtomicBool) {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits until the feed may start. Returns `false` if the broker stops instead.
    pub(crate) fn wait_open(&self) -> bool {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self
            .changed
            .wait_while(held, |()| !self.is_open() && !self.is_stopping())
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_stopping()
    }

    /// Waits for `time`, or until the broker stops. Returns `false` if it stops.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self
            .changed
            .wait_timeout_while(held, time, |()| !self.is_stopping())
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_stopping()
    }
}
