//! Delivers the publications in the queue to the outboxes.

use std::sync::Arc;

use tickwire_wire::{Dialect, Micros};

use super::Shard;
use super::joined::joined_bytes;
use super::status::StatusBytes;
use crate::outbox::{Delivery, Item, Joined, Sort, SourceState};
use crate::planted::{Fault, is_planted};
use crate::publication::{LocalPublication, Publication, TopicId};

impl Shard {
    /// Delivers the publications in the queue, with at most about `budget` deliveries (at least one publication).
    /// Returns whether more of them wait. A publication that is queued meanwhile wakes the shard by itself. Stops early
    /// when a session has much to write, so that it is offered to its socket first.
    pub fn hand_out(&mut self, budget: usize, now: Micros) -> bool {
        let done = |shard: &Self| shard.inbox.publications.is_empty();
        if done(self) && self.overflowed.is_empty() && self.silent.is_empty() && self.ended.is_empty() {
            self.counts.queue_overflows = self.directory.queue(self.id).take(&mut self.inbox);
            self.inbox.publications.reverse(); // they are taken from the end
            self.overflowed.extend(self.inbox.overflowed.drain());
            self.silent.extend(self.inbox.stale.drain());
            for cell in std::mem::take(&mut self.inbox.ended) {
                self.end_later(cell);
            }
            self.replaying.now = now;
            self.take_parts();
            self.take_starts();
            if !self.inbox.settled.is_empty() {
                self.answer_settled(now);
            }
            if !self.inbox.written.is_empty() {
                self.answer_written(now);
            }
        }
        let (mut spent, budget) = (0, budget.max(1));
        self.pressed = false;
        while spent < budget
            && !self.pressed
            && let Some(publication) = self.inbox.publications.pop()
        {
            self.counts.drained += 1;
            spent += 1 + self.deliver(publication, now);
        }
        while done(self)
            && spent < budget
            && let Some(topic) = self.overflowed.pop_front()
        {
            if is_planted(Fault::OverflowForgotten) && topic.index() % 5 == 3 {
                continue;
            }
            spent += 1 + self.fall_behind(topic, now);
        }
        while done(self)
            && self.overflowed.is_empty()
            && spent < budget
            && let Some((topic, newest)) = self.silent.pop_front()
        {
            spent += 1 + self.source_fell_silent(topic, newest, now);
        }
        while done(self)
            && self.overflowed.is_empty()
            && self.silent.is_empty()
            && spent < budget
            && let Some(told) = self.end_next()
        {
            spent += told;
        }
        let all = done(self) && self.overflowed.is_empty() && self.silent.is_empty() && self.ended.is_empty();
        self.directory.relieve();
        !all
    }

    /// Puts a publication into the outbox of each live subscriber and returns the number of these.
    fn deliver(&mut self, publication: Arc<Publication>, now: Micros) -> usize {
        let topic = publication.lineage.id;
        if self.slots.get(topic).is_none() {
            let Some(cell) = self.cell(topic, publication.lineage.topic.as_str()) else {
                return 0; // it has ended, and nobody is left who must get it
            };
            self.make_known(&cell);
        }
        let Some(slot) = self.slots.get_mut(topic).filter(|slot| !slot.is_empty()) else {
            self.is_unwanted(topic);
            return 0;
        };
        slot.learn(publication.seq, &mut self.counts.ledger);
        if slot.stale_since.is_some() {
            self.source_came_back(topic, publication.seq, now);
        }
        let publication = LocalPublication::from(publication);
        let handed = self.hand_all(&publication, None);
        self.lag_overfull(now);
        handed + self.hand_rated(&publication, now)
    }

    /// Puts a publication into the outboxes of its topic's subscribers: those without a limited rate, or those in the
    /// list with a limited rate at `rated`. A subscriber gets it if it is next in turn and has room. Without room it
    /// continues from the directory later. Returns how many subscribers got it. The caller then calls
    /// [`Self::lag_overfull`].
    pub(super) fn hand_all(&mut self, publication: &LocalPublication, rated: Option<usize>) -> usize {
        let topic = publication.lineage.id;
        let slot = &mut self.slots[topic];
        let subscribers = match rated {
            None => &mut slot.subscribers,
            Some(index) => &mut slot.rated[index].subscribers,
        };
        // The lengths of its frames by dialect; 0 where not known yet.
        let mut lengths = [0; Dialect::COUNT];
        let (mut statuses, mut handed) = (StatusBytes::default(), 0);
        let in_doubt = publication.doubt.is_some();
        for subscriber in subscribers {
            if subscriber.behind || publication.seq <= subscriber.after {
                continue;
            }
            let Some(session) = self.sessions.get_mut(subscriber.session) else {
                continue;
            };
            let full = !session.reader.takes(session.outbox.live_bytes());
            if full && !session.is_open() {
                continue;
            }
            self.rounds.mark(session);
            // Messages are missing before this one though every one counts: the queue was full.
            let skips = publication.seq.0 - subscriber.after.0 - 1;
            if full || (subscriber.every && skips != 0) {
                subscriber.behind = true;
                session.fall_behind(topic, subscriber.every);
                if full && session.reader.is_live() {
                    self.overfull.push(subscriber.session);
                }
                continue;
            }
            if !subscriber.prelude.introduced() {
                let dialect = session.dialect;
                let bytes = joined_bytes(&slot.cell, &mut slot.announcement, dialect, subscriber.after);
                let live = true;
                session
                    .outbox
                    .push(Item::Joined(Box::new(Joined { topic, live, bytes })));
                subscriber.prelude.introduce();
            }
            subscriber.after = publication.seq;
            // Hardly ever is a book in doubt.
            let may_differ = in_doubt || subscriber.last_status != SourceState::Live;
            if may_differ && subscriber.last_status.doubt() != publication.doubt {
                statuses.push(session, subscriber, publication);
            }
            let length = &mut lengths[session.dialect.index()];
            if *length == 0 {
                let (dialect, op) = (session.dialect, Sort::Live.op());
                *length = publication.encode(dialect, op, &mut self.deflater, &mut self.counts);
            }
            let delivery = |skips| Delivery::new(publication.clone(), *length, Sort::Live, skips);
            session.outbox.push_live(delivery(skips));
            if is_planted(Fault::QueuedTwice) && publication.seq.0 % 16 == 7 {
                session.outbox.push_live(delivery(0));
            }
            self.pressed |= session.reader.presses(session.outbox.live_bytes());
            handed += 1;
        }
        slot.handed += handed as u64;
        self.counts.updates += handed as u64;
        handed
    }

    /// Whether a known topic has no subscriber. If so, an interest that has outlived its subscriptions is withdrawn.
    pub(super) fn is_unwanted(&self, topic: TopicId) -> bool {
        let Some(slot) = self.slots.get(topic) else {
            return true;
        };
        if slot.is_empty() {
            slot.cell.detach(self.id);
        }
        slot.is_empty()
    }

    /// Makes every live subscriber of a topic continue from the history; those with a limited rate need only its newest
    /// message. Returns the number of subscribers.
    fn fall_behind(&mut self, topic: TopicId, now: Micros) -> usize {
        let Some(cell) = self.directory.get(topic) else {
            return 0;
        };
        self.make_known(&cell);
        if self.is_unwanted(topic) {
            return 0;
        }
        self.slots[topic].learn(cell.position().seq, &mut self.counts.ledger);
        if self.slots[topic].stale_since.is_some() {
            self.source_came_back(topic, cell.position().seq, now);
        }
        for subscriber in &mut self.slots[topic].subscribers {
            if !std::mem::replace(&mut subscriber.behind, true)
                && let Some(session) = self.sessions.open(subscriber.session)
            {
                session.fall_behind(topic, subscriber.every);
                self.rounds.mark(session);
            }
        }
        if let Some(newest) = cell.newest() {
            self.hand_rated(&newest.into(), now);
        }
        self.slots[topic].len()
    }
}
