//! What a session is subscribed to, and what of it is still to be brought: replays, snapshots, gaps, and the ends of requests.
//!
//! Knows no topic but by its number. Bounded by the limits on subscriptions, and by the topics that the patterns match.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tickwire_wire::{Micros, Pattern};

use super::patterns::{PatternSub, Patterns};
use crate::pace::{ClassCounts, Pace, RateClass};
use crate::publication::{Publication, TopicId};
use crate::pulls::Pulls;
use crate::replays::{Replay, Replays};
use crate::shard::{Missed, Places};
use crate::syncs::{Awaited, Syncs};
use crate::topic_set::TopicSet;

/// Where a subscriber is among those of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the topic's lists.
    pub(crate) class: RateClass,
    /// Index in it.
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
    /// Where the topic's subscriber entry of this session is.
    pub(crate) place: Place,
    /// How many of the session's patterns cover the topic.
    pub(crate) covers: u32,
    /// How many of them ask for every message.
    pub(crate) every: u32,
    /// Which request is told when what the subscription begins with is on its way.
    pub(crate) awaited: Awaited,
    /// How many acks the session had been sent when it began.
    pub(crate) begun: u32,
}

impl SubRef {
    /// Whether it was there when ack number `number` was sent, or began by it. Numbers start again after 2³².
    pub(crate) const fn is_of_ack(&self, number: u32) -> bool {
        number.wrapping_sub(self.begun) <= u32::MAX / 2
    }
}

/// The subscriptions of a session.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) patterns: Patterns,
    pub(crate) topics: FxHashMap<TopicId, SubRef>,
    /// Tokens of those of the patterns that the indexes hold.
    pub(crate) pattern_tokens: usize,
    /// A topic appeared that did not fit any more: until the indexes hold none of the patterns, none joins.
    pub(crate) topics_full: bool,
    /// Topics that a wildcard of the request under way is still to bring.
    pub(crate) reserved: usize,
    /// The session has ended, and not all of them are taken out yet.
    pub(crate) parting: bool,
    /// The classes asked for of topics that more than one of the patterns cover.
    classes: ClassCounts,
    pub(crate) pulls: Pulls,
    /// The topics with a one-shot among the pulls, and which request waits for it.
    pub(crate) one_shots: FxHashMap<TopicId, Awaited>,
    /// Whether a one-shot snapshot may wait in the outbox.
    pub(crate) one_shot_waits: bool,
    /// Messages of resumed subscriptions, kept so that a replay promised is a replay sent.
    replays: Option<Box<Replays>>,
    /// The topics of patterns whose clients are still to be told that they were not resumed.
    missed: Option<Box<FxHashMap<TopicId, Missed>>>,
    /// The requests that are to be told when all that they brought is on its way.
    pub(crate) syncs: Syncs,
    /// Acks of requests about topics that were sent.
    pub(crate) acks: u32,
    /// Positions that the client sent ahead of its next `subscribe`.
    pub(crate) positions: Option<Box<Places>>,
}

impl Subscriptions {
    /// Whether it has the topic, by whatever pattern.
    pub(crate) fn has(&self, topic: TopicId) -> bool {
        self.topics.contains_key(&topic)
    }

    /// Where the session's subscriber is among those of a topic.
    pub(crate) fn place_of(&self, topic: TopicId) -> Option<Place> {
        self.topics.get(&topic).map(|subscription| subscription.place)
    }

    /// The session's subscriber of a topic is in another place now.
    pub(crate) fn moved(&mut self, topic: TopicId, place: Place) {
        if let Some(subscription) = self.topics.get_mut(&topic) {
            subscription.place = place;
        }
    }

    /// Adds a pattern that it does not have.
    pub(crate) fn enter(&mut self, pattern: Pattern, sub: PatternSub) {
        if sub.indexed {
            self.pattern_tokens += pattern.tokens().count();
        }
        self.patterns.insert(pattern, sub);
    }

    /// Takes a pattern out: the indexes are to hold it no more. Topics that it covers stay.
    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<PatternSub> {
        let removed = self.patterns.remove(pattern)?;
        if removed.indexed {
            self.pattern_tokens -= pattern.tokens().count();
            self.topics_full &= self.pattern_tokens > 0;
        }
        Some(removed)
    }

    /// Makes room for so many topics that a wildcard is to bring.
    pub(crate) fn reserve(&mut self, topics: usize) {
        self.reserved = topics;
        // At once, while there is little to be moved: growing later would move all that was added by then.
        self.topics.reserve(topics);
    }

    /// One more pattern covers a topic that is there already, and asks for `pace`. A pattern that changes is entered as it is
    /// now before [`Self::uncover`] takes out what it was.
    pub(crate) fn cover(&mut self, topic: TopicId, pace: Pace) {
        let Some(subscription) = self.topics.get_mut(&topic) else {
            return;
        };
        if subscription.covers == 1 && subscription.every == 0 {
            // What the one pattern asks for is told by the list that its subscriber is in.
            self.classes.add(topic, subscription.place.class);
        }
        self.classes.add(topic, pace.class());
        subscription.covers += 1;
        subscription.every += u32::from(pace.is_every());
    }

    /// One pattern less covers a topic; it asked for `pace`.
    pub(crate) fn uncover(&mut self, topic: TopicId, pace: Pace) {
        if let Some(subscription) = self.topics.get_mut(&topic) {
            self.classes.remove(topic, pace.class());
            subscription.covers -= 1;
            subscription.every -= u32::from(pace.is_every());
        }
    }

    /// What the patterns that cover a topic come to after a change of them: every message beats the newest, a faster
    /// rate a slower one.
    pub(crate) fn settle_pace(&mut self, topic: TopicId) -> Option<Pace> {
        let subscription = self.topics.get(&topic)?;
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

    /// Ends the subscription to a topic, with what is still to be brought of it. Returns where its subscriber is, which is to be
    /// taken out, and how many messages were promised and will not come.
    pub(crate) fn end(&mut self, topic: TopicId) -> Option<(Place, usize)> {
        let mut subscription = self.topics.remove(&topic)?;
        self.syncs.arrived(&mut subscription.awaited);
        if let Some(missed) = &mut self.missed {
            missed.remove(&topic);
        }
        let replays = self.replays.as_mut();
        let cancelled = replays.map_or(0, |replays| replays.cancel(topic));
        self.settle_replays();
        Some((subscription.place, cancelled))
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

    /// Lets the value of a topic come once, and the request that is under way wait for it.
    pub(crate) fn shoot(&mut self, topic: TopicId) {
        if !self.one_shots.contains_key(&topic) {
            self.pulls.shoot_later(topic);
        }
        self.syncs.bring(self.one_shots.entry(topic).or_default());
    }

    /// Lets a value come again that was taken back.
    pub(crate) fn shoot_again(&mut self, topic: TopicId) {
        if !self.one_shots.contains_key(&topic) {
            self.pulls.shoot_next(topic);
        }
        self.syncs.bring_again(self.one_shots.entry(topic).or_default());
    }

    /// Forgets what is to be pulled in of topics that the session has left.
    pub(crate) fn forget_pulls(&mut self, left: &TopicSet) {
        self.one_shots.retain(|topic, awaited| {
            let left = left.has(*topic);
            if left {
                self.syncs.arrived(awaited);
            }
            !left
        });
        self.pulls.forget(|topic| left.has(topic));
    }

    /// Bytes of memory that the queues of what is to be brought hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.pulls.memory_bytes() + self.syncs.memory_bytes()
    }

    /// Gives up the memory of pulls that have gone.
    pub(crate) fn shrink(&mut self) {
        self.pulls.shrink();
        self.one_shots.shrink_to(0);
    }

    /// The request that is under way brings what the subscription to a topic begins with.
    pub(crate) fn brings(&mut self, topic: TopicId) {
        if let Some(subscription) = self.topics.get_mut(&topic) {
            self.syncs.bring(&mut subscription.awaited);
        }
    }

    /// The number of the next ack about topics, which is sent now.
    pub(crate) fn next_ack(&mut self) -> u32 {
        let sent = self.acks.wrapping_add(1);
        std::mem::replace(&mut self.acks, sent)
    }

    /// Whether messages of a replay of the topic that was promised wait for their turn.
    pub(crate) fn replays(&self, topic: TopicId) -> bool {
        self.replays.as_ref().is_some_and(|replays| replays.has(topic))
    }

    /// Bytes of messages that are kept for replays.
    pub(crate) fn replay_bytes(&self) -> usize {
        self.replays.as_ref().map_or(0, |replays| replays.bytes())
    }

    /// Promises messages of a topic.
    pub(crate) fn promise(&mut self, topic: TopicId, messages: Replay) {
        if !messages.is_empty() {
            self.replays.get_or_insert_default().promise(topic, messages);
        }
    }

    /// A promised message was taken back: it comes again.
    pub(crate) fn promise_again(&mut self, publication: &Arc<Publication>) {
        self.replays.get_or_insert_default().give_back(publication);
    }

    /// Takes the next message of a topic that was promised.
    pub(crate) fn next_of_replay(&mut self, topic: TopicId) -> Option<Arc<Publication>> {
        let next = self.replays.as_mut()?.next(topic);
        self.settle_replays();
        next
    }

    /// Whether promised messages have waited for more than `most_ms`, counted from when they were first seen to.
    pub(crate) fn replay_is_overdue(&mut self, most_ms: u64, now: Micros) -> bool {
        let since = self.replays.as_mut().map(|replays| replays.since(now));
        since.is_some_and(|since| since.plus_ms(most_ms) <= now)
    }

    /// What was promised has another size: nothing is kept of what has come to its end.
    fn settle_replays(&mut self) {
        self.replays.take_if(|replays| replays.is_empty());
    }

    /// Whether the client is still to be told that the topic was not resumed.
    pub(crate) fn misses(&self, topic: TopicId) -> bool {
        self.missed
            .as_ref()
            .is_some_and(|missed| missed.contains_key(&topic))
    }

    /// The client is to be told what it missed of a topic.
    pub(crate) fn miss(&mut self, topic: TopicId, missed: Missed) {
        self.missed.get_or_insert_default().insert(topic, missed);
    }

    /// Takes what the client is to be told that it missed of a topic.
    pub(crate) fn take_missed(&mut self, topic: TopicId) -> Option<Missed> {
        let missed = self.missed.as_mut()?.remove(&topic);
        self.missed.take_if(|missed| missed.is_empty());
        missed
    }
}
