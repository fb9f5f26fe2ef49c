//! What is put into a directory before anybody reads it: the topics that a broker had before it was stopped.

use std::sync::Arc;

use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{Micros, Refusal, Topic};

use super::Directory;
use crate::archive::Archive;
use crate::cell::{NotEntered, RestoredTopic, TopicCell, WrittenMessage};
use crate::dedupe::KnownKey;
use crate::epochs::Life;
use crate::publication::{Lineage, TopicId};

impl Directory {
    /// Has replays that begin before the histories read from `archive`. Call this once, before the first shard is made.
    pub fn set_archive(&self, archive: Arc<dyn Archive>) {
        self.archive.get_or_init(|| archive);
    }

    /// What has the messages that the histories do not hold any more, if anything has.
    #[must_use]
    pub fn archive(&self) -> Option<&Arc<dyn Archive>> {
        self.archive.get()
    }

    /// Makes a topic again, without a message; what it had [follows](TopicCell::restore). Limits do not hold for it, and it counts
    /// for no publisher. Its history is as long as the rules say now.
    ///
    /// # Errors
    /// If there is such a topic.
    pub fn restore(&self, restored: &RestoredTopic) -> Result<Arc<TopicCell>, Refusal> {
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
            family: self.families.of_topic(name),
            memory: self.memory.clone(),
        };
        let (_, kept) = self.kinds().of(name);
        let cell = Arc::new(TopicCell::new(lineage, life, None, kept, self.interested(name)));
        self.add_topic(&mut topics, &cell);
        Ok(cell)
    }

    /// Enters the messages of a log into their topic, before anybody reads it. They follow on each other, oldest first.
    ///
    /// # Errors
    /// The place of a message that does not enter, and why. Those before it have entered. A change of a book that does not
    /// fit may be found only at a later place.
    pub fn enter_written<'a>(
        &self,
        cell: &TopicCell,
        messages: impl ExactSizeIterator<Item = WrittenMessage<'a>>,
        now: Micros,
    ) -> Result<(), (usize, NotEntered)> {
        let over = cell.enter_written(messages, now)?;
        // Each message that is over the budget has another topic give up a part of its history.
        for cell in (0..over).map_while(|_| self.next_in_turn()) {
            cell.shorten();
        }
        Ok(())
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
