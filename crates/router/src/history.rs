//! The last messages of one topic, bounded by count and, over all topics, by bytes.
//!
//! The numbers that a history holds have no hole, and its newest message, the topic's value, is never dropped. While
//! all histories together are over their byte budget, each new message pushes out two messages of its own topic, and
//! one other topic, the next in turn, is shortened. So the total falls below the budget again, and quiet topics do not
//! keep for ever the memory that busy ones need.

use std::collections::VecDeque;
use std::sync::Arc;

use tickwire_wire::{Micros, Seq};

use crate::memory::{Memory, MessagePlace, Moves};
use crate::planted::{Fault, is_planted};
use crate::publication::Publication;

/// A topic's history. The newest message is the topic's value.
#[derive(Debug)]
pub(crate) struct History {
    messages: VecDeque<Arc<Publication>>,
    capacity: usize,
}

impl History {
    /// An empty history for `capacity` messages, at least 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// Adds the next message, which was made [as a value](Publication::held_as_value), and drops the oldest. Returns whether
    /// all histories together are over their budget.
    pub(crate) fn push(&mut self, publication: Arc<Publication>, memory: &Memory) -> bool {
        let mut moves = Moves::default();
        moves.value_made(publication.data_bytes());
        if let Some(before) = self.messages.back() {
            before.move_with(MessagePlace::History, &mut moves);
        }
        self.messages.push_back(publication);
        let beyond = self.messages.len().saturating_sub(self.capacity);
        let over = memory.history_is_over(&moves);
        self.drop_oldest(beyond.max(if over { 2 } else { 0 }), &mut moves);
        memory.record(&moves);
        over
    }

    /// Drops all messages except the newest, which does not follow on the others.
    pub(crate) fn begin_with_newest(&mut self) {
        self.forget_oldest(self.messages.len());
    }

    /// Drops all messages, the newest one too: the topic is gone.
    pub(crate) fn clear(&mut self, memory: &Memory) {
        let mut moves = Moves::default();
        for message in std::mem::take(&mut self.messages) {
            message.move_with(MessagePlace::Nowhere, &mut moves);
        }
        memory.record(&moves);
    }

    /// Drops the older half.
    pub(crate) fn shorten(&mut self) {
        self.forget_oldest(self.messages.len() / 2);
    }

    /// Drops the oldest `count` messages, but never the newest one, and records it.
    fn forget_oldest(&mut self, count: usize) {
        let mut moves = Moves::default();
        self.drop_oldest(count, &mut moves);
        if let Some(newest) = self.newest() {
            newest.lineage.memory.record(&moves);
        }
    }

    /// Drops the frames of the newest message.
    pub(crate) fn strip(&mut self) {
        if let Some(newest) = self.messages.back_mut().filter(|newest| newest.has_frames()) {
            let bare = Arc::new(newest.bare());
            bare.move_to(MessagePlace::Value);
            std::mem::replace(newest, bare).move_to(MessagePlace::Nowhere);
        }
    }

    /// Drops the oldest `count` messages, but never the newest one. Adds this to `moves`.
    fn drop_oldest(&mut self, count: usize, moves: &mut Moves) {
        let count = count.min(self.messages.len().saturating_sub(1));
        for oldest in self.messages.drain(..count) {
            oldest.move_with(MessagePlace::Nowhere, moves);
        }
        // A short history does not keep the memory of a long one.
        if self.messages.capacity() > 4 * self.messages.len() + 16 {
            self.messages.shrink_to(2 * self.messages.len());
        }
    }

    /// The newest message.
    pub(crate) fn newest(&self) -> Option<&Arc<Publication>> {
        self.messages.back()
    }

    /// Number of the oldest message.
    pub(crate) fn oldest_seq(&self) -> Option<Seq> {
        self.messages.front().map(|publication| publication.seq)
    }

    /// The message with number `seq`.
    pub(crate) fn get(&self, seq: Seq) -> Option<&Arc<Publication>> {
        let index = seq.0.checked_sub(self.oldest_seq()?.0)?;
        self.messages.get(usize::try_from(index).ok()?)
    }

    /// If messages after `after` are gone, the number of the first one that is not. `head` is the newest number of the
    /// topic.
    pub(crate) fn gone_before(&self, after: Seq, head: Seq) -> Option<Seq> {
        let first = Seq(after
            .0
            .saturating_add(1 + u64::from(is_planted(Fault::HistoryReachesTooFar))));
        let oldest = self.oldest_seq().unwrap_or(head.next());
        (after < head && oldest > first).then_some(oldest)
    }

    /// The number of the first message that it holds from `moment` on; of the one after the newest if all are older.
    /// `head` is the newest number of the topic.
    pub(crate) fn first_at(&self, moment: Micros, head: Seq) -> Seq {
        // A topic's times never go back.
        let older = self.messages.partition_point(|message| message.ts < moment);
        self.messages
            .get(older)
            .map_or(head.next(), |message| message.seq)
    }

    /// The messages after `after` that it holds, oldest first.
    pub(crate) fn read(&self, after: Seq) -> impl ExactSizeIterator<Item = &Arc<Publication>> {
        let oldest = self.oldest_seq().unwrap_or(Seq::ZERO);
        let skip = after.0.saturating_add(1).saturating_sub(oldest.0);
        let skip = skip.saturating_add(u64::from(is_planted(Fault::HistoryReadTooLate)));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.messages.range(skip.min(self.messages.len())..)
    }
}
