//! Pulls messages from the directory into the outbox of a session that is behind, as far as there is room.

use std::sync::Arc;

use tickwire_wire::codec::DataOp;
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::GapReason;
use tickwire_wire::{Control, Kind, Seq};

use super::sessions::SessionMut;
use super::status::StatusBytes;
use super::{First, Shard, Subscriber};
use crate::cell::TopicCell;
use crate::outbox::{Delivery, Gap, Item, Sort};
use crate::planted::{Fault, is_planted};
use crate::publication::{Publication, TopicId};
use crate::pulls::Pull;
use crate::session::{OneShot, SessionId};

/// The number of messages that are read from a history at once.
pub(super) const CHUNK: usize = 16;

/// The number of a session's pulls that are handled before other sessions have their turn.
const PULLS_AT_ONCE: usize = 1_024;

/// When a subscription that is still behind has its next turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextTurn {
    /// At once: it got a gap or a snapshot, and what follows on that belongs to it.
    GoesOn,
    /// After the session's others: it may never reach the head of a busy topic.
    Passes,
    /// When its replay is called back.
    Parked,
}

/// Why a session's pulls stop for a moment.
enum Stop {
    /// It is the turn of the one-shot of this topic.
    OneShot(TopicId),
    /// The session has got all of this topic, which has ended.
    Ended(TopicId),
}

impl Shard {
    /// Fills a session's outbox from the directory, as far as there is room.
    pub(super) fn pull(&mut self, id: SessionId) {
        let mut left = PULLS_AT_ONCE;
        while let Some(mut it) = self.session_mut(id)
            && let Some(stop) = it.follow_all(&mut left)
        {
            match stop {
                Stop::OneShot(topic) => self.one_shot_now(id, topic),
                Stop::Ended(topic) => self.tell_end(id, topic),
            }
        }
        self.live_again(id);
    }

    /// Sends the snapshot of a topic without a subscription. If the session has subscribed to the topic meanwhile, the
    /// subscription sends it in its order. If the topic has ended and the session expects its next life, the snapshot is not
    /// sent, since it would be taken for one of that life.
    fn one_shot_now(&mut self, id: SessionId, topic: TopicId) {
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        let Some(OneShot { cell, awaited }) = it.session.subscriptions.one_shots.remove(&topic) else {
            return;
        };
        if it.session.subscriptions.has(topic) {
            it.send_snapshot(&cell);
        } else if let Some(snapshot) = cell.snapshot()
            && !it.has_next_life(&cell)
        {
            it.session.subscriptions.one_shot_waits = true;
            it.push_pulled(snapshot, Sort::OneShot, 0, false);
        }
        it.one_shot_arrived(topic, awaited);
    }
}

impl SessionMut<'_> {
    /// Whether something may be pulled in.
    pub(super) fn has_room(&self) -> bool {
        let refill = OUTBOX_REFILL_BYTES.min(self.settings.live_bytes_end());
        self.session.outbox.data_bytes() < refill
    }

    /// Gives subscriptions their turns, at most `left`, until there is no room or something else is to be done.
    fn follow_all(&mut self, left: &mut usize) -> Option<Stop> {
        while *left > 0 && self.has_room() {
            *left -= 1;
            match self.session.subscriptions.pulls.next()? {
                Pull::Follow(topic) => {
                    if self.follow(topic) {
                        return Some(Stop::Ended(topic));
                    }
                }
                Pull::OneShot(topic) => return Some(Stop::OneShot(topic)),
            }
        }
        None
    }

    /// Takes a subscription one step towards the head of its topic. Returns whether the topic has ended and the
    /// subscription has got all of it.
    fn follow(&mut self, topic: TopicId) -> bool {
        let Some(place) = self.session.subscriptions.place_of(topic) else {
            return false;
        };
        let slot = &self.slots[topic];
        let cell = slot.cell.clone();
        let mut subscriber = *slot.at(place);
        if slot.ended.is_none() || subscriber.after < slot.head {
            self.tell_live(&cell, &mut subscriber);
        }
        let turn = self.step(&cell, &mut subscriber);
        let has_all = self.has_all(topic, &mut subscriber);
        if !subscriber.behind && !has_all {
            self.tell_stale(&cell, &mut subscriber);
        }
        self.tell_caught_up(&cell, &subscriber);
        let slot = &mut self.slots[topic];
        *slot.at_mut(place) = subscriber;
        slot.learn(subscriber.after, &mut self.counts.ledger);
        self.arrived(topic, &subscriber);
        if subscriber.behind && !has_all {
            let pulls = &mut self.session.subscriptions.pulls;
            match turn {
                NextTurn::GoesOn => pulls.follow_next(topic, subscriber.every),
                NextTurn::Passes => pulls.follow_later(topic, subscriber.every),
                NextTurn::Parked => {}
            }
        }
        has_all
    }

    fn step(&mut self, cell: &Arc<TopicCell>, subscriber: &mut Subscriber) -> NextTurn {
        for _ in 0..CHUNK {
            let Some(publication) = self.session.subscriptions.replays.next(cell.id()) else {
                break;
            };
            subscriber.after = publication.seq;
            self.push_told(subscriber, publication, Sort::Promised, 0);
            if !self.has_room() {
                break;
            }
        }
        // The replay may have taken the room of the messages after it.
        if self.session.subscriptions.replays.has(cell.id()) || !self.has_room() {
            return NextTurn::Passes;
        }
        if self.tell_missed(cell, subscriber) {
            return NextTurn::GoesOn;
        }
        let first = subscriber.prelude.first();
        // The snapshot of an event topic is the message at its position, which comes by the replay.
        if (first == First::Nothing || cell.kind() == Kind::Event)
            && let Some(turn) = self.step_archived(cell, subscriber)
        {
            return turn;
        }
        subscriber.prelude.set_first(First::Nothing);
        if first != First::Nothing {
            // In an event topic this is the message at the subscription's position: later messages must follow one by
            // one.
            let snapshot = match cell.kind() {
                Kind::Event => match cell.get(subscriber.after) {
                    None => self.step_once(cell, subscriber),
                    held => held,
                },
                Kind::State | Kind::Book => cell.snapshot(),
            };
            let Some(snapshot) = snapshot else {
                // After a panic has cost the book, the snapshot stays due. The next message is a whole book that does
                // not follow on the last one, and so causes this again.
                subscriber.prelude.set_first(first);
                subscriber.behind = false;
                return NextTurn::Passes;
            };
            if !self.has_room() {
                // The message that the subscription moved to took the room: the snapshot stays due.
                subscriber.prelude.set_first(first);
                return NextTurn::GoesOn;
            }
            if first == First::Recovery {
                self.push_recovery(cell, subscriber, snapshot, true);
            } else {
                self.push_snapshot(subscriber, snapshot);
            }
            return NextTurn::GoesOn;
        }
        if subscriber.every {
            return self.step_every(cell, subscriber);
        }
        subscriber.behind = false;
        let from = subscriber.after.0 + u64::from(is_planted(Fault::NewestDropped));
        if let Some(newest) = cell.newest().filter(|newest| newest.seq.0 > from) {
            let mut skips = newest.seq.0 - subscriber.after.0 - 1;
            if is_planted(Fault::ConflatedOneShort) {
                skips = skips.saturating_sub(1);
            }
            subscriber.after = newest.seq;
            self.push_told(subscriber, newest, Sort::Pulled, skips);
        }
        NextTurn::Passes
    }

    /// Sends a snapshot to a subscription, which continues from there.
    fn push_snapshot(&mut self, subscriber: &mut Subscriber, snapshot: Arc<Publication>) {
        self.introduce_joining(snapshot.lineage.id, subscriber);
        let (sort, skips) = match snapshot.seq.0.checked_sub(subscriber.after.0 + 1) {
            None => (Sort::Repeat, 0),
            Some(skips) => (Sort::Newer, skips),
        };
        subscriber.after = snapshot.seq;
        self.push_told(subscriber, snapshot, sort, skips);
    }

    /// Sends the snapshot that ends a gap in the changes of a book, and before it the part of the gap that was not sent
    /// yet.
    fn push_recovery(
        &mut self,
        cell: &TopicCell,
        subscriber: &mut Subscriber,
        snapshot: Arc<Publication>,
        goes_on: bool,
    ) {
        self.introduce_joining(cell.id(), subscriber);
        if snapshot.seq > subscriber.after {
            let between = (subscriber.after.next(), snapshot.seq);
            self.push_gap(cell, subscriber, between, GapReason::Slow, goes_on);
        }
        self.push_told(subscriber, snapshot, Sort::Recovery, 0);
    }

    /// Moves a subscription to the next message that the history holds.
    fn step_once(&mut self, cell: &TopicCell, subscriber: &mut Subscriber) -> Option<Arc<Publication>> {
        let mut chunk = Vec::with_capacity(1);
        let catchup = cell.read_after(subscriber.after, 1, &mut chunk);
        let next = chunk.pop()?;
        if let Some(between) = catchup.gap {
            self.push_gap(cell, subscriber, between, GapReason::Slow, false);
        }
        subscriber.after = next.seq;
        self.push_told(subscriber, next.clone(), Sort::Pulled, 0);
        Some(next)
    }

    fn step_every(&mut self, cell: &Arc<TopicCell>, subscriber: &mut Subscriber) -> NextTurn {
        let mut turn = NextTurn::Passes;
        let mut chunk = std::mem::take(self.chunk);
        let catchup = cell.read_after(subscriber.after, CHUNK, &mut chunk);
        match (catchup.gap, cell.kind()) {
            (Some((from, _)), Kind::Book) => {
                debug_assert_eq!(from, subscriber.after.next());
                if let Some(snapshot) = cell.snapshot() {
                    self.push_recovery(cell, subscriber, snapshot, false);
                }
                // The snapshot was the head. If a panic has cost the book, there is none: the next message is a whole
                // book that does not follow on the last one, and so causes this again.
                subscriber.behind = false;
            }
            (gap, _) => {
                if let Some(between) = gap {
                    self.push_gap(cell, subscriber, between, GapReason::Slow, false);
                }
                subscriber.behind = !catchup.at_head;
                for publication in chunk.drain(..) {
                    if !self.has_room() {
                        subscriber.behind = true;
                        break;
                    }
                    if let Some(parked) = self.pace(cell.id(), subscriber.after, publication.ts) {
                        (subscriber.behind, turn) = (true, parked);
                        break;
                    }
                    subscriber.after = publication.seq;
                    if is_planted(Fault::SeamLost)
                        && subscriber.after == self.slots[cell.id()].head
                        && self.session.subscriptions.beginnings.is_replayed(cell.id())
                    {
                        continue;
                    }
                    self.push_told(subscriber, publication, Sort::Pulled, 0);
                }
            }
        }
        chunk.clear();
        *self.chunk = chunk;
        turn
    }

    /// Pulls a publication in for a subscription. If the client does not know the topic's lineage and this is not a
    /// snapshot, it is told the lineage first. It is also told whether the book is in doubt: before an update, or
    /// behind a snapshot.
    pub(super) fn push_told(
        &mut self,
        subscriber: &mut Subscriber,
        publication: Arc<Publication>,
        sort: Sort,
        skips: u64,
    ) {
        let is_snapshot = matches!(sort, Sort::Newer | Sort::Repeat | Sort::Recovery);
        let introduces = is_snapshot && !subscriber.prelude.introduced();
        if is_snapshot {
            subscriber.prelude.introduce();
        } else {
            let before = Seq(publication.seq.0 - skips - 1);
            self.introduce(publication.lineage.id, subscriber, before);
        }
        if subscriber.last_status.doubt() == publication.doubt {
            self.push_pulled(publication, sort, skips, introduces);
            return;
        }
        let behind = publication.doubt.is_some() && is_snapshot;
        if behind {
            self.push_pulled(publication.clone(), sort, skips, introduces);
        }
        StatusBytes::default().push(self.session, subscriber, &publication);
        if !behind {
            self.push_pulled(publication, sort, skips, introduces);
        }
    }

    /// Pulls a publication in for a session.
    pub(super) fn push_pulled(
        &mut self,
        publication: Arc<Publication>,
        sort: Sort,
        skips: u64,
        introduces: bool,
    ) {
        let (dialect, op) = (self.session.dialect, sort.op());
        let len = publication.encode(dialect, op, self.deflater, self.counts);
        match op {
            DataOp::Update => self.counts.updates += 1,
            DataOp::Snapshot => self.counts.snapshots += 1,
        }
        let mut delivery = Delivery::new(publication.into(), len, sort, skips);
        delivery.introduces = introduces;
        self.session.outbox.push(Item::Delivery(delivery));
    }

    /// Tells a subscription that messages `from` to `to` will not come. The subscription continues after them.
    pub(super) fn push_gap(
        &mut self,
        cell: &TopicCell,
        subscriber: &mut Subscriber,
        (from, to): (Seq, Seq),
        reason: GapReason,
        goes_on: bool,
    ) {
        self.introduce_joining(cell.id(), subscriber);
        self.counts.gaps += 1;
        let epoch = cell.position().epoch;
        let gap = Control::Gap {
            topic: cell.topic().to_string(),
            epoch: epoch.clone(),
            from,
            to,
            reason,
        };
        let gap = Gap {
            topic: cell.id(),
            name: cell.topic().clone(),
            epoch,
            kind: cell.kind(),
            from,
            to,
            reason,
            introduces: !subscriber.prelude.introduced(),
            goes_on,
            bytes: self.session.dialect.control(&gap),
        };
        if !(is_planted(Fault::GapNotSent) && from.0 % 8 == 3) {
            self.session.outbox.push(Item::Gap(Box::new(gap)));
        }
        subscriber.after = to;
        subscriber.prelude.introduce();
    }
}
