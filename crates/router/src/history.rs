//! The last messages of one topic, bounded by count and, over all topics, by bytes.
//!
//! A topic of candles also keeps closed candles from before its history, so that a chart can be drawn at once. No
//! subscription is resumed from them: they have holes between them, where the updates of open candles were.
//!
//! The numbers that a history holds have no hole, and its newest message, the topic's value, is never dropped. While
//! all histories together are over their byte budget, each new message pushes out two messages of its own topic, and
//! one other topic, the next in turn, is shortened. So the total falls below the budget again, and quiet topics do not
//! keep for ever the memory that busy ones need.

use std::collections::VecDeque;
use std::sync::Arc;

use tickwire_wire::{Micros, Seq};

use crate::kinds::Kept;
use crate::memory::{Memory, MessagePlace, Moves};
use crate::planted::{Fault, is_planted};
use crate::publication::Publication;

/// A topic's history. The newest message is the topic's value.
#[derive(Debug)]
pub(crate) struct History {
    messages: VecDeque<Arc<Publication>>,
    capacity: usize,
    /// The time of the newest message that is gone, if it is known.
    gone: Option<Micros>,
    /// `None` for a topic that keeps no closed candles.
    candles: Option<Box<ClosedCandles>>,
}

/// Where a replay from a moment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredFrom {
    /// The first message from the moment on that is stored; the one after the newest if all are older.
    pub(crate) first: Seq,
    /// The time of the oldest message, if messages from the moment on are gone.
    pub(crate) not_stored: Option<Micros>,
}

/// The closed candles from before a history, oldest first.
#[derive(Debug)]
struct ClosedCandles {
    candles: VecDeque<Arc<Publication>>,
    most: usize,
}

impl ClosedCandles {
    /// Keeps `message`, which its history has dropped, if it is a closed candle. Its frames are given up.
    fn take(&mut self, message: Arc<Publication>, moves: &mut Moves) {
        if !message.payload.is_closed_candle() {
            return message.move_with(MessagePlace::Nowhere, moves);
        }
        let kept = if message.has_frames() {
            let bare = Arc::new(message.bare());
            message.move_with(MessagePlace::Nowhere, moves);
            bare.move_with(MessagePlace::History, moves);
            bare
        } else {
            message
        };
        self.candles.push_back(kept);
        self.drop_oldest(self.candles.len().saturating_sub(self.most), moves);
    }

    /// Drops the oldest `count` candles.
    fn drop_oldest(&mut self, count: usize, moves: &mut Moves) {
        for oldest in self.candles.drain(..count.min(self.candles.len())) {
            oldest.move_with(MessagePlace::Nowhere, moves);
        }
    }
}

impl History {
    /// An empty history of a topic that keeps so much.
    pub(crate) fn new(kept: Kept) -> Self {
        let candles = (kept.candles > 0).then(|| {
            Box::new(ClosedCandles {
                candles: VecDeque::new(),
                most: kept.candles,
            })
        });
        Self {
            messages: VecDeque::new(),
            capacity: kept.messages.max(1),
            gone: None,
            candles,
        }
    }

    /// The number of messages that it may hold.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds the next message, which was made [as a value](Publication::held_as_value), and drops the oldest. Returns whether
    /// all histories together are over their budget.
    pub(crate) fn push(&mut self, publication: Arc<Publication>, memory: &Memory) -> bool {
        let mut moves = Moves::default();
        let over = self.push_with(publication, memory, &mut moves);
        memory.record(&moves);
        over
    }

    /// Does the same, but leaves it to the caller to record `moves`.
    pub(crate) fn push_with(
        &mut self,
        publication: Arc<Publication>,
        memory: &Memory,
        moves: &mut Moves,
    ) -> bool {
        moves.value_made(publication.data_bytes());
        if let Some(before) = self.messages.back() {
            before.move_with(MessagePlace::History, moves);
        }
        self.messages.push_back(publication);
        let beyond = self.messages.len().saturating_sub(self.capacity);
        let over = memory.history_is_over(moves);
        self.drop_oldest(beyond.max(if over { 2 } else { 0 }), moves);
        if over && let Some(candles) = &mut self.candles {
            candles.drop_oldest(2, moves);
        }
        over
    }

    /// The closed candles from before the history, oldest first.
    pub(crate) fn closed_candles(&self) -> impl Iterator<Item = &Arc<Publication>> {
        self.candles.iter().flat_map(|closed| &closed.candles)
    }

    /// Takes closed candles from before an empty history, oldest first, as many as it keeps. Adds this to `moves`.
    pub(crate) fn restore_candles(
        &mut self,
        candles: impl Iterator<Item = Arc<Publication>>,
        moves: &mut Moves,
    ) {
        let Some(closed) = &mut self.candles else { return };
        for candle in candles {
            candle.move_with(MessagePlace::History, moves);
            closed.candles.push_back(candle);
        }
        closed.drop_oldest(closed.candles.len().saturating_sub(closed.most), moves);
    }

    /// Whether closed candles are kept from before the history.
    pub(crate) fn keeps_candles(&self) -> bool {
        self.candles.is_some()
    }

    /// Passes over a message of time `ts`, behind which at least as many follow as the history may hold: all that it holds
    /// is dropped, the newest message, too. Adds this to `moves`.
    pub(crate) fn pass_over(&mut self, ts: Micros, moves: &mut Moves) {
        for message in self.messages.drain(..) {
            message.move_with(MessagePlace::Nowhere, moves);
        }
        self.gone = Some(ts);
    }

    /// Drops all messages except the newest, which does not follow on the others.
    pub(crate) fn begin_with_newest(&mut self) {
        self.forget_oldest(self.messages.len(), 0);
        // Those between may be as new as the newest.
        self.gone = self.newest().map(|newest| newest.ts);
    }

    /// Drops all messages, the newest one too: the topic is gone.
    pub(crate) fn clear(&mut self, memory: &Memory) {
        let mut moves = Moves::default();
        for message in std::mem::take(&mut self.messages) {
            message.move_with(MessagePlace::Nowhere, &mut moves);
        }
        if let Some(candles) = &mut self.candles {
            candles.drop_oldest(usize::MAX, &mut moves);
        }
        memory.record(&moves);
    }

    /// Drops the older half, of the closed candles too.
    pub(crate) fn shorten(&mut self) {
        let candles = self
            .candles
            .as_ref()
            .map_or(0, |closed| closed.candles.len().div_ceil(2));
        self.forget_oldest(self.messages.len() / 2, candles);
    }

    /// Drops the oldest `count` messages, but never the newest one, and the oldest `candles`. Records it.
    fn forget_oldest(&mut self, count: usize, candles: usize) {
        let mut moves = Moves::default();
        if let Some(closed) = &mut self.candles {
            closed.drop_oldest(candles, &mut moves);
        }
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
        if let Some(last) = count.checked_sub(1) {
            self.gone = Some(self.messages[last].ts);
        }
        for oldest in self.messages.drain(..count) {
            match &mut self.candles {
                None => oldest.move_with(MessagePlace::Nowhere, moves),
                Some(candles) => candles.take(oldest, moves),
            }
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

    /// The number of the first message or closed candle that it holds from `moment` on; of the one after the newest if
    /// all are older. `head` is the newest number of the topic.
    pub(crate) fn first_at(&self, moment: Micros, head: Seq) -> Seq {
        let candle = self
            .candles
            .as_ref()
            .and_then(|closed| first_at(&closed.candles, moment));
        let first = candle.or_else(|| first_at(&self.messages, moment));
        first.unwrap_or(head.next())
    }

    /// Where a replay from `moment` begins. `head` is the newest number of the topic. Closed candles are not replayed.
    pub(crate) fn stored_from(&self, moment: Micros, head: Seq) -> StoredFrom {
        let oldest = self
            .messages
            .front()
            .filter(|oldest| oldest.seq > Seq::ZERO.next());
        // If it is not known when the last message that is gone came, it may have come with the oldest one.
        let lacking = oldest.filter(|oldest| moment <= self.gone.unwrap_or(oldest.ts));
        StoredFrom {
            first: first_at(&self.messages, moment).unwrap_or(head.next()),
            not_stored: lacking.map(|oldest| oldest.ts),
        }
    }

    /// The messages after `after` that it holds, oldest first.
    pub(crate) fn read(&self, after: Seq) -> impl ExactSizeIterator<Item = &Arc<Publication>> {
        let oldest = self.oldest_seq().unwrap_or(Seq::ZERO);
        let skip = after.0.saturating_add(1).saturating_sub(oldest.0);
        let skip = skip.saturating_add(u64::from(is_planted(Fault::HistoryReadTooLate)));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.messages.range(skip.min(self.messages.len())..)
    }

    /// The messages after `after` that it holds, oldest first, behind the closed candles after `after`.
    pub(crate) fn read_all(&self, after: Seq) -> impl Iterator<Item = &Arc<Publication>> {
        let candles = self.candles.iter().flat_map(move |closed| {
            let first = closed.candles.partition_point(|candle| candle.seq <= after);
            closed.candles.range(first..)
        });
        candles.chain(self.read(after))
    }
}

/// The number of the first of `messages` from `moment` on. A topic's times never go back.
fn first_at(messages: &VecDeque<Arc<Publication>>, moment: Micros) -> Option<Seq> {
    let older = messages.partition_point(|message| message.ts < moment);
    messages.get(older).map(|message| message.seq)
}

#[cfg(test)]
mod tests;
