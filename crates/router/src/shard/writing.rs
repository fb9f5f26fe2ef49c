//! Which sessions have something to be written, in rounds, and what becomes of it when their sockets took bytes.
//!
//! Only a dirty session is handed out, so a batch holds a session once.

use std::collections::VecDeque;

use tickwire_wire::Micros;

use super::Shard;
use crate::outbox::{Fanout, Outbox, Overrun};
use crate::planted::{Fault, is_planted};
use crate::session::{Session, SessionId, Writing};

/// The sessions that have something to be written, or pulled in.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    dirty: VecDeque<SessionId>,
    /// How many of them this round has left; none between two rounds.
    left: Option<usize>,
}

impl Rounds {
    /// Something is to be written for a session, or pulled in first. One that was handed out is looked at again when it is
    /// known what its socket took.
    #[inline]
    pub(super) fn enter(&mut self, session: &mut Session) {
        if session.writing == Writing::Idle
            || (is_planted(Fault::OfferedTwice) && session.writing == Writing::Offered)
        {
            session.writing = Writing::Dirty;
            self.dirty.push_back(session.id);
        }
    }

    /// Goes on in the next round with a session that has more to pull in and nothing to write. One that has something to
    /// write goes on when it is written.
    fn pull_later(&mut self, session: &mut Session) {
        let pulls = !session.subscriptions.pulls.is_empty() && session.unfinished.is_none();
        if pulls && session.outbox.is_empty() {
            self.enter(session);
        }
    }

    /// Takes the next session of this round. After the last one the round is over.
    fn next(&mut self) -> Option<SessionId> {
        let left = self.left.take().unwrap_or(self.dirty.len());
        let left = left.checked_sub(1)?;
        let next = self.dirty.pop_front()?;
        self.left = Some(left + usize::from(is_planted(Fault::OfferedTwice)));
        Some(next)
    }
}

impl Shard {
    /// As [`Rounds::enter`].
    pub(super) fn mark_dirty(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            self.rounds.enter(session);
        }
    }

    /// Number of sessions that have frames to write.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.rounds.dirty.len()
    }

    /// The next session of this round that has frames to write; what it was waiting to pull in is in its outbox by then.
    /// `None` ends the round, and the next call begins another one, with the sessions that are dirty by then.
    ///
    /// A session that was handed out is not handed out again before [`Self::wrote`] emptied its outbox, or
    /// [`Self::writable`] or [`Self::refill`] said that it takes more. So whoever collects a batch has each session once.
    pub fn next_dirty(&mut self) -> Option<SessionId> {
        while let Some(id) = self.rounds.next() {
            if self.offer(id) {
                return Some(id);
            }
        }
        None
    }

    /// Offers a dirty session what waits for it; returns whether anything does.
    fn offer(&mut self, id: SessionId) -> bool {
        // It may have been entered by an earlier session with this number.
        let session = self.sessions.get_mut(id);
        let Some(session) = session.filter(|session| session.writing == Writing::Dirty) else {
            return false;
        };
        // Before anything is pulled in: that must not enter it into the list again.
        session.writing = Writing::Offered;
        if session.reader.lags() || !session.subscriptions.pulls.is_empty() {
            self.bring_up_to_date(id);
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        if !session.outbox.is_empty() {
            return true;
        }
        session.writing = Writing::Idle;
        self.rounds.pull_later(session);
        false
    }

    /// The session's socket takes bytes again, after it did not take all that waited. The kernel may say so of a socket whose
    /// session was removed a moment ago.
    pub fn writable(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.take_back_offer();
            self.rounds.enter(session);
        }
    }

    /// Fills a session's outbox with messages that it was waiting to pull in. It is [`Self::writable`] for a caller that reads the
    /// outbox itself and does not use [`Self::next_dirty`].
    pub fn refill(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.known(id) {
            session.take_back_offer();
            self.bring_up_to_date(id);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            self.rounds.pull_later(session);
        }
    }

    /// What waits for a session.
    #[must_use]
    pub fn outbox(&self, id: SessionId) -> Option<&Outbox> {
        self.sessions.get(id).map(|session| &session.outbox)
    }

    /// Takes note that `count` bytes were written for a session; `done` gets each publication that was finished.
    ///
    /// # Errors
    /// When fewer bytes waited. What the far end has is not what the shard knows of then: the connection cannot go on.
    pub fn wrote(
        &mut self,
        id: SessionId,
        count: usize,
        now: Micros,
        done: impl FnMut(&Fanout),
    ) -> Result<(), Overrun> {
        let Some(session) = self.sessions.known(id).filter(|_| count > 0) else {
            return Ok(());
        };
        let advance = session.outbox.advance(count, done);
        if advance.spoke {
            session.timers.spoke(now);
        }
        session.reader.took();
        session.subscriptions.one_shot_waits &= session.outbox.data_bytes() > 0;
        if session.outbox.is_empty() {
            session.take_back_offer();
        }
        if !session.subscriptions.pulls.is_empty() {
            self.rounds.enter(session);
        }
        self.counts.ledger.settle(advance.settled);
        match advance.excess {
            0 => Ok(()),
            excess => Err(Overrun(excess)),
        }
    }
}
