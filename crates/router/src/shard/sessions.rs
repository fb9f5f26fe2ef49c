//! The sessions of a shard by their numbers. The number of a removed session is given to a later one.

use slab::Slab;

use crate::session::{Phase, Session, SessionId};

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
