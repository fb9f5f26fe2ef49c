//! Deadlines of sessions: heartbeat, ping and pong, first request, end of closing. Updates that wait for their time have
//! timers of their own, and so have tokens that expire.
//!
//! Each open session has one entry in the heap, at the earliest time at which something may be due; when it comes up,
//! what is really due is done and the next time found. So a message sent or received costs no timer work.

use std::cmp::Reverse;
use std::rc::Rc;

use tickwire_wire::{CloseCode, Control, Dialect, Micros};

use super::Shard;
use crate::counts::Op;
use crate::planted::{Fault, is_planted};
use crate::session::{Phase, Session, SessionId, Transport};

/// Sessions that are seen to before something else has its turn.
const DEADLINES_AT_ONCE: usize = 512;

/// What the close frame says to a reader that does not take what it was promised.
const REPLAY_OVERDUE: &str = "slow reader: messages that it was promised waited too long";

impl Shard {
    /// The client sent bytes.
    pub fn heard(&mut self, id: SessionId, now: Micros) {
        if let Some(session) = self.session(id) {
            session.last_in = now;
            session.pinged = None;
        }
    }

    /// The client sent a ping (RFC 6455 §5.5.2): it gets the pong, within its rate.
    pub fn ping(&mut self, id: SessionId, payload: &[u8], now: Micros) {
        self.counts.ops[Op::Ping as usize] += 1;
        if self.within_rate(id, None, now) {
            self.send_signal(id, |dialect| dialect.pong(payload));
            self.close_if_drowning(id, now);
        }
    }

    /// The client sent a pong (RFC 6455 §5.5.3): the answer to a ping costs nothing, any other what a request costs.
    pub fn pong(&mut self, id: SessionId, now: Micros) {
        let owed = self
            .session(id)
            .is_some_and(|session| std::mem::take(&mut session.pong_owed));
        if !owed {
            self.within_rate(id, None, now);
            self.close_if_drowning(id, now);
        }
    }

    /// When [`Self::on_timeout`] is to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        let session = self.deadlines.peek().map(|Reverse((at, _, _))| *at);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let due = session.into_iter().chain(expiry);
        due.chain(self.rate_timers.next_timeout()).min()
    }

    /// Does what is due at `now`. Of sessions it sees to so many, and of updates that waited for their time hands out so many,
    /// that others have their turn; then [`Self::next_timeout`] is past already.
    pub fn on_timeout(&mut self, now: Micros) {
        self.expire_tokens(now);
        self.deliver_due(now);
        for _ in 0..DEADLINES_AT_ONCE {
            let Some(Reverse((at, id, generation))) = self.deadlines.peek().copied() else {
                return;
            };
            if at > now {
                return;
            }
            self.deadlines.pop();
            if self
                .session(id)
                .is_some_and(|session| session.generation == generation)
            {
                self.expire(id, now);
            }
        }
    }

    fn expire(&mut self, id: SessionId, now: Micros) {
        let settings = &self.settings;
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        match session.phase {
            Phase::Closing(deadline) if deadline <= now => return self.give_up(id),
            Phase::Leaving(until) if until <= now => return self.end_patience(id, now),
            Phase::Closing(_) | Phase::Leaving(_) | Phase::Gone => return,
            Phase::Open => {}
        }
        if session.leaves_at.is_some_and(|at| at <= now) {
            return self.depart(id, now);
        }
        if !session.requested && session.opened.plus_ms(settings.first_request_ms) <= now {
            let reason = format!(
                "no request within {} ms of the handshake",
                settings.first_request_ms
            );
            self.close(id, CloseCode::NO_REQUEST, &reason, now);
            return;
        }
        if let Some(pinged) = session
            .pinged
            .filter(|at| at.plus_ms(settings.pong_timeout_ms) <= now)
        {
            let reason = format!("no pong within {} ms", now.since(pinged) / 1_000);
            self.close(id, CloseCode::NO_PONG, &reason, now);
            return;
        }
        let lags = session.lagging_since.is_some() && !session.pulls.is_empty();
        if lags || !session.outbox.is_empty() {
            // There is no room for what it has yet to get, be it only answers, whether or not anything is published meanwhile.
            session.full_since.get_or_insert(now);
        }
        let is_over = |since: Micros| since.plus_ms(settings.stall_ms) <= now;
        if session.full_since.is_some_and(is_over) && !is_planted(Fault::StalledNeverClosed) {
            let reason = format!(
                "slow reader: nothing of what waited for it was taken for {} ms",
                settings.stall_ms
            );
            self.close(id, CloseCode::SLOW, &reason, now);
            return;
        }
        if replay_is_overdue(session, settings.session_limits.replay_ms, now) {
            return self.close(id, CloseCode::SLOW, REPLAY_OVERDUE, now);
        }
        session.outbox.rest();
        let quiet_in = session.last_in.plus_ms(settings.ping_after_ms) <= now;
        let ping = session.transport != Transport::Sse && session.pinged.is_none() && quiet_in;
        if ping {
            session.pinged = Some(now);
            session.pong_owed = true;
        }
        let idle = session.outbox.is_empty() && session.pulls.is_empty();
        let beat = session.last_out.plus_ms(settings.heartbeat_ms) <= now
            && idle
            && session.transport != Transport::Echo;
        if ping {
            self.send_signal(id, Dialect::ping);
        }
        if beat {
            self.send_heartbeat(id, now);
        }
        self.schedule_after(id, now);
    }

    /// Sends a ping or pong, if there are such in the session's dialect.
    fn send_signal(&mut self, id: SessionId, bytes: impl FnOnce(Dialect) -> Option<Box<[u8]>>) {
        if let Some(session) = self.open_session(id)
            && let Some(bytes) = bytes(session.dialect)
        {
            session.outbox.push_signal(bytes);
            self.mark_dirty(id);
        }
    }

    /// Sends a heartbeat, whose bytes are shared by all who get one at this time.
    fn send_heartbeat(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get_mut(id.index()) else {
            return;
        };
        let dialect = session.dialect;
        let last = &mut self.heartbeats[dialect.form()];
        let bytes = match last {
            Some((at, bytes)) if *at == now => bytes.clone(),
            _ => {
                let bytes: Rc<[u8]> = dialect.control(&Control::Heartbeat { ts: now }).into();
                *last = Some((now, bytes.clone()));
                bytes
            }
        };
        session.outbox.push_shared(bytes);
        self.mark_dirty(id);
    }

    /// Enters a new session into the heap.
    pub(super) fn schedule(&mut self, id: SessionId) {
        self.schedule_after(id, Micros(0));
    }

    /// Enters a session into the heap again, not at or before `now`.
    fn schedule_after(&mut self, id: SessionId, now: Micros) {
        let settings = &self.settings;
        let Some(session) = self.sessions.get(id.index()) else {
            return;
        };
        let mut at = session.last_out.plus_ms(settings.heartbeat_ms);
        if !session.requested {
            at = at.min(session.opened.plus_ms(settings.first_request_ms));
        }
        if session.transport != Transport::Sse {
            at = at.min(match session.pinged {
                Some(pinged) => pinged.plus_ms(settings.pong_timeout_ms),
                None => session.last_in.plus_ms(settings.ping_after_ms),
            });
        }
        // A stall begins without a deadline of its own; it is found out within a quarter more than its time.
        at = at.min(now.max(session.opened).plus_ms(settings.stall_ms / 4));
        // A heartbeat that waits to be written, or could not be since something else waits, is looked at again later.
        let at = at.max(now.plus_ms(settings.heartbeat_ms.min(1_000)));
        self.deadlines.push(Reverse((at, id, session.generation)));
    }
}

/// Whether messages that a session was promised have waited for more than `most_ms`, counted from when they were first seen to.
fn replay_is_overdue(session: &mut Session, most_ms: u64, now: Micros) -> bool {
    let since = session.replays.as_mut().map(|replays| replays.since(now));
    since.is_some_and(|since| since.plus_ms(most_ms) <= now)
}
