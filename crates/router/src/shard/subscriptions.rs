//! The tables of subscriptions. Each change is made at the session, at the topic and in the indexes together, so that
//! none of them ever names something that another has removed.

use std::sync::Arc;

use tickwire_wire::{Pattern, Seq, Topic};

use super::sessions::SessionMut;
use super::{Expectations, Expecting, Prelude, Shard, Slot, Subscriber};
use crate::cell::TopicCell;
use crate::epochs::Life;
use crate::outbox::{Item, SourceState};
use crate::pace::Pace;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::{PatternSub, Place, SessionId, SubRef};
use crate::syncs::Awaited;
use crate::topic_set::TopicSet;

impl Shard {
    /// Makes the topic known to the shard: every session with a pattern that matches joins it. They have missed
    /// nothing, since the directory has known their patterns for longer than the topic.
    pub(super) fn make_known(&mut self, cell: &Arc<TopicCell>) {
        if self.slots.get(cell.id()).is_some() {
            return;
        }
        self.end_before(cell);
        self.slots.insert(cell.id(), Slot::new(cell.clone()));
        self.lives.began(cell);
        let mut joining = Vec::new();
        self.patterns
            .matches(cell.topic().as_str(), |expecting: &Expectations| {
                let named = expecting.pattern.as_ref().is_some_and(|p| !p.is_wildcard());
                joining.extend(expecting.sessions.iter().map(|expecting| (*expecting, named)));
            });
        for (Expecting { session, pace, told }, named) in joining {
            if self.takes_topic(session, cell) {
                // A session that named the topic was told its lineage then, unless another life came between.
                let introduced = named && told == Some(cell.life());
                self.join(session, cell, Seq::ZERO, pace, introduced);
                if named {
                    self.set_named(session, cell.id(), true);
                }
                if cell.life().is_later()
                    && let Some(place) = self.place_of(session, cell.id())
                {
                    self.slots[cell.id()].at_mut(place).prelude.set_joins();
                }
            }
        }
    }

    /// Records whether one of a session's patterns is the name of a topic that it has.
    pub(super) fn set_named(&mut self, id: SessionId, topic: TopicId, named: bool) {
        let Some(place) = self.place_of(id, topic) else {
            return;
        };
        let slot = &mut self.slots[topic];
        let prelude = &mut slot.at_mut(place).prelude;
        if prelude.is_named() == named {
            return;
        }
        prelude.set_named(named);
        if named {
            slot.named += 1;
            slot.cell.named();
        } else {
            slot.named -= 1;
            slot.cell.unnamed(1);
        }
    }

    /// Adds a pattern of a session, which asks for `pace`, to a topic. A session that is new to the topic gets the
    /// messages after `after`. `introduced` says whether its client knows the topic's lineage or will be told it before.
    pub(super) fn join(
        &mut self,
        id: SessionId,
        cell: &Arc<TopicCell>,
        after: Seq,
        pace: Pace,
        introduced: bool,
    ) {
        let topic = cell.id();
        let Some(mut it) = self.session_mut(id) else {
            return;
        };
        if it.session.subscriptions.has(topic) {
            if introduced {
                it.lineage_told(topic);
            }
            it.session.subscriptions.cover(topic, pace.on(cell.kind()));
            self.refresh_pace(id, topic);
        } else {
            it.join(cell, after, pace, introduced);
        }
    }

    /// Removes one pattern of a session from a topic; with its last pattern the session leaves. Returns whether it
    /// left.
    pub(super) fn leave(&mut self, id: SessionId, cell: &TopicCell, pace: Pace) -> bool {
        let topic = cell.id();
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let covers = session.subscriptions.topics.get(topic).map_or(0, |it| it.covers);
        if covers > 1 {
            session.subscriptions.uncover(topic, pace.on(cell.kind()));
            self.refresh_pace(id, topic);
            return false;
        }
        let Some((place, cancelled)) = session.subscriptions.end(topic) else {
            return false;
        };
        self.piece.replayed += cancelled;
        self.forget(topic, place);
        true
    }

    /// Gives a subscription the pace that its patterns ask for together, after a change of them. If it moves to another
    /// list, it continues from the directory, since that list may have got messages that it has not.
    fn refresh_pace(&mut self, id: SessionId, topic: TopicId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let subscriptions = &mut session.subscriptions;
        let (Some(pace), Some(mut place)) = (subscriptions.settle_pace(topic), subscriptions.place_of(topic))
        else {
            return;
        };
        if pace.class() != place.class {
            let subscriber = self.take_out(topic, place);
            place = self.slots[topic].add(pace.class(), subscriber);
            if let Some(mut it) = self.session_mut(id) {
                it.session.subscriptions.moved(topic, place);
                it.catch_up(topic);
            }
        }
        let slot = &mut self.slots[topic];
        let (newest, subscriber) = (slot.head, slot.at_mut(place));
        let changes = std::mem::replace(&mut subscriber.every, pace.is_every()) != pace.is_every();
        if changes
            && subscriber.every
            && subscriber.behind
            && let Some(session) = self.sessions.get_mut(id)
            && session.subscriptions.is_awaited(topic)
        {
            // A request waits for the newest message, which every message up to it now comes before.
            session.subscriptions.beginnings.end_with(topic, newest);
        }
    }

    /// Changes what a pattern of a session asks for. Returns what it asked for before, if that was different. Then the
    /// caller [changes](Self::repace) the topics that the session has by it.
    pub(super) fn switch_pace(&mut self, id: SessionId, pattern: &Pattern, pace: Pace) -> Option<Pace> {
        let sub = self.sessions.open(id)?.subscriptions.patterns.get_mut(pattern)?;
        let before = std::mem::replace(&mut sub.pace, pace);
        if pace == before {
            return None;
        }
        if sub.indexed
            && let Some(own) = self.expecting(id, pattern)
        {
            own.pace = pace;
        }
        Some(before)
    }

    /// The entry of a session in the index, by one of its patterns.
    pub(super) fn expecting(&mut self, id: SessionId, pattern: &Pattern) -> Option<&mut Expecting> {
        let sessions = &mut self.patterns.get_mut(pattern)?.sessions;
        sessions.iter_mut().find(|other| other.session == id)
    }

    /// Changes what a pattern asks for in one topic that it matches, if the session has that topic.
    pub(super) fn repace(&mut self, id: SessionId, cell: &TopicCell, before: Pace, pace: Pace) {
        let (topic, kind) = (cell.id(), cell.kind());
        if pace != before
            && let Some(session) = self.sessions.get_mut(id)
            && session.subscriptions.has(topic)
        {
            session.subscriptions.cover(topic, pace.on(kind));
            session.subscriptions.uncover(topic, before.on(kind));
            self.refresh_pace(id, topic);
        }
    }

    /// Takes a subscriber out of a topic's lists, and tells the session of the subscriber that moves to its place.
    fn take_out(&mut self, topic: TopicId, place: Place) -> Subscriber {
        let (taken, moved) = self.slots[topic].take(place);
        if let Some(moved) = moved
            && let Some(session) = self.sessions.get_mut(moved.session)
        {
            session.subscriptions.moved(topic, place);
        }
        taken
    }

    /// Ends a subscriber of a topic.
    pub(super) fn forget(&mut self, topic: TopicId, place: Place) {
        let left = self.take_out(topic, place);
        self.subscriptions -= 1;
        let slot = &mut self.slots[topic];
        self.counts.ledger.end(left.after, slot.head);
        slot.counted -= 1;
        slot.cell.subscribers_removed(1);
        if left.prelude.is_named() {
            slot.named -= 1;
            slot.cell.unnamed(1);
        }
        if slot.is_empty() || is_planted(Fault::InterestLostEarly) {
            slot.cell.detach(self.id);
        }
        if slot.ended.is_some() {
            let is_last = slot.is_empty();
            if let Some(session) = self.sessions.get_mut(left.session) {
                let ending = &mut session.subscriptions.ending;
                *ending = ending.saturating_sub(1);
            }
            if is_last {
                self.drop_slot(topic);
            }
        }
    }

    /// The place of a session's subscriber among those of a topic.
    pub(super) fn place_of(&self, id: SessionId, topic: TopicId) -> Option<Place> {
        self.sessions.get(id)?.subscriptions.place_of(topic)
    }

    /// Adds a pattern to those of a session. With `indexed`, topics that appear from now on join it. Then the directory
    /// must know the pattern already, and the existing topics must be known to the shard. `told` is the life whose lineage
    /// the client is told for a name.
    pub(super) fn add_pattern(
        &mut self,
        id: SessionId,
        pattern: &Pattern,
        sub: PatternSub,
        told: Option<Life>,
    ) {
        let Some(session) = self.sessions.open(id) else {
            return;
        };
        let shared = if sub.indexed {
            let expecting = self.patterns.entry(pattern);
            expecting.sessions.push(Expecting {
                session: id,
                pace: sub.pace,
                told,
            });
            expecting.pattern.get_or_insert_with(|| pattern.clone()).clone()
        } else {
            // The topic exists and holds the text already.
            let cell = self.directory.find(pattern.as_str());
            cell.map_or_else(|| pattern.clone(), |cell| cell.topic().clone().into())
        };
        session.subscriptions.add_pattern(shared, sub);
    }

    pub(super) fn unexpect(&mut self, id: SessionId, pattern: &Pattern) {
        self.directory.unregister(self.id, pattern);
        let Some(expecting) = self.patterns.get_mut(pattern) else {
            return;
        };
        let sessions = &mut expecting.sessions;
        if let Some(at) = sessions.iter().position(|other| other.session == id) {
            sessions.swap_remove(at);
        }
        if sessions.is_empty() {
            self.patterns.remove(pattern);
        }
    }

    /// Removes a pattern from those of a session. No topic joins by it any more. The caller makes the session
    /// [leave](Self::leave) those that have joined.
    pub(super) fn take_pattern(&mut self, id: SessionId, pattern: &Pattern) -> Option<PatternSub> {
        let removed = self.sessions.open(id)?.subscriptions.remove(pattern)?;
        if removed.indexed {
            self.unexpect(id, pattern);
        }
        Some(removed)
    }

    /// Ends the subscription with this name, if the session has one. Returns the topics that no other subscription
    /// covers. The caller drops their messages from the outbox and the pulls, see [`Self::drop_waiting`] and
    /// [`Self::drop_pulls`].
    pub(super) fn unsubscribe(&mut self, id: SessionId, pattern: &Pattern) -> Vec<TopicId> {
        // Topics that have ended are handled before the pattern is gone: they may still join by it.
        let found = loop {
            let found = self.directory.matching(pattern);
            if self.handle_ends() == 0 {
                break found;
            }
        };
        let Some(removed) = self.take_pattern(id, pattern) else {
            return Vec::new();
        };
        let mut cells = self.ending(id, pattern);
        cells.extend(found);
        let mut left = Vec::new();
        for cell in cells {
            if self.leave(id, &cell, removed.pace) {
                left.push(cell.id());
            } else if !pattern.is_wildcard() {
                self.set_named(id, cell.id(), false);
            }
        }
        left.extend(self.ends_left(id, pattern).into_iter().map(|(topic, _)| topic));
        left
    }

    /// The ended topics of a pattern that a session has left, and no longer covers, whose end waits in its outbox, with their
    /// names.
    pub(super) fn ends_left(&self, id: SessionId, pattern: &Pattern) -> Vec<(TopicId, Topic)> {
        let session = self.sessions.get(id);
        let Some(session) = session.filter(|session| session.subscriptions.end_waits) else {
            return Vec::new();
        };
        let covered = |name: &str| {
            let mut patterns = session.subscriptions.patterns.iter();
            patterns.any(|(other, _)| other.matches(name))
        };
        session
            .outbox
            .ended_topics(|name| pattern.matches(name.as_str()) && !covered(name.as_str()))
    }

    /// Removes the messages of topics that a session has left from its outbox. The caller calls [`Self::send_synced`]
    /// once the client was told that it has left them.
    pub(super) fn drop_waiting(&mut self, id: SessionId, left: &TopicSet) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let (is_open, mut any_dropped) = (session.is_open(), false);
        self.counts.ledger.dropped += session.outbox.purge(|item| match item {
            // A session that is leaving is not told what was dropped, and so must not be told that everything has come.
            Item::Synced(_) => any_dropped && !is_open,
            item => {
                let dropped = item.topic().is_some_and(|topic| left.has(topic))
                    && !is_planted(Fault::DeliveredAfterUnsubscribe);
                any_dropped |= dropped;
                dropped
            }
        });
        // Some of what these `synced` end may have been dropped: they go behind the answer that says so.
        let ends = session
            .outbox
            .take_back(|item| is_open && matches!(item, Item::Synced(_)));
        for item in ends.iter().rev() {
            if let Item::Synced(synced) = item {
                session.subscriptions.syncs.take_back(synced.request);
            }
        }
    }

    /// Drops the pulls of topics that a session has left.
    pub(super) fn drop_pulls(&mut self, id: SessionId, left: &TopicSet) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.subscriptions.forget_pulls(left);
        self.live_again(id);
    }
}

impl SessionMut<'_> {
    /// Begins the subscription to a topic that the session does not have, as [`Shard::join`] says.
    pub(super) fn join(&mut self, cell: &TopicCell, after: Seq, pace: Pace, introduced: bool) {
        let (topic, pace) = (cell.id(), pace.on(cell.kind()));
        let held = self.is_held(cell);
        let slot = &mut self.slots[topic];
        self.counts.ledger.begin(after, slot.head);
        let subscriber = Subscriber {
            session: self.session.id,
            every: pace.is_every(),
            behind: held,
            prelude: Prelude::new(introduced),
            last_status: SourceState::Live,
            after,
        };
        let place = slot.add(pace.class(), subscriber);
        slot.counted += 1;
        *self.subscriptions += 1;
        let subscription = SubRef {
            place,
            covers: 1,
            every: u32::from(pace.is_every()),
            awaited: Awaited::default(),
            begun: self.session.subscriptions.acks,
        };
        self.session.subscriptions.topics.insert(topic, subscription);
        cell.subscriber_added();
        self.piece.joined(self.session.id, topic);
        let waits = self.session.unfinished.is_some() && !is_planted(Fault::TopicFlowsBeforeAck);
        if waits || cell.stale_since().is_some() || cell.is_doubted() {
            // Its ack is still to come, or it is told its lineage at the head.
            self.catch_up(topic);
        }
    }
}
