//! Where a topic's messages from a moment on begin.

use tickwire_wire::{Micros, Seq};

use super::{Attached, TopicCell};
use crate::history::StoredFrom;
use crate::queue::ShardId;

impl TopicCell {
    /// The number of the first message that the history holds from `moment` on. If all of them are older, the number that
    /// the next message will have.
    #[must_use]
    pub fn first_at(&self, moment: Micros) -> Seq {
        let state = self.lock();
        state.history.first_at(moment, state.head())
    }

    /// Does the same as [`Self::attach`]. It also finds where a replay from `moment` begins.
    pub(crate) fn attach_from(&self, shard: ShardId, moment: Micros) -> (Attached, StoredFrom) {
        let mut state = self.lock();
        state.interested |= 1 << shard.0;
        let stored = state.history.stored_from(moment, state.head());
        (state.position(), stored)
    }
}
