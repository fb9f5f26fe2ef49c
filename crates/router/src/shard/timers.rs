//! Deadlines of sessions: heartbeat, ping and pong, first request, end of closing. Updates that wait for their time have
//! timers of their own, and so have tokens that expire.
//!
//! Each open session has one entry in the heap, at the earliest time at which something may be due; when it comes up,
//! what is really due is done and the next time found. So a message sent or received costs no timer work.

use std::cmp::Reverse;
use std::rc::Rc;

use tickwire_wire::{Control, Dialect, Micros};

use super::Shard;
use crate::counts::Op;
use crate::session::{Phase, SessionId};

/// Sessions that are seen to before something else has its turn.
const DEADLINES_AT_ONCE: usize = 512;

impl Shard {
    /// The client sent bytes.
    pub fn heard(&mut self, id: SessionId, now: Micros) {
        if let Some(session) = self.sessions.known(id) {
            session.timers.heard(now);
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
        let session = self.sessions.known(id);
        let owed = session.is_some_and(|session| session.timers.take_pong());
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
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match session.phase {
            Phase::Closing(deadline) if deadline <= now => return self.give_up(id),
            Phase::Leaving(until) if until <= now => return self.end_patience(id, now),
            Phase::Closing(_) | Phase::Leaving(_) | Phase::GivenUp | Phase::Gone => return,
            Phase::Open => {}
        }
        if session.timers.leaves(now) {
            return self.depart(id, now);
        }
        if let Some((code, reason)) = session.overdue(settings, now) {
            return self.close(id, code, &reason, now);
        }
        session.outbox.rest();
        let transport = session.transport;
        let ping = session.timers.ping_is_due(transport, settings, now);
        if ping {
            session.timers.pinged(now);
        }
        let idle = session.outbox.is_empty() && session.subscriptions.pulls.is_empty();
        let beat = idle && session.timers.heartbeat_is_due(transport, settings, now);
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
        let Some(session) = self.sessions.get_mut(id) else {
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

    /// Enters a session into the heap, not at or before `now`; a new one, at whatever time comes first.
    pub(super) fn schedule_after(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let at = session.timers.next_due(session.transport, &self.settings, now);
        self.deadlines.push(Reverse((at, id, session.generation)));
    }
}
