//! An open session, together with the parts of its shard that serve it.
//!
//! The session is looked up by its number once, in [`Shard::session_mut`]. Code that works on the result cannot reach
//! another session.

use std::sync::Arc;

use tickwire_wire::Seq;
use tickwire_wire::deflate::Deflater;

use super::piecewise::Piece;
use super::writing::Rounds;
use super::{First, Shard, Slot};
use crate::cell::{Attached, TopicCell};
use crate::counts::Counts;
use crate::publication::{Publication, TopicId};
use crate::queue::ShardId;
use crate::session::{Session, SessionId};
use crate::settings::ShardSettings;

/// A session, and the parts of its shard that serve it.
pub(super) struct SessionMut<'a> {
    pub(super) session: &'a mut Session,
    pub(super) shard: ShardId,
    pub(super) settings: &'a ShardSettings,
    pub(super) slots: &'a mut [Slot],
    pub(super) counts: &'a mut Counts,
    pub(super) rounds: &'a mut Rounds,
    pub(super) deflater: &'a mut Deflater,
    pub(super) piece: &'a mut Piece,
    /// The number of subscriptions of all sessions of the shard.
    pub(super) subscriptions: &'a mut usize,
    /// A buffer for messages that are read from a history, reused for its memory.
    pub(super) chunk: &'a mut Vec<Arc<Publication>>,
}

impl Shard {
    /// The session `id`, if it is neither closing nor gone.
    pub(super) fn session_mut(&mut self, id: SessionId) -> Option<SessionMut<'_>> {
        Some(SessionMut {
            session: self.sessions.open(id)?,
            shard: self.id,
            settings: &self.settings,
            slots: &mut self.slots,
            counts: &mut self.counts,
            rounds: &mut self.rounds,
            deflater: &mut self.deflater,
            piece: &mut self.piece,
            subscriptions: &mut self.subscriptions,
            chunk: &mut self.chunk,
        })
    }
}

impl SessionMut<'_> {
    /// The session's position in a topic that it is subscribed to.
    pub(super) fn standing(&self, cell: &TopicCell) -> Option<Attached> {
        let place = self.session.subscriptions.place_of(cell.id())?;
        Some(Attached {
            epoch: cell.position().epoch,
            seq: self.slots[cell.id().index()].at(place).after,
        })
    }

    /// Sends the current value of a subscription's topic before any other of its messages, if it has a value.
    pub(super) fn send_snapshot(&mut self, cell: &TopicCell) {
        if let Some(place) = self.session.subscriptions.place_of(cell.id())
            && cell.position().seq > Seq::ZERO
        {
            let prelude = &mut self.slots[cell.id().index()].at_mut(place).prelude;
            if prelude.first() == First::Nothing {
                prelude.set_first(First::Snapshot);
            }
            self.bring(cell.id());
        }
    }

    /// Makes a subscription catch up with its topic's head. The request under way waits for its first messages.
    pub(super) fn bring(&mut self, topic: TopicId) {
        self.catch_up(topic);
        self.session.subscriptions.brings(topic);
    }

    /// Makes a subscription catch up with its topic's head.
    pub(super) fn catch_up(&mut self, topic: TopicId) {
        let Some(place) = self.session.subscriptions.place_of(topic) else {
            return;
        };
        let subscriber = self.slots[topic.index()].at_mut(place);
        if !std::mem::replace(&mut subscriber.behind, true) {
            self.session.fall_behind(topic, subscriber.every);
            self.rounds.mark(self.session);
        }
    }
}
