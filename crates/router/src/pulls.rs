//! What is still to be pulled from the directory for a session, in the order of its turns.
//!
//! Turns come in rounds. Everything that waits when a round begins gets one turn in it: first the topics of which only
//! the newest message is to be sent. A pull that is added meanwhile waits for the next round. So a value is as new as
//! possible, and no busy topic keeps another from its turn. Holds each subscription and each one-shot at most once; the
//! caller that adds one makes sure of that.

use std::collections::VecDeque;

use crate::publication::TopicId;

/// Something to be pulled from the directory when the outbox has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Bring a subscription to the head of its topic.
    Follow(TopicId),
    /// Send one snapshot of a topic without a subscription.
    OneShot(TopicId),
}

impl Pull {
    const fn topic(self) -> TopicId {
        match self {
            Self::Follow(topic) | Self::OneShot(topic) => topic,
        }
    }
}

/// A queue of pulls. `left` is the number of its first entries that still have a turn in this round.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Pull>,
    left: usize,
}

impl Lane {
    fn next(&mut self) -> Option<Pull> {
        self.left = self.left.checked_sub(1)?;
        self.waiting.pop_front()
    }
}

/// The pulls of a session.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    /// Pulls that end with one message, the newest.
    newest: Lane,
    rest: Lane,
}

impl Pulls {
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.waiting.is_empty() && self.rest.waiting.is_empty()
    }

    fn lane(&mut self, every: bool) -> &mut Lane {
        if every { &mut self.rest } else { &mut self.newest }
    }

    /// Gives a subscription a turn in the next round. `every` says whether it gets every message or the newest.
    pub(crate) fn follow_later(&mut self, topic: TopicId, every: bool) {
        self.lane(every).waiting.push_back(Pull::Follow(topic));
    }

    /// Gives a subscription the next turn of its lane in this round.
    pub(crate) fn follow_next(&mut self, topic: TopicId, every: bool) {
        let lane = self.lane(every);
        lane.waiting.push_front(Pull::Follow(topic));
        lane.left += 1;
    }

    /// Gives a one-shot the next turn of its lane in this round.
    pub(crate) fn shoot_next(&mut self, topic: TopicId) {
        self.rest.waiting.push_front(Pull::OneShot(topic));
        self.rest.left += 1;
    }

    /// Gives a one-shot a turn in the next round.
    pub(crate) fn shoot_later(&mut self, topic: TopicId) {
        self.rest.waiting.push_back(Pull::OneShot(topic));
    }

    /// Takes the pull that has the next turn.
    pub(crate) fn next(&mut self) -> Option<Pull> {
        if self.newest.left == 0 && self.rest.left == 0 {
            self.new_round();
        }
        self.newest.next().or_else(|| self.rest.next())
    }

    /// Ends the round: the next turn begins a new one.
    pub(crate) fn restart(&mut self) {
        (self.newest.left, self.rest.left) = (0, 0);
    }

    /// Begins a round with all waiting pulls.
    fn new_round(&mut self) {
        self.newest.left = self.newest.waiting.len();
        self.rest.left = self.rest.waiting.len();
    }

    /// Drops the pulls of the topics that `gone` selects.
    pub(crate) fn forget(&mut self, gone: impl Fn(TopicId) -> bool) {
        for lane in [&mut self.newest, &mut self.rest] {
            let (mut index, left) = (0, lane.left);
            lane.waiting.retain(|pull| {
                let gone = gone(pull.topic());
                lane.left -= usize::from(gone && index < left);
                index += 1;
                !gone
            });
        }
    }

    /// The topics of waiting subscriptions, at most `max` of each lane.
    pub(crate) fn follows(&self, max: usize) -> impl Iterator<Item = TopicId> {
        let newest = self.newest.waiting.iter().take(max);
        let pulls = newest.chain(self.rest.waiting.iter().take(max));
        pulls.filter_map(|pull| match pull {
            Pull::Follow(topic) => Some(*topic),
            Pull::OneShot(_) => None,
        })
    }

    /// Frees the memory of pulls that are done.
    pub(crate) fn shrink(&mut self) {
        self.newest.waiting.shrink_to(0);
        self.rest.waiting.shrink_to(0);
    }

    /// Bytes of memory that the queues hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        (self.newest.waiting.capacity() + self.rest.waiting.capacity()) * size_of::<Pull>()
    }
}
