//! How the subscribers of a topic that has ended get the rest of it, then its `end`, and only then its next life.
//!
//! A topic that has ended has no live subscribers: each is behind, and is pulled to the head as any other. There it gets
//! the `end`, and its subscription is over. So an `end` never overtakes a message. What waits of an ended topic in an
//! outbox, once the `end` is behind it, is not taken back: no subscription is left that could pull it again. It is no
//! more than may wait for the connection anyway.
//!
//! The name may have been made again meanwhile. A session that is behind in an earlier life joins the next one, but that
//! subscription is held: it is behind, and has no turn until the `end` of the earlier life is in the outbox.
//!
//! Ends wait behind the publications of the queue. A request must not meet a topic's next life before the topic's end:
//! whoever looks a topic up for a request handles the ends that are queued by then ([`Shard::find`]), and a topic
//! becomes known after the ends of its earlier lives.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::message::{EndReason, GapReason};
use tickwire_wire::{Control, Dialect, Pattern, Seq, Topic};

use super::sessions::SessionMut;
use super::{Expecting, Shard, Subscriber};
use crate::cell::TopicCell;
use crate::outbox::{End, Item};
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::SessionId;

/// The `end` of a topic, encoded once per form.
#[derive(Debug)]
pub(super) struct Ended {
    end: Control,
    bytes: [Option<Rc<[u8]>>; Dialect::FORMS],
}

impl Ended {
    fn of(cell: &TopicCell) -> Self {
        let at = cell.position();
        let end = Control::End {
            topic: cell.topic().to_string(),
            epoch: at.epoch,
            seq: at.seq,
            reason: cell.ended().unwrap_or(EndReason::Deleted),
        };
        let bytes = [const { None }; Dialect::FORMS];
        Self { end, bytes }
    }

    fn bytes(&mut self, dialect: Dialect) -> Rc<[u8]> {
        let bytes = &mut self.bytes[dialect.form()];
        bytes
            .get_or_insert_with(|| dialect.control(&self.end).into())
            .clone()
    }
}

/// The lives of each name of which one has ended and still has subscribers: those with subscribers, in their order, and
/// the life that the topic has now.
#[derive(Debug, Default)]
pub(super) struct Lives(HashMap<Topic, Vec<TopicId>>);

impl Lives {
    fn of(&self, name: &str) -> &[TopicId] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first life of `name` that the session has, if an earlier life of the name has ended.
    pub(super) fn first(&self, name: &str, has: impl Fn(TopicId) -> bool) -> Option<TopicId> {
        self.of(name).iter().copied().find(|life| has(*life))
    }

    /// Records that a topic has become known. It is the next life of its name.
    pub(super) fn began(&mut self, cell: &TopicCell) {
        if !self.0.is_empty()
            && let Some(lives) = self.0.get_mut(cell.topic())
        {
            lives.push(cell.id());
        }
    }

    /// Records that a topic with subscribers has ended.
    fn ended(&mut self, cell: &TopicCell) {
        let lives = self.0.entry(cell.topic().clone()).or_default();
        if lives.last() != Some(&cell.id()) {
            lives.push(cell.id());
        }
    }

    /// Records that an ended topic has no subscribers any more. `is_ended` says which others have ended.
    fn left(&mut self, cell: &TopicCell, is_ended: impl Fn(TopicId) -> bool) {
        if let Some(lives) = self.0.get_mut(cell.topic()) {
            lives.retain(|life| *life != cell.id());
            if !lives.iter().any(|life| is_ended(*life)) {
                self.0.remove(cell.topic());
            }
        }
    }
}

impl Shard {
    /// The topic `name`, for a request. The ends that were queued before are handled.
    pub(super) fn find(&mut self, name: &str) -> Option<Arc<TopicCell>> {
        loop {
            let found = self.directory.find(name);
            // If it has ended just now, its end is queued.
            if self.handle_ends() == 0 {
                return found;
            }
        }
    }

    /// The topic `name` as it is for a session: the life that the session is behind in, if there is one.
    pub(super) fn find_for(&mut self, id: SessionId, name: &str) -> Option<Arc<TopicCell>> {
        let found = self.find(name);
        self.life_of(id, name).or(found)
    }

    /// The first life of a topic that a session still has, if the topic has ended.
    pub(super) fn life_of(&self, id: SessionId, name: &str) -> Option<Arc<TopicCell>> {
        let session = self.sessions.get(id)?;
        let life = self.lives.first(name, |life| session.subscriptions.has(life))?;
        Some(self.slots[life].cell.clone())
    }

    /// The ended topics of `pattern` that a session still has.
    pub(super) fn ending(&self, id: SessionId, pattern: &Pattern) -> Vec<Arc<TopicCell>> {
        let Some(session) = self.sessions.get(id) else {
            return Vec::new();
        };
        if session.subscriptions.ending == 0 {
            return Vec::new();
        }
        let ended = |topic: &TopicId| {
            let slot = self.slots.get(*topic).filter(|slot| slot.ended.is_some())?;
            pattern
                .matches(slot.cell.topic().as_str())
                .then(|| slot.cell.clone())
        };
        if let Some(name) = pattern.as_topic() {
            let lives = self.lives.of(name.as_str()).iter();
            let had = lives.filter(|life| session.subscriptions.has(**life));
            return had.filter_map(ended).collect();
        }
        let mut cells: Vec<_> = session
            .subscriptions
            .topics
            .keys()
            .filter_map(|topic| ended(&topic))
            .collect();
        cells.sort_unstable_by_key(|cell| cell.id());
        cells
    }

    /// A topic by its number, even if it has ended and the shard is still to be told.
    pub(super) fn cell(&mut self, topic: TopicId, name: &str) -> Option<Arc<TopicCell>> {
        let found = self.directory.get(topic);
        found.or_else(|| {
            self.take_ends();
            let ended = self.ended.get(name)?;
            ended.iter().find(|cell| cell.id() == topic).cloned()
        })
    }

    /// Takes the ends that are queued by now.
    fn take_ends(&mut self) {
        let queue = self.directory.queues().get(usize::from(self.id.0)).cloned();
        for cell in queue.iter().flat_map(|queue| queue.take_ended()) {
            self.end_later(cell);
        }
    }

    /// Keeps an end until the publications before it are delivered.
    pub(super) fn end_later(&mut self, cell: Arc<TopicCell>) {
        self.ended.entry(cell.topic().clone()).or_default().push(cell);
    }

    /// Handles the ends that are queued by now. Returns how many these were. Publications before them may still wait:
    /// their subscribers are behind.
    pub(super) fn handle_ends(&mut self) -> usize {
        self.take_ends();
        let mut handled = 0;
        while let Some((_, cells)) = self.ended.pop_first() {
            handled += cells.len();
            for cell in cells {
                self.end(&cell);
            }
        }
        handled
    }

    /// Handles the ends of the earlier lives of a topic that becomes known.
    pub(super) fn end_before(&mut self, cell: &TopicCell) {
        self.take_ends();
        let Some(mut cells) = self.ended.remove(cell.topic()) else {
            return;
        };
        let later = cells.split_off(cells.partition_point(|ended| ended.id() < cell.id()));
        if !later.is_empty() {
            self.ended.insert(cell.topic().clone(), later);
        }
        for earlier in cells {
            self.end(&earlier);
        }
    }

    /// Handles the next end. Returns the number of the topics' subscribers.
    pub(super) fn end_next(&mut self) -> Option<usize> {
        let (_, cells) = self.ended.pop_first()?;
        Some(cells.iter().map(|cell| 1 + self.end(cell)).sum())
    }

    /// Has the subscribers of an ended topic get the rest of it and its end. Returns their number.
    fn end(&mut self, cell: &Arc<TopicCell>) -> usize {
        let topic = cell.id();
        self.ends += 1;
        self.recent_topics.forget(cell);
        // Its first messages may wait for sessions that are still to join.
        self.make_known(cell);
        let slot = &mut self.slots[topic];
        slot.learn(cell.position().seq, &mut self.counts.ledger);
        slot.ended = Some(Box::new(Ended::of(cell)));
        let mut named = Vec::new();
        for subscriber in slot.lists_mut().flatten() {
            let Some(session) = self.sessions.open(subscriber.session) else {
                continue;
            };
            session.subscriptions.ending += 1;
            if subscriber.prelude.is_named() {
                named.push(session.id);
            }
            if !std::mem::replace(&mut subscriber.behind, true) {
                session.fall_behind(topic, subscriber.every);
                self.rounds.mark(session);
            }
        }
        let count = slot.len();
        let name = Pattern::from(cell.topic().clone());
        for id in named {
            self.expect_again(id, &name);
        }
        self.directory.end_handled(self.id, cell);
        if count == 0 {
            self.drop_slot(topic);
        } else {
            self.lives.ended(cell);
        }
        count
    }

    /// Has the topic join a session again that has subscribed to its name. Its client will be told the new lineage.
    fn expect_again(&mut self, id: SessionId, name: &Pattern) {
        let Some(session) = self.sessions.open(id).filter(|_| !is_planted(Fault::EndNotTold)) else {
            return;
        };
        let Some(sub) = session.subscriptions.index_again(name) else {
            if let Some(expecting) = self.expecting(id, name) {
                expecting.told = None;
            }
            return;
        };
        self.directory.register(self.id, name);
        let expecting = self.patterns.entry(name);
        expecting.pattern.get_or_insert_with(|| name.clone());
        expecting.sessions.push(Expecting {
            session: id,
            pace: sub.pace,
            told: None,
        });
    }

    /// Tells a session that has got all of an ended topic that the topic has ended. Its subscription to it is over.
    pub(super) fn tell_end(&mut self, id: SessionId, topic: TopicId) {
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        it.push_end(topic);
        let Some((place, _)) = it.session.subscriptions.end(topic) else {
            return;
        };
        it.send_synced();
        let cell = it.slots[topic].cell.clone();
        let next = self.lives.of(cell.topic().as_str()).iter().copied();
        let next: Vec<TopicId> = next.filter(|life| *life > topic).collect();
        self.forget(topic, place);
        if let Some(mut it) = self.session_mut(id)
            && let Some(next) = next.into_iter().find(|life| it.session.subscriptions.has(*life))
        {
            it.let_go(next);
        }
    }

    /// Frees what a topic that has ended held in this shard, once it has no subscribers.
    pub(super) fn drop_slot(&mut self, topic: TopicId) {
        if is_planted(Fault::EndedKept) {
            return;
        }
        if let Some(slot) = self.slots.remove(topic) {
            let slots = &self.slots;
            let is_ended = |life| slots.get(life).is_some_and(|slot| slot.ended.is_some());
            self.lives.left(&slot.cell, is_ended);
        }
    }

    /// The number of topics that the shard holds, including ended ones.
    #[must_use]
    pub fn topics_held(&self) -> usize {
        self.slots.len() + self.ended.len()
    }
}

impl SessionMut<'_> {
    /// Whether a session joins a topic while it is behind in an earlier life of it.
    pub(super) fn is_held(&self, cell: &TopicCell) -> bool {
        let subscriptions = &self.session.subscriptions;
        let earlier = |life: TopicId| life < cell.id() && subscriptions.has(life);
        self.lives.first(cell.topic().as_str(), earlier).is_some() && !is_planted(Fault::NextLifeNotHeld)
    }

    /// Whether a topic has ended and a subscription of the session covers its name.
    pub(super) fn has_next_life(&self, cell: &TopicCell) -> bool {
        let mut patterns = self.session.subscriptions.patterns.iter();
        cell.ended().is_some() && patterns.any(|(pattern, _)| pattern.matches(cell.topic().as_str()))
    }

    /// Gives a subscription its turns that was held.
    fn let_go(&mut self, topic: TopicId) {
        let Some(place) = self.session.subscriptions.place_of(topic) else {
            return;
        };
        let subscriber = self.slots[topic].at_mut(place);
        if is_planted(Fault::NextLifeNotHeld) {
            return;
        }
        self.session.fall_behind(topic, subscriber.every);
        self.rounds.mark(self.session);
    }

    /// Puts the end of a topic behind what waits.
    fn push_end(&mut self, topic: TopicId) {
        let dialect = self.session.dialect;
        let Some(slot) = self.slots.get_mut(topic) else {
            return;
        };
        let (name, at) = (slot.cell.topic().clone(), slot.cell.position());
        if let Some(ended) = &mut slot.ended {
            let bytes = ended.bytes(dialect);
            self.session.subscriptions.end_waits = true;
            let end = Item::End(Box::new(End {
                topic,
                name,
                at,
                bytes,
            }));
            self.session.outbox.push(end);
            self.rounds.mark(self.session);
        }
    }

    /// Whether a subscription has got all of a topic that has ended.
    pub(super) fn has_all(&mut self, topic: TopicId, subscriber: &mut Subscriber) -> bool {
        let slot = &self.slots[topic];
        if slot.ended.is_none() || subscriber.behind && !is_planted(Fault::EndOvertakes) {
            return false;
        }
        let (cell, head) = (slot.cell.clone(), slot.head);
        if subscriber.after < head && !is_planted(Fault::EndOvertakes) {
            // A panic has cost the book, so there is no snapshot of it.
            let rest: (Seq, Seq) = (subscriber.after.next(), head);
            self.push_gap(&cell, subscriber, rest, GapReason::Slow, false);
        }
        true
    }
}
