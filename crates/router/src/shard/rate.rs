//! Subscribers with a least time between two updates. They are apart from the others, in a list per topic and class.
//!
//! A publication looks only at such a list, not at its subscribers, unless the list's time has come. The first
//! publication after a quiet time is delivered at once. After each delivery the list has one timer, and of the
//! publications until that timer comes up only the newest is delivered. All lists of a class wait equally long, so a
//! queue per class holds the timers in their order. A timer that is handled late delivers late and loses nothing. There
//! is at most one timer per topic and class. A list is removed when it is empty and has no timer.

use std::collections::VecDeque;

use tickwire_wire::{Micros, Seq};

use super::{Shard, Subscriber};
use crate::pace::RateClass;
use crate::publication::{LocalPublication, TopicId};

/// Deliveries of rated updates before other work has its turn.
const DELIVERIES_AT_ONCE: usize = 64 * 1024;

/// The subscribers of a topic that share a class.
#[derive(Debug)]
pub(super) struct RateList {
    pub(super) class: RateClass,
    pub(super) subscribers: Vec<Subscriber>,
    /// The newest message that was delivered to them. Each subscriber that is not behind has it, or began after it.
    pub(super) sent: Seq,
    /// Whether a timer runs, because the last delivery was too recent.
    pub(super) waits: bool,
    /// Whether a message newer than `sent` is to be delivered when the timer comes up.
    pub(super) owes: bool,
}

/// The timers of the lists, by class, in the order in which they come up.
#[derive(Debug, Default)]
pub(super) struct RateTimers([VecDeque<(Micros, TopicId)>; RateClass::COUNT]);

impl RateTimers {
    fn start(&mut self, class: RateClass, topic: TopicId, now: Micros) {
        let at = now.plus_ms(u64::from(class.ms()));
        self.0[class.index()].push_back((at, topic));
    }

    /// When the next timer comes up, and its class.
    fn next(&self) -> Option<(Micros, RateClass)> {
        let first = |class: RateClass| Some((self.0[class.index()].front()?.0, class));
        RateClass::limiting().filter_map(first).min()
    }

    /// When the next timer comes up.
    pub(super) fn next_timeout(&self) -> Option<Micros> {
        self.next().map(|(at, _)| at)
    }

    /// Takes out the next timer that has come up at `now`.
    fn take_due(&mut self, now: Micros) -> Option<(RateClass, TopicId)> {
        let (_, class) = self.next().filter(|(at, _)| *at <= now)?;
        let timers = &mut self.0[class.index()];
        let (_, topic) = timers.pop_front()?;
        if timers.is_empty() {
            *timers = VecDeque::new();
        }
        Some((class, topic))
    }
}

impl Shard {
    /// Hands a new message to the classes of a topic: those without a running timer get it now. Returns the number of
    /// deliveries.
    pub(super) fn hand_rated(&mut self, publication: &LocalPublication, now: Micros) -> usize {
        let topic = publication.lineage.id;
        let mut handed = 0;
        let lists = self.slots.get(topic).map_or(0, |slot| slot.rated.len());
        for index in 0..lists {
            let list = &mut self.slots[topic].rated[index];
            if publication.seq <= list.sent || list.subscribers.is_empty() {
                continue;
            }
            if list.waits {
                list.owes = true;
            } else {
                handed += self.send_rated(index, publication, now);
            }
        }
        handed
    }

    /// Delivers the messages whose timers have come up, at most about as many as should be delivered at once.
    pub(super) fn deliver_due(&mut self, now: Micros) {
        let mut spent = 0;
        self.pressed = false;
        while spent < DELIVERIES_AT_ONCE
            && !self.pressed
            && let Some((class, topic)) = self.rate_timers.take_due(now)
        {
            spent += 1 + self.come_up(class, topic, now);
        }
    }

    /// Handles the timer of a list.
    fn come_up(&mut self, class: RateClass, topic: TopicId, now: Micros) -> usize {
        let Some(slot) = self.slots.get_mut(topic) else {
            return 0; // it has ended
        };
        let Some(index) = slot.rated.iter().position(|list| list.class == class) else {
            return 0;
        };
        let list = &mut slot.rated[index];
        list.waits = false;
        let owes = std::mem::take(&mut list.owes);
        if list.subscribers.is_empty() {
            slot.rated.swap_remove(index);
            return 0;
        }
        let Some(newest) = owes.then(|| slot.cell.newest()).flatten() else {
            return 0;
        };
        if slot.stale_since.is_some() {
            self.source_came_back(topic, newest.seq, now);
        }
        self.send_rated(index, &newest.into(), now)
    }

    /// Delivers a message to a list of its topic, whose timer runs from then on.
    fn send_rated(&mut self, index: usize, publication: &LocalPublication, now: Micros) -> usize {
        let topic = publication.lineage.id;
        let slot = &mut self.slots[topic];
        slot.learn(publication.seq, &mut self.counts.ledger);
        let list = &mut slot.rated[index];
        list.sent = publication.seq;
        list.waits = true;
        self.rate_timers.start(list.class, topic, now);
        let handed = self.hand_all(publication, Some(index));
        self.lag_overfull(now);
        handed
    }
}
