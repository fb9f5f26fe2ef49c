//! `joined`: no update of a topic goes to a client that does not know the topic's lineage.
//!
//! A client learns it from an `ack`, a snapshot or a gap, or has told it itself with the position from which it resumes.
//! Where none of these came, since the topic was made later or had no snapshot to send, `joined` goes right before the first
//! update. Each subscription knows whether its client was told; every way of an update into an outbox asks it first, and what
//! told it is remembered where it waits, so that it is told again if that is taken back.

use std::rc::{Rc, Weak};

use tickwire_wire::{Control, Dialect, Seq};

use super::{Shard, Slot, Subscriber};
use crate::item::Joined;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;
use crate::session::SessionId;

/// The `joined` of a topic at one of its numbers: encoded once per form as long as it waits anywhere.
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

impl Slot {
    /// What says in `dialect` that a subscription to this topic begins after `seq`.
    pub(super) fn joined_bytes(&mut self, dialect: Dialect, seq: Seq) -> Option<Rc<[u8]>> {
        let cell = self.cell.as_ref()?;
        let announcement = self
            .announcement
            .get_or_insert_with(|| Box::new(Announcement::new(seq)));
        if announcement.seq != seq {
            **announcement = Announcement::new(seq);
        }
        let made = &mut announcement.bytes[dialect.form()];
        if let Some(bytes) = made.upgrade() {
            return Some(bytes);
        }
        let joined = Control::Joined {
            topic: cell.topic().to_string(),
            epoch: cell.position().epoch,
            seq,
        };
        let bytes: Rc<[u8]> = dialect.control(&joined).into();
        *made = Rc::downgrade(&bytes);
        Some(bytes)
    }
}

impl Shard {
    /// An answer behind what waits tells a client the lineage of a topic.
    pub(super) fn lineage_told(&mut self, id: SessionId, topic: TopicId) {
        if let Some(place) = self.place_of(id, topic) {
            let subscriber = self.slots[topic.index()].at_mut(place);
            subscriber.opening.acked();
        }
    }

    /// Tells the client of a subscription that stands at `after` the topic's lineage before an update that is pulled in, if it
    /// was not told.
    pub(super) fn introduce(
        &mut self,
        id: SessionId,
        topic: TopicId,
        subscriber: &mut Subscriber,
        after: Seq,
    ) {
        let says_nothing = is_planted(Fault::LineageNotTold) && topic.index().is_multiple_of(2);
        if subscriber.opening.introduced() || says_nothing {
            return;
        }
        if let Some(session) = self.sessions.get_mut(id.index())
            && let Some(bytes) = self.slots[topic.index()].joined_bytes(session.dialect, after)
        {
            let live = false;
            session.outbox.push_joined(Joined { topic, live, bytes });
            subscriber.opening.introduce();
        }
    }
}
