//! The bookkeeping of who is subscribed to what: each change is made at the session, at the topic and in the indexes
//! together, so that none of them ever names what another has forgotten.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tickwire_wire::{Kind, Mode, Pattern, Seq};

use super::{Expecting, First, Shard, Slot, Subscriber};
use crate::cell::TopicCell;
use crate::publication::TopicId;
use crate::pulls::Pulls;
use crate::session::{PatternSub, SessionId, SubRef};

impl Shard {
    /// Makes the topic known to the shard: every session with a pattern that matches joins it. They have missed
    /// nothing, since the directory has known their patterns for longer than the topic.
    pub(super) fn meet(&mut self, cell: &Arc<TopicCell>) {
        let index = cell.id().index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        if self.slots[index].cell.is_some() {
            return;
        }
        self.slots[index].cell = Some(cell.clone());
        let mut joining = Vec::new();
        self.patterns
            .matches(cell.topic().as_str(), |expecting: &Vec<Expecting>| {
                joining.extend(expecting);
            });
        for Expecting { session, every } in joining {
            self.join(session, cell, Seq::ZERO, every);
        }
    }

    /// Adds one more pattern of a session to a topic, one that asks for `every` message or not. A session that is new
    /// to the topic gets what comes after `after`.
    pub(super) fn join(&mut self, id: SessionId, cell: &Arc<TopicCell>, after: Seq, every: bool) {
        let topic = cell.id();
        let slot = &mut self.slots[topic.index()];
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let position = u32::try_from(slot.subscribers.len()).expect("fewer than 2^32 sessions");
        let subscription = session.topics.entry(topic).or_insert(SubRef {
            position,
            covers: 0,
            every: 0,
        });
        subscription.covers += 1;
        subscription.every += u32::from(every);
        let every = cell.kind() != Kind::State || subscription.every > 0;
        if subscription.covers > 1 {
            slot.subscribers[subscription.position as usize].every = every;
            return;
        }
        self.counts.ledger.begin(after, slot.head);
        slot.subscribers.push(Subscriber {
            session: id,
            every,
            behind: false,
            first: First::Nothing,
            after,
        });
        cell.subscriber_added();
    }

    /// Takes one pattern of a session from a topic; with its last one the session leaves. Returns whether it left.
    fn leave(&mut self, id: SessionId, topic: TopicId, every: bool) -> bool {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return false;
        };
        let Some(subscription) = session.topics.get_mut(&topic) else {
            return false;
        };
        subscription.covers -= 1;
        subscription.every -= u32::from(every);
        if subscription.covers > 0 {
            self.refresh_mode(id, topic);
            return false;
        }
        let position = subscription.position as usize;
        session.topics.remove(&topic);
        if let Some(replays) = &mut session.replays {
            replays.remove(&topic);
        }
        self.forget(topic, position);
        true
    }

    /// Gives a subscription the mode that its patterns ask for together.
    fn refresh_mode(&mut self, id: SessionId, topic: TopicId) {
        let session = self.sessions.get(id.index());
        let Some(subscription) = session.and_then(|session| session.topics.get(&topic)) else {
            return;
        };
        let slot = &mut self.slots[topic.index()];
        let state = slot.cell.as_ref().is_some_and(|cell| cell.kind() == Kind::State);
        slot.subscribers[subscription.position as usize].every = !state || subscription.every > 0;
    }

    /// Changes the mode that a pattern of a session asks for, `cells` being the topics that it matches.
    pub(super) fn change_mode(
        &mut self,
        id: SessionId,
        pattern: &Pattern,
        mode: Option<Mode>,
        cells: &[Arc<TopicCell>],
    ) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        let Some(sub) = session.patterns.get_mut(pattern) else {
            return;
        };
        let before = sub.asks_every();
        sub.mode = mode;
        let (every, indexed) = (sub.asks_every(), sub.indexed);
        if every == before {
            return;
        }
        if indexed
            && let Some(expecting) = self.patterns.get_mut(pattern)
            && let Some(own) = expecting.iter_mut().find(|other| other.session == id)
        {
            own.every = every;
        }
        for cell in cells {
            let Some(session) = self.sessions.get_mut(id.index()) else {
                return;
            };
            if let Some(subscription) = session.topics.get_mut(&cell.id()) {
                if every {
                    subscription.every += 1;
                } else {
                    subscription.every -= 1;
                }
                self.refresh_mode(id, cell.id());
            }
        }
    }

    /// Takes a subscriber out of a topic's list.
    fn forget(&mut self, topic: TopicId, position: usize) {
        let slot = &mut self.slots[topic.index()];
        let ended = slot.subscribers.swap_remove(position);
        self.counts.ledger.end(ended.after, slot.head);
        if let Some(moved) = slot.subscribers.get(position)
            && let Some(session) = self.sessions.get_mut(moved.session.index())
            && let Some(subscription) = session.topics.get_mut(&topic)
        {
            subscription.position = u32::try_from(position).expect("it was a position before");
        }
        if let Some(cell) = &slot.cell {
            cell.subscriber_removed();
            if slot.subscribers.is_empty() {
                cell.detach(self.id);
                slot.subscribers = Vec::new();
            }
        }
    }

    /// Where a session stands in a topic's list.
    pub(super) fn subscriber_position(&self, id: SessionId, topic: TopicId) -> Option<usize> {
        let session = self.sessions.get(id.index())?;
        session
            .topics
            .get(&topic)
            .map(|subscription| subscription.position as usize)
    }

    /// Enters a pattern among those of a session. With `indexed`, topics that the shard meets from now on join it: the
    /// directory must know the pattern already, and the topics that exist must have been met.
    pub(super) fn add_pattern(&mut self, id: SessionId, pattern: &Pattern, sub: PatternSub) {
        let Some(session) = self.open_session(id) else {
            return;
        };
        session.patterns.insert(pattern.clone(), sub);
        if sub.indexed {
            self.patterns.entry(pattern).push(Expecting {
                session: id,
                every: sub.asks_every(),
            });
        }
    }

    fn unexpect(&mut self, id: SessionId, pattern: &Pattern) {
        self.directory.unregister(self.id, pattern);
        let Some(expecting) = self.patterns.get_mut(pattern) else {
            return;
        };
        if let Some(at) = expecting.iter().position(|other| other.session == id) {
            expecting.swap_remove(at);
        }
        if expecting.is_empty() {
            self.patterns.remove(pattern);
        }
    }

    /// Ends one subscription as the client named it and adds the topics that the session has left by it to `left`, for
    /// [`Self::drop_left`]. Returns whether there was one.
    pub(super) fn unsubscribe(&mut self, id: SessionId, pattern: &Pattern, left: &mut Vec<TopicId>) -> bool {
        let removed = self
            .open_session(id)
            .and_then(|session| session.patterns.remove(pattern));
        let Some(removed) = removed else { return false };
        if removed.indexed {
            self.unexpect(id, pattern);
        }
        for cell in self.directory.matching(pattern) {
            if self.leave(id, cell.id(), removed.asks_every()) {
                left.push(cell.id());
            }
        }
        true
    }

    /// Drops what waits of topics that a session has left.
    pub(super) fn drop_left(&mut self, id: SessionId, mut left: Vec<TopicId>) {
        let Some(session) = self.sessions.get_mut(id.index()).filter(|_| !left.is_empty()) else {
            return;
        };
        left.sort_unstable();
        let is_left = |topic: &TopicId| left.binary_search(topic).is_ok();
        session.one_shots.retain(|topic| !is_left(topic));
        session.pulls.forget(|topic| is_left(&topic));
        self.counts.ledger.dropped += session
            .outbox
            .purge(|topic| topic.is_some_and(|topic| is_left(&topic)));
        self.live_again(id);
    }

    /// Ends every subscription of a session.
    pub(super) fn unsubscribe_all(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        session.pulls = Pulls::default();
        session.lagging_since = None;
        session.one_shots = FxHashSet::default();
        session.replays = None;
        let patterns = std::mem::take(&mut session.patterns);
        let topics = std::mem::take(&mut session.topics);
        for (pattern, _) in patterns.iter().filter(|(_, sub)| sub.indexed) {
            self.unexpect(id, pattern);
        }
        for (topic, subscription) in topics {
            self.forget(topic, subscription.position as usize);
        }
    }
}
