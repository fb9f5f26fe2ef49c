//! From the queue into the outboxes, and from the directory for those who are behind.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::GapReason;
use tickwire_wire::{Dialect, Kind, Micros};

use super::status::StatusBytes;
use super::{First, Shard, Subscriber};
use crate::cell::TopicCell;
use crate::item::{self, Frame, Joined, Sort};
use crate::outbox::Fanout;
use crate::planted::{Fault, is_planted};
use crate::publication::{Publication, TopicId};
use crate::pulls::Pull;
use crate::session::{Session, SessionId, Writing};

/// Messages that are read from a history at once.
const CHUNK: usize = 16;

/// Subscriptions of one session that are looked after before others have their turn.
const PULLS_AT_ONCE: usize = 1_024;

/// Live bytes of one session that are to be written before more is handed out, if its socket takes them: a burst that
/// waited in the queue must not fill the outbox of a reader that keeps up.
const PRESSING_BYTES: usize = 64 * 1024;

/// What became of one publication at one subscriber.
enum Handed {
    Queued,
    Skipped,
}

/// When a subscription that is still behind is served again.
#[derive(PartialEq, Eq)]
enum Turn {
    /// At once: it has not reached what it was promised.
    GoesOn,
    /// After the session's others: it may never reach the head of a busy topic.
    Passes,
}

impl Shard {
    /// Hands out what waits in the queue, at most about `budget` deliveries of it (at least one publication). Returns
    /// whether more of it waits; what was queued meanwhile wakes the shard by itself. Stops early when a session has much to
    /// be written, so that it is offered to its socket first.
    pub fn drain(&mut self, budget: usize, now: Micros) -> bool {
        let done = |shard: &Self| shard.delivered == shard.inbox.publications.len();
        if done(self) && self.overflowed.is_empty() && self.silent.is_empty() {
            self.inbox.publications.clear();
            self.delivered = 0;
            self.counts.queue_overflows = self.directory.queue(self.id).take(&mut self.inbox);
            self.overflowed.extend(self.inbox.overflowed.drain());
            self.silent.extend(self.inbox.stale.drain());
        }
        let (mut spent, budget) = (0, budget.max(1));
        self.pressed = false;
        while !done(self) && spent < budget && !self.pressed {
            let publication = self.inbox.publications[self.delivered].clone();
            self.delivered += 1;
            self.counts.drained += 1;
            spent += 1 + self.deliver(&publication, now);
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
        let all = done(self) && self.overflowed.is_empty() && self.silent.is_empty();
        self.directory.relieve();
        !all
    }

    /// Puts a publication into the outbox of each live subscriber and returns their number.
    fn deliver(&mut self, publication: &Arc<Publication>, now: Micros) -> usize {
        let topic = publication.lineage.id;
        if self
            .slots
            .get(topic.index())
            .is_none_or(|slot| slot.cell.is_none())
        {
            let Some(cell) = self.directory.get(topic) else {
                return 0;
            };
            self.meet(&cell);
        }
        if self.is_unwanted(topic) {
            return 0;
        }
        self.learn(topic, publication.seq);
        if self.slots[topic.index()].stale_since.is_some() {
            self.source_came_back(topic, publication.seq, now);
        }
        let mut subscribers = std::mem::take(&mut self.slots[topic.index()].subscribers);
        let handed = self.hand_all(&mut subscribers, publication);
        self.slots[topic.index()].subscribers = subscribers;
        self.lag_overfull(now);
        handed + self.offer_rated(publication, now)
    }

    /// Puts a publication into the outboxes of `subscribers` and returns how many got it. [`Self::lag_overfull`] is to
    /// follow, once they are in their list again.
    pub(super) fn hand_all(
        &mut self,
        subscribers: &mut [Subscriber],
        publication: &Arc<Publication>,
    ) -> usize {
        let fanout = Rc::new(Fanout {
            publication: publication.clone(),
            op: DataOp::Update,
        });
        let (mut lengths, mut handed) = ([0; Dialect::COUNT], 0);
        let mut statuses = StatusBytes::default();
        for subscriber in subscribers {
            match self.hand(subscriber, &fanout, &mut lengths, &mut statuses) {
                Handed::Skipped => {}
                Handed::Queued => handed += 1,
            }
        }
        self.counts.updates += handed as u64;
        self.slots[publication.lineage.id.index()].handed += handed as u64;
        handed
    }

    /// Puts an update into one subscriber's outbox, if it is that subscriber's turn and there is room. If there is none,
    /// the subscription goes on from the directory once there is. `lengths` are those of the frames
    /// by dialect, 0 where not known yet.
    #[inline]
    fn hand(
        &mut self,
        subscriber: &mut Subscriber,
        fanout: &Rc<Fanout>,
        lengths: &mut [u32; Dialect::COUNT],
        statuses: &mut StatusBytes,
    ) -> Handed {
        let publication = &fanout.publication;
        if subscriber.behind || publication.seq <= subscriber.after {
            return Handed::Skipped;
        }
        let Some(session) = self.sessions.get_mut(subscriber.session.index()) else {
            return Handed::Skipped;
        };
        // Looked at before adding, so that no single message is too large for a client that reads.
        let full = session.outbox.live_bytes() >= session.live_bytes_end;
        if full && !session.is_open() {
            return Handed::Skipped;
        }
        if session.writing == Writing::Idle {
            session.writing = Writing::Dirty;
            self.dirty.push_back(subscriber.session);
        }
        // Not the next one where every one counts: the queue was full.
        let skips = publication.seq.0 - subscriber.after.0 - 1;
        if full || (subscriber.every && skips != 0) {
            subscriber.behind = true;
            session.superseded |= !subscriber.every;
            session
                .pulls
                .follow_later(publication.lineage.id, subscriber.every);
            if full && session.lagging_since.is_none() {
                self.overfull.push(subscriber.session);
            }
            return Handed::Skipped;
        }
        if !subscriber.opening.introduced() {
            let (topic, live) = (publication.lineage.id, true);
            let slot = &mut self.slots[topic.index()];
            if let Some(bytes) = slot.joined_bytes(session.dialect, subscriber.after) {
                session.outbox.push_joined(Joined { topic, live, bytes });
                subscriber.opening.introduce();
            }
        }
        subscriber.after = publication.seq;
        if subscriber.told.doubt() != publication.doubt {
            statuses.push(session, subscriber, publication);
        }
        let length = &mut lengths[session.dialect.index()];
        if *length == 0 {
            let shared = publication.frame_for(session.dialect, DataOp::Update, &mut self.deflater);
            *length = item::length(shared.bytes);
            self.counts.encoded(DataOp::Update, &shared);
        }
        let frame = Frame::new(fanout.clone(), *length, Sort::Live, skips);
        session.outbox.push_frame(frame);
        if is_planted(Fault::QueuedTwice) && publication.seq.0 % 16 == 7 {
            let again = Frame::new(fanout.clone(), *length, Sort::Repeat, 0);
            session.outbox.push_frame(again);
        }
        if session.outbox.live_bytes() > PRESSING_BYTES && !std::mem::replace(&mut session.pressing, true) {
            self.pressed = true;
        }
        Handed::Queued
    }

    /// Whether a topic that was met has no subscriber; an interest that outlived its subscriptions is withdrawn.
    pub(super) fn is_unwanted(&self, topic: TopicId) -> bool {
        let slot = &self.slots[topic.index()];
        if slot.is_empty() {
            slot.cell.iter().for_each(|cell| cell.detach(self.id));
        }
        slot.is_empty()
    }

    /// Puts every live subscriber of a topic on the way through the history; those with a limited rate need its newest
    /// message alone. Returns the number of subscribers.
    fn fall_behind(&mut self, topic: TopicId, now: Micros) -> usize {
        let Some(cell) = self.directory.get(topic) else {
            return 0;
        };
        self.meet(&cell);
        if self.is_unwanted(topic) {
            return 0;
        }
        self.learn(topic, cell.position().seq);
        if self.slots[topic.index()].stale_since.is_some() {
            self.source_came_back(topic, cell.position().seq, now);
        }
        let mut subscribers = std::mem::take(&mut self.slots[topic.index()].subscribers);
        for subscriber in &mut subscribers {
            if !std::mem::replace(&mut subscriber.behind, true) {
                if let Some(session) = self.open_session(subscriber.session) {
                    session.superseded |= !subscriber.every;
                    session.pulls.follow_later(topic, subscriber.every);
                }
                self.mark_dirty(subscriber.session);
            }
        }
        self.slots[topic.index()].subscribers = subscribers;
        if let Some(newest) = cell.newest() {
            self.offer_rated(&newest, now);
        }
        self.slots[topic.index()].len()
    }

    /// Fills a session's outbox from the directory, as far as there is room.
    pub(super) fn pull(&mut self, id: SessionId) {
        for _ in 0..PULLS_AT_ONCE {
            if !self.has_room(id) {
                break;
            }
            let next = self.open_session(id).and_then(|session| session.pulls.next());
            match next {
                None => break,
                Some(Pull::OneShot(topic)) => self.one_shot_now(id, topic),
                Some(Pull::Follow(topic)) => self.follow(id, topic),
            }
        }
        self.live_again(id);
    }

    /// Goes on in the next round with a session that has more to pull in and nothing to write. One that has something to
    /// write goes on when it is written.
    pub(super) fn pull_later(&mut self, id: SessionId) {
        let waits = |session: &Session| {
            session.outbox.is_empty() && !session.pulls.is_empty() && session.unfinished.is_none()
        };
        if self.session(id).is_some_and(|session| waits(session)) {
            self.mark_dirty(id);
        }
    }

    /// Whether something may be pulled in for a session.
    fn has_room(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id.index());
        let refill = OUTBOX_REFILL_BYTES.min(self.live_bytes_end());
        session.is_some_and(|session| session.outbox.data_bytes() < refill)
    }

    /// Sends the snapshot of a topic that is not subscribed; if it is by now, the subscription sends it in its order.
    fn one_shot_now(&mut self, id: SessionId, topic: TopicId) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        let awaited = session.one_shots.remove(&topic).unwrap_or_default();
        if let Some(cell) = self.directory.get(topic) {
            self.meet(&cell);
            if self.place_of(id, topic).is_some() {
                self.send_snapshot(id, &cell);
            } else if let Some(snapshot) = cell.snapshot() {
                if let Some(session) = self.open_session(id) {
                    session.one_shot_waits = true;
                }
                self.push_pulled(id, snapshot, Sort::OneShot, 0, false);
            }
        }
        self.one_shot_arrived(id, topic, awaited);
    }

    /// Takes a subscription one step towards the head of its topic.
    fn follow(&mut self, id: SessionId, topic: TopicId) {
        let Some(place) = self.place_of(id, topic) else {
            return;
        };
        let Some(cell) = self.slots[topic.index()].cell.clone() else {
            return;
        };
        let mut subscriber = *self.slots[topic.index()].at(place);
        self.tell_live(id, &cell, &mut subscriber);
        let turn = self.step(id, &cell, &mut subscriber);
        if !subscriber.behind {
            self.tell_stale(id, &cell, &mut subscriber);
        }
        *self.slots[topic.index()].at_mut(place) = subscriber;
        self.learn(topic, subscriber.after);
        self.arrived(id, topic, &subscriber);
        if subscriber.behind
            && let Some(session) = self.session(id)
        {
            match turn {
                Turn::GoesOn => session.pulls.follow_next(topic, subscriber.every),
                Turn::Passes => session.pulls.follow_later(topic, subscriber.every),
            }
        }
    }

    fn step(&mut self, id: SessionId, cell: &Arc<TopicCell>, subscriber: &mut Subscriber) -> Turn {
        for _ in 0..CHUNK {
            let Some(publication) = self.next_of_replay(id, cell.id()) else {
                break;
            };
            subscriber.after = publication.seq;
            self.push_told(id, subscriber, publication, Sort::Promised, 0);
            if !self.has_room(id) {
                break;
            }
        }
        // The replay may have taken the room of what follows it.
        if self.replays(id, cell.id()) || !self.has_room(id) {
            return Turn::Passes;
        }
        if self.tell_missed(id, cell, subscriber) {
            return Turn::GoesOn;
        }
        let first = subscriber.opening.first();
        subscriber.opening.set_first(First::Nothing);
        if first != First::Nothing {
            // Of an event topic the message where the subscription stands: what came since must follow one by one.
            let snapshot = match cell.kind() {
                Kind::Event => match cell.get(subscriber.after) {
                    None => self.step_once(id, cell, subscriber),
                    held => held,
                },
                Kind::State | Kind::Book => cell.snapshot(),
            };
            let Some(snapshot) = snapshot else {
                // Of a book that a panic has cost it stays due: the next message, which is whole, does not follow on the last and so
                // has this done again.
                subscriber.opening.set_first(first);
                subscriber.behind = false;
                return Turn::Passes;
            };
            if !self.has_room(id) {
                // The message to which the subscription went on has taken it: the snapshot stays due.
                subscriber.opening.set_first(first);
                return Turn::GoesOn;
            }
            if first == First::Recovery {
                self.push_recovery(id, cell, subscriber, snapshot, true);
            } else {
                self.push_snapshot(id, subscriber, snapshot);
            }
            return Turn::GoesOn;
        }
        if subscriber.every {
            self.step_every(id, cell, subscriber);
            return Turn::Passes;
        }
        subscriber.behind = false;
        let from = subscriber.after.0 + u64::from(is_planted(Fault::NewestDropped));
        if let Some(newest) = cell.newest().filter(|newest| newest.seq.0 > from) {
            let mut skips = newest.seq.0 - subscriber.after.0 - 1;
            if is_planted(Fault::ConflatedOneShort) {
                skips = skips.saturating_sub(1);
            }
            subscriber.after = newest.seq;
            self.push_told(id, subscriber, newest, Sort::Pulled, skips);
        }
        Turn::Passes
    }

    /// Sends a snapshot to a subscription, which goes on from there.
    fn push_snapshot(&mut self, id: SessionId, subscriber: &mut Subscriber, snapshot: Arc<Publication>) {
        let (sort, skips) = match snapshot.seq.0.checked_sub(subscriber.after.0 + 1) {
            None => (Sort::Repeat, 0),
            Some(skips) => (Sort::Newer, skips),
        };
        subscriber.after = snapshot.seq;
        self.push_told(id, subscriber, snapshot, sort, skips);
    }

    /// Sends the snapshot that ends a gap in the changes of a book, and the gap, so far as it was not sent before.
    fn push_recovery(
        &mut self,
        id: SessionId,
        cell: &TopicCell,
        subscriber: &mut Subscriber,
        snapshot: Arc<Publication>,
        goes_on: bool,
    ) {
        if snapshot.seq > subscriber.after {
            let between = (subscriber.after.next(), snapshot.seq);
            self.push_gap(id, cell, subscriber, between, GapReason::Slow, goes_on);
        }
        self.push_told(id, subscriber, snapshot, Sort::Recovery, 0);
    }

    /// Takes a subscription to the next message that the history holds, which becomes the one where it stands.
    fn step_once(
        &mut self,
        id: SessionId,
        cell: &TopicCell,
        subscriber: &mut Subscriber,
    ) -> Option<Arc<Publication>> {
        let mut chunk = Vec::with_capacity(1);
        let catchup = cell.read_after(subscriber.after, 1, &mut chunk);
        let next = chunk.pop()?;
        if let Some(between) = catchup.gap {
            self.push_gap(id, cell, subscriber, between, GapReason::Slow, false);
        }
        subscriber.after = next.seq;
        self.push_told(id, subscriber, next.clone(), Sort::Pulled, 0);
        Some(next)
    }

    fn step_every(&mut self, id: SessionId, cell: &Arc<TopicCell>, subscriber: &mut Subscriber) {
        let mut chunk = std::mem::take(&mut self.chunk);
        let catchup = cell.read_after(subscriber.after, CHUNK, &mut chunk);
        match (catchup.gap, cell.kind()) {
            (Some((from, _)), Kind::Book) => {
                debug_assert_eq!(from, subscriber.after.next());
                if let Some(snapshot) = cell.snapshot() {
                    self.push_recovery(id, cell, subscriber, snapshot, false);
                }
                // The snapshot was the head. Without one, of a book that a panic has cost, the next message, which is whole, does
                // not follow on the last and so has this done again.
                subscriber.behind = false;
            }
            (gap, _) => {
                if let Some(between) = gap {
                    self.push_gap(id, cell, subscriber, between, GapReason::Slow, false);
                }
                subscriber.behind = !catchup.at_head;
                for publication in chunk.drain(..) {
                    if !self.has_room(id) {
                        subscriber.behind = true;
                        break;
                    }
                    subscriber.after = publication.seq;
                    self.push_told(id, subscriber, publication, Sort::Pulled, 0);
                }
            }
        }
        chunk.clear();
        self.chunk = chunk;
    }

    fn next_of_replay(&mut self, id: SessionId, topic: TopicId) -> Option<Arc<Publication>> {
        let session = self.session(id)?;
        let next = session.replays.as_mut()?.next(topic);
        session.settle_replays();
        next
    }

    /// Whether messages of a promised replay wait to be pulled in.
    fn replays(&self, id: SessionId, topic: TopicId) -> bool {
        let session = self.sessions.get(id.index());
        session.is_some_and(|session| session.replays(topic))
    }
}
