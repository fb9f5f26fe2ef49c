//! The sessions with a request that is not done, or that is done and has bytes behind it which were not looked at yet;
//! and the bytes that all of them hold together.
//!
//! A session is at most once among those of each kind; whoever parks one makes sure of that. The sum is kept, because it
//! is asked for before each connection that is read.

use std::collections::VecDeque;

use crate::session::SessionId;

/// A session with a request that is not done.
#[derive(Debug)]
struct Parked {
    session: SessionId,
    /// The bytes that the request holds, and those that came behind it.
    bytes: usize,
}

/// The parked sessions, the next in turn first.
#[derive(Debug, Default)]
pub(super) struct ParkedSessions {
    waiting: VecDeque<Parked>,
    /// Those whose request is done. What came behind it is to be read.
    done: VecDeque<Parked>,
    bytes: usize,
}

impl ParkedSessions {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether one of the sessions with a request that is not done is such.
    pub(super) fn any(&self, is: impl Fn(SessionId) -> bool) -> bool {
        self.waiting.iter().any(|parked| is(parked.session))
    }

    /// The bytes that all of them hold, as they were when each was parked.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Parks a session whose request, with what came behind it, holds `bytes`.
    pub(super) fn push(&mut self, session: SessionId, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back(Parked { session, bytes });
    }

    /// Takes the session that has the next turn.
    pub(super) fn pop(&mut self) -> Option<SessionId> {
        let Parked { session, bytes } = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(session)
    }

    /// The number of sessions whose request is done.
    pub(super) fn done_len(&self) -> usize {
        self.done.len()
    }

    /// Keeps a session whose request is done, with the `bytes` that came behind it.
    pub(super) fn push_done(&mut self, session: SessionId, bytes: usize) {
        self.bytes += bytes;
        self.done.push_back(Parked { session, bytes });
    }

    /// Takes the session that is to be read next of those whose request is done.
    pub(super) fn pop_done(&mut self) -> Option<SessionId> {
        let Parked { session, bytes } = self.done.pop_front()?;
        self.bytes -= bytes;
        Some(session)
    }

    /// Removes a session, if it is here.
    pub(super) fn remove(&mut self, session: SessionId) {
        let all = &mut self.bytes;
        for sessions in [&mut self.waiting, &mut self.done] {
            sessions.retain(|parked| {
                let stays = parked.session != session;
                if !stays {
                    *all -= parked.bytes;
                }
                stays
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_sessions_that_are_parked() {
        let mut parked = ParkedSessions::default();
        for (session, bytes) in [(1, 10), (2, 20), (3, 40)] {
            parked.push(SessionId(session), bytes);
        }
        assert_eq!((parked.len(), parked.bytes()), (3, 70));
        parked.remove(SessionId(2));
        parked.remove(SessionId(2));
        assert_eq!((parked.len(), parked.bytes()), (2, 50));
        assert_eq!((parked.pop(), parked.bytes()), (Some(SessionId(1)), 40));
        parked.push(SessionId(1), 15);
        assert_eq!(
            (parked.pop(), parked.pop(), parked.pop()),
            (Some(SessionId(3)), Some(SessionId(1)), None)
        );
        assert_eq!((parked.any(|_| true), parked.bytes()), (false, 0));
        for (session, bytes) in [(1, 10), (2, 20), (3, 40)] {
            parked.push_done(SessionId(session), bytes);
        }
        parked.remove(SessionId(2));
        assert_eq!((parked.len(), parked.done_len(), parked.bytes()), (0, 2, 50));
        assert_eq!((parked.pop_done(), parked.bytes()), (Some(SessionId(1)), 40));
    }
}
