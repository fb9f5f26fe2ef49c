//! Ends a shard's HTTP connections when settings change or the broker leaves, without losing a request.
//!
//! After a reload, and while the broker drains, each answer says `Connection: close`; nothing else is done to a connection, so
//! one whose request is still unread gets its answer. At the shutdown, the end of a drain, connections that wait for a further
//! request have a moment for it, and are closed then. Those that were never answered are waited for: they have the time of a
//! request's head.
//! Shared by the tasks of one thread. Waits for nothing by itself: the shard's thread is woken when a connection has ended.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

/// What the HTTP connections of a shard are told of its end.
#[derive(Debug)]
pub(crate) struct HttpShutdown {
    draining: Cell<bool>,
    over: Cell<bool>,
    bell: Notify,
    /// How often settings have changed.
    reloads: Cell<u64>,
    /// Connections that speak HTTP.
    answering: Cell<usize>,
    wake: Arc<Notify>,
}

/// A connection that speaks HTTP, from when it is accepted until it has ended or is upgraded.
#[derive(Debug)]
pub(crate) struct Answering {
    shutdown: Rc<HttpShutdown>,
    /// How often settings had changed when it came.
    reloads: u64,
}

impl HttpShutdown {
    /// None yet; `wake` wakes the shard's thread.
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self {
            draining: Cell::new(false),
            over: Cell::new(false),
            bell: Notify::new(),
            reloads: Cell::new(0),
            answering: Cell::new(0),
            wake,
        }
    }

    /// From now on each answer is the last of its connection.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
    }

    /// Whether the broker drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends the connections that wait for a further request, in a moment; the others end with their answer.
    pub(crate) fn call(&self) {
        if !self.over.replace(true) {
            self.bell.notify_waiters();
        }
    }

    /// From now on each answer is the last of its connection, of those that there are.
    pub(crate) fn renew(&self) {
        self.reloads.set(self.reloads.get() + 1);
    }

    /// Waits for the shutdown.
    pub(crate) async fn called(&self) {
        if !self.over.get() {
            // On one thread nothing comes between the look and the wait.
            self.bell.notified().await;
        }
    }

    /// Takes note of a connection that was accepted.
    pub(crate) fn answer(self: &Rc<Self>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        Answering {
            shutdown: self.clone(),
            reloads: self.reloads.get(),
        }
    }

    /// Whether no connection is left that may have an answer coming.
    pub(crate) fn is_quiet(&self) -> bool {
        self.answering.get() == 0
    }
}

impl Answering {
    /// Whether the next answer is the connection's last.
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
