//! Ties a session of server-sent events to the response body that serves it.
//!
//! Either side may go first. The number of a session is used again once it is gone, so the body asks here, not the shard,
//! whether its session still is. When the hub goes first the reader took nothing for too long: its connection is cut,
//! since its task may be waiting for a socket that will never be writable.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use tokio::sync::Notify;

/// What the hub and a response body share.
#[derive(Debug)]
pub(crate) struct Tether {
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    cut: Rc<Notify>,
}

impl Tether {
    /// A tether of a session on the connection that is closed at once when `cut` is notified.
    pub(crate) fn new(cut: Rc<Notify>) -> Self {
        Self {
            ended: Cell::new(false),
            waker: RefCell::new(None),
            cut,
        }
    }

    /// Has `waker` woken when there is something for the body.
    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.borrow_mut() = Some(waker);
    }

    /// There is something for the body.
    pub(crate) fn wake(&self) {
        let waker = self.waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether one of the two sides has ended it.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// The body lets go. Returns whether it is the first to do so: the session is still there then, and the connection
    /// goes on.
    pub(crate) fn release(&self) -> bool {
        !self.ended.replace(true)
    }

    /// The session is gone. Unless the body has let go before, the connection is cut.
    pub(crate) fn session_gone(&self) {
        if !self.ended.replace(true) {
            self.wake();
            self.cut.notify_one();
        }
    }
}
