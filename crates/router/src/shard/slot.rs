//! What a shard knows of one topic: its subscribers, and how far it has come.
//!
//! Subscribers are in lists by the least time between two of their updates. A list's order means nothing: the place of one
//! that is taken out goes to the last. Whoever moves one tells its session where it is.

use std::sync::Arc;

use tickwire_wire::Seq;

use super::joined::Announcement;
use super::rate::RateList;
use crate::cell::TopicCell;
use crate::item::SourceState;
use crate::ledger::Ledger;
use crate::pace::RateClass;
use crate::session::{Place, SessionId};

/// What a subscription is to be sent before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Nothing,
    /// A snapshot.
    Snapshot,
    /// The snapshot that ends a gap which the client has got; what was published since is one more gap.
    Recovery,
}

/// How a subscription goes on: what it is to be sent first, and whether its client knows the topic's lineage. In one byte, as
/// there is one per subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening(u8);

impl Opening {
    const FIRST: u8 = 0b0011;
    const INTRODUCED: u8 = 0b0100;
    const ACKED: u8 = 0b1000;

    /// With nothing to be sent first.
    pub(super) const fn new(introduced: bool) -> Self {
        Self(if introduced { Self::INTRODUCED } else { 0 })
    }

    /// What goes before anything else but a replay.
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

    /// Whether the client knows the lineage of the numbers, or will before anything that is not on its way yet.
    #[inline]
    pub(super) const fn introduced(self) -> bool {
        self.0 & Self::INTRODUCED != 0
    }

    pub(super) const fn introduce(&mut self) {
        self.0 |= Self::INTRODUCED;
    }

    /// An ack tells the lineage, which is never taken back.
    pub(super) const fn acked(&mut self) {
        self.0 |= Self::INTRODUCED | Self::ACKED;
    }

    /// Something was taken back that told the lineage, if it `introduces`.
    pub(super) const fn take_back(&mut self, introduces: bool) {
        if introduces && self.0 & Self::ACKED == 0 {
            self.0 &= !Self::INTRODUCED;
        }
    }
}

/// A subscriber of a topic: which session, and how far it has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscriber {
    pub(super) session: SessionId,
    /// Every message, or the newest.
    pub(super) every: bool,
    /// It is brought to the head from the directory; until then nothing is handed to it live.
    pub(super) behind: bool,
    /// How it goes on.
    pub(super) opening: Opening,
    /// What it was told last of the topic's source.
    pub(super) told: SourceState,
    /// The last message in its outbox, or where its subscription began.
    pub(super) after: Seq,
}

// There is one per subscription, and one is looked at per delivery.
const _: () = assert!(size_of::<Subscriber>() == 16);

/// What a shard knows of a topic.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Set once the sessions whose patterns match were looked up.
    pub(super) cell: Option<Arc<TopicCell>>,
    /// Those who get messages as they come.
    pub(super) subscribers: Vec<Subscriber>,
    /// Those with a least time between two updates.
    pub(super) rated: Vec<RateList>,
    /// The newest message that the shard has learnt of: what its subscribers are owed up to.
    pub(super) head: Seq,
    /// Updates handed out.
    pub(super) handed: u64,
    /// Subscribers that the topic counts on this shard's behalf: they are taken off by this even when a panic has left the lists
    /// wrong.
    pub(super) counted: u32,
    /// The last message before the silence that subscribers were told of.
    pub(super) stale_since: Option<Seq>,
    /// The `joined` that was made last.
    pub(super) announcement: Option<Box<Announcement>>,
}

impl Slot {
    /// Adds a subscriber to those of `class` and returns where it is.
    ///
    /// # Panics
    /// With 2³² subscribers.
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

    /// Takes a subscriber out, and returns it with the one that is in its place now, if there is one.
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

    /// A list without subscribers owes nothing, and stays only while its timer runs.
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

    /// Takes note that the topic has come to `seq`: from now on its subscribers are owed what is up to there.
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

    /// As [`Self::at`], to be changed.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut Subscriber {
        &mut self.list_mut(place.class)[place.index()]
    }

    /// Number of subscribers that the topic has here.
    pub(super) fn len(&self) -> usize {
        let rated = self.rated.iter().map(|list| list.subscribers.len());
        self.subscribers.len() + rated.sum::<usize>()
    }

    /// Whether the topic has no subscriber here.
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
