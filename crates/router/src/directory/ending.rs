//! How topics end: because somebody has deleted them, or by themselves.
//!
//! The name is free at once: a message that is published to it makes a new topic, with another number and another
//! epoch. What the ended topic held stays as long as a shard needs it for its readers. Until then the topic counts as
//! one, so that nobody can hold more topics by ending them.
//!
//! A subscription to a name stays when the topic ends, and joins the topic when it is made again. A shard learns of the end
//! only when it takes it from its queue. From then on the shard's index of patterns has the names of such subscriptions.
//! Until then the directory keeps an interest in the name for each shard, so that no message of the next life is missed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tickwire_wire::message::EndReason;
use tickwire_wire::{Epoch, Micros, Pattern, Refusal, Seq};

use super::{Directory, Topics};
use crate::cell::{CellEnd, TopicCell};
use crate::expiry::ExpiryRule;
use crate::looks::Look;
use crate::outlet::AnswerTo;
use crate::queue::ShardId;
use crate::write_queue::Ticket;

/// The number of topics that are looked at before other work has its turn.
const LOOKS_AT_ONCE: usize = 1_024;

/// The time after which a topic is looked at again whose end waits to be written.
const WRITTEN_MS: u64 = 1_000;

/// A topic that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedTopic {
    /// The epoch of its numbers. No later topic with this name has it.
    pub epoch: Epoch,
    /// The last message.
    pub seq: Seq,
    /// If its end waits to be written first: its place there. It has not ended before that.
    pub ticket: Option<Ticket>,
}

impl Directory {
    /// Ends a topic because somebody has deleted it: at once, or when that is written. `None` if there is no such topic.
    ///
    /// # Errors
    /// If ends are written first, and that is not possible now.
    pub fn delete_written(&self, topic: &str) -> Result<Option<EndedTopic>, Refusal> {
        match &self.write_queue {
            None => Ok(self.delete(topic)),
            Some(queue) => match self.find(topic) {
                Some(cell) => cell.end_later(EndReason::Deleted, queue),
                None => Ok(None),
            },
        }
    }

    /// Ends a topic at once because somebody has deleted it. `None` if there is no such topic.
    pub fn delete(&self, topic: &str) -> Option<EndedTopic> {
        let mut topics = self.topics_write();
        let cell = self.find(topic)?;
        let epoch = cell.position().epoch;
        self.keep_interest(&cell);
        let end = cell.end(EndReason::Deleted, &self.queues)?;
        self.remove(&mut topics, &cell, end, EndReason::Deleted);
        let seq = end.last;
        Some(EndedTopic {
            epoch,
            seq,
            ticket: None,
        })
    }

    /// Ends the topics that have expired at `now`. Returns when to call this again. That is at once if so many topics
    /// were looked at that other work should have its turn, and never if no rule applies to a topic yet.
    pub fn expire(&self, now: Micros) -> Option<Micros> {
        for _ in 0..LOOKS_AT_ONCE {
            let Some(look) = self.expiries.next_due(now) else {
                break;
            };
            if let Some(due) = self.expire_one(&look, now) {
                self.expiries.again(look, due);
            }
        }
        self.expiries.next_timeout()
    }

    /// Has a topic end because somebody has deleted it, where its messages are numbered elsewhere. `reply` is told when it has.
    /// Returns whether it is on its way: there may be no such topic.
    ///
    /// # Errors
    /// If nothing is taken there now.
    pub fn delete_elsewhere(&self, topic: &str, reply: &AnswerTo) -> Result<bool, Refusal> {
        match (&self.outlet, self.find(topic)) {
            (Some(outlet), Some(cell)) => outlet.end(cell.topic(), EndReason::Deleted, reply).map(|()| true),
            (_, _) => Ok(false),
        }
    }

    /// Ends a topic if it has expired. Returns when to look again, if the topic still exists.
    fn expire_one(&self, look: &Look<ExpiryRule>, now: Micros) -> Option<Micros> {
        let cell = self.get(look.topic)?;
        if let Some(again) = cell.expires_after(now, &look.rule) {
            return Some(again);
        }
        if let Some(outlet) = &self.outlet {
            // Whoever numbers the messages decides. A refusal passes, and the next look finds the topic again.
            let _refused = outlet.end(cell.topic(), EndReason::Expired, &AnswerTo::Nobody);
            return Some(now.plus_ms(look.rule.after_ms.max(WRITTEN_MS)));
        }
        if let Some(queue) = &self.write_queue {
            cell.expire_later(now, &look.rule, queue);
            return Some(now.plus_ms(WRITTEN_MS));
        }
        let mut topics = self.topics_write();
        topics.by_id.get(&look.topic)?;
        self.keep_interest(&cell);
        if let Some(end) = cell.expire(now, &look.rule, &self.queues) {
            self.remove(&mut topics, &cell, end, EndReason::Expired);
            return None;
        }
        self.give_interest_up(&cell);
        cell.expires_after(now, &look.rule).or(Some(now))
    }

    /// Removes an ended topic from the tables.
    pub(super) fn remove(&self, topics: &mut Topics, cell: &Arc<TopicCell>, end: CellEnd, reason: EndReason) {
        self.epochs.ended(cell.topic().as_str());
        self.remove_uncounted(topics, cell, end, reason);
    }

    /// Does the same for a topic whose name goes on in the same life.
    pub(super) fn remove_uncounted(
        &self,
        topics: &mut Topics,
        cell: &Arc<TopicCell>,
        end: CellEnd,
        reason: EndReason,
    ) {
        self.by_name.remove(cell.topic());
        topics.tree.remove(cell.topic());
        topics.by_id.remove(&cell.id());
        topics.ended += 1;
        if let Some(maker) = cell.maker()
            && let Some(made) = topics.made_by.get_mut(&maker)
        {
            *made -= 1;
            if *made == 0 {
                topics.made_by.remove(&maker);
            }
        }
        if end.was_stale {
            self.staleness.ended();
        }
        self.ended[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps an interest of each shard in the name of a topic that is to end.
    pub(super) fn keep_interest(&self, cell: &TopicCell) {
        let name = Pattern::from(cell.topic().clone());
        for shard in self.shard_ids() {
            self.register(shard, &name);
        }
    }

    /// Ends a topic that is a copy of one that has ended: at once, or when that is written.
    ///
    /// # Errors
    /// If ends are written first, and that is not possible now.
    pub(crate) fn end_copy(&self, cell: &Arc<TopicCell>, reason: EndReason) -> Result<(), Refusal> {
        match &self.write_queue {
            None => self.end_written(cell, reason),
            Some(queue) => {
                cell.end_later(reason, queue)?;
            }
        }
        Ok(())
    }

    /// Undoes [`Self::keep_interest`], as the topic has not ended.
    pub(super) fn give_interest_up(&self, cell: &TopicCell) {
        for shard in self.shard_ids() {
            self.end_handled(shard, cell);
        }
    }

    fn shard_ids(&self) -> impl Iterator<Item = ShardId> {
        (0_u8..).take(self.queues.len()).map(ShardId)
    }

    /// Records that a shard was told of the end of a topic, and has the index know the subscriptions of its name.
    pub(crate) fn end_handled(&self, shard: ShardId, cell: &TopicCell) {
        self.unregister(shard, &Pattern::from(cell.topic().clone()));
    }

    /// How many topics have ended for this reason.
    #[must_use]
    pub fn ended_topics(&self, reason: EndReason) -> u64 {
        self.ended[reason as usize].load(Ordering::Relaxed)
    }

    /// The number of topics that have ended and are still held: for readers that have not got all of them, for shards
    /// that were not told yet, or by publishers. They count for the most topics.
    #[must_use]
    pub fn ended_and_held(&self) -> usize {
        self.memory.ended.load(Ordering::Relaxed)
    }
}
