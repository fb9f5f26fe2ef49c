//! Which sessions have something to write, in rounds, and what happens when their sockets took bytes.
//!
//! Only a dirty session is handed out, so a batch holds a session once.

use std::collections::VecDeque;

use tickwire_wire::Micros;

use super::Shard;
use crate::outbox::{Delivery, Outbox, Overrun};
use crate::planted::{Fault, is_planted};
use crate::session::{Session, SessionId, Writing};

/// The sessions that have something to write or to pull in.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    dirty: VecDeque<SessionId>,
    /// The number of these that are left in this round. `None` between two rounds.
    left: Option<usize>,
}

impl Rounds {
    /// Marks a session as dirty: it has something to write, or to pull in first. A session that was handed out is checked
    /// again when it is known how much its socket took.
    #[inline]
    pub(super) fn mark(&mut self, session: &mut Session) {
        if session.writing == Writing::Idle
            || (is_planted(Fault::OfferedTwice) && session.writing == Writing::Offered)
        {
            session.writing = Writing::Dirty;
            self.dirty.push_back(session.id);
        }
    }

    /// Continues in the next round with a session that has more to pull in and nothing to write. A session that has
    /// something to write continues when that is written.
    fn pull_later(&mut self, session: &mut Session) {
        let pulls = !session.subscriptions.pulls.is_empty() && session.unfinished.is_none();
        if pulls && session.outbox.is_empty() {
            self.mark(session);
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
    /// The number of dirty sessions: they have something to write or to pull in.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.rounds.dirty.len()
    }

    /// The next session of this round that has frames to write. Its pulls are in its outbox by then, as far as there is
    /// room. `None` ends the round; the next call begins another one with the sessions that are dirty by then.
    ///
    /// A session that was handed out is not handed out again before [`Self::wrote`] has emptied its outbox, or
    /// [`Self::writable`] was called for it. So a caller that collects a batch has each session once.
    pub fn next_dirty(&mut self) -> Option<SessionId> {
        while let Some(id) = self.rounds.next() {
            if self.prepare(id) {
                return Some(id);
            }
        }
        None
    }

    /// Prepares what a dirty session has to write, which pulls in what there is room for. Returns whether there is any.
    fn prepare(&mut self, id: SessionId) -> bool {
        // An earlier session with this number may have been entered.
        let session = self.sessions.get_mut(id);
        let Some(session) = session.filter(|session| session.writing == Writing::Dirty) else {
            return false;
        };
        // This comes before any pull, because a pull must not enter the session into the list again.
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

    /// Records that the session's socket takes bytes again, after it did not take everything. There may be no such
    /// session: the kernel may report a socket whose session was removed a moment ago.
    pub fn writable(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.take_back_offer();
            self.rounds.mark(session);
        }
    }

    /// The outbox of a session.
    #[must_use]
    pub fn outbox(&self, id: SessionId) -> Option<&Outbox> {
        self.sessions.get(id).map(|session| &session.outbox)
    }

    /// Records that a session's next message has begun, with bytes that are not in its outbox and are written before it.
    /// It is not replaced or taken back from now on, and nothing is put ahead of it.
    pub fn front_begun(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.known(id) {
            session.outbox.begin_front();
        }
    }

    /// Records that `count` bytes were written for a session. Calls `done` with each publication that was finished.
    ///
    /// # Errors
    /// If fewer bytes waited. Then the shard does not know what the client has got, and the connection cannot go on.
    pub fn wrote(
        &mut self,
        id: SessionId,
        count: usize,
        now: Micros,
        mut done: impl FnMut(&Delivery),
    ) -> Result<(), Overrun> {
        let Some(session) = self.sessions.known(id).filter(|_| count > 0) else {
            return Ok(());
        };
        let account = session
            .counted
            .as_mut()
            .and_then(|counted| counted.account.as_mut());
        let advance = match account {
            None => session.outbox.advance(count, done),
            Some(account) => {
                let mut counting = account.counting();
                let advance = session.outbox.advance(count, |delivery| {
                    counting.add(delivery);
                    done(delivery);
                });
                let had = counting.had();
                account.counted(had, &mut self.accounts);
                advance
            }
        };
        if advance.spoke {
            session.timers.spoke(now);
        }
        session.reader.took();
        let data_waits = session.outbox.data_bytes() > 0;
        session.subscriptions.one_shot_waits &= data_waits;
        session.subscriptions.end_waits &= data_waits;
        if !self.paused.charge(session, count, now) {
            if session.outbox.is_empty() {
                session.take_back_offer();
            }
            if !session.subscriptions.pulls.is_empty() {
                self.rounds.mark(session);
            }
        }
        session.count_losses(advance.settled);
        self.counts.ledger.settle(advance.settled);
        match advance.excess {
            0 => Ok(()),
            excess => Err(Overrun(excess)),
        }
    }
}
