//! What is put into a directory before anybody reads it: the topics that a broker had before it was stopped.

use std::sync::Arc;

use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{Micros, Refusal, Topic};

use super::Directory;
use crate::cell::{RestoredTopic, TopicCell};
use crate::dedupe::KnownKey;
use crate::epochs::Life;
use crate::publication::{Lineage, TopicId};

impl Directory {
    /// Makes a topic with what it had before. Limits do not hold for it, and it counts for no publisher. Its history is as
    /// long as the rules say now.
    ///
    /// # Errors
    /// If what it had does not fit together, or there is such a topic.
    pub fn restore(&self, restored: RestoredTopic, now: Micros) -> Result<Arc<TopicCell>, Refusal> {
        let name = restored.topic.as_str();
        let mut topics = self.topics_write();
        if self.find(name).is_some() || topics.next.0 == u32::MAX {
            return Err(Refusal::bad_request(format!("{name} is there already")));
        }
        let (epoch, life) = match restored.epoch.clone() {
            Some((epoch, life)) => (epoch, Life::numbered(life)),
            None => self.epochs.of(name),
        };
        let lineage = Lineage {
            id: TopicId(topics.next.0),
            topic: restored.topic.clone(),
            kind: restored.kind,
            epoch,
            memory: self.memory.clone(),
        };
        let (_, kept) = self.kinds().of(name);
        let cell = Arc::new(TopicCell::new(lineage, life, None, kept, self.interested(name)));
        cell.restore(restored, now)?;
        self.add_topic(&mut topics, &cell);
        Ok(cell)
    }

    /// Ends a topic whose end was written.
    pub fn end_written(&self, cell: &Arc<TopicCell>, reason: EndReason) {
        let mut topics = self.topics_write();
        self.keep_interest(cell);
        match cell.end(reason, &self.queues) {
            Some(end) => self.remove(&mut topics, cell, end, reason),
            None => self.give_interest_up(cell),
        }
    }

    /// How many topics have ended, by the hashes of their names; with what tells functions of hashing apart.
    #[must_use]
    pub fn ended_counts(&self) -> (u64, Vec<(u32, u32)>) {
        self.epochs.counts()
    }

    /// Takes over what [`Self::ended_counts`] said before a restart, so that no epoch comes again.
    pub fn restore_ended_counts(&self, hashing: u64, counts: impl Iterator<Item = (u32, u32)>) {
        self.epochs.restore_counts(hashing, counts);
    }

    /// Says that the publication of a key, which waited to be written, has entered.
    pub fn key_written(&self, topic: &Topic, key: &PublishKey) {
        self.dedupe.entered(topic, key);
    }

    /// Forgets a key whose publication will not be written.
    pub(crate) fn key_dropped(&self, topic: &Topic, key: &PublishKey) {
        self.dedupe.dropped(topic, key);
    }

    /// At most `most` of the keys that are known, from the place `from` on; 0 is before the oldest. Also the place behind them,
    /// and `None` at the end. Keys whose publications wait to be written are left out.
    #[must_use]
    pub fn known_keys(&self, from: u64, most: usize) -> (Vec<KnownKey>, Option<u64>) {
        self.dedupe.known(from, most)
    }

    /// Keeps a key that was known before a restart, unless its time is over at `now`.
    pub fn restore_key(&self, known: KnownKey, now: Micros) {
        self.dedupe.restore(known, now);
    }
}
