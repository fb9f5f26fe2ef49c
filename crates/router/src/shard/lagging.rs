//! The states of a slow reader: live, lagging, catching up, live again.
//!
//! A session lags once more live bytes wait for it than its budget. Then its waiting data is taken back, except a
//! partly written frame and the answers that keep their place. Each subscription goes back to the last message that was
//! really written. When the socket takes bytes again, it is pulled in again, and so are the session's other
//! subscriptions as their topics go on. So a connection that takes nothing costs memory for its subscriptions and none
//! for messages, except those of a promised replay; and when it reads again it gets new messages first.
//!
//! It has caught up when nothing is left to be pulled in. From then on it gets everything live.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::{AckResult, GapReason};
use tickwire_wire::{Epoch, Micros, Seq};

use super::sessions::SessionMut;
use super::{First, Shard};
use crate::outbox::{Delivery, Item, Sort, SourceState};
use crate::planted::{Fault, is_planted};
use crate::positions::Missed;
use crate::publication::{Publication, TopicId};
use crate::session::SessionId;

impl Shard {
    /// Makes the sessions lag whose outboxes the last publication has overfilled.
    pub(super) fn lag_overfull(&mut self, now: Micros) {
        while let Some(id) = self.overfull.pop() {
            self.lag(id, now);
        }
    }

    /// Makes a session lag, because too much waits for it.
    pub(super) fn lag(&mut self, id: SessionId, now: Micros) {
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        it.session.reader.lag(now);
        it.session.subscriptions.one_shot_waits = false;
        it.counts.lagged += 1;
        it.rewind();
        self.lagging.insert(id);
        if !is_planted(Fault::AckNotRewound) {
            self.rewind_answers(id);
        }
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        it.send_synced();
        let pulls = &mut it.session.subscriptions.pulls;
        if is_planted(Fault::PullsForgotten) {
            *pulls = crate::pulls::Pulls::default();
        }
        pulls.restart();
        it.rounds.mark(it.session);
    }

    /// Makes a lagging session live again if nothing is left to be pulled in.
    pub(super) fn live_again(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && session.subscriptions.pulls.is_empty()
        {
            session.subscriptions.shrink();
            if session.outbox.is_empty() {
                session.reader.progressed();
            }
            if session.reader.caught_up(self.settings.live_bytes_end()) {
                self.lagging.remove(&id);
            }
        }
    }

    /// Records that a session's socket takes bytes, though none of those that wait here: bytes that were written before
    /// were held up on their way.
    pub fn progressed(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.known(id) {
            session.reader.progressed();
        }
    }

    /// Brings the data of a session up to date right before it is written: messages that were superseded while the
    /// session lagged are replaced, and those that can be pulled in are.
    pub(super) fn bring_up_to_date(&mut self, id: SessionId) {
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        if it.session.unfinished.is_some() && !is_planted(Fault::PulledBeforeAck) {
            if is_planted(Fault::SupersededBeforeAck) {
                it.refresh();
            }
            return; // data follows the ack, which may change the pace
        }
        if it.session.catch_up() && !is_planted(Fault::SupersededGoesOn) {
            it.refresh();
        }
        self.pull(id);
    }

    /// Corrects the positions in the acks that wait among a session's data, after data was taken back.
    fn rewind_answers(&mut self, id: SessionId) {
        let (slots, directory, lives) = (&self.slots, &self.directory, &self.lives);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let topics = &session.subscriptions.topics;
        // An ack from before a subscription belongs to an earlier subscription to the topic, which has ended. So does one
        // of another epoch: what came before the end of an earlier life was not taken back.
        let standing = |topic: &str, epoch: &Epoch, number: u32| {
            let is_it = |life: &TopicId| slots[*life].cell.topic().as_str() == topic;
            // The life that the session is in. If the topic has ended and the shard was not told yet, nothing else leads
            // to it.
            let topic = lives
                .first(topic, |life| topics.get(life).is_some())
                .or_else(|| Some(directory.find(topic)?.id()).filter(|life| topics.get(*life).is_some()))
                .or_else(|| topics.keys().filter(is_it).min())?;
            let subscription = topics.get(topic).filter(|of_now| of_now.is_of_ack(number))?;
            let slot = &slots[topic];
            (slot.cell.position().epoch == *epoch).then(|| slot.at(subscription.place).after)
        };
        session.outbox.correct_answers(|number, results| {
            move_back(results, |topic, epoch| standing(topic, epoch, number))
        });
    }
}

impl SessionMut<'_> {
    /// Takes back the waiting data, and puts the subscriptions back to their positions before it.
    fn rewind(&mut self) {
        let taken = self.take_back();
        let session = &mut *self.session;
        // The last item comes first, so that each subscription ends at its position before its first item.
        for item in taken.into_iter().rev() {
            if let Item::Synced(synced) = &item {
                session.subscriptions.syncs.take_back(synced.request);
            }
            let Some(topic) = item.topic() else { continue };
            if matches!(&item, Item::Delivery(delivery) if delivery.sort == Sort::OneShot) {
                session.subscriptions.one_shot_again(&self.slots[topic].cell);
                continue;
            }
            let Some(subscription) = session.subscriptions.topics.get_mut(topic) else {
                continue; // messages of an ended subscription were dropped already
            };
            let slot = &mut self.slots[topic];
            let subscriber = slot.at_mut(subscription.place);
            if begins(&item) {
                session.subscriptions.syncs.bring_again(&mut subscription.awaited);
                if let Item::Delivery(delivery) = &item
                    && subscriber.every
                    && delivery.sort == Sort::Pulled
                    && !subscription.awaited.is_nothing()
                {
                    let newest = delivery.publication().seq;
                    session.subscriptions.beginnings.end_with(topic, newest);
                }
            }
            match item {
                Item::Answer(_) | Item::Synced(_) | Item::End(_) => {}
                Item::Joined(_) => subscriber.prelude.take_back(!is_planted(Fault::LineageTakenBack)),
                Item::Status(status) => subscriber.last_status = status.before,
                Item::CaughtUp(_) if is_planted(Fault::CaughtUpForgotten) => {}
                Item::CaughtUp(_) => session.subscriptions.beginnings.replay(topic, None),
                Item::Gap(gap) if gap.reason != GapReason::Slow => {
                    subscriber.after = gap.to;
                    subscriber.prelude.take_back(gap.introduces);
                    let (from, reason) = (gap.from, gap.reason);
                    session
                        .subscriptions
                        .beginnings
                        .miss(topic, Missed { from, reason });
                }
                Item::Gap(gap) => {
                    subscriber.after = Seq(gap.from.0 - 1);
                    subscriber.prelude.take_back(gap.introduces);
                    // The gap of a book brings its snapshot again, unless the client has got an earlier gap that waits
                    // for a snapshot.
                    if gap.goes_on {
                        subscriber.prelude.set_first(First::Recovery);
                    } else if subscriber.prelude.first() == First::Recovery {
                        subscriber.prelude.set_first(First::Nothing);
                    }
                }
                Item::Delivery(delivery) => {
                    let too_far = is_planted(Fault::TakenBackTooFar) && delivery.sort == Sort::Live;
                    subscriber.after = Seq(delivery.before().0 + u64::from(too_far));
                    subscriber.prelude.take_back(delivery.introduces);
                    match delivery.sort {
                        Sort::Newer | Sort::Repeat => subscriber.prelude.set_first(First::Snapshot),
                        Sort::Recovery => subscriber.prelude.set_first(First::Recovery),
                        Sort::Promised if is_planted(Fault::PromiseForgotten) => {}
                        Sort::Promised => {
                            session.subscriptions.replays.give_back(delivery.publication());
                        }
                        Sort::Live | Sort::Pulled | Sort::OneShot => {}
                    }
                }
            }
            if !std::mem::replace(&mut subscriber.behind, true) {
                session.subscriptions.pulls.follow_next(topic, subscriber.every);
            }
        }
    }

    /// Takes back the waiting data that can be pulled again. The data of a topic whose end waits behind them cannot, so they
    /// stay.
    fn take_back(&mut self) -> Vec<Item> {
        let (subscriptions, slots) = (&self.session.subscriptions, &*self.slots);
        self.session.outbox.take_back(|item| match item {
            Item::Delivery(delivery) if delivery.sort == Sort::OneShot => {
                let slot = slots.get(delivery.topic());
                slot.is_some_and(|slot| slot.ended.is_none())
            }
            item => item.topic().is_none_or(|topic| subscriptions.has(topic)),
        })
    }

    /// Replaces waiting messages that were superseded while the session lagged by the newest ones.
    fn refresh(&mut self) {
        let session = &mut *self.session;
        // An ack among the data says where the data before it ends. Once it is written, the rest can be replaced.
        if session.outbox.answer_bytes() > 0 {
            return;
        }
        let mut may_be_again = false;
        let (dialect, subscriptions, slots) = (session.dialect, &session.subscriptions, &mut *self.slots);
        let mut learnt: Vec<(TopicId, Seq)> = Vec::new();
        // The newest message may change meanwhile: whether a topic's last frame is replaced is decided once.
        let mut decided = FxHashSet::default();
        let (counts, deflater) = (&mut *self.counts, &mut *self.deflater);
        session.outbox.refresh(|waiting| {
            if waiting.sort == Sort::OneShot {
                return None;
            }
            let topic = waiting.topic();
            let place = subscriptions.place_of(topic)?;
            let slot = &mut slots[topic];
            let subscriber = slot.at(place);
            let newer_may_wait = subscriber.behind || place.class.is_limited();
            if subscriber.every || !newer_may_wait || subscriber.after != waiting.publication().seq {
                return None;
            }
            if subscriber.last_status == SourceState::Silent {
                return None; // a newer one comes after the `live` of its source
            }
            // The session is not told when a subscription that is behind gets a newer message.
            may_be_again = true;
            let is_promised_more = subscriptions.replays.has(topic);
            let snapshot_is_due = subscriber.prelude.first() != First::Nothing;
            if is_promised_more || snapshot_is_due || !decided.insert(topic) {
                return None; // older ones, the snapshot or a kept frame come behind it
            }
            let newest: Arc<Publication> = slot.cell.newest()?;
            let skips = newest.seq.0.checked_sub(waiting.before().0 + 1)?;
            slot.at_mut(place).after = newest.seq;
            learnt.push((topic, newest.seq));
            let op = waiting.op();
            let sort = match op {
                DataOp::Update => Sort::Pulled,
                DataOp::Snapshot => Sort::Newer,
            };
            let len = newest.encode(dialect, op, deflater, counts);
            let mut newer = Delivery::new(newest.into(), len, sort, skips);
            newer.introduces = waiting.introduces;
            Some(newer)
        });
        session.reader.set_superseded(may_be_again);
        for (topic, seq) in learnt {
            self.slots[topic].learn(seq, &mut self.counts.ledger);
        }
    }
}

/// Moves the results of an ack back to where their subscriptions stand, where that is before the position in the ack.
/// Returns whether any has changed.
fn move_back(results: &mut [AckResult], standing: impl Fn(&str, &Epoch) -> Option<Seq>) -> bool {
    let mut changed = false;
    // The start of a resume comes from the request and stays.
    for result in results.iter_mut().filter(|result| result.recovered.is_none()) {
        if let (Some(seq), Some(epoch)) = (&mut result.seq, &result.epoch)
            && let Some(at) = standing(&result.topic, epoch)
            && at < *seq
        {
            (*seq, changed) = (at, true);
        }
    }
    changed
}

/// Whether an item may belong to the beginning of a subscription and not to what follows. If it is taken back, the
/// request that waited for it waits again. A pulled message may have been the newest, even if every message may be
/// asked for since.
fn begins(item: &Item) -> bool {
    match item {
        Item::Delivery(delivery) => match delivery.sort {
            Sort::Newer | Sort::Repeat | Sort::Recovery | Sort::Promised | Sort::Pulled => true,
            Sort::Live | Sort::OneShot => false,
        },
        Item::Gap(gap) => gap.reason != GapReason::Slow,
        Item::CaughtUp(_) => true,
        Item::Joined(_) | Item::End(_) | Item::Status(_) | Item::Synced(_) | Item::Answer(_) => false,
    }
}
