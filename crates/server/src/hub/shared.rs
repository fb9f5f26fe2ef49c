//! A hub as the tasks of its thread share it: by one at a time, and no more once a panic has come out of it.
//!
//! No borrow is held across an await. A panic while the hub is borrowed to be changed may leave it half-way through that change.
//! It is broken then, which its thread is told, and which ends with [`SharedHub::begin_anew`].

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::sync::Notify;

use super::Hub;
use super::anew::Anew;

/// The hub of a thread for its tasks, and whether it can be trusted.
pub(crate) struct SharedHub {
    hub: RefCell<Hub>,
    broken: Cell<bool>,
    wake: Arc<Notify>,
}

/// A hub that is borrowed to be changed.
pub(crate) struct HubMut<'a> {
    hub: RefMut<'a, Hub>,
    shared: &'a SharedHub,
    /// Whether a panic was under way before.
    panicking: bool,
}

impl SharedHub {
    pub(crate) fn new(hub: Hub) -> Self {
        Self {
            broken: Cell::new(false),
            wake: hub.sockets.wake.clone(),
            hub: RefCell::new(hub),
        }
    }

    pub(crate) fn borrow(&self) -> Ref<'_, Hub> {
        self.hub.borrow()
    }

    pub(crate) fn borrow_mut(&self) -> HubMut<'_> {
        HubMut {
            hub: self.hub.borrow_mut(),
            shared: self,
            panicking: std::thread::panicking(),
        }
    }

    /// Whether a panic has come out of it.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// A panic has come out of it: its thread is to have it begin anew.
    pub(crate) fn break_off(&self) {
        self.broken.set(true);
        self.wake.notify_one();
    }

    /// Closes its sessions and makes it as new.
    pub(crate) fn begin_anew(&self, anew: Anew<'_>) {
        self.hub.borrow_mut().begin_anew(anew);
        self.broken.set(false);
    }
}

impl Deref for HubMut<'_> {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl DerefMut for HubMut<'_> {
    fn deref_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }
}

impl Drop for HubMut<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            self.shared.break_off();
        }
    }
}
