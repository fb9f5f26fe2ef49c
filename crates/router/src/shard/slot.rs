//! The state of one topic in a shard: its subscribers, and its newest message.
//!
//! Subscribers are in lists by the least time between two of their updates. The order of a list means nothing: when a
//! subscriber is taken out, the last one moves to its place. The code that moves one tells its session the new place.

use std::sync::Arc;

use tickwire_wire::Seq;

use super::ending::Ended;
use super::joined::Announcement;
use super::rate::RateList;
use crate::cell::TopicCell;
use crate::ledger::Ledger;
use crate::outbox::SourceState;
use crate::pace::RateClass;
use crate::session::{Place, SessionId};

/// What a subscription is to be sent before it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Nothing,
    /// A snapshot.
    Snapshot,
    /// The snapshot that ends a gap that the client has got. Messages that were published since are one more gap.
    Recovery,
}

/// How a subscription continues: what it is to be sent first, and whether its client knows the topic's lineage. It
/// takes one byte, as there is one per subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prelude(u8);

impl Prelude {
    const FIRST: u8 = 0b0011;
    const INTRODUCED: u8 = 0b0100;
    const ACKED: u8 = 0b1000;
    const NAMED: u8 = 0b1_0000;
    const JOINS: u8 = 0b10_0000;

    /// A prelude with nothing to send first.
    pub(super) const fn new(introduced: bool) -> Self {
        Self(if introduced { Self::INTRODUCED } else { 0 })
    }

    /// What is sent before anything else but a replay.
    pub(super) const fn first(self) -> First {
        match self.0 & Self::FIRST {
            0 => First::Nothing,
            1 => First::Snapshot,
            _ => First::Recovery,
        }
    }

    pub(super) const fn set_first(&mut self, first: First) {
        self.0 = self.0 & !Self::FIRST | first as u8;
    }

    /// Whether the client knows the lineage of the numbers, or will know it from a message that is on its way.
    #[inline]
    pub(super) const fn introduced(self) -> bool {
        self.0 & Self::INTRODUCED != 0
    }

    pub(super) const fn introduce(&mut self) {
        self.0 |= Self::INTRODUCED;
    }

    /// Records that an ack tells the lineage. An ack is never taken back.
    pub(super) const fn acked(&mut self) {
        self.0 |= Self::INTRODUCED | Self::ACKED;
    }

    /// Whether one of the session's patterns is the topic's name.
    pub(super) const fn is_named(self) -> bool {
        self.0 & Self::NAMED != 0
    }

    /// Whether only a `joined`, or the ack of a subscription to the name, may tell the client the lineage: an earlier life
    /// of the topic may have ended for it.
    pub(super) const fn joins(self) -> bool {
        self.0 & Self::JOINS != 0
    }

    /// Records that an earlier life of the topic may have ended for the client.
    pub(super) const fn set_joins(&mut self) {
        self.0 |= Self::JOINS;
    }

    /// Records whether one of the session's patterns is the topic's name.
    pub(super) const fn set_named(&mut self, named: bool) {
        self.0 = self.0 & !Self::NAMED | if named { Self::NAMED } else { 0 };
    }

    /// Records that a message was taken back. If it `introduces`, it was the one that told the lineage.
    pub(super) const fn take_back(&mut self, introduces: bool) {
        if introduces && self.0 & Self::ACKED == 0 {
            self.0 &= !Self::INTRODUCED;
        }
    }
}

/// A subscriber of a topic: its session, and its position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscriber {
    pub(super) session: SessionId,
    /// Whether it gets every message or the newest.
    pub(super) every: bool,
    /// Whether it is behind: it continues from the directory, and until it has reached the head it gets nothing live.
    pub(super) behind: bool,
    /// How it continues.
    pub(super) prelude: Prelude,
    /// What it was last told about the topic's source.
    pub(super) last_status: SourceState,
    /// The last message in its outbox, or the position at which its subscription began.
    pub(super) after: Seq,
}

// There is one per subscription, and one is read per delivery.
const _: () = assert!(size_of::<Subscriber>() == 16);

/// The state of a topic in a shard.
#[derive(Debug)]
pub(super) struct Slot {
    /// The topic's cell.
    pub(super) cell: Arc<TopicCell>,
    /// Set once the topic has ended: its subscribers are behind until they have got all of it.
    pub(super) ended: Option<Box<Ended>>,
    /// The subscribers without a limited rate.
    pub(super) subscribers: Vec<Subscriber>,
    /// The subscribers with a least time between two updates.
    pub(super) rated: Vec<RateList>,
    /// The newest message that the shard has seen. Its subscribers are owed the messages up to it.
    pub(super) head: Seq,
    /// The number of updates that were delivered live.
    pub(super) handed: u64,
    /// The number of subscribers that the topic counts for this shard. Even if a panic has left the lists wrong, the
    /// right number can be subtracted.
    pub(super) counted: u32,
    /// The number of those whose session has subscribed to the topic's name.
    pub(super) named: u32,
    /// The last message before the silence that subscribers were told of.
    pub(super) stale_since: Option<Seq>,
    /// The `joined` that was made last.
    pub(super) announcement: Option<Box<Announcement>>,
}

impl Slot {
    /// A topic without a subscriber.
    pub(super) fn new(cell: Arc<TopicCell>) -> Self {
        Self {
            cell,
            ended: None,
            subscribers: Vec::new(),
            rated: Vec::new(),
            head: Seq::ZERO,
            handed: 0,
            counted: 0,
            named: 0,
            stale_since: None,
            announcement: None,
        }
    }

    /// Adds a subscriber to those of `class` and returns its place.
    ///
    /// # Panics
    /// If there are 2³² subscribers.
    pub(super) fn add(&mut self, class: RateClass, subscriber: Subscriber) -> Place {
        if class.is_limited() && !self.rated.iter().any(|list| list.class == class) {
            self.rated.push(RateList {
                class,
                subscribers: Vec::new(),
                sent: Seq::ZERO,
                waits: false,
                owes: false,
            });
        }
        let list = self.list_mut(class);
        let position = u32::try_from(list.len()).expect("fewer than 2^32 sessions");
        list.push(subscriber);
        Place { class, position }
    }

    /// Takes a subscriber out. Also returns the one that has moved to its place, if there is one.
    pub(super) fn take(&mut self, place: Place) -> (Subscriber, Option<Subscriber>) {
        let list = self.list_mut(place.class);
        let taken = list.swap_remove(place.index());
        let moved = list.get(place.index()).copied();
        if list.is_empty() {
            *list = Vec::new();
            self.drop_empty(place.class);
        }
        (taken, moved)
    }

    /// Removes the list of `class`, which has no subscribers. While its timer runs, the list stays and owes nothing.
    fn drop_empty(&mut self, class: RateClass) {
        if let Some(index) = self.rated.iter().position(|list| list.class == class) {
            self.rated[index].owes = false;
            if !self.rated[index].waits {
                self.rated.swap_remove(index);
            }
        }
    }

    /// The lists of subscribers.
    pub(super) fn lists_mut(&mut self) -> impl Iterator<Item = &mut Vec<Subscriber>> {
        let rated = self.rated.iter_mut().map(|list| &mut list.subscribers);
        std::iter::once(&mut self.subscribers).chain(rated)
    }

    /// Records that the topic's newest message is `seq`: its subscribers are owed the messages up to there.
    #[inline]
    pub(super) fn learn(&mut self, seq: Seq, ledger: &mut Ledger) {
        if seq > self.head {
            ledger.owed += (seq.0 - self.head.0) * self.len() as u64;
            self.head = seq;
        }
    }

    /// The subscriber at `place`.
    pub(super) fn at(&self, place: Place) -> &Subscriber {
        let list = if place.class.is_limited() {
            let found = self.rated.iter().find(|list| list.class == place.class);
            &found.expect("a place is in a list").subscribers
        } else {
            &self.subscribers
        };
        &list[place.index()]
    }

    /// Does the same as [`Self::at`], for a change.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut Subscriber {
        &mut self.list_mut(place.class)[place.index()]
    }

    /// The number of subscribers of the topic in this shard.
    pub(super) fn len(&self) -> usize {
        let rated = self.rated.iter().map(|list| list.subscribers.len());
        self.subscribers.len() + rated.sum::<usize>()
    }

    /// Whether the topic has no subscriber in this shard.
    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.rated.iter().all(|list| list.subscribers.is_empty())
    }

    fn list_mut(&mut self, class: RateClass) -> &mut Vec<Subscriber> {
        if !class.is_limited() {
            return &mut self.subscribers;
        }
        let found = self.rated.iter_mut().find(|list| list.class == class);
        &mut found.expect("a place is in a list").subscribers
    }
}
