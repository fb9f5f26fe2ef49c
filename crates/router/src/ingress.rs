//! The one way in for messages: from the feed, from WebSocket and HTTP clients, and from bulk bodies.
//!
//! Handing a message in never waits. A publisher first asks whether it should wait for the shards. How much may be
//! queued depends on the message's origin. A refused message leaves everything as it was. Never reads a clock.

use std::cell::Cell;
use std::sync::Arc;

use tickwire_wire::limits::SHARD_QUEUE_MAX;
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Kind, Micros, Payload, Refusal, Topic, market};

use crate::arrival::Arrival;
use crate::book::{check_symbol, not_a_book};
use crate::cell::{NotEntered, NotPublished, Numbered, Published, TopicCell};
use crate::directory::{Directory, PublishError};
use crate::outlet::{AnswerTo, Outlet, Teller, submitted};
use crate::queue::{Recipients, ShardId};
use crate::rights::Publisher;
use crate::write_queue::{Ticket, Told};

/// The source of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The broker's own feed. The topics that it makes do not count for any publisher.
    Feed,
    /// A client, with a single message. `None` where no quotas are kept.
    Client(Option<Publisher>),
    /// A client, with a line of a bulk body.
    Bulk(Publisher),
}

impl Origin {
    /// The number of publications that may wait for any shard before this origin must wait. The feed waits first, so
    /// that a feed that is faster than the shards does not shut clients out. A bulk body waits last, since it is
    /// published once and in one go.
    #[must_use]
    pub const fn queue_high(self) -> usize {
        match self {
            Self::Feed => 2_048,
            Self::Client(_) => 4_096,
            Self::Bulk(_) => SHARD_QUEUE_MAX / 2,
        }
    }

    /// The publisher that topics made by this message count for.
    const fn publisher(self) -> Option<Publisher> {
        match self {
            Self::Feed => None,
            Self::Client(publisher) => publisher,
            Self::Bulk(publisher) => Some(publisher),
        }
    }
}

/// The way into all topics of a directory. Clones share one directory.
#[derive(Debug, Clone)]
pub struct Ingress {
    directory: Arc<Directory>,
    /// The shard that is told when its messages are written, if they are.
    shard: Option<ShardId>,
    /// Who is told what became of messages that are numbered elsewhere.
    reply: AnswerTo,
}

impl Ingress {
    /// The way into the topics of `directory`.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        Self {
            directory,
            shard: None,
            reply: AnswerTo::Nobody,
        }
    }

    /// The same way in for the messages of a shard's sessions.
    pub(crate) fn of_shard(self, shard: ShardId) -> Self {
        Self {
            shard: Some(shard),
            reply: AnswerTo::Shard(shard),
            ..self
        }
    }

    /// The same way in, if messages are numbered elsewhere, for messages whose places `teller` is told. `None` if the place of
    /// a message is known when it is handed in.
    #[must_use]
    pub fn telling(&self, teller: Teller) -> Option<Self> {
        self.directory.outlet()?;
        Some(Self {
            reply: AnswerTo::Teller(teller),
            shard: None,
            directory: self.directory.clone(),
        })
    }

    /// The directory that messages are handed to.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Whether so much waits for some shard, or to be written, that `origin` should wait before it hands in more. A bulk body
    /// also waits for the observers. Nothing live does.
    #[must_use]
    pub fn is_congested(&self, origin: Origin) -> bool {
        let depth = match origin {
            Origin::Feed | Origin::Client(_) => self.directory.queue_depth_max(),
            Origin::Bulk(_) => self
                .directory
                .queue_depth_max()
                .max(self.directory.observer_depth_max()),
        };
        depth > origin.queue_high() || self.has_much_unwritten()
    }

    /// Whether messages are written before they enter. Then a refusal because of that may pass.
    #[must_use]
    pub fn writes_first(&self) -> bool {
        self.directory.write_queue().is_some() || self.directory.outlet().is_some()
    }

    /// Whether so much waits to be written that everybody should wait.
    #[must_use]
    pub fn has_much_unwritten(&self) -> bool {
        let directory = &self.directory;
        let much_to_write = directory.write_queue().is_some_and(|queue| queue.is_congested());
        much_to_write || directory.outlet().is_some_and(|outlet| outlet.is_congested())
    }

    /// Hands a message to whoever numbers it.
    fn send_out(
        &self,
        outlet: &Outlet,
        topic: &Topic,
        payload: &Payload,
        arrival: Arrival<'_>,
    ) -> Result<Published, PublishError> {
        let name = topic.as_str();
        let kind = self.directory.kind_of(name);
        if kind == Kind::Book {
            // Its form is checked here, so that a publisher is told at once.
            match payload {
                Payload::Book(book) => check_symbol(name, book)?,
                Payload::Json(text) => drop(read_book(name, text.as_str())?),
                Payload::Packed(value) => drop(read_book(name, value.as_slice().to_json().as_str())?),
                _ => return Err(not_a_book(name).into()),
            }
        }
        let ticket = outlet.publish(topic, payload, arrival, &self.reply)?;
        Ok(submitted(self.directory.common_epoch(), kind, ticket))
    }

    /// Publishes `payload` to `topic`. A topic that does not exist is made. `arrival` is the time now, perhaps with the
    /// publisher's own.
    ///
    /// # Errors
    /// If the broker or the publisher has too many topics, or the payload does not fit the topic's kind. Then nothing
    /// was published and no topic was made.
    pub fn submit<'a>(
        &self,
        origin: Origin,
        topic: &Topic,
        payload: Payload,
        arrival: impl Into<Arrival<'a>>,
    ) -> Result<Published, PublishError> {
        let (name, arrival) = (topic.as_str(), arrival.into());
        if let Some(outlet) = self.directory.outlet() {
            return self.send_out(outlet, topic, &payload, arrival);
        }
        match self.directory.find(name) {
            Some(cell) => self.submit_known(origin, &cell, payload, arrival),
            None => self.submit_first(origin, topic, payload, arrival),
        }
    }

    /// A batch of messages from `origin`. Its shards are woken once for all of them.
    #[must_use]
    pub fn batch(&self, origin: Origin) -> Batch<'_> {
        let later = Cell::new(0);
        Batch {
            ingress: self,
            origin,
            later,
        }
    }

    /// Does the same as [`Self::submit`], unless a message with this key was published to the topic before. Then publishes
    /// nothing, and returns the place of that message and `true`.
    ///
    /// # Errors
    /// As [`Self::submit`]. Then the key is not known.
    pub fn submit_once<'a>(
        &self,
        origin: Origin,
        (topic, key): (&Topic, &'a PublishKey),
        payload: Payload,
        arrival: impl Into<Arrival<'a>>,
    ) -> Result<(Published, bool), PublishError> {
        let arrival = Arrival {
            key: Some(key),
            ..arrival.into()
        };
        if let Some(outlet) = self.directory.outlet() {
            let published = self.send_out(outlet, topic, &payload, arrival)?;
            return Ok((published, false));
        }
        let publish = || self.submit(origin, topic, payload, arrival);
        self.directory
            .once((topic, key), arrival.now, self.shard, publish)
    }

    /// Publishes the first message of a topic that does not exist.
    fn submit_first(
        &self,
        origin: Origin,
        topic: &Topic,
        payload: Payload,
        arrival: Arrival<'_>,
    ) -> Result<Published, PublishError> {
        let name = topic.as_str();
        let payload = fit(self.directory.kind_of(name), name, payload)?;
        self.directory
            .publish_first((origin.publisher(), self.shard), topic, payload, arrival)
    }

    /// Does the same as [`Self::submit`] for a topic that exists, or has existed: if it has ended, it is made again.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub(crate) fn submit_known(
        &self,
        origin: Origin,
        cell: &Arc<TopicCell>,
        payload: Payload,
        arrival: Arrival<'_>,
    ) -> Result<Published, PublishError> {
        if let Some(outlet) = self.directory.outlet() {
            return self.send_out(outlet, cell.topic(), &payload, arrival);
        }
        match self.enter(cell, payload, arrival, self.directory.recipients()) {
            Ok(published) => Ok(published),
            Err(NotPublished::Ended(payload)) => self.submit_first(origin, cell.topic(), payload, arrival),
            Err(NotPublished::Refused(refusal)) => Err(refusal.into()),
        }
    }

    /// Publishes to a topic that has not ended.
    fn enter(
        &self,
        cell: &Arc<TopicCell>,
        payload: Payload,
        arrival: Arrival<'_>,
        to: Recipients<'_>,
    ) -> Result<Published, NotPublished> {
        let payload = fit(cell.kind(), cell.topic().as_str(), payload)?;
        let published = self
            .directory
            .publish_to(cell, payload, arrival, (self.shard, to))?;
        self.directory.entered(&published);
        Ok(published)
    }

    /// Publishes to an open topic, which saves the look-up by name. The payload must have the form that [`Self::check`]
    /// gives. If the topic has ended, it is opened anew in place of `cell`, and `opened` sees it before the message.
    ///
    /// # Errors
    /// If the payload does not fit the topic, or there are too many topics. Then nothing was published.
    pub fn submit_to<'a>(
        &self,
        cell: &mut Arc<TopicCell>,
        mut payload: Payload,
        arrival: impl Into<Arrival<'a>>,
        opened: impl Fn(&TopicCell),
    ) -> Result<Published, PublishError> {
        let arrival = arrival.into();
        if let Some(outlet) = self.directory.outlet() {
            return self.send_out(outlet, cell.topic(), &payload, arrival);
        }
        loop {
            let to = (self.shard, self.directory.recipients());
            match self.directory.publish_to(cell, payload, arrival, to) {
                Ok(published) => {
                    self.directory.entered(&published);
                    return Ok(published);
                }
                Err(NotPublished::Refused(refusal)) => return Err(refusal.into()),
                Err(NotPublished::Ended(back)) => payload = back,
            }
            *cell = self.directory.open(cell.topic())?;
            opened(cell);
        }
    }

    /// Calls `told` when a published message has entered, or is dropped because it could not be written.
    pub fn when_written(&self, ticket: Ticket, told: Told) {
        match self.directory.write_queue() {
            Some(queue) => queue.when_written(ticket, told),
            None => told(Ok(())),
        }
    }

    /// Enters a message that was numbered elsewhere, in the topic's epoch, into an open topic. `now` is the time of its
    /// arrival here.
    ///
    /// # Errors
    /// If it is not the topic's next message, or does not fit what the topic holds.
    pub fn apply(&self, cell: &TopicCell, numbered: Numbered, now: Micros) -> Result<Published, NotEntered> {
        let published = cell.apply(numbered, (now, false), self.directory.recipients())?;
        self.directory.entered(&published);
        Ok(published)
    }

    /// Does the same for a message that those before it are missing of. Readers are told which, and the topic's history begins
    /// with the message.
    ///
    /// # Errors
    /// If the topic has it already or has ended, or it does not fit what the topic holds.
    pub fn apply_over_hole(
        &self,
        cell: &TopicCell,
        numbered: Numbered,
        now: Micros,
    ) -> Result<Published, NotEntered> {
        let published = cell.apply(numbered, (now, true), self.directory.recipients())?;
        self.directory.entered(&published);
        Ok(published)
    }

    /// Converts `payload` into the form that topics of the kind of `topic` hold. A book is parsed here once. Handing it
    /// in can then fail only because of what the topic holds already.
    ///
    /// # Errors
    /// If the topic is a book, and the payload is not one or is of another symbol.
    pub fn check(&self, topic: &str, payload: Payload) -> Result<Payload, PublishError> {
        Ok(fit(self.directory.kind_of(topic), topic, payload)?)
    }
}

/// Messages that come together, such as the lines of a body. Each is published by itself, and readers may see it at once;
/// but the shards that wait for messages are woken only at the end, or when the batch is dropped. So a batch should not
/// last longer than its readers may wait.
#[derive(Debug)]
pub struct Batch<'i> {
    ingress: &'i Ingress,
    origin: Origin,
    /// The shards that are to be woken, one bit each.
    later: Cell<u64>,
}

impl Batch<'_> {
    /// Does the same as [`Ingress::submit`]. `cell` is the topic as it was found earlier, if it was. Afterwards it is the
    /// topic that has the message.
    ///
    /// # Errors
    /// As [`Ingress::submit`].
    pub fn submit<'a>(
        &self,
        topic: &Topic,
        cell: &mut Option<Arc<TopicCell>>,
        mut payload: Payload,
        arrival: impl Into<Arrival<'a>>,
    ) -> Result<Published, PublishError> {
        let (directory, arrival) = (&self.ingress.directory, arrival.into());
        if let Some(outlet) = directory.outlet() {
            return self.ingress.send_out(outlet, topic, &payload, arrival);
        }
        if cell.is_none() {
            *cell = directory.find(topic.as_str());
        }
        if let Some(known) = &*cell {
            match self.ingress.enter(known, payload, arrival, self.recipients()) {
                Ok(published) => return Ok(published),
                Err(NotPublished::Refused(refusal)) => return Err(refusal.into()),
                Err(NotPublished::Ended(back)) => payload = back,
            }
        }
        *cell = None;
        let published = self.ingress.submit_first(self.origin, topic, payload, arrival)?;
        *cell = directory.find(topic.as_str());
        Ok(published)
    }

    /// Does the same as [`Ingress::apply`].
    ///
    /// # Errors
    /// As [`Ingress::apply`].
    pub fn apply(&self, cell: &TopicCell, numbered: Numbered, now: Micros) -> Result<Published, NotEntered> {
        let published = cell.apply(numbered, (now, false), self.recipients())?;
        self.ingress.directory.entered(&published);
        Ok(published)
    }

    /// Does the same as [`Ingress::submit_once`], with `cell` as [`Self::submit`] has it.
    ///
    /// # Errors
    /// As [`Ingress::submit`]. Then the key is not known.
    pub fn submit_once<'a>(
        &self,
        (topic, key): (&Topic, &'a PublishKey),
        cell: &mut Option<Arc<TopicCell>>,
        payload: Payload,
        arrival: impl Into<Arrival<'a>>,
    ) -> Result<(Published, bool), PublishError> {
        let arrival = Arrival {
            key: Some(key),
            ..arrival.into()
        };
        let Ingress { directory, shard, .. } = self.ingress;
        if let Some(outlet) = directory.outlet() {
            let published = self.ingress.send_out(outlet, topic, &payload, arrival)?;
            return Ok((published, false));
        }
        let publish = || self.submit(topic, cell, payload, arrival);
        directory.once((topic, key), arrival.now, *shard, publish)
    }

    /// Wakes the shards that have something to do for the batch.
    pub fn wake(&self) {
        self.recipients().wake();
    }

    fn recipients(&self) -> Recipients<'_> {
        Recipients::later(self.ingress.directory.queues(), &self.later)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.wake();
    }
}

/// `payload` in the form that the topic `topic` of `kind` holds.
pub(crate) fn fit(kind: Kind, topic: &str, payload: Payload) -> Result<Payload, Refusal> {
    let book = match (kind, payload) {
        (Kind::State | Kind::Event, payload) => return Ok(payload),
        (Kind::Book, Payload::Book(book)) => {
            check_symbol(topic, &book)?;
            book
        }
        (Kind::Book, Payload::Json(text)) => read_book(topic, text.as_str())?,
        (Kind::Book, Payload::Packed(value)) => read_book(topic, value.as_slice().to_json().as_str())?,
        (Kind::Book, _) => return Err(not_a_book(topic)),
    };
    Ok(Payload::Book(book))
}

/// Reads the message to the book `topic` that is in `text`.
///
/// # Errors
/// If it is no book message, or one of another symbol.
pub fn read_book(topic: &str, text: &str) -> Result<Box<market::Book>, Refusal> {
    let book = market::Book::from_json(text)
        .map_err(|error| Refusal::bad_request(format!("not a book message: {error}")))?;
    check_symbol(topic, &book)?;
    Ok(Box::new(book))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tickwire_wire::{Epoch, Micros};

    use super::*;
    use crate::directory::DirectoryLimits;
    use crate::kinds::Kinds;
    use crate::queue::{Inbox, ShardId, ShardQueue};

    /// An ingress whose one shard wants every topic, the shard's queue, and how often that was woken.
    fn watched() -> (Ingress, Arc<ShardQueue>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let queue = Arc::new(ShardQueue::new(SHARD_QUEUE_MAX, wake));
        let limits = DirectoryLimits::default();
        let directory = Directory::new(Epoch::from("e"), Kinds::default(), limits, vec![queue.clone()]);
        directory.register(ShardId(0), &">".parse().expect("a pattern"));
        (Ingress::new(Arc::new(directory)), queue, wakes)
    }

    #[test]
    fn a_batch_wakes_a_shard_once_at_its_end() {
        let (ingress, queue, wakes) = watched();
        let topic = "trade.A".parse().expect("a topic");
        let payload = || Payload::from_json(b"1").expect("JSON");
        let taken = || {
            let mut inbox = Inbox::default();
            queue.take(&mut inbox);
            inbox.publications.len()
        };
        // A topic that is made wakes its shards: they may have to learn of it.
        ingress
            .submit(Origin::Feed, &topic, payload(), Micros(1))
            .expect("there is room");
        assert_eq!((taken(), wakes.swap(0, Ordering::Relaxed)), (1, 1));
        let batch = ingress.batch(Origin::Feed);
        let mut cell = None;
        let mut in_batch = || batch.submit(&topic, &mut cell, payload(), Micros(2));
        for seq in 2..5 {
            assert_eq!(in_batch().map(|place| place.seq.0), Ok(seq));
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 0, "they come together");
        // Another publisher does not wait for the batch.
        ingress
            .submit(Origin::Feed, &topic, payload(), Micros(3))
            .expect("there is room");
        assert_eq!(wakes.swap(0, Ordering::Relaxed), 1);
        // Whoever was woken for that has taken everything.
        assert_eq!(taken(), 4);
        batch.wake();
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        in_batch().expect("there is room");
        batch.wake();
        batch.wake();
        assert_eq!(wakes.swap(0, Ordering::Relaxed), 1);
        in_batch().expect("there is room");
        drop(batch);
        assert_eq!((taken(), wakes.load(Ordering::Relaxed)), (2, 0), "it was awake");
        let batch = ingress.batch(Origin::Feed);
        batch
            .submit(&topic, &mut cell, payload(), Micros(2))
            .expect("there is room");
        drop(batch);
        assert_eq!((taken(), wakes.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn a_batch_finds_the_next_life_of_a_topic_that_has_ended() {
        let (ingress, ..) = watched();
        let topic: Topic = "trade.A".parse().expect("a topic");
        let batch = ingress.batch(Origin::Feed);
        let mut cell = None;
        let seqs: Vec<u64> = (0..6)
            .map(|at| {
                if at == 3 {
                    ingress.directory().delete("trade.A").expect("it exists");
                }
                let payload = Payload::from_json(b"1").expect("JSON");
                let place = batch.submit(&topic, &mut cell, payload, Micros(2));
                let found = ingress.directory().find("trade.A").expect("it exists");
                assert!(cell.as_ref().is_some_and(|cell| Arc::ptr_eq(cell, &found)));
                place.expect("there is room").seq.0
            })
            .collect();
        assert_eq!(seqs, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_feed_waits_first_and_bulk_bodies_last() {
        let (ingress, ..) = watched();
        let topic = "trade.A".parse().expect("a topic");
        let waits = || {
            [
                Origin::Feed,
                Origin::Client(None),
                Origin::Client(Some(Publisher(1))),
                Origin::Bulk(Publisher(1)),
            ]
            .map(|origin| ingress.is_congested(origin))
        };
        let mut queued = 0;
        for (depth, expected) in [
            (2_048, [false; 4]),
            (2_049, [true, false, false, false]),
            (4_096, [true, false, false, false]),
            (4_097, [true, true, true, false]),
            (32_768, [true, true, true, false]),
            (32_769, [true; 4]),
        ] {
            for _ in queued..depth {
                let payload = Payload::from_json(b"1").expect("JSON");
                let submitted = ingress.submit(Origin::Feed, &topic, payload, Micros(1));
                assert!(submitted.is_ok(), "nothing is refused for what waits");
            }
            queued = depth;
            assert_eq!(waits(), expected, "{depth} publications wait");
        }
    }
}
