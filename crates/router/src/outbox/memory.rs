//! The memory that the lanes of an outbox hold, and when they free it.

use std::collections::VecDeque;

use super::{Item, Outbox, Urgent};

/// An empty data lane of a connection in use keeps memory for this many items: allocating it anew for each round of
/// writing costs more than the rest of a delivery.
const KEPT_ITEMS: usize = 128;

impl Outbox {
    /// Bytes of memory that the lanes hold, used or not, without memory that is shared with other connections.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let answers = self.data.iter().filter(|item| item.delivery().is_none());
        self.data.capacity() * size_of::<Item>()
            + self.control.capacity() * size_of::<Urgent>()
            + self.control_bytes
            + answers.map(Item::len).sum::<usize>()
    }

    /// Frees memory that an empty lane no longer needs. Call this now and then, so that an idle connection keeps no
    /// memory.
    pub(crate) fn free_idle(&mut self) {
        if self.data.is_empty() {
            self.data = VecDeque::new();
        }
    }

    /// Frees the memory of a burst.
    pub(super) fn shrink(&mut self) {
        if self.data.is_empty() && self.data.capacity() > KEPT_ITEMS {
            self.data = VecDeque::new();
        }
        if self.control.is_empty() && self.control.capacity() > 0 {
            self.control = VecDeque::new();
        }
    }
}
