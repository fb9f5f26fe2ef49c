//! How a broker leaves: over which time, and when a shard of it is done.
//!
//! A shard is done when its last session is gone and its last HTTP answer out, and at its deadline in any case.

use tokio::time::Instant;

use crate::http::HttpContext;
use crate::hub::SharedHub;
use crate::run::command::Leave;

/// A shard that is about to end.
#[derive(Debug)]
pub(crate) struct Leaving {
    deadline: Instant,
}

impl Leaving {
    /// Tells all clients of the shard.
    pub(crate) fn begin(leave: Leave, hub: &SharedHub, context: &HttpContext) -> Self {
        let mut hub = hub.borrow_mut();
        let now = hub.clock.now();
        context.shutdown.drain();
        hub.shard.begin_drain(leave.drain, now);
        Self {
            deadline: Instant::now() + leave.within,
        }
    }

    /// The same, over by when the one `before` would have been.
    pub(crate) fn no_later_than(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.deadline < self.deadline => before,
            Some(_) | None => self,
        }
    }

    /// When it is over at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether all are gone, or the deadline has passed. HTTP connections that wait for a further request end once the last
    /// session has.
    pub(crate) fn is_over(&self, hub: &SharedHub, context: &HttpContext) -> bool {
        if hub.borrow().session_count() == 0 {
            context.shutdown.call();
            if context.shutdown.is_quiet() {
                return true;
            }
        }
        Instant::now() >= self.deadline
    }
}
