//! The bookkeeping of who is subscribed to what: each change is made at the session, at the topic and in the indexes
//! together, so that none of them ever names what another has forgotten.

use std::sync::Arc;

use tickwire_wire::{Kind, Mode, Pattern, Seq};

use super::{Shard, Slot, Subscriber};
use crate::directory::TopicCell;
use crate::publication::TopicId;
use crate::session::{Pull, SessionId, SubRef};

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
            .matches(cell.topic().as_str(), |sessions: &Vec<SessionId>| {
                joining.extend(sessions);
            });
        for session in joining {
            self.join(session, cell, Seq::ZERO);
        }
    }

    /// Adds one more pattern of a session to a topic. Returns whether the session is new to it.
    pub(super) fn join(&mut self, id: SessionId, cell: &Arc<TopicCell>, after: Seq) -> bool {
        let topic = cell.id();
        let default = Mode::default_for(cell.kind());
        let slot = &mut self.slots[topic.index()];
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return false;
        };
        let every =
            cell.kind() != Kind::State || session.mode_for(cell.topic().as_str(), default) == Mode::Every;
        if let Some(subscription) = session.topics.get_mut(&topic) {
            subscription.covers = subscription.covers.saturating_add(1);
            slot.subscribers[subscription.position as usize].every = every;
            return false;
        }
        let position = u32::try_from(slot.subscribers.len()).expect("fewer than 2^32 sessions");
        session.topics.insert(topic, SubRef { position, covers: 1 });
        slot.subscribers.push(Subscriber {
            session: id,
            every,
            behind: false,
            wants_snapshot: false,
            after,
        });
        cell.subscriber_added();
        true
    }

    /// Takes one pattern of a session from a topic; with its last one the session leaves.
    fn leave(&mut self, id: SessionId, topic: TopicId) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let Some(subscription) = session.topics.get_mut(&topic) else {
            return;
        };
        let slot = &mut self.slots[topic.index()];
        let Some(cell) = &slot.cell else { return };
        subscription.covers -= 1;
        let position = subscription.position as usize;
        if subscription.covers > 0 {
            let default = Mode::default_for(cell.kind());
            let every =
                cell.kind() != Kind::State || session.mode_for(cell.topic().as_str(), default) == Mode::Every;
            slot.subscribers[position].every = every;
            return;
        }
        session.topics.remove(&topic);
        if let Some(replays) = &mut session.replays {
            replays.remove(&topic);
        }
        self.forget(topic, position);
    }

    /// Takes a subscriber out of a topic's list.
    fn forget(&mut self, topic: TopicId, position: usize) {
        let slot = &mut self.slots[topic.index()];
        slot.subscribers.swap_remove(position);
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

    /// Lets topics of `pattern` that the shard meets from now on join `id`. The directory must know the pattern already,
    /// and the topics that exist must have been met.
    pub(super) fn expect(&mut self, id: SessionId, pattern: &Pattern) {
        self.patterns.entry(pattern).push(id);
    }

    fn unexpect(&mut self, id: SessionId, pattern: &Pattern) {
        self.directory.unregister(self.id, pattern);
        let Some(sessions) = self.patterns.get_mut(pattern) else {
            return;
        };
        if let Some(at) = sessions.iter().position(|other| *other == id) {
            sessions.swap_remove(at);
        }
        if sessions.is_empty() {
            self.patterns.remove(pattern);
        }
    }

    /// Ends one subscription as the client named it. Returns whether there was one.
    pub(super) fn unsubscribe(&mut self, id: SessionId, pattern: &Pattern) -> bool {
        let Some(session) = self.open_session(id) else {
            return false;
        };
        let Some(at) = session.patterns.iter().position(|sub| sub.pattern == *pattern) else {
            return false;
        };
        let removed = session.patterns.swap_remove(at);
        if removed.indexed {
            self.unexpect(id, pattern);
        }
        let mut left: Vec<TopicId> = match pattern.as_topic() {
            Some(topic) => self
                .directory
                .find(topic.as_str())
                .map(|cell| cell.id())
                .into_iter()
                .collect(),
            None => self.matched_topics(id, pattern),
        };
        for topic in &left {
            self.leave(id, *topic);
        }
        left.sort_unstable();
        if let Some(session) = self.sessions.get_mut(id.index()) {
            let topics = &session.topics;
            session.pulls.retain(|pull| match pull {
                Pull::Follow(topic) => topics.contains_key(topic),
                Pull::OneShot(_) => true,
            });
            // The topics that a session has left, and only those, are in its outbox without being subscribed.
            let dropped = session.outbox.purge(|topic| {
                topic.is_some_and(|t| !topics.contains_key(&t) && left.binary_search(&t).is_ok())
            });
            self.counts.dropped += dropped;
        }
        true
    }

    /// The topics of a session that `pattern` matches.
    pub(super) fn matched_topics(&self, id: SessionId, pattern: &Pattern) -> Vec<TopicId> {
        let Some(session) = self.sessions.get(id.index()) else {
            return Vec::new();
        };
        let matches = |topic: &TopicId| {
            let cell = self.slots.get(topic.index()).and_then(|slot| slot.cell.as_ref());
            cell.is_some_and(|cell| pattern.matches(cell.topic().as_str()))
        };
        session
            .topics
            .keys()
            .filter(|topic| matches(topic))
            .copied()
            .collect()
    }

    /// Ends every subscription of a session.
    pub(super) fn unsubscribe_all(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        session.pulls.clear();
        session.replays = None;
        let patterns = std::mem::take(&mut session.patterns);
        let topics = std::mem::take(&mut session.topics);
        for sub in patterns.iter().filter(|sub| sub.indexed) {
            self.unexpect(id, &sub.pattern);
        }
        for (topic, subscription) in topics {
            self.forget(topic, subscription.position as usize);
        }
    }
}
