//! The ladder of a slow reader: live, lagging, caught up, live again.
//!
//! A session lags once more live bytes wait for it than its budget. What waits is taken back then, but for a frame begun
//! and the answers that keep their place: each subscription goes back to the last message that was really put on the
//! wire and is, like all of the session's others as their topics go on, pulled in again when the socket takes bytes. So a
//! connection that takes nothing costs memory for its subscriptions and none for messages, but those of a replay that was
//! promised; and what it reads first when it goes on is new.
//!
//! It has caught up when nothing is left to be pulled in; from then on it gets everything live.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tickwire_wire::codec::DataOp;
use tickwire_wire::frame::payload_of;
use tickwire_wire::message::GapReason;
use tickwire_wire::{Codec, Control, Micros, Seq, ServerMessage};

use super::{First, Missed, Shard};
use crate::item::{self, Frame, Item, Placing, Sort, SourceState};
use crate::planted::{Fault, is_planted};
use crate::publication::{Publication, TopicId};
use crate::session::SessionId;

impl Shard {
    /// Live bytes waiting from which on a session that does not lag is handed nothing more.
    pub(super) const fn live_bytes_end(&self) -> usize {
        self.settings.outbox_bytes_max.saturating_add(1)
    }

    /// Takes note that `topic` has come to `seq`: from now on its subscribers are owed what is up to there.
    #[inline]
    pub(super) fn learn(&mut self, topic: TopicId, seq: Seq) {
        let slot = &mut self.slots[topic.index()];
        if seq > slot.head {
            self.counts.ledger.owed += (seq.0 - slot.head.0) * slot.len() as u64;
            slot.head = seq;
        }
    }

    /// Lets the sessions lag that the last publication was too much for.
    pub(super) fn lag_overfull(&mut self, now: Micros) {
        while let Some(id) = self.overfull.pop() {
            self.lag(id, now);
        }
    }

    /// Lets a session lag: too much waits for it.
    pub(super) fn lag(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        session.lagging_since = Some(now);
        session.live_bytes_end = 0;
        session.full_since.get_or_insert(now);
        session.one_shot_waits = false;
        let taken = session.outbox.take_back(|_| true);
        self.counts.lagged += 1;
        self.lagging.insert(id);
        self.rewind(id, taken);
        if !is_planted(Fault::AckNotRewound) {
            self.rewind_answers(id);
        }
        self.send_synced(id);
        if let Some(session) = self.session(id) {
            if is_planted(Fault::PullsForgotten) {
                session.pulls = crate::pulls::Pulls::default();
            }
            session.pulls.restart();
        }
        self.mark_dirty(id);
    }

    /// Ends the lagging of a session that has nothing left to be pulled in.
    pub(super) fn live_again(&mut self, id: SessionId) {
        let live_bytes_end = self.live_bytes_end();
        if let Some(session) = self.session(id).filter(|session| session.pulls.is_empty()) {
            session.pulls.shrink();
            session.one_shots.shrink_to(0);
            if session.outbox.is_empty() {
                session.full_since = None;
            }
            if session.lagging_since.take().is_some() {
                session.live_bytes_end = live_bytes_end;
                self.lagging.remove(&id);
            }
        }
    }

    /// Takes note that a session's socket takes bytes, though none of those that wait here: they had been written, and were held up
    /// on their way.
    pub fn progressed(&mut self, id: SessionId) {
        if let Some(session) = self.session(id) {
            session.full_since = None;
        }
    }

    /// Brings what a session goes on with up to date, right before it is written: what was superseded while the session
    /// lagged is replaced, what can be pulled in is.
    pub(super) fn bring_up_to_date(&mut self, id: SessionId) {
        if self.unfinished(id).is_some() && !is_planted(Fault::PulledBeforeAck) {
            if is_planted(Fault::SupersededBeforeAck) {
                self.refresh(id);
            }
            return; // behind the ack, which may change what is asked for
        }
        let Some(session) = self.session(id) else { return };
        // What a rate holds back is newer, too, and nothing tells the session of it.
        let held_back = || session.patterns.values().any(|sub| sub.pace.class().is_limited());
        if session.lagging_since.is_none() {
            session.superseded = false;
        } else if (session.superseded || held_back()) && !is_planted(Fault::SupersededGoesOn) {
            self.refresh(id);
        }
        self.pull(id);
    }

    /// Puts the subscriptions of a session back to where they stood before what was taken back of it.
    fn rewind(&mut self, id: SessionId, taken: Vec<Item>) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        // The last first, so that each subscription ends where it stood before the first.
        for item in taken.into_iter().rev() {
            if let Item::Synced(synced) = &item {
                session.syncs.take_back(synced.request);
            }
            let Some(topic) = item.topic() else { continue };
            if matches!(&item, Item::Frame(frame) if frame.sort == Sort::OneShot) {
                if !session.one_shots.contains_key(&topic) {
                    session.pulls.shoot_next(topic);
                }
                let awaited = session.one_shots.entry(topic).or_default();
                session.syncs.bring_again(awaited);
                continue;
            }
            let Some(subscription) = session.topics.get_mut(&topic) else {
                continue; // what a subscription left behind was dropped when it ended
            };
            let slot = &mut self.slots[topic.index()];
            let subscriber = slot.at_mut(subscription.place);
            if begins(&item) {
                session.syncs.bring_again(&mut subscription.awaited);
            }
            match item {
                Item::Answer(_) | Item::Placing(_) | Item::Synced(_) => {}
                Item::Joined(_) => subscriber.opening.take_back(!is_planted(Fault::LineageTakenBack)),
                Item::Status(status) => subscriber.told = status.before,
                Item::Gap(gap) if gap.reason != GapReason::Slow => {
                    subscriber.after = gap.to;
                    subscriber.opening.take_back(gap.introduces);
                    let (from, reason) = (gap.from, gap.reason);
                    let missed = session.missed.get_or_insert_default();
                    missed.insert(topic, Missed { from, reason });
                }
                Item::Gap(gap) => {
                    subscriber.after = Seq(gap.from.0 - 1);
                    subscriber.opening.take_back(gap.introduces);
                    // The gap of a book brings its snapshot anew, unless the client has got a gap before it that waits for one.
                    if gap.goes_on {
                        subscriber.opening.set_first(First::Recovery);
                    } else if subscriber.opening.first() == First::Recovery {
                        subscriber.opening.set_first(First::Nothing);
                    }
                }
                Item::Frame(frame) => {
                    let too_far = is_planted(Fault::TakenBackTooFar) && frame.sort == Sort::Live;
                    subscriber.after = Seq(frame.before().0 + u64::from(too_far));
                    subscriber.opening.take_back(frame.introduces);
                    match frame.sort {
                        Sort::Newer | Sort::Repeat => subscriber.opening.set_first(First::Snapshot),
                        Sort::Recovery => subscriber.opening.set_first(First::Recovery),
                        Sort::Promised if is_planted(Fault::PromiseForgotten) => {}
                        Sort::Promised => {
                            let replays = session.replays.get_or_insert_default();
                            replays.give_back(&frame.fanout.publication);
                        }
                        Sort::Live | Sort::Pulled | Sort::OneShot => {}
                    }
                }
            }
            if !std::mem::replace(&mut subscriber.behind, true) {
                session.pulls.follow_next(topic, subscriber.every);
            }
        }
    }

    /// Lets the acks that wait among a session's data tell where their subscriptions stand now that it was taken back.
    fn rewind_answers(&mut self, id: SessionId) {
        let (slots, directory) = (&self.slots, &self.directory);
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let (codec, topics) = (session.codec(), &session.topics);
        // An ack from before a subscription is of another one of the topic, which had ended.
        let standing = |topic: &str, number: u32| {
            let topic = directory.find(topic)?.id();
            let subscription = topics.get(&topic).filter(|of_now| of_now.is_of_ack(number))?;
            Some(slots[topic.index()].at(subscription.place).after)
        };
        session
            .outbox
            .rewrite_answers(|placing| moved_back(codec, placing, |topic| standing(topic, placing.number)));
    }

    /// Replaces what waits for a session that lags and has been superseded meanwhile by the newest.
    fn refresh(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        // An ack among the data tells where the data before it ends. Once it is written, the rest can be replaced.
        if session.outbox.answer_bytes() > 0 {
            return;
        }
        let mut may_be_again = false;
        let (variant, topics, slots) = (session.variant, &session.topics, &mut self.slots);
        let replays = &session.replays;
        let mut learnt: Vec<(TopicId, Seq)> = Vec::new();
        // The newest may change meanwhile: whether a topic's last frame is replaced by it is asked once.
        let mut decided = FxHashSet::default();
        let (counts, deflater) = (&mut self.counts, &mut self.deflater);
        session.outbox.refresh(|frame| {
            if matches!(frame.sort, Sort::OneShot) {
                return None;
            }
            let topic = frame.topic();
            let slot = &mut slots[topic.index()];
            let place = topics.get(&topic)?.place;
            let subscriber = slot.at(place);
            let publication = &frame.fanout.publication;
            let newer_may_wait = subscriber.behind || place.class.is_limited();
            if subscriber.every || !newer_may_wait || subscriber.after != publication.seq {
                return None;
            }
            if subscriber.told == SourceState::Silent {
                return None; // a newer one comes behind the word that the source came back
            }
            // Of a subscription that is behind, nothing tells the session of what comes next.
            may_be_again = true;
            let is_promised_more = replays.as_ref().is_some_and(|replays| replays.has(topic));
            let snapshot_is_due = subscriber.opening.first() != First::Nothing;
            if is_promised_more || snapshot_is_due || !decided.insert(topic) {
                return None; // older ones or the snapshot come behind it yet, or what stays is behind it
            }
            let newest: Arc<Publication> = slot.cell.as_ref()?.newest()?;
            let skips = newest.seq.0.checked_sub(frame.before().0 + 1)?;
            slot.at_mut(place).after = newest.seq;
            learnt.push((topic, newest.seq));
            let op = frame.fanout.op;
            let sort = match op {
                DataOp::Update => Sort::Pulled,
                DataOp::Snapshot => Sort::Newer,
            };
            let shared = newest.frame_for(variant, op, deflater);
            let length = item::length(shared.bytes);
            counts.encoded(op, &shared);
            Some(Frame::of(newest, op, length, sort, skips).introducing(frame.introduces))
        });
        session.superseded = may_be_again;
        for (topic, seq) in learnt {
            self.learn(topic, seq);
        }
    }
}

/// An ack whose subscriptions stand at `standing` now, where that is before what it tells. None if nothing of it changes.
pub(super) fn moved_back(
    codec: Codec,
    Placing { frame, .. }: &Placing,
    standing: impl Fn(&str) -> Option<Seq>,
) -> Option<Box<[u8]>> {
    let message = codec.decode_server(payload_of(frame));
    let Ok(ServerMessage::Control(Control::Ack { id, mut results })) = message else {
        return None;
    };
    let mut changed = false;
    // Where a resume begins is in the request.
    for result in results.iter_mut().filter(|result| result.recovered.is_none()) {
        if let Some(seq) = &mut result.seq
            && let Some(at) = standing(&result.topic)
            && at < *seq
        {
            (*seq, changed) = (at, true);
        }
    }
    changed.then(|| Shard::control_frame(codec, &Control::Ack { id, results }))
}

/// Whether an item may be what a subscription begins with, and not what follows that: where it is taken back, whoever waits for that
/// waits again. What was pulled in may have been the newest, though every message may be asked for since.
fn begins(item: &Item) -> bool {
    match item {
        Item::Frame(frame) => match frame.sort {
            Sort::Newer | Sort::Repeat | Sort::Recovery | Sort::Promised | Sort::Pulled => true,
            Sort::Live | Sort::OneShot => false,
        },
        Item::Gap(gap) => gap.reason != GapReason::Slow,
        Item::Joined(_) | Item::Status(_) | Item::Synced(_) | Item::Answer(_) | Item::Placing(_) => false,
    }
}
