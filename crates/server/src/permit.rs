//! Counts connections: one permit each, from accept to close.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A connection's place. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// One more of `count`.
    pub(crate) fn take(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
