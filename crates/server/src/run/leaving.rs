//! How a broker stops: the time that it takes, and when one of its shards is done.
//!
//! A shard is done when its last session is gone and its last HTTP answer is sent, and at its deadline in any case.

use tokio::time::Instant;

use crate::http::HttpContext;
use crate::hub::SharedHub;
use crate::run::command::Leave;

/// The drain of a shard.
#[derive(Debug)]
pub(crate) struct Leaving {
    deadline: Instant,
}

impl Leaving {
    /// Begins the drain of the shard: tells all its clients.
    pub(crate) fn begin(leave: Leave, hub: &SharedHub, context: &HttpContext) -> Self {
        let mut hub = hub.borrow_mut();
        let now = hub.clock.now();
        context.shutdown.drain();
        hub.shard.begin_drain(leave.drain, now);
        Self {
            deadline: Instant::now() + leave.within,
        }
    }

    /// The same drain with a deadline no later than that of `before`.
    pub(crate) fn no_later_than(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.deadline < self.deadline => before,
            Some(_) | None => self,
        }
    }

    /// The latest time at which the drain is over.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether all clients are gone or the deadline has passed. HTTP connections that wait for a further request end
    /// once the last session has ended.
    pub(crate) fn is_over(&self, hub: &SharedHub, context: &HttpContext) -> bool {
        if hub.borrow().session_count() == 0 {
            context.shutdown.close_idle();
            if context.shutdown.is_quiet() {
                return true;
            }
        }
        Instant::now() >= self.deadline
    }
}
