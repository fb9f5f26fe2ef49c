//! The subscriptions of a session and what they are still to bring: replays, snapshots, gaps, and the ends of requests.
//!
//! Knows topics only by their numbers. Bounded by the limits on subscriptions, and by the number of topics that the
//! patterns match.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tickwire_wire::Pattern;

use super::beginnings::Beginnings;
use super::patterns::{PatternSub, Patterns};
use super::topics::SubscribedTopics;
use crate::cell::TopicCell;
use crate::pace::{ClassCounts, Pace, RateClass};
use crate::positions::Places;
use crate::publication::TopicId;
use crate::pulls::Pulls;
use crate::replays::Replays;
use crate::syncs::{Awaited, Syncs};
use crate::topic_set::TopicSet;

/// The place of a subscriber among those of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The list of the topic that it is in.
    pub(crate) class: RateClass,
    /// Its index in that list.
    pub(crate) position: u32,
}

impl Place {
    pub(crate) const fn index(self) -> usize {
        self.position as usize
    }
}

/// A topic that a session is subscribed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubRef {
    /// The place of this session's subscriber in the topic.
    pub(crate) place: Place,
    /// The number of the session's patterns that cover the topic.
    pub(crate) covers: u32,
    /// The number of these that ask for every message.
    pub(crate) every: u32,
    /// The request that waits for the beginning of this subscription.
    pub(crate) awaited: Awaited,
    /// The number of acks that the session had been sent when this subscription began.
    pub(crate) begun: u32,
}

impl OneShot {
    fn of(cell: &Arc<TopicCell>) -> Self {
        let (cell, awaited) = (cell.clone(), Awaited::default());
        Self { cell, awaited }
    }
}

impl SubRef {
    /// Whether it existed when ack number `number` was sent, or began with that ack. Numbers start again after 2³².
    pub(crate) const fn is_of_ack(&self, number: u32) -> bool {
        number.wrapping_sub(self.begun) <= u32::MAX / 2
    }
}

/// A value that is to be sent once.
#[derive(Debug)]
pub(crate) struct OneShot {
    /// The topic, which may end before.
    pub(crate) cell: Arc<TopicCell>,
    /// The request that waits for it.
    pub(crate) awaited: Awaited,
}

/// The subscriptions of a session.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) patterns: Patterns,
    pub(crate) topics: SubscribedTopics,
    /// The number of tokens of the patterns that the indexes hold.
    pub(crate) pattern_tokens: usize,
    /// A topic appeared and did not fit. No topic joins until the indexes hold none of the patterns.
    pub(crate) topics_full: bool,
    /// The number of its topics that have ended, and whose end it was not told yet.
    pub(crate) ending: u32,
    /// The number of topics that a wildcard of the request under way is still to bring.
    pub(crate) reserved: u32,
    /// The session has ended, and some of its subscriptions are still to be taken out.
    pub(crate) parting: bool,
    /// The classes that patterns ask for, for topics that more than one pattern covers.
    classes: ClassCounts,
    pub(crate) pulls: Pulls,
    /// The topics with a one-shot among the pulls.
    pub(crate) one_shots: FxHashMap<TopicId, OneShot>,
    /// Whether the outbox may hold a one-shot snapshot.
    pub(crate) one_shot_waits: bool,
    /// Whether the outbox may hold the end of a topic.
    pub(crate) end_waits: bool,
    /// The messages of promised replays.
    pub(crate) replays: Replays,
    /// What the beginnings of subscriptions are still to say or to reach.
    pub(crate) beginnings: Beginnings,
    /// The requests that will get a `synced` when everything that they brought is on its way.
    pub(crate) syncs: Syncs,
    /// The number of acks that were sent for requests about topics.
    pub(crate) acks: u32,
    /// Positions that the client sent ahead of its next `subscribe`.
    pub(crate) positions: Option<Box<Places>>,
}

impl Subscriptions {
    /// Whether it has the topic, by any of its patterns.
    pub(crate) fn has(&self, topic: TopicId) -> bool {
        self.topics.get(topic).is_some()
    }

    /// The place of the session's subscriber among those of a topic.
    pub(crate) fn place_of(&self, topic: TopicId) -> Option<Place> {
        self.topics.get(topic).map(|subscription| subscription.place)
    }

    /// Records the new place of the session's subscriber of a topic.
    pub(crate) fn moved(&mut self, topic: TopicId, place: Place) {
        if let Some(subscription) = self.topics.get_mut(topic) {
            subscription.place = place;
        }
    }

    /// Adds a pattern that it does not have.
    pub(crate) fn add_pattern(&mut self, pattern: Pattern, sub: PatternSub) {
        if sub.indexed {
            self.pattern_tokens += pattern.tokens().count();
        }
        self.patterns.insert(pattern, sub);
    }

    /// Marks a pattern as one that the index holds, since its topic has ended. Returns it if the index did not hold it
    /// before; then the caller adds it there.
    pub(crate) fn index_again(&mut self, name: &Pattern) -> Option<PatternSub> {
        let sub = self.patterns.get_mut(name).filter(|sub| !sub.indexed)?;
        sub.indexed = true;
        // The limit on tokens is not checked: nobody has asked for this.
        self.pattern_tokens += name.tokens().count();
        Some(*sub)
    }

    /// Removes a pattern. The caller removes it from the indexes. Topics that it covers stay.
    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<PatternSub> {
        let removed = self.patterns.remove(pattern)?;
        if removed.indexed {
            self.pattern_tokens -= pattern.tokens().count();
            self.topics_full &= self.pattern_tokens > 0;
        }
        Some(removed)
    }

    /// Makes room for `topics` topics that a wildcard will bring.
    pub(crate) fn reserve(&mut self, topics: usize) {
        self.reserved = u32::try_from(topics).unwrap_or(u32::MAX);
        // This is done at once, while there is little to be moved: growing later would move everything that was added
        // by then.
        self.topics.reserve(topics);
    }

    /// Records that one more pattern covers a topic that the session has, and asks for `pace`. When a pattern changes,
    /// this is called for its new pace before [`Self::uncover`] is called for its old one.
    pub(crate) fn cover(&mut self, topic: TopicId, pace: Pace) {
        let Some(subscription) = self.topics.get_mut(topic) else {
            return;
        };
        if subscription.covers == 1 && subscription.every == 0 {
            // The list that the subscriber is in shows what its single pattern asks for.
            self.classes.add(topic, subscription.place.class);
        }
        self.classes.add(topic, pace.class());
        subscription.covers += 1;
        subscription.every += u32::from(pace.is_every());
    }

    /// Records that a pattern that asked for `pace` no longer covers a topic.
    pub(crate) fn uncover(&mut self, topic: TopicId, pace: Pace) {
        if let Some(subscription) = self.topics.get_mut(topic) {
            self.classes.remove(topic, pace.class());
            subscription.covers -= 1;
            subscription.every -= u32::from(pace.is_every());
        }
    }

    /// The pace of a topic after a change of the patterns that cover it: every message has precedence over the newest,
    /// and a faster rate over a slower one.
    pub(crate) fn settle_pace(&mut self, topic: TopicId) -> Option<Pace> {
        let subscription = self.topics.get(topic)?;
        let (limited, fastest) = self.classes.fastest(topic);
        let newest = subscription.covers - subscription.every;
        if subscription.covers == 1 || limited == 0 {
            self.classes.forget(topic);
        }
        Some(match (subscription.every, newest > limited) {
            (1.., _) => Pace::Every,
            (0, true) => Pace::Newest(RateClass::UNLIMITED),
            (0, false) => Pace::Newest(fastest),
        })
    }

    /// Ends the subscription to a topic, with everything that it was still to bring. Returns the place of its
    /// subscriber, which the caller takes out, and the number of promised messages that will not come.
    pub(crate) fn end(&mut self, topic: TopicId) -> Option<(Place, usize)> {
        let mut subscription = self.topics.remove(topic)?;
        self.syncs.arrived(&mut subscription.awaited);
        self.beginnings.forget(topic);
        Some((subscription.place, self.replays.cancel(topic)))
    }

    /// Ends all of them, with what is still to be brought. The topics stay, to be taken out one by one. Returns the patterns, which
    /// are to be taken out as well.
    pub(crate) fn end_all(&mut self) -> Patterns {
        let Self {
            patterns,
            topics,
            parting,
            ..
        } = std::mem::take(self);
        (self.topics, self.parting) = (topics, parting);
        patterns
    }

    /// Pulls the value of a topic once. The request under way waits for it.
    pub(crate) fn one_shot(&mut self, cell: &Arc<TopicCell>) {
        let topic = cell.id();
        if !self.one_shots.contains_key(&topic) {
            self.pulls.one_shot_later(topic);
        }
        let shot = self.one_shots.entry(topic).or_insert_with(|| OneShot::of(cell));
        self.syncs.bring(&mut shot.awaited);
    }

    /// Pulls a value once more that was taken back.
    pub(crate) fn one_shot_again(&mut self, cell: &Arc<TopicCell>) {
        let topic = cell.id();
        if !self.one_shots.contains_key(&topic) {
            self.pulls.one_shot_next(topic);
        }
        let shot = self.one_shots.entry(topic).or_insert_with(|| OneShot::of(cell));
        self.syncs.bring_again(&mut shot.awaited);
    }

    /// Drops the pulls of topics that the session has left.
    pub(crate) fn forget_pulls(&mut self, left: &TopicSet) {
        self.one_shots.retain(|topic, shot| {
            let left = left.has(*topic);
            if left {
                self.syncs.arrived(&mut shot.awaited);
            }
            !left
        });
        self.pulls.forget(|topic| left.has(topic));
    }

    /// The bytes of memory that the queues of pulls and requests hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.pulls.memory_bytes() + self.syncs.memory_bytes()
    }

    /// Frees the memory of pulls that are done.
    pub(crate) fn shrink(&mut self) {
        self.pulls.shrink();
        self.one_shots.shrink_to(0);
    }

    /// Makes the request under way wait for the beginning of the subscription to a topic.
    pub(crate) fn brings(&mut self, topic: TopicId) {
        if let Some(subscription) = self.topics.get_mut(topic) {
            self.syncs.bring(&mut subscription.awaited);
        }
    }

    /// The number of the next ack about topics. The caller sends that ack now.
    pub(crate) fn next_ack(&mut self) -> u32 {
        let sent = self.acks.wrapping_add(1);
        std::mem::replace(&mut self.acks, sent)
    }

    /// Whether a request waits for the beginning of the subscription to a topic.
    pub(crate) fn is_awaited(&self, topic: TopicId) -> bool {
        let subscription = self.topics.get(topic);
        subscription.is_some_and(|it| !it.awaited.is_nothing())
    }
}
