//! The sessions of a shard by their numbers, and an open one together with the parts of its shard that serve it.
//!
//! The number of a removed session is given to a later one. [`Shard::session_mut`] looks a session up once. Code that
//! works on the result cannot reach another session.

use std::sync::Arc;

use slab::Slab;
use tickwire_wire::Seq;
use tickwire_wire::deflate::Deflater;

use super::ending::Lives;
use super::piecewise::Piece;
use super::replaying::Replaying;
use super::writing::Rounds;
use super::{First, Shard, Slot};
use crate::cell::{Attached, TopicCell};
use crate::counts::Counts;
use crate::directory::Directory;
use crate::paged::Paged;
use crate::publication::{Publication, TopicId};
use crate::queue::ShardId;
use crate::session::{Phase, Session, SessionId};
use crate::settings::ShardSettings;

/// All sessions, including ended ones whose subscriptions are still being taken out.
#[derive(Debug, Default)]
pub(super) struct Sessions(Slab<Session>);

impl Sessions {
    /// Inserts the session that `make` makes for its number.
    ///
    /// # Panics
    /// If there are 2³² sessions.
    pub(super) fn insert(&mut self, make: impl FnOnce(SessionId) -> Session) -> &mut Session {
        let entry = self.0.vacant_entry();
        let id = SessionId(u32::try_from(entry.key()).expect("fewer than 2^32 sessions"));
        entry.insert(make(id))
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, id: SessionId) {
        self.0.try_remove(id.index());
    }

    #[inline]
    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.0.get(id.index())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.0.get_mut(id.index())
    }

    /// The session with the number `id`, which the owner of the shard has opened and not removed.
    ///
    /// # Panics
    /// In a debug build, if there is none. That is a fault of the owner: its call would be lost, or would reach the
    /// next session with this number.
    pub(super) fn known(&mut self, id: SessionId) -> Option<&mut Session> {
        let session = self.get_mut(id).filter(|session| session.phase != Phase::Gone);
        debug_assert!(session.is_some(), "there is no session {}", id.0);
        session
    }

    /// The session, if it is neither closing nor gone.
    pub(super) fn open(&mut self, id: SessionId) -> Option<&mut Session> {
        self.get_mut(id).filter(|session| session.is_open())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.0.iter().map(|(_, session)| session)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.0.iter_mut().map(|(_, session)| session)
    }
}

/// A session, and the parts of its shard that serve it.
pub(super) struct SessionMut<'a> {
    pub(super) session: &'a mut Session,
    pub(super) shard: ShardId,
    pub(super) settings: &'a ShardSettings,
    pub(super) slots: &'a mut Paged<Slot>,
    pub(super) lives: &'a Lives,
    pub(super) counts: &'a mut Counts,
    pub(super) rounds: &'a mut Rounds,
    pub(super) deflater: &'a mut Deflater,
    pub(super) piece: &'a mut Piece,
    /// The number of subscriptions of all sessions of the shard.
    pub(super) subscriptions: &'a mut usize,
    pub(super) directory: &'a Arc<Directory>,
    pub(super) replaying: &'a mut Replaying,
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
            lives: &self.lives,
            counts: &mut self.counts,
            rounds: &mut self.rounds,
            deflater: &mut self.deflater,
            piece: &mut self.piece,
            subscriptions: &mut self.subscriptions,
            directory: &self.directory,
            replaying: &mut self.replaying,
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
            seq: self.slots[cell.id()].at(place).after,
        })
    }

    /// Sends the current value of a subscription's topic before any other of its messages, if it has a value.
    pub(super) fn send_snapshot(&mut self, cell: &TopicCell) {
        if let Some(place) = self.session.subscriptions.place_of(cell.id())
            && cell.position().seq > Seq::ZERO
        {
            let prelude = &mut self.slots[cell.id()].at_mut(place).prelude;
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
        let subscriber = self.slots[topic].at_mut(place);
        if !std::mem::replace(&mut subscriber.behind, true) {
            self.session.fall_behind(topic, subscriber.every);
            self.rounds.mark(self.session);
        } else {
            self.call_back(topic);
        }
    }
}
