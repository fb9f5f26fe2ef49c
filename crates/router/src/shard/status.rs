//! `status`: tells subscribers that a topic's source fell silent, that its book is in doubt, or that it is live again.
//!
//! Each subscription knows what it was last told. A status keeps its place among the messages: `live` comes before the
//! message that ended the silence, `stale` after all messages before it. But a status does not wait for `conflate_ms`: to a
//! subscriber with a limited rate, a message from before the silence may come behind `stale`. A subscriber without room is
//! told when there is some, and then only what is still true. So nothing is lost and nothing piles up.
//!
//! A doubt is part of each publication that it concerns, so it needs no queue: `stale` comes before the first of them,
//! or behind a snapshot, and `live` before the first without doubt.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::message::TopicState;
use tickwire_wire::{Control, Dialect, Micros, Seq, Topic};

use super::sessions::SessionMut;
use super::{Shard, Subscriber};
use crate::cell::TopicCell;
use crate::outbox::{Item, SourceState, Status};
use crate::publication::{Publication, TopicId};
use crate::session::Session;

/// A state of a topic, encoded once per form.
#[derive(Default)]
pub(super) struct StatusBytes([Option<Rc<[u8]>>; Dialect::FORMS]);

impl StatusBytes {
    fn get(&mut self, dialect: Dialect, topic: &Topic, state: SourceState) -> Rc<[u8]> {
        let bytes = &mut self.0[dialect.form()];
        bytes
            .get_or_insert_with(|| status_bytes(dialect, topic, state))
            .clone()
    }

    /// Tells a subscription whether the book is in doubt from `publication` on, which it will get next.
    pub(super) fn push(
        &mut self,
        session: &mut Session,
        subscriber: &mut Subscriber,
        publication: &Publication,
    ) {
        let state = publication.doubt.map_or(SourceState::Live, SourceState::Doubted);
        let bytes = self.get(session.dialect, &publication.lineage.topic, state);
        let before = std::mem::replace(&mut subscriber.last_status, state);
        let topic = publication.lineage.id;
        session
            .outbox
            .push(Item::Status(Box::new(Status { topic, before, bytes })));
    }
}

impl Shard {
    /// Tells a topic's subscribers that its source fell silent after message `newest`, unless it has come back
    /// meanwhile. All subscribers that are not behind have got that message, except those for whom a limited rate holds
    /// it back. Returns the number of subscribers.
    pub(super) fn source_fell_silent(&mut self, topic: TopicId, newest: Seq, now: Micros) -> usize {
        let Some(cell) = self.directory.get(topic) else {
            return 0;
        };
        if cell.stale_since() != Some(newest) {
            return 0;
        }
        self.make_known(&cell);
        if self.is_unwanted(topic) {
            return 0;
        }
        self.slots[topic].stale_since = Some(newest);
        self.tell_all(&cell, SourceState::Silent, newest, now);
        self.slots[topic].len()
    }

    /// Tells the subscribers of a topic whose source was silent that it came back, if message `seq`, which they will
    /// get next, came after the silence.
    pub(super) fn source_came_back(&mut self, topic: TopicId, seq: Seq, now: Micros) {
        let slot = &mut self.slots[topic];
        if slot.stale_since.is_some_and(|since| seq > since) {
            let cell = slot.cell.clone();
            // A subscriber that continued from the directory may know this message, and a silence behind it.
            let known = self.tell_all(&cell, SourceState::Live, seq, now);
            self.slots[topic].stale_since = known.then_some(seq);
        }
    }

    /// Tells the subscribers of a topic that its source is silent, or live again, if their last status was the opposite.
    /// The end of a silence is told only to those that do not have message `seq` yet. Returns whether others know of a
    /// later silence.
    fn tell_all(&mut self, cell: &Arc<TopicCell>, state: SourceState, seq: Seq, now: Micros) -> bool {
        let (topic, mut bytes, mut known) = (cell.id(), StatusBytes::default(), false);
        let comes_back = state == SourceState::Live;
        let opposite = match comes_back {
            true => SourceState::Silent,
            false => SourceState::Live,
        };
        for subscriber in self.slots[topic].lists_mut().flatten() {
            // A subscriber that knows of a doubt knows that the topic is stale. One that is behind is told on its way
            // to the head.
            if subscriber.last_status != opposite || subscriber.behind {
                continue;
            }
            if comes_back && subscriber.after >= seq {
                known = true;
                continue;
            }
            let Some(session) = self.sessions.open(subscriber.session) else {
                continue;
            };
            self.rounds.mark(session);
            if session.reader.takes(session.outbox.live_bytes()) {
                let bytes = bytes.get(session.dialect, cell.topic(), state);
                let before = std::mem::replace(&mut subscriber.last_status, state);
                session
                    .outbox
                    .push(Item::Status(Box::new(Status { topic, before, bytes })));
            } else {
                subscriber.behind = true;
                session.fall_behind(topic, subscriber.every);
                if session.reader.is_live() {
                    self.overfull.push(subscriber.session);
                }
            }
        }
        self.lag_overfull(now);
        known
    }
}

impl SessionMut<'_> {
    /// Tells a subscription that continues from the directory that the source came back, if it did, even if it has
    /// fallen silent again behind messages that are still to come.
    pub(super) fn tell_live(&mut self, cell: &TopicCell, subscriber: &mut Subscriber) {
        if subscriber.last_status == SourceState::Silent && cell.stale_since() != Some(subscriber.after) {
            self.tell_one(cell, subscriber, SourceState::Live);
        }
    }

    /// Tells a subscription at the head of its topic that the book is in doubt or that the source is silent, if it is
    /// so.
    pub(super) fn tell_stale(&mut self, cell: &TopicCell, subscriber: &mut Subscriber) {
        if cell.is_doubted()
            && let Some(newest) = cell.newest().filter(|newest| newest.seq == subscriber.after)
            && let Some(reason) = newest.doubt
            && subscriber.last_status.doubt() != Some(reason)
        {
            self.tell_one(cell, subscriber, SourceState::Doubted(reason));
        }
        let since = cell.stale_since();
        if since.is_some() && subscriber.last_status == SourceState::Live {
            self.tell_one(cell, subscriber, SourceState::Silent);
        }
        if since.is_some() && subscriber.last_status == SourceState::Silent {
            // The shard may not have been told yet.
            let slot = &mut self.slots[cell.id()];
            slot.stale_since = slot.stale_since.or(since);
        }
    }

    fn tell_one(&mut self, cell: &TopicCell, subscriber: &mut Subscriber, state: SourceState) {
        let bytes = status_bytes(self.session.dialect, cell.topic(), state);
        let (topic, before) = (cell.id(), std::mem::replace(&mut subscriber.last_status, state));
        self.session
            .outbox
            .push(Item::Status(Box::new(Status { topic, before, bytes })));
    }
}

fn status_bytes(dialect: Dialect, topic: &Topic, state: SourceState) -> Rc<[u8]> {
    let status = Control::Status {
        topic: topic.to_string(),
        state: if state == SourceState::Live {
            TopicState::Live
        } else {
            TopicState::Stale
        },
        reason: state.doubt(),
        seq: None,
    };
    dialect.control(&status).into()
}
