//! `joined`: no update of a topic goes to a client that does not know the topic's lineage.
//!
//! A client learns it from an `ack`, a snapshot or a gap, or has told it itself with the position from which it resumes.
//! Where none of these came, since the topic was made later or had no snapshot to send, `joined` goes right before the first
//! update. Each subscription knows whether its client was told; every way of an update into an outbox asks it first, and what
//! told it is remembered where it waits, so that it is told again if that is taken back.

use std::rc::{Rc, Weak};

use tickwire_wire::{Codec, Control, Seq};

use super::session_mut::SessionMut;
use super::{Shard, Subscriber};
use crate::cell::TopicCell;
use crate::item::Joined;
use crate::planted::{Fault, is_planted};
use crate::publication::TopicId;

/// The `joined` of a topic at one of its numbers: encoded once per codec as long as it waits anywhere.
#[derive(Debug)]
pub(super) struct Announcement {
    seq: Seq,
    frames: [Weak<[u8]>; Codec::ALL.len()],
}

impl Announcement {
    fn new(seq: Seq) -> Self {
        Self {
            seq,
            frames: Codec::ALL.map(|_| Weak::<[u8; 0]>::new() as Weak<[u8]>),
        }
    }
}

/// The frame that says in `codec` that a subscription to the topic of `cell` begins after `seq`. It is kept in `announcement`.
pub(super) fn joined_frame(
    cell: &TopicCell,
    announcement: &mut Option<Box<Announcement>>,
    codec: Codec,
    seq: Seq,
) -> Rc<[u8]> {
    let announcement = announcement.get_or_insert_with(|| Box::new(Announcement::new(seq)));
    if announcement.seq != seq {
        **announcement = Announcement::new(seq);
    }
    let made = &mut announcement.frames[codec as usize];
    if let Some(frame) = made.upgrade() {
        return frame;
    }
    let joined = Control::Joined {
        topic: cell.topic().to_string(),
        epoch: cell.position().epoch,
        seq,
    };
    let frame: Rc<[u8]> = Shard::control_frame(codec, &joined).into();
    *made = Rc::downgrade(&frame);
    frame
}

impl SessionMut<'_> {
    /// An answer behind what waits tells the client the lineage of a topic.
    pub(super) fn lineage_told(&mut self, topic: TopicId) {
        if let Some(place) = self.session.subscriptions.place_of(topic) {
            self.slots[topic.index()].at_mut(place).opening.acked();
        }
    }

    /// Tells the client of a subscription that stands at `after` the topic's lineage before an update that is pulled in, if it
    /// was not told.
    pub(super) fn introduce(&mut self, topic: TopicId, subscriber: &mut Subscriber, after: Seq) {
        let says_nothing = is_planted(Fault::LineageNotTold) && topic.index().is_multiple_of(2);
        let slot = &mut self.slots[topic.index()];
        if !subscriber.opening.introduced()
            && !says_nothing
            && let Some(cell) = slot.cell.as_deref()
        {
            let frame = joined_frame(cell, &mut slot.announcement, self.session.codec(), after);
            let live = false;
            self.session.outbox.push_joined(Joined { topic, live, frame });
            subscriber.opening.introduce();
        }
    }
}
