//! How a session ends: with its own close or with the answer to its client's, and then it is handed out as gone.

use std::cmp::Reverse;

use tickwire_wire::limits::CONTROL_QUEUE_BYTES_MAX;
use tickwire_wire::{CloseCode, Micros};

use super::Shard;
use crate::session::{Phase, SessionId, Transport};

impl Shard {
    /// Handles a close frame of the client: it is answered (RFC 6455 §5.5.1), and then the session is gone.
    pub fn close_received(&mut self, id: SessionId, code: Option<CloseCode>, now: Micros) {
        let Some(session) = self.sessions.known(id) else {
            return;
        };
        if session.is_open() {
            self.close(id, code.unwrap_or(CloseCode::NORMAL), "", now);
        } else if session.outbox.is_empty() {
            // This is the answer to our own close: nothing else will come.
            self.give_up(id);
        }
    }

    /// Hands a session out as gone, once.
    pub(super) fn give_up(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && matches!(session.phase, Phase::Leaving(_) | Phase::Closing(_))
        {
            session.phase = Phase::GivenUp;
            let entry = (id, session.generation);
            self.gone.push_back(entry);
        }
    }

    /// Ends a session with a close. The data that waits for it is dropped, except a partly written frame.
    pub fn close(&mut self, id: SessionId, code: CloseCode, reason: &str, now: Micros) {
        if self.sessions.open(id).is_none() {
            return;
        }
        self.counts.closed(code);
        self.refuse_unanswered(id, code, reason);
        self.clear_expiry(id);
        self.unsubscribe_all(id);
        let deadline = now.plus_ms(self.settings.close_timeout_ms);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.phase = Phase::Closing(deadline);
        session.end_pause();
        let dropped = session.outbox.purge(|_| true);
        let bytes = session.dialect.close(code, reason);
        session.outbox.push_close(code, bytes);
        let entry = Reverse((deadline, id, session.generation));
        self.counts.ledger.dropped += dropped;
        self.deadlines.push(entry);
        self.rounds.mark(session);
    }

    /// Whether the session is closing and its close was written, so that the sending side can be shut.
    #[must_use]
    pub fn is_finished(&self, id: SessionId) -> bool {
        self.sessions
            .get(id)
            .is_none_or(|session| !session.is_open() && session.outbox.is_empty())
    }

    /// Ends a session whose client does not read the answers to its requests.
    pub(super) fn close_if_drowning(&mut self, id: SessionId, now: Micros) {
        let drowning = self.sessions.open(id).is_some_and(|session| {
            session.transport != Transport::Echo
                && session.outbox.control_bytes()
                    + session.outbox.answer_bytes()
                    + session.subscriptions.syncs.memory_bytes()
                    > CONTROL_QUEUE_BYTES_MAX
        });
        if drowning {
            let reason =
                format!("slow reader: more than {CONTROL_QUEUE_BYTES_MAX} bytes of answers were waiting");
            self.close(id, CloseCode::SLOW, &reason, now);
        }
    }
}
