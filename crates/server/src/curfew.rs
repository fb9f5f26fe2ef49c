//! Ends a shard's HTTP connections when the broker leaves, and knows which of them still answer.
//!
//! While the broker drains, each answer says `Connection: close`. At the curfew, idle connections are closed at once and
//! the others when their answer is out; one that never sent a request is not waited for. Shared by the tasks of one
//! thread. Waits for nothing by itself: the shard's thread is woken when a connection has ended.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

/// What the HTTP connections of a shard are told of its end.
#[derive(Debug)]
pub(crate) struct Curfew {
    draining: Cell<bool>,
    over: Cell<bool>,
    bell: Notify,
    /// Connections that have sent a request and are not upgraded.
    answering: Cell<usize>,
    wake: Arc<Notify>,
}

/// A connection that has sent a request, until it ends.
#[derive(Debug)]
pub(crate) struct Answering(Rc<Curfew>);

impl Curfew {
    /// None yet; `wake` wakes the shard's thread.
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self {
            draining: Cell::new(false),
            over: Cell::new(false),
            bell: Notify::new(),
            answering: Cell::new(0),
            wake,
        }
    }

    /// From now on each answer is the last of its connection.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
    }

    /// Whether each answer is the last of its connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends the connections: idle ones at once, the others behind their answer.
    pub(crate) fn call(&self) {
        if !self.over.replace(true) {
            self.bell.notify_waiters();
        }
    }

    /// Ends the connections that there are, and none that come.
    pub(crate) fn renew(&self) {
        self.bell.notify_waiters();
    }

    /// Waits until the connections are to end.
    pub(crate) async fn called(&self) {
        if !self.over.get() {
            // On one thread nothing comes between the look and the wait.
            self.bell.notified().await;
        }
    }

    /// Takes note that a connection has sent a request.
    pub(crate) fn answer(self: &Rc<Self>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        Answering(self.clone())
    }

    /// Whether no connection has an answer to finish.
    pub(crate) fn is_quiet(&self) -> bool {
        self.answering.get() == 0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
        if self.0.is_draining() {
            self.0.wake.notify_one();
        }
    }
}
