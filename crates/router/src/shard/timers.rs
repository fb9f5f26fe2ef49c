//! Deadlines of sessions: heartbeat, ping and pong, first request, end of closing. Updates of a limited rate and
//! expiring tokens have timers of their own.
//!
//! Each open session has one entry in the heap, at the earliest time at which something may be due. When it comes up,
//! what is really due is done and the next time is found. So a message that is sent or received costs no timer work.

use std::cmp::Reverse;
use std::rc::Rc;

use tickwire_wire::{Control, Dialect, Micros};

use super::Shard;
use crate::counts::Op;
use crate::session::{Phase, SessionId};

/// The number of sessions that are handled before other work has its turn.
const DEADLINES_AT_ONCE: usize = 512;

impl Shard {
    /// Records that the client sent bytes.
    pub fn heard(&mut self, id: SessionId, now: Micros) {
        if let Some(session) = self.sessions.known(id) {
            session.timers.heard(now);
        }
    }

    /// Handles a ping of the client (RFC 6455 §5.5.2): it gets a pong, within its rate.
    pub fn ping(&mut self, id: SessionId, payload: &[u8], now: Micros) {
        self.counts.ops[Op::Ping as usize] += 1;
        if self.within_rate(id, None, now) {
            self.send_signal(id, |dialect| dialect.pong(payload));
            self.close_if_drowning(id, now);
        }
    }

    /// Handles a pong of the client (RFC 6455 §5.5.3): the answer to a ping is free, any other pong costs as much as a
    /// request.
    pub fn pong(&mut self, id: SessionId, now: Micros) {
        let session = self.sessions.known(id);
        let owed = session.is_some_and(|session| session.timers.take_pong());
        if !owed {
            self.within_rate(id, None, now);
            self.close_if_drowning(id, now);
        }
    }

    /// When [`Self::on_timeout`] must be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        let session = self.deadlines.peek().map(|Reverse((at, _, _))| *at);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let due = session.into_iter().chain(expiry);
        let due = due.chain(self.rate_timers.next_timeout());
        let due = due.chain(self.paused.next_timeout());
        due.chain(self.replaying.next_timeout()).min()
    }

    /// Does what is due at `now`. It handles a limited number of sessions and delivers a limited number of rated
    /// updates, so that other work has its turn. If more is due, [`Self::next_timeout`] is in the past.
    pub fn on_timeout(&mut self, now: Micros) {
        self.replaying.now = now;
        self.call_replays(now);
        self.expire_tokens(now);
        self.end_pauses(now);
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
                .sessions
                .get_mut(id)
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
        session.outbox.free_idle();
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

    /// Sends a ping or pong, if the session's dialect has them.
    fn send_signal(&mut self, id: SessionId, bytes: impl FnOnce(Dialect) -> Option<Box<[u8]>>) {
        if let Some(session) = self.sessions.open(id)
            && let Some(bytes) = bytes(session.dialect)
        {
            session.outbox.push_signal(bytes);
            self.rounds.mark(session);
        }
    }

    /// Sends a heartbeat. All sessions that get one at this time share its bytes.
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
        self.rounds.mark(session);
    }

    /// Enters a session into the heap, at a time after `now`; a new session at the earliest time.
    pub(super) fn schedule_after(&mut self, id: SessionId, now: Micros) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let at = session.timers.next_due(session.transport, &self.settings, now);
        self.deadlines.push(Reverse((at, id, session.generation)));
    }
}
