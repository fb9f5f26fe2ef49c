//! Replays that read from the archive, and replays at a pace.
//!
//! A part is asked for, and comes through the shard's queue. Until then the replay is parked. It is parked as well until the next
//! message of a paced replay is due, or while too much was read and not sent. One timer per paced replay, and one look at
//! all that read from the archive, call them back.

use std::collections::BTreeSet;
use std::sync::Arc;

use tickwire_wire::message::GapReason;
use tickwire_wire::{Micros, Seq};

use super::pulling::{CHUNK, NextTurn};
use super::sessions::SessionMut;
use super::{Shard, Subscriber};
use crate::archive::{
    ARCHIVED_PART_MESSAGES, ArchiveFailed, ArchiveReply, ArchivedNext, ArchivedPart, Bookmark, WantedPart,
};
use crate::cell::TopicCell;
use crate::outbox::Sort;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::{ReplayWait, SessionId};

/// Time in microseconds between two looks at the replays that read from the archive.
const LOOK_US: u64 = 100_000;
/// The number of replays that are called back before other work has its turn.
const CALLED_AT_ONCE: usize = 512;
/// The shortest time in microseconds for which a paced replay waits.
const PACE_STEP_US: u64 = 1_000;
/// The longest. Then it waits again.
const PACE_WAIT_US_MAX: u64 = 1_000_000;
/// The next part is asked for when so many messages of the one before are left.
const ASKED_AHEAD: usize = ARCHIVED_PART_MESSAGES / 2;

/// A part of a replay on its way to its session.
#[derive(Debug)]
pub(crate) struct ReplayPart {
    session: SessionId,
    generation: u32,
    topic: TopicId,
    /// The number of the request for it.
    number: u32,
    part: Result<ArchivedPart, ArchiveFailed>,
}

/// What calls parked replays back.
#[derive(Debug, Default)]
pub(super) struct Replaying {
    /// The time of the last call that told one.
    pub(super) now: Micros,
    /// When the next messages of paced replays are due.
    paced: BTreeSet<(Micros, SessionId, TopicId)>,
    /// Sessions that read from the archive, or wait for that.
    reading: BTreeSet<SessionId>,
    /// When to look at them.
    look: Option<Micros>,
    /// The number of the last request for a part.
    asked: u32,
}

impl Replaying {
    /// When something is due.
    pub(super) fn next_timeout(&self) -> Option<Micros> {
        let paced = self.paced.first().map(|(at, ..)| *at);
        paced.into_iter().chain(self.look).min()
    }

    fn reads(&mut self, session: SessionId) {
        self.reading.insert(session);
        self.look.get_or_insert(Micros(self.now.0 + LOOK_US));
    }
}

impl Shard {
    /// Hands out the parts that have come.
    pub(super) fn take_parts(&mut self) {
        for answer in std::mem::take(&mut self.inbox.parts) {
            let ReplayPart {
                session,
                generation,
                topic,
                number,
                part,
            } = answer;
            let Some(mut it) = self.session_mut(session) else {
                continue;
            };
            if it.session.generation == generation
                && let Some(replayed) = it.session.subscriptions.beginnings.replayed(topic)
                && replayed.answered(number, part)
                && replayed.waits == ReplayWait::Part
            {
                it.call_back(topic);
            }
        }
    }

    /// Calls back the replays that are due.
    pub(super) fn call_replays(&mut self, now: Micros) {
        for _ in 0..CALLED_AT_ONCE {
            let Some((at, id, topic)) = self
                .replaying
                .paced
                .first()
                .copied()
                .filter(|(at, ..)| *at <= now)
            else {
                break;
            };
            self.replaying.paced.pop_first();
            if let Some(mut it) = self.session_mut(id)
                && let Some(replayed) = it.session.subscriptions.beginnings.replayed(topic)
                && replayed.waits == ReplayWait::Until(at)
            {
                it.call_back(topic);
            }
        }
        if self.replaying.look.is_some_and(|at| at <= now) {
            self.look_at_readers(now);
        }
    }

    /// Gives up what was read for clients that do not take it, and lets others read.
    fn look_at_readers(&mut self, now: Micros) {
        for id in std::mem::take(&mut self.replaying.reading) {
            let Some(mut it) = self.session_mut(id) else {
                continue;
            };
            let Some(replays) = it.session.subscriptions.beginnings.replays() else {
                continue;
            };
            replays.give_up_idle();
            it.call_waiting();
            let replays = it.session.subscriptions.beginnings.replays();
            if replays.is_some_and(|replays| replays.reads()) {
                self.replaying.reading.insert(id);
            }
        }
        let reads = !self.replaying.reading.is_empty();
        self.replaying.look = reads.then_some(Micros(now.0 + LOOK_US));
    }
}

impl SessionMut<'_> {
    /// Gives a parked replay its turns again.
    pub(super) fn call_back(&mut self, topic: TopicId) {
        let subscriptions = &mut self.session.subscriptions;
        let place = subscriptions.place_of(topic);
        let Some(replayed) = subscriptions.beginnings.replayed(topic) else {
            return;
        };
        if replayed.waits == ReplayWait::Nothing {
            return;
        }
        replayed.waits = ReplayWait::Nothing;
        if let Some(place) = place {
            let every = self.slots[topic].at(place).every;
            subscriptions.pulls.follow_later(topic, every);
            self.rounds.mark(self.session);
        }
    }

    /// Calls back replays of the session that wait for their turn to read, as far as there is room.
    fn call_waiting(&mut self) {
        let waiting = |it: &mut Self| it.session.subscriptions.beginnings.replays()?.next_waiting();
        let mut called = Vec::new();
        while called.len() < CALLED_AT_ONCE
            && let Some(topic) = waiting(self)
        {
            called.push(topic);
            let replays = self.session.subscriptions.beginnings.replays();
            // It keeps its place until its turn.
            let _may =
                replays.is_some_and(|replays| replays.get(topic).is_some() && replays.may_read(topic, false));
        }
        for topic in called {
            self.call_back(topic);
        }
    }

    /// Parks the replay of a topic.
    fn park(&mut self, topic: TopicId, waits: ReplayWait) -> NextTurn {
        if let Some(replayed) = self.session.subscriptions.beginnings.replayed(topic) {
            replayed.waits = waits;
        }
        match waits {
            ReplayWait::Until(at) => {
                self.replaying.paced.insert((at, self.session.id, topic));
            }
            ReplayWait::Place => self.replaying.reads(self.session.id),
            ReplayWait::Part | ReplayWait::Nothing => {}
        }
        NextTurn::Parked
    }

    /// Parks a paced replay whose next message, behind `after` and of the time `ts`, is not due. Returns its turn then.
    pub(super) fn pace(&mut self, topic: TopicId, after: Seq, ts: Micros) -> Option<NextTurn> {
        let now = self.replaying.now;
        let replayed = self.session.subscriptions.beginnings.replayed(topic)?;
        let at = replayed.due(after, ts, now)?;
        Some(self.park_until(topic, at))
    }

    /// Parks a paced replay until `at`, or for so long that the timers of those that have ended do not pile up.
    fn park_until(&mut self, topic: TopicId, at: Micros) -> NextTurn {
        let now = self.replaying.now.0;
        let at = at.0.clamp(now + PACE_STEP_US, now + PACE_WAIT_US_MAX);
        self.park(topic, ReplayWait::Until(Micros(at)))
    }

    /// Takes a replay one step on from what the archive has. `None` if its next message is in the history.
    pub(super) fn step_archived(
        &mut self,
        cell: &Arc<TopicCell>,
        subscriber: &mut Subscriber,
    ) -> Option<NextTurn> {
        let topic = cell.id();
        if !subscriber.every || self.directory.archive().is_none() {
            return None;
        }
        let replayed = self.session.subscriptions.beginnings.replayed(topic)?;
        if let Some(at) = replayed.known_due(subscriber.after, self.replaying.now) {
            return Some(self.park_until(topic, at));
        }
        for _ in 0..CHUNK {
            let replayed = self.session.subscriptions.beginnings.replayed(topic)?;
            let Some(next) = replayed
                .part(subscriber.after)
                .map(|part| part.peek().map(|it| it.ts))
            else {
                return self.ask_for_part(cell, subscriber.after);
            };
            if let Some(ts) = next
                && let Some(turn) = self.pace(topic, subscriber.after, ts)
            {
                return Some(turn);
            }
            let replayed = self.session.subscriptions.beginnings.replayed(topic)?;
            match replayed.part(subscriber.after)?.take() {
                ArchivedNext::Message(next)
                    if is_planted(Fault::ArchiveMessageLost) && next.seq.0 % 8 == 3 =>
                {
                    subscriber.after = next.seq;
                }
                ArchivedNext::Message(next) => {
                    let first = subscriber.after.next();
                    if next.seq > first && !is_planted(Fault::ArchiveHoleHidden) {
                        let missing = (first, Seq(next.seq.0 - 1));
                        self.push_gap(cell, subscriber, missing, GapReason::Slow, false);
                    }
                    subscriber.after = next.seq;
                    self.push_told(subscriber, next, Sort::Pulled, 0);
                }
                ArchivedNext::Missing(to) => {
                    let missing = (subscriber.after.next(), to);
                    self.push_gap(cell, subscriber, missing, GapReason::Slow, false);
                }
                ArchivedNext::End => {}
            }
            if !self.has_room() {
                break;
            }
        }
        self.ask_ahead(cell, subscriber.after);
        Some(NextTurn::Passes)
    }

    /// Asks for the part behind message `after`, if the history does not have the next message.
    fn ask_for_part(&mut self, cell: &Arc<TopicCell>, after: Seq) -> Option<NextTurn> {
        let topic = cell.id();
        let replayed = self.session.subscriptions.beginnings.replayed(topic)?;
        let is_over = replayed.has_failed() || cell.gone_after(after).is_none();
        if is_over {
            self.session
                .subscriptions
                .beginnings
                .replays()?
                .stops_reading(topic);
            self.call_waiting();
            return None;
        }
        let waits = match replayed.is_asked() {
            // The answer to what was asked for before may be of no use. Then this is asked for again.
            true => ReplayWait::Part,
            false => self.ask(cell, after, after),
        };
        match waits {
            ReplayWait::Nothing => None,
            waits => Some(self.park(topic, waits)),
        }
    }

    /// Asks for the part behind the one that is being sent, if that ends soon.
    fn ask_ahead(&mut self, cell: &Arc<TopicCell>, after: Seq) {
        let replayed = self.session.subscriptions.beginnings.replayed(cell.id());
        let next = replayed.and_then(|replayed| replayed.next_ask(ASKED_AHEAD));
        if let Some(next) = next {
            // If there is no place, it is asked for when the one before is sent.
            let _waits = self.ask(cell, after, next);
        }
    }

    /// Asks for a part behind message `next`, of a topic whose replay has come to `after`. Returns what the replay waits for
    /// then.
    fn ask(&mut self, cell: &Arc<TopicCell>, after: Seq, next: Seq) -> ReplayWait {
        let topic = cell.id();
        let Some(archive) = self.directory.archive() else {
            return ReplayWait::Nothing;
        };
        let Some(last) = cell.gone_after(next) else {
            return ReplayWait::Nothing;
        };
        let (session, generation) = (self.session.id, self.session.generation);
        let Some(replays) = self.session.subscriptions.beginnings.replays() else {
            return ReplayWait::Nothing;
        };
        let is_ahead = after != next;
        if !replays.may_read(topic, !is_ahead) {
            self.replaying.reads(session);
            return ReplayWait::Place;
        }
        let Some(place) = cell.archive_place() else {
            if !is_ahead {
                replays.stops_reading(topic);
                replays.wait(topic);
                self.replaying.reads(session);
            }
            return ReplayWait::Place;
        };
        self.replaying.asked = self.replaying.asked.wrapping_add(1);
        let number = self.replaying.asked;
        let Some(replayed) = replays.get_mut(topic) else {
            return ReplayWait::Nothing;
        };
        replayed.asks(number);
        let bookmark: Bookmark = replayed.bookmark();
        self.replaying.reads(session);
        let queue = self.directory.queue(self.shard).clone();
        let reply = ArchiveReply::new(move |part| {
            queue.push_part(ReplayPart {
                session,
                generation,
                topic,
                number,
                part,
            });
        });
        let wanted = WantedPart {
            cell: cell.clone(),
            after: next,
            last,
            bookmark,
            place,
        };
        archive.read(wanted, reply);
        ReplayWait::Part
    }
}
