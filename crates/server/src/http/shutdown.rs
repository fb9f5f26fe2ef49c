//! Ends a shard's HTTP connections when settings change or the broker stops, without losing a request.
//!
//! After a reload, and while the broker drains, each answer says `Connection: close`. Nothing else is done to a
//! connection, so a request that is not read yet still gets its answer. At the shutdown, which is the end of a drain,
//! connections that wait for a further request have a moment for it and are then closed. A connection that never got an
//! answer is waited for; it has the time of a request's head. The tasks of one thread share this. It never waits: the
//! shard's thread is woken when a connection has ended.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

/// The state of a shard's drain and shutdown, for its HTTP connections.
#[derive(Debug)]
pub(crate) struct HttpShutdown {
    draining: Cell<bool>,
    closing_idle: Cell<bool>,
    closed_idle: Notify,
    /// The number of times that settings have changed.
    reloads: Cell<u64>,
    /// The number of connections that use HTTP.
    answering: Cell<usize>,
    wake: Arc<Notify>,
}

/// A connection that uses HTTP, from when it is accepted until it has ended or is upgraded.
#[derive(Debug)]
pub(crate) struct Answering {
    shutdown: Rc<HttpShutdown>,
    /// The number of times that settings had changed when it came.
    reloads: u64,
}

impl HttpShutdown {
    /// A state without connections. `wake` wakes the shard's thread.
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self {
            draining: Cell::new(false),
            closing_idle: Cell::new(false),
            closed_idle: Notify::new(),
            reloads: Cell::new(0),
            answering: Cell::new(0),
            wake,
        }
    }

    /// Makes each answer from now on the last one of its connection.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
    }

    /// Whether the broker drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends the connections that wait for a further request after a moment. The others end with their answer.
    pub(crate) fn close_idle(&self) {
        if !self.closing_idle.replace(true) {
            self.closed_idle.notify_waiters();
        }
    }

    /// Makes the next answer of each existing connection its last one.
    pub(crate) fn close_after_answer(&self) {
        self.reloads.set(self.reloads.get() + 1);
    }

    /// Waits until idle connections are to be closed.
    pub(crate) async fn idle_closes(&self) {
        if !self.closing_idle.get() {
            // On one thread nothing happens between the check and the wait.
            self.closed_idle.notified().await;
        }
    }

    /// Records an accepted connection.
    pub(crate) fn answer(self: &Rc<Self>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        Answering {
            shutdown: self.clone(),
            reloads: self.reloads.get(),
        }
    }

    /// Whether no connection is left that may still get an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.answering.get() == 0
    }
}

impl Answering {
    /// Whether the next answer is the last one of the connection.
    pub(crate) fn is_last(&self) -> bool {
        self.shutdown.is_draining() || self.reloads != self.shutdown.reloads.get()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let shutdown = &self.shutdown;
        shutdown.answering.set(shutdown.answering.get() - 1);
        if shutdown.is_draining() {
            shutdown.wake.notify_one();
        }
    }
}
