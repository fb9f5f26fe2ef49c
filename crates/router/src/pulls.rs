//! What is still to be pulled from the directory for a session, in the order of its turns.
//!
//! Turns come in rounds. Everything that waits when a round begins gets one turn in it: first the topics of which only
//! the newest message is to be sent. A subscription that got a snapshot or a gap goes on at once with another turn. A pull
//! that is added meanwhile waits for the next round. So a value is as new as
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

#[derive(Debug, Default)]
struct Lanes {
    /// Pulls that end with one message, the newest.
    newest: Lane,
    rest: Lane,
}

/// The pulls of a session. Most have none, and pay for a pointer.
#[derive(Debug, Default)]
pub(crate) struct Pulls(Option<Box<Lanes>>);

impl Pulls {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let waits = |lanes: &Lanes| !lanes.newest.waiting.is_empty() || !lanes.rest.waiting.is_empty();
        !self.0.as_deref().is_some_and(waits)
    }

    fn lane(&mut self, every: bool) -> &mut Lane {
        let lanes = self.0.get_or_insert_default();
        if every { &mut lanes.rest } else { &mut lanes.newest }
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
    pub(crate) fn one_shot_next(&mut self, topic: TopicId) {
        let lane = self.lane(true);
        lane.waiting.push_front(Pull::OneShot(topic));
        lane.left += 1;
    }

    /// Gives a one-shot a turn in the next round.
    pub(crate) fn one_shot_later(&mut self, topic: TopicId) {
        self.lane(true).waiting.push_back(Pull::OneShot(topic));
    }

    /// Takes the pull that has the next turn.
    pub(crate) fn next(&mut self) -> Option<Pull> {
        let Lanes { newest, rest } = self.0.as_deref_mut()?;
        if newest.left == 0 && rest.left == 0 {
            // A new round, with everything that waits.
            (newest.left, rest.left) = (newest.waiting.len(), rest.waiting.len());
        }
        newest.next().or_else(|| rest.next())
    }

    /// Ends the round: the next turn begins a new one.
    pub(crate) fn restart(&mut self) {
        if let Some(lanes) = &mut self.0 {
            (lanes.newest.left, lanes.rest.left) = (0, 0);
        }
    }

    /// Drops the pulls of the topics that `gone` selects.
    pub(crate) fn forget(&mut self, gone: impl Fn(TopicId) -> bool) {
        let Some(Lanes { newest, rest }) = self.0.as_deref_mut() else {
            return;
        };
        for lane in [newest, rest] {
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
        let lanes = self.0.iter().flat_map(|lanes| [&lanes.newest, &lanes.rest]);
        let pulls = lanes.flat_map(move |lane| lane.waiting.iter().take(max));
        pulls.filter_map(|pull| match pull {
            Pull::Follow(topic) => Some(*topic),
            Pull::OneShot(_) => None,
        })
    }

    /// Frees the memory if nothing waits.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }

    /// Bytes of memory that the queues hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        let bytes = |lanes: &Lanes| {
            let pulls = lanes.newest.waiting.capacity() + lanes.rest.waiting.capacity();
            size_of::<Lanes>() + pulls * size_of::<Pull>()
        };
        self.0.as_deref().map_or(0, bytes)
    }
}
