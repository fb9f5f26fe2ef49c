//! What the beginnings of subscriptions are still to say or to reach, beside their snapshots and replays.
//!
//! Bounded by the number of subscriptions: a topic is removed with its subscription.

use rustc_hash::FxHashMap;
use tickwire_wire::{Micros, ReplaySpeed, Seq};

use super::replayed::{Replayed, ReplayedTopics};
use crate::archive::ArchivedStart;
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
    replayed: ReplayedTopics,
    /// Where the replays begin that the request under way asks for, if the archive was asked.
    starts: Option<FxHashMap<(TopicId, Micros), ArchivedStart>>,
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

    /// Records that a topic is replayed from a moment, until the client is told that it has caught up. A `speed` paces it.
    pub(crate) fn replay(&mut self, topic: TopicId, speed: Option<ReplaySpeed>) {
        self.0.get_or_insert_default().replayed.begin(topic, speed);
    }

    /// Whether the client is still to be told that it has caught up with a topic.
    pub(crate) fn is_replayed(&self, topic: TopicId) -> bool {
        self.0
            .as_ref()
            .is_some_and(|open| open.replayed.get(topic).is_some())
    }

    /// The replay of a topic.
    pub(crate) fn replayed(&mut self, topic: TopicId) -> Option<&mut Replayed> {
        self.0.as_mut()?.replayed.get_mut(topic)
    }

    /// The replays of all topics, if there are any.
    pub(crate) fn replays(&mut self) -> Option<&mut ReplayedTopics> {
        Some(&mut self.0.as_mut()?.replayed)
    }

    /// The topics whose replays are parked.
    pub(crate) fn parked(&self) -> impl Iterator<Item = TopicId> {
        self.0.iter().flat_map(|open| open.replayed.parked())
    }

    /// Records that the client is told that it has caught up with a topic. Returns whether it was still to be told.
    pub(crate) fn caught_up(&mut self, topic: TopicId) -> bool {
        let was_replayed = self.0.as_mut().is_some_and(|open| open.replayed.end(topic));
        if was_replayed {
            self.shrink();
        }
        was_replayed
    }

    /// Keeps where replays begin that the request under way asks for, by their topics and moments.
    pub(crate) fn keep_starts(&mut self, starts: FxHashMap<(TopicId, Micros), ArchivedStart>) {
        self.0.get_or_insert_default().starts = Some(starts);
    }

    /// Whether it was looked for where the replays of the request under way begin.
    pub(crate) fn has_starts(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.starts.is_some())
    }

    /// Where the replay of a topic from a moment begins, as far as the archive was asked.
    pub(crate) fn start_of(&self, topic: TopicId, moment: Micros) -> Option<ArchivedStart> {
        let starts = self.0.as_ref()?.starts.as_ref()?;
        starts.get(&(topic, moment)).copied()
    }

    /// Drops where replays begin: their request is done.
    pub(crate) fn drop_starts(&mut self) {
        if let Some(open) = &mut self.0
            && open.starts.take().is_some()
        {
            self.shrink();
        }
    }

    /// Records that the client has left a topic.
    pub(crate) fn forget(&mut self, topic: TopicId) {
        self.take_missed(topic);
        self.ended(topic);
        self.caught_up(topic);
    }

    fn shrink(&mut self) {
        self.0.take_if(|open| {
            open.missed.is_empty()
                && open.newest.is_empty()
                && open.replayed.is_empty()
                && open.starts.is_none()
        });
    }
}
