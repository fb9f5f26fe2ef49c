//! How a topic ends, and what it gives back.
//!
//! An ended topic takes no message. Those that it has stay until nobody is left who must get them: a reader that is
//! behind, or a shard that has not been told yet. Then the cell is dropped, and what it held with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tickwire_wire::message::EndReason;
use tickwire_wire::{Micros, Seq};

use super::{State, TopicCell};
use crate::expiry::ExpiryRule;
use crate::memory::MessagePlace;
use crate::queue::ShardQueue;

/// An end, as the directory needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellEnd {
    /// The last message.
    pub(crate) last: Seq,
    /// Whether the topic was stale.
    pub(crate) was_stale: bool,
}

/// The longest time until a topic is looked at again that is only held because subscriptions name it.
const HELD_MS_MAX: u64 = 10_000;

impl TopicCell {
    /// Ends the topic, and queues this for each shard behind the messages. `None` if it has ended before.
    pub(crate) fn end(self: &Arc<Self>, reason: EndReason, queues: &[Arc<ShardQueue>]) -> Option<CellEnd> {
        self.end_locked(&mut self.lock(), reason, queues)
    }

    fn end_locked(
        self: &Arc<Self>,
        state: &mut State,
        reason: EndReason,
        queues: &[Arc<ShardQueue>],
    ) -> Option<CellEnd> {
        if state.ended.replace(reason).is_some() {
            return None;
        }
        state.lineage.memory.ended.fetch_add(1, Ordering::Relaxed);
        // Every shard is told: each may hold the cell.
        queues.iter().for_each(|queue| queue.push_end(self));
        Some(CellEnd {
            last: state.head(),
            was_stale: self.stale.swap(0, Ordering::Relaxed) != 0,
        })
    }

    /// When to look again whether the topic has expired by `rule`. `None` if it has at `now`.
    pub(crate) fn expires_after(&self, now: Micros, rule: &ExpiryRule) -> Option<Micros> {
        self.expires_after_locked(&self.lock(), now, rule)
    }

    pub(super) fn expires_after_locked(
        &self,
        state: &State,
        now: Micros,
        rule: &ExpiryRule,
    ) -> Option<Micros> {
        let due = state.heard.plus_ms(rule.after_ms);
        let is_held = !rule.even_if_watched && self.named.load(Ordering::Relaxed) > 0;
        if is_held || state.history.newest().is_none() {
            return Some(due.max(now.plus_ms(rule.after_ms.min(HELD_MS_MAX))));
        }
        (due > now).then_some(due)
    }

    /// Ends the topic if it has expired by `rule` at `now`.
    pub(crate) fn expire(
        self: &Arc<Self>,
        now: Micros,
        rule: &ExpiryRule,
        queues: &[Arc<ShardQueue>],
    ) -> Option<CellEnd> {
        let mut state = self.lock();
        match self.expires_after_locked(&state, now, rule) {
            Some(_) => None,
            None => self.end_locked(&mut state, EndReason::Expired, queues),
        }
    }

    /// Why the topic has ended, if it has.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.lock().ended
    }

    /// Whether the topic has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended().is_some()
    }

    /// Records that a subscription names the topic.
    pub(crate) fn named(&self) {
        self.named.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that `count` subscriptions fewer name the topic.
    pub(crate) fn unnamed(&self, count: u32) {
        self.named.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Drop for TopicCell {
    fn drop(&mut self) {
        let mut state = self.lock();
        let memory = state.lineage.memory.clone();
        if let Some(snapshot) = state.book_snapshot.take() {
            snapshot.move_to(MessagePlace::Nowhere);
        }
        memory.values.change(state.book_bytes, 0);
        state.history.clear(&memory);
        if state.ended.is_some() {
            memory.ended.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
