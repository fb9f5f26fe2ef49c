//! How messages enter topics by name, and the effects that they have outside their topic.

use std::sync::atomic::Ordering;

use thiserror::Error;
use tickwire_wire::error::ErrorCode;
use tickwire_wire::{Kind, Micros, Payload, Refusal, Topic, market};

use super::Directory;
use crate::book;
use crate::cell::{Entered, NotEntered, Numbered, Outlets, Published, TopicCell};
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
    /// Publishes `payload` to `topic`. A topic that does not exist is made, and then counts as one of `publisher`'s.
    ///
    /// # Errors
    /// If the broker or the publisher has too many topics, or the payload does not fit the topic's kind. Then nothing
    /// was published and no topic was made.
    pub(crate) fn publish(
        &self,
        publisher: Option<Publisher>,
        topic: &Topic,
        payload: Payload,
        now: Micros,
    ) -> Result<Published, PublishError> {
        let payload = self.check(topic.as_str(), payload)?;
        match self.find(topic.as_str()) {
            Some(cell) => self.publish_to(&cell, payload, now),
            None => self.publish_first(publisher, topic, payload, now),
        }
    }

    /// Converts `payload` into the form that topics of the kind of `topic` hold. Publishing it can then fail only
    /// because of what the topic holds already.
    ///
    /// # Errors
    /// If the topic is a book, and the payload is not one or is of another symbol.
    pub(crate) fn check(&self, topic: &str, payload: Payload) -> Result<Payload, PublishError> {
        match (self.kind_of(topic), payload) {
            (Kind::Book, Payload::Json(text)) => {
                let book: market::Book = serde_json::from_str(text.as_str()).map_err(|error| {
                    PublishError::Refused(Refusal::bad_request(format!("not a book message: {error}")))
                })?;
                book::check_symbol(topic, &book).map_err(PublishError::Refused)?;
                Ok(Payload::Book(Box::new(book)))
            }
            (Kind::Book, Payload::Book(book)) => {
                book::check_symbol(topic, &book).map_err(PublishError::Refused)?;
                Ok(Payload::Book(book))
            }
            (Kind::Book, _) => {
                let reason = format!("{topic} is a book; only book messages can be published to it");
                Err(PublishError::Refused(Refusal::bad_request(reason)))
            }
            (Kind::State | Kind::Event, payload) => Ok(payload),
        }
    }

    /// Publishes `payload`, in the form that [`Self::check`] gives, to an open topic.
    ///
    /// # Errors
    /// If the payload does not fit the topic. Then nothing was published.
    pub(crate) fn publish_to(
        &self,
        cell: &TopicCell,
        payload: Payload,
        now: Micros,
    ) -> Result<Published, PublishError> {
        let entered = cell.publish(payload, now, self.outlets());
        Ok(self.settle(entered.map_err(PublishError::Refused)?))
    }

    /// Enters a message that was numbered elsewhere, in the topic's epoch, into an open topic. `now` is the time of its
    /// arrival here.
    ///
    /// # Errors
    /// If it is not the topic's next message, or does not fit what the topic holds.
    pub fn apply(&self, cell: &TopicCell, numbered: Numbered, now: Micros) -> Result<Published, NotEntered> {
        Ok(self.settle(cell.apply(numbered, now, self.outlets())?))
    }

    /// The places that messages which enter a topic are handed to.
    pub(super) fn outlets(&self) -> Outlets<'_> {
        Outlets {
            queues: &self.queues,
            memory: &self.memory,
        }
    }

    /// Handles the effects of a message outside its topic.
    pub(super) fn settle(&self, entered: Entered) -> Published {
        let Entered {
            published,
            over_budget,
            crossed,
            came_back,
        } = entered;
        if over_budget && let Some(cell) = self.next_in_turn() {
            cell.shorten();
        }
        if crossed {
            self.crossed_books.fetch_add(1, Ordering::Relaxed);
        }
        if came_back {
            self.staleness.came_back();
        }
        published
    }
}
