//! Subscribers with a least time between two updates: apart from the others, in a list per topic and class.
//!
//! A publication touches such a list, not its subscribers, unless its time has come. The first one after a quiet time goes
//! out at once; after each delivery the list has one entry among the timers, and what was published until that comes up is
//! skipped but for the newest. All of a class wait equally long, so a queue per class holds the timers in their order. A
//! wake that is late delivers late and loses nothing. At most one timer per topic and class; a list goes when it is
//! empty and has none.

use std::collections::VecDeque;
use std::sync::Arc;

use tickwire_wire::{Micros, Seq};

use super::{Shard, Subscriber};
use crate::pace::RateClass;
use crate::publication::{Publication, TopicId};

/// Deliveries of timed updates before something else has its turn.
const DELIVERIES_AT_ONCE: usize = 64 * 1024;

/// The subscribers of a topic that share a class.
#[derive(Debug)]
pub(super) struct RateList {
    pub(super) class: RateClass,
    pub(super) subscribers: Vec<Subscriber>,
    /// The newest message that was handed to them. Who is not behind has it, or began after it.
    pub(super) sent: Seq,
    /// Whether a timer runs: the last delivery is not long enough ago.
    pub(super) waits: bool,
    /// Whether something newer than `sent` is to go out when it comes up.
    pub(super) owes: bool,
}

/// The lists that wait for their time, by class in the order in which it comes.
#[derive(Debug, Default)]
pub(super) struct RateTimers([VecDeque<(Micros, TopicId)>; RateClass::COUNT]);

impl RateTimers {
    fn start(&mut self, class: RateClass, topic: TopicId, now: Micros) {
        let at = now.plus_ms(u64::from(class.ms()));
        self.0[class.index()].push_back((at, topic));
    }

    /// When the next one comes up, and its class.
    fn next(&self) -> Option<(Micros, RateClass)> {
        let first = |class: RateClass| Some((self.0[class.index()].front()?.0, class));
        RateClass::limiting().filter_map(first).min()
    }

    /// When the next one comes up.
    pub(super) fn next_timeout(&self) -> Option<Micros> {
        self.next().map(|(at, _)| at)
    }

    /// Takes out the next one that has come up at `now`.
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
    /// Tells the classes of a topic of a new message: those that do not wait get it now. Returns the deliveries.
    pub(super) fn offer_rated(&mut self, publication: &Arc<Publication>, now: Micros) -> usize {
        let topic = publication.lineage.id;
        let mut handed = 0;
        for index in 0..self.slots[topic.index()].rated.len() {
            let list = &mut self.slots[topic.index()].rated[index];
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

    /// Delivers what has waited for its time, at most about as much as should go at once.
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

    /// The timer of a list came up.
    fn come_up(&mut self, class: RateClass, topic: TopicId, now: Micros) -> usize {
        let slot = &mut self.slots[topic.index()];
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
        let Some(newest) = slot.cell.as_ref().filter(|_| owes).and_then(|cell| cell.newest()) else {
            return 0;
        };
        if slot.stale_since.is_some() {
            self.source_came_back(topic, newest.seq, now);
        }
        self.send_rated(index, &newest, now)
    }

    /// Hands a message to a list of its topic, which waits from then on.
    fn send_rated(&mut self, index: usize, publication: &Arc<Publication>, now: Micros) -> usize {
        let topic = publication.lineage.id;
        let slot = &mut self.slots[topic.index()];
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
