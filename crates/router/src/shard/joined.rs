//! `joined`: before any update of a topic, the client is told the topic's lineage.
//!
//! A client learns the lineage from an `ack`, a snapshot or a gap, or has itself given it with the position of a
//! resume. If none of these came, since the topic was made later or had no snapshot, `joined` goes right before the
//! first update. Each subscription knows whether its client was told, and this is checked wherever an update enters an
//! outbox. The message that tells the lineage is marked in the outbox, so that the client is told again if that message
//! is taken back.

use std::rc::{Rc, Weak};

use tickwire_wire::{Control, Dialect, Seq};

use super::Subscriber;
use super::sessions::SessionMut;
use crate::cell::TopicCell;
use crate::outbox::{Item, Joined};
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;

/// The `joined` of a topic at one of its numbers. It is encoded once per form as long as it waits in any outbox.
#[derive(Debug)]
pub(super) struct Announcement {
    seq: Seq,
    bytes: [Weak<[u8]>; Dialect::FORMS],
}

impl Announcement {
    fn new(seq: Seq) -> Self {
        Self {
            seq,
            bytes: [(); Dialect::FORMS].map(|()| Weak::<[u8; 0]>::new() as Weak<[u8]>),
        }
    }
}

/// The bytes that say in `dialect` that a subscription to the topic of `cell` begins after `seq`. They are kept in
/// `announcement`.
pub(super) fn joined_bytes(
    cell: &TopicCell,
    announcement: &mut Option<Box<Announcement>>,
    dialect: Dialect,
    seq: Seq,
) -> Rc<[u8]> {
    let announcement = announcement.get_or_insert_with(|| Box::new(Announcement::new(seq)));
    if announcement.seq != seq {
        **announcement = Announcement::new(seq);
    }
    let made = &mut announcement.bytes[dialect.form()];
    if let Some(bytes) = made.upgrade() {
        return bytes;
    }
    let joined = Control::Joined {
        topic: cell.topic().to_string(),
        epoch: cell.position().epoch,
        seq,
    };
    let bytes: Rc<[u8]> = dialect.control(&joined).into();
    *made = Rc::downgrade(&bytes);
    bytes
}

impl SessionMut<'_> {
    /// Records that an answer behind the waiting data tells the client the lineage of a topic.
    pub(super) fn lineage_told(&mut self, topic: TopicId) {
        if let Some(place) = self.session.subscriptions.place_of(topic) {
            self.slots[topic].at_mut(place).prelude.acked();
        }
    }

    /// Does the same for an answer that does not grant a subscription. A client that was told of the end of an earlier
    /// life does not rely on it.
    pub(super) fn lineage_shown(&mut self, topic: TopicId) {
        if let Some(place) = self.session.subscriptions.place_of(topic)
            && !self.slots[topic].at(place).prelude.joins()
        {
            self.lineage_told(topic);
        }
    }

    /// Tells the client the topic's lineage before a snapshot or gap, if an earlier life of the topic has ended for it:
    /// behind an `end` nothing comes but a `joined`.
    pub(super) fn introduce_joining(&mut self, topic: TopicId, subscriber: &mut Subscriber) {
        if subscriber.prelude.joins() && !subscriber.prelude.introduced() {
            let after = subscriber.after;
            self.introduce(topic, subscriber, after);
        }
    }

    /// Tells the client the topic's lineage before an update that is pulled in, if it was not told. The subscription
    /// stands at `after`.
    pub(super) fn introduce(&mut self, topic: TopicId, subscriber: &mut Subscriber, after: Seq) {
        let says_nothing = is_planted(Fault::LineageNotTold) && topic.index().is_multiple_of(2);
        let slot = &mut self.slots[topic];
        if !subscriber.prelude.introduced() && !says_nothing {
            let bytes = joined_bytes(&slot.cell, &mut slot.announcement, self.session.dialect, after);
            let live = false;
            self.session
                .outbox
                .push(Item::Joined(Box::new(Joined { topic, live, bytes })));
            subscriber.prelude.introduce();
        }
    }
}
