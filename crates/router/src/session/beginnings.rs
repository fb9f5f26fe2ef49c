//! What the beginnings of subscriptions are still to say or to reach, beside their snapshots and replays.
//!
//! Bounded by the number of subscriptions: a topic is removed with its subscription.

use rustc_hash::{FxHashMap, FxHashSet};
use tickwire_wire::Seq;

use crate::positions::Missed;
use crate::publication::TopicId;

/// By topic, what is still to come. Most sessions have nothing here, and pay for a pointer.
#[derive(Debug, Default)]
pub(crate) struct Beginnings(Option<Box<Open>>);

#[derive(Debug, Default)]
struct Open {
    /// The topics whose resume by a pattern was refused, as long as the client was not told.
    missed: FxHashMap<TopicId, Missed>,
    /// The topics that were to bring their newest message, and ask for every message since then: the message that was
    /// newest. The request that wanted it waits until the subscription has reached that message.
    newest: FxHashMap<TopicId, Seq>,
    /// The topics that are replayed from a moment, as long as the client was not told that it has caught up.
    replayed: FxHashSet<TopicId>,
}

impl Beginnings {
    /// Whether the client is still to be told that the topic was not resumed.
    pub(crate) fn misses(&self, topic: TopicId) -> bool {
        self.0
            .as_ref()
            .is_some_and(|open| open.missed.contains_key(&topic))
    }

    /// Records what the client has missed of a topic, until it is told.
    pub(crate) fn miss(&mut self, topic: TopicId, missed: Missed) {
        self.0.get_or_insert_default().missed.insert(topic, missed);
    }

    /// Takes the record of what the client has missed of a topic.
    pub(crate) fn take_missed(&mut self, topic: TopicId) -> Option<Missed> {
        let missed = self.0.as_mut()?.missed.remove(&topic);
        self.shrink();
        missed
    }

    /// Records that the beginning of a subscription that now asks for every message ends with message `newest`.
    pub(crate) fn end_with(&mut self, topic: TopicId, newest: Seq) {
        let newest_then = &mut self.0.get_or_insert_default().newest;
        let end = newest_then.entry(topic).or_insert(newest);
        *end = newest.max(*end);
    }

    /// Whether the beginning of a subscription that asks for every message ends behind `after`.
    pub(crate) fn end_behind(&self, topic: TopicId, after: Seq) -> bool {
        let end = self.0.as_ref().and_then(|open| open.newest.get(&topic));
        end.is_some_and(|newest| *newest > after)
    }

    /// Records that the beginning of a subscription has ended.
    pub(crate) fn ended(&mut self, topic: TopicId) {
        if let Some(open) = &mut self.0 {
            open.newest.remove(&topic);
            self.shrink();
        }
    }

    /// Records that a topic is replayed from a moment, until the client is told that it has caught up.
    pub(crate) fn replay(&mut self, topic: TopicId) {
        self.0.get_or_insert_default().replayed.insert(topic);
    }

    /// Whether the client is still to be told that it has caught up with a topic.
    pub(crate) fn is_replayed(&self, topic: TopicId) -> bool {
        self.0.as_ref().is_some_and(|open| open.replayed.contains(&topic))
    }

    /// Records that the client is told that it has caught up with a topic. Returns whether it was still to be told.
    pub(crate) fn caught_up(&mut self, topic: TopicId) -> bool {
        let was_replayed = self.0.as_mut().is_some_and(|open| open.replayed.remove(&topic));
        self.shrink();
        was_replayed
    }

    /// Records that the client has left a topic.
    pub(crate) fn forget(&mut self, topic: TopicId) {
        self.take_missed(topic);
        self.ended(topic);
        self.caught_up(topic);
    }

    fn shrink(&mut self) {
        self.0
            .take_if(|open| open.missed.is_empty() && open.newest.is_empty() && open.replayed.is_empty());
    }
}
