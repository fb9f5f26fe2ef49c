//! How a message enters its topic: it becomes the value, joins the history and is queued for each shard that wants it.
//!
//! Readers see no difference between a message that was numbered here and one that was numbered elsewhere. A message
//! enters once, and directly behind the message before it. Never reads a clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thiserror::Error;
use tickwire_wire::{Micros, Payload, Refusal, Seq};

use super::holding::check_room;
use super::{Numbered, Published, State, TopicCell};
use crate::publication::Publication;
use crate::queue::ShardQueue;

/// Why a message that was numbered elsewhere did not enter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotEntered {
    /// The topic has or had this message already.
    #[error("the message entered before")]
    Known,
    /// Messages before it are missing: the topic's newest message has this number.
    #[error("the message does not follow on message {0}, the newest that is here")]
    Hole(Seq),
    /// The message does not fit what the topic holds. A book that does not take a change is lost, until it enters whole
    /// behind this message.
    #[error("{}", .0.reason)]
    Refused(Refusal),
}

impl TopicCell {
    /// Gives `payload` the next number and enters it. Afterwards the caller calls
    /// [`Directory::entered`](crate::Directory::entered).
    pub(crate) fn publish(
        &self,
        payload: Payload,
        now: Micros,
        queues: &[Arc<ShardQueue>],
    ) -> Result<Published, Refusal> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let before = state.history.newest().map_or(0, |newest| newest.data_bytes());
        check_room(&state.lineage.memory, before, &payload, state.book_bytes)?;
        match state.sequencer.number(payload, now, &self.topic) {
            Ok((numbered, crossed)) => Ok(self.enter(state, numbered, crossed, now, queues)),
            Err(refusal) => {
                state.count_if_lost();
                Err(refusal)
            }
        }
    }

    /// Enters a message that was numbered elsewhere, in the epoch of this topic. `now` is the time of its arrival here.
    /// A whole book needs no message before it: it enters behind a hole, and its readers are told what is missing.
    ///
    /// Whether there is room for it among the values was decided where it was numbered.
    pub(crate) fn apply(
        &self,
        numbered: Numbered,
        now: Micros,
        queues: &[Arc<ShardQueue>],
    ) -> Result<Published, NotEntered> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let head = state.head();
        if numbered.seq <= head {
            return Err(NotEntered::Known);
        }
        if numbered.after != head && !numbered.is_whole_book() {
            return Err(NotEntered::Hole(head));
        }
        match state.sequencer.follow(numbered, &self.topic) {
            Ok((numbered, crossed)) => Ok(self.enter(state, numbered, crossed, now, queues)),
            Err(refusal) => {
                state.count_if_lost();
                Err(NotEntered::Refused(refusal))
            }
        }
    }

    /// Makes a numbered message visible. The sequencer has counted it already.
    fn enter(
        &self,
        state: &mut State,
        numbered: Numbered,
        crossed: bool,
        now: Micros,
        queues: &[Arc<ShardQueue>],
    ) -> Published {
        let begins_anew = numbered.begins_anew();
        let Numbered {
            seq,
            ts,
            payload,
            doubt,
            ..
        } = numbered;
        self.doubted.store(doubt.is_some(), Ordering::Relaxed);
        let publication = Publication::new(state.lineage.clone(), seq, ts, payload);
        let publication = Arc::new(publication.doubted(doubt));
        state.count_book();
        state.heard = now;
        let came_back = self.stale_since().is_some();
        if came_back {
            self.stale.store(0, Ordering::Relaxed);
        }
        let mut interested = state.interested;
        while interested != 0 {
            let shard = interested.trailing_zeros() as usize;
            interested &= interested - 1;
            queues[shard].push(&publication);
        }
        let over_budget = state.history.push(publication, &state.lineage.memory);
        if begins_anew {
            state.history.begin_with_newest();
        }
        Published {
            epoch: state.lineage.epoch.clone(),
            seq,
            kind: self.kind,
            over_budget,
            crossed,
            came_back,
        }
    }
}

#[cfg(test)]
mod tests;
