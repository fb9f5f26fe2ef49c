//! Sessions with a rate of bytes of their own: one that was written too much is written nothing for a while.
//!
//! To everything else such a session is one whose socket takes nothing now. So its messages wait, it may lag, and then it
//! gets the newest values and exact gaps like any slow reader. Time in which it is not written is no time in which its
//! client has taken nothing. A close is written at once.
//!
//! Bounded: a session has one entry at a time. Those of sessions that are gone go at their time, which is at most a few
//! seconds ahead: the least rate is a quarter of what is written at a time.

use std::collections::BTreeSet;

use tickwire_wire::Micros;

use super::Shard;
use crate::bucket::Rate;
use crate::planted::{Fault, is_planted};
use crate::session::{Session, SessionId, Writing};

/// The sessions that are written nothing now, by the time at which they are written again.
#[derive(Debug, Default)]
pub(super) struct Paused(BTreeSet<(Micros, SessionId)>);

impl Paused {
    /// Charges a session for `count` bytes that it was written. Returns whether it is written nothing more for now.
    #[inline]
    pub(super) fn charge(&mut self, session: &mut Session, count: usize, now: Micros) -> bool {
        match session.rights.own.bytes_per_s {
            None => false,
            Some(per_s) => self.pause(session, Rate::new(per_s, per_s), count, now),
        }
    }

    fn pause(&mut self, session: &mut Session, rate: Rate, count: usize, now: Micros) -> bool {
        let written = &mut session.counted.get_or_insert_default().written;
        written.charge(rate, count, now);
        let Err(wait_us) = written.check(rate, now) else {
            return false;
        };
        // A close frame waits for nothing.
        if !session.is_open() {
            return false;
        }
        session.writing = Writing::Paused;
        self.0.insert((Micros(now.0 + wait_us), session.id));
        true
    }

    /// When a session is written again.
    pub(super) fn next_timeout(&self) -> Option<Micros> {
        self.0.first().map(|(at, _)| *at)
    }
}

impl Shard {
    /// The number of sessions that are written nothing now because of their rate of bytes, and of such that have ended
    /// meanwhile.
    #[must_use]
    pub fn paused_count(&self) -> usize {
        self.paused.0.len()
    }

    /// Lets sessions be written again whose time has come.
    pub(super) fn end_pauses(&mut self, now: Micros) {
        while let Some((at, id)) = self.paused.0.first().copied()
            && at <= now
        {
            self.paused.0.pop_first();
            if is_planted(Fault::PauseForever) && id.index() % 2 == 1 {
                continue;
            }
            if let Some(session) = self.sessions.get_mut(id)
                && session.end_pause()
                && (!session.outbox.is_empty() || !session.subscriptions.pulls.is_empty())
            {
                self.rounds.mark(session);
            }
        }
    }
}
