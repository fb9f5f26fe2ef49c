//! How topics are made: with their first message, and within quotas. If that message is refused, no topic is made.
//!
//! The quotas are bounded: each publisher that is counted has made a topic, so there are never more publishers than
//! topics.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use thiserror::Error;
use tickwire_wire::error::ErrorCode;
use tickwire_wire::{Payload, Refusal, Topic};

use super::{Directory, Topics};
use crate::arrival::Arrival;
use crate::cell::{NotPublished, Published, TopicCell, check_room};
use crate::families::Families;
use crate::publication::{Lineage, TopicId};
use crate::queue::{Recipients, ShardId};
use crate::rights::Publisher;

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The broker holds as many topics as it may.
    #[error("the broker holds its most topics ({0}); publish to an existing one or raise limits.topics")]
    TooManyTopics(usize),
    /// The publisher has made as many topics as it may.
    #[error(
        "whoever publishes this has made as many topics as one key, subject or address may ({0}); publish to an existing one \
         or raise limits.topics_per_key"
    )]
    TooManyTopicsOfKey(usize),
    /// The message does not fit the topic's kind.
    #[error("{}", .0.reason)]
    Refused(Refusal),
}

impl From<Refusal> for PublishError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Refused(refusal) => refusal,
            PublishError::TooManyTopics(_) | PublishError::TooManyTopicsOfKey(_) => {
                Self::new(ErrorCode::LimitExceeded, error.to_string())
            }
        }
    }
}

impl Directory {
    /// Sets the families in which the deliveries of topics are accounted. Call this before anything is published.
    #[must_use]
    pub fn with_families(mut self, families: Arc<Families>) -> Self {
        self.families = families;
        self
    }

    /// Checks that `more` topics may still be made. If `publisher` is given, its quota is checked, too.
    ///
    /// # Errors
    /// If they would be too many.
    pub fn check_room(&self, publisher: Option<Publisher>, more: usize) -> Result<(), PublishError> {
        self.has_room(&self.topics_read(), publisher, more)
    }

    /// Checks that the values of all topics may hold `more` bytes.
    ///
    /// # Errors
    /// If they would hold more than their budget.
    pub fn check_value_room(&self, more: usize) -> Result<(), Refusal> {
        check_room(&self.memory, more)
    }

    /// The topic. If it does not exist, it is made without a message.
    ///
    /// # Errors
    /// If there are too many topics.
    pub fn open(&self, topic: &Topic) -> Result<Arc<TopicCell>, PublishError> {
        if let Some(cell) = self.find(topic.as_str()) {
            return Ok(cell);
        }
        let mut topics = self.topics_write();
        if let Some(cell) = self.find(topic.as_str()) {
            return Ok(cell); // another thread was faster
        }
        let cell = self.next_cell(&topics, None, topic)?;
        self.add_topic(&mut topics, &cell);
        Ok(cell)
    }

    /// Makes `topic`, which does not exist, with its first message.
    ///
    /// # Errors
    /// If there are too many topics, or the payload does not fit the topic's kind. Then the topic is not made.
    pub(crate) fn publish_first(
        &self,
        (publisher, shard): (Option<Publisher>, Option<ShardId>),
        topic: &Topic,
        mut payload: Payload,
        arrival: Arrival<'_>,
    ) -> Result<Published, PublishError> {
        let published = loop {
            let mut topics = self.topics_write();
            let existing = self.find(topic.as_str()); // another thread was faster
            let cell = match &existing {
                Some(cell) => cell.clone(),
                None => self.next_cell(&topics, publisher, topic)?,
            };
            // No other thread has a new cell yet. A shard that finds the message in its queue before the topic can be
            // found waits for the list of topics.
            let kept = existing.is_none().then_some(&mut topics);
            match self.publish_to(&cell, payload, arrival, (shard, self.recipients())) {
                Ok(published) => {
                    if let Some(topics) = kept {
                        self.add_topic(topics, &cell);
                    }
                    break published;
                }
                Err(NotPublished::Refused(refusal)) => return Err(refusal.into()),
                Err(NotPublished::Ended(back)) => payload = back,
            }
        };
        self.entered(&published);
        Ok(published)
    }

    /// Publishes to a topic that exists: at once, or when the message is written.
    pub(crate) fn publish_to(
        &self,
        cell: &Arc<TopicCell>,
        payload: Payload,
        arrival: Arrival<'_>,
        (shard, to): (Option<ShardId>, Recipients<'_>),
    ) -> Result<Published, NotPublished> {
        match &self.write_queue {
            None => cell.publish(payload, arrival, to),
            Some(queue) => cell.publish_later(payload, arrival, queue, shard),
        }
    }

    /// Handles the effects outside its topic of a message that has entered.
    pub(crate) fn entered(&self, published: &Published) {
        if published.over_budget
            && let Some(cell) = self.next_in_turn()
        {
            cell.shorten();
        }
        if published.crossed {
            self.crossed_books.fetch_add(1, Ordering::Relaxed);
        }
        if published.came_back {
            self.staleness.came_back();
        }
    }

    /// A new cell for a topic that will be the next in the list.
    pub(super) fn next_cell(
        &self,
        topics: &Topics,
        publisher: Option<Publisher>,
        topic: &Topic,
    ) -> Result<Arc<TopicCell>, PublishError> {
        self.has_room(topics, publisher, 1)?;
        let id = topics.next;
        if id.0 == u32::MAX {
            return Err(PublishError::TooManyTopics(self.topics_max()));
        }
        let (kind, kept) = self.kinds().of(topic.as_str());
        let interested = self.interested(topic.as_str());
        let (epoch, life) = self.epochs.of(topic.as_str());
        let lineage = Lineage {
            id,
            topic: topic.clone(),
            kind,
            epoch,
            family: self.families.of_topic(topic.as_str()),
            memory: self.memory.clone(),
        };
        let cell = TopicCell::new(lineage, life, publisher, kept, interested);
        Ok(Arc::new(cell))
    }

    /// The shards that want `topic`, one bit each.
    pub(super) fn interested(&self, topic: &str) -> u64 {
        // A shard registers its interest before it looks at the topics, with the same lock held. So a shard whose
        // interest is not seen here finds the topic there.
        let mut interested = 0;
        let interests = self.interests.read().unwrap_or_else(PoisonError::into_inner);
        interests.matches(topic, |interest| interested |= interest.mask());
        interested
    }

    /// Puts the new cell into the list: from now on the topic exists.
    pub(super) fn add_topic(&self, topics: &mut Topics, cell: &Arc<TopicCell>) {
        if let Some(maker) = cell.maker() {
            *topics.made_by.entry(maker).or_default() += 1;
        }
        topics.by_id.insert(cell.id(), cell.clone());
        topics.next = TopicId(cell.id().0 + 1);
        self.staleness.looks.watch(cell.id(), cell.topic().as_str());
        self.expiries.watch(cell.id(), cell.topic().as_str());
        topics.tree.insert(cell.topic(), cell.id());
        self.by_name.insert(cell.topic().clone(), cell.clone());
    }

    fn has_room(
        &self,
        topics: &Topics,
        publisher: Option<Publisher>,
        more: usize,
    ) -> Result<(), PublishError> {
        let max = self.topics_max();
        let held = topics.by_id.len() + self.ended_and_held();
        if held.saturating_add(more) > max {
            return Err(PublishError::TooManyTopics(max));
        }
        let max = self.topics_per_key_max.load(Ordering::Relaxed);
        let made = publisher.and_then(|publisher| topics.made_by.get(&publisher).copied());
        let made = made.unwrap_or(0) as usize;
        if publisher.is_some() && max > 0 && made.saturating_add(more) > max {
            return Err(PublishError::TooManyTopicsOfKey(max));
        }
        Ok(())
    }

    pub(super) fn topics_write(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }
}
