//! The topics of a broker whose messages are numbered for several brokers.
//!
//! What is numbered here has not entered. It enters, here as at the others, when the log that they share has it. Of the
//! functions that number, only one thread may use any.

use std::sync::Arc;

use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{Epoch, Kind, Micros, Payload, Seq, Topic};

use super::Directory;
use crate::arrival::Arrival;
use crate::cell::{NotPublished, Numbered, Published, RestoredTopic, TopicCell};
use crate::directory::PublishError;
use crate::ingress::fit;
use crate::outlet::Outlet;
use crate::publication::TopicId;

/// The number of topics that are ended before other threads have their turn.
const END_AT_ONCE: usize = 1_024;

/// The value of a topic from before an epoch.
#[derive(Debug, Clone)]
pub struct KeptValue {
    /// The topic.
    pub topic: Topic,
    /// The value. Of a book: the whole book.
    pub payload: Payload,
    /// When it was numbered.
    pub ts: Micros,
}

impl Directory {
    /// Has all messages and ends put into `outlet`, by which they are numbered elsewhere and come back. Call this before
    /// anything is published.
    #[must_use]
    pub fn with_outlet(mut self, outlet: Arc<Outlet>) -> Self {
        self.outlet = Some(outlet);
        self
    }

    /// Where messages go that are numbered elsewhere, if they are.
    #[must_use]
    pub fn outlet(&self) -> Option<&Arc<Outlet>> {
        self.outlet.as_ref()
    }

    /// Gives a message its number, in this `generation` of numbers. A topic that does not exist is made. The message enters by
    /// [`Ingress::apply`](crate::Ingress::apply), if it does.
    ///
    /// # Errors
    /// If there are too many topics, or the payload does not fit. Then nothing was numbered and no topic was made.
    pub fn number(
        &self,
        topic: &Topic,
        payload: Payload,
        arrival: Arrival<'_>,
        generation: u32,
    ) -> Result<(Arc<TopicCell>, Numbered), PublishError> {
        let name = topic.as_str();
        let mut payload = fit(self.kind_of(name), name, payload)?;
        loop {
            let existing = self.find(name);
            let mut topics = existing.is_none().then(|| self.topics_write());
            let cell = match (existing, &topics) {
                (Some(cell), _) => cell,
                (None, Some(topics)) => self.next_cell(topics, None, topic)?,
                (None, None) => continue,
            };
            match cell.number_ahead(payload, arrival, generation) {
                Ok(numbered) => {
                    if let Some(topics) = &mut topics {
                        self.add_topic(topics, &cell);
                    }
                    return Ok((cell, numbered));
                }
                Err(NotPublished::Refused(refusal)) => return Err(refusal.into()),
                Err(NotPublished::Ended(back)) => payload = back,
            }
        }
    }

    /// Says that a topic is to end, in this `generation` of numbers, and returns it with the number of its last message. It
    /// ends by [`Self::end_written`]. `None` if there is no such topic, or it is to end already.
    pub fn number_end(&self, topic: &str, generation: u32) -> Option<(Arc<TopicCell>, Seq)> {
        let cell = self.find(topic)?;
        let last = cell.end_ahead(generation)?;
        Some((cell, last))
    }

    /// The place of the message that was published with this key, if that is known at `now`.
    #[must_use]
    pub fn place_of_key(&self, topic: &Topic, key: &PublishKey, now: Micros) -> Option<(Epoch, Seq, Kind)> {
        self.dedupe.place(topic, key, now)
    }

    /// A topic of the log: the one that is here, or one that is made now. One of the same name without a message, which a
    /// publisher or a subscriber of this broker has made in another life, makes room for it.
    ///
    /// `None` if the topic is here in another life and has messages.
    #[must_use]
    pub fn declared(&self, declared: &RestoredTopic) -> Option<Arc<TopicCell>> {
        let name = declared.topic.as_str();
        if let Some(cell) = self.find(name) {
            let at = cell.position();
            let is_it = declared
                .epoch
                .as_ref()
                .is_none_or(|(epoch, life)| *epoch == at.epoch && *life == cell.life().number())
                && declared.kind == cell.kind();
            if is_it {
                return Some(cell);
            }
            if at.seq > Seq::ZERO {
                return None;
            }
            self.end_uncounted(&cell, EndReason::Epoch);
        }
        self.restore(declared).ok()
    }

    /// Ends all topics, and goes on in another epoch, in which each topic is in another life. Returns the values of those that
    /// are no events: the last event of a topic is not published twice.
    pub fn begin_epoch(&self, epoch: &Epoch) -> Vec<KeptValue> {
        let mut kept = Vec::new();
        let mut from = Some(TopicId::default());
        while let Some(at) = from {
            let mut cells = Vec::new();
            from = self.walk(at, END_AT_ONCE, |cell| cells.push(cell.clone()));
            for cell in cells {
                kept.extend(kept_value(&cell));
                self.end_uncounted(&cell, EndReason::Epoch);
            }
        }
        self.epochs.begin(epoch.clone());
        kept
    }

    /// Goes on in the epoch of the brokers that this one has joined. It has no topic with a message yet.
    pub fn join_epoch(&self, epoch: &Epoch) {
        self.epochs.join(epoch.clone());
    }

    /// The epoch that new topics have, unless an earlier one of their name has ended.
    #[must_use]
    pub fn common_epoch(&self) -> Epoch {
        self.epochs.common()
    }

    /// Ends a topic without counting it among those of its name that have ended.
    fn end_uncounted(&self, cell: &Arc<TopicCell>, reason: EndReason) {
        let mut topics = self.topics_write();
        self.keep_interest(cell);
        match cell.end(reason, &self.queues) {
            Some(end) => self.remove_uncounted(&mut topics, cell, end, reason),
            None => self.give_interest_up(cell),
        }
    }
}

/// What is kept of a topic from before an epoch.
fn kept_value(cell: &TopicCell) -> Option<KeptValue> {
    if cell.kind() == Kind::Event {
        return None;
    }
    let value = cell.snapshot()?;
    let payload = match &value.payload {
        Payload::Book(book) => {
            let mut whole = book.clone();
            whole.replace = true;
            Payload::Book(whole)
        }
        other => other.clone(),
    };
    Some(KeptValue {
        topic: cell.topic().clone(),
        payload,
        ts: value.ts,
    })
}

impl Published {
    /// Whether its place comes with an answer.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.ticket.is_some()
    }
}
