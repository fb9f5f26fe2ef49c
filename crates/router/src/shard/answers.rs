//! The parts of answers that are kept beside their bytes: the reach, and the result of a stream's subscription.
//!
//! How a stream is opened depends on the answer to its request, so that answer is kept as a value until it is taken.
//! There is at most one for each such session, and none for a session that is gone. A session that ends before its
//! request is answered refuses it by that.

use tickwire_wire::message::AckResult;
use tickwire_wire::{CloseCode, Control, ErrorCode, Kind, Refusal};

use super::Shard;
use crate::outbox::Reach;
use crate::session::{SessionId, Transport};

impl Shard {
    /// The position to which a control message brings its reader.
    pub(super) fn reach_of(&self, message: &Control) -> Reach {
        match message {
            Control::Ack { .. } => Reach::Begins,
            Control::Gap { topic, to, .. } => {
                match self.directory.find(topic) {
                    // A reader of a book does not move before the snapshot that ends the gap.
                    Some(cell) if cell.kind() == Kind::Book => Reach::Unmoved,
                    Some(cell) => Reach::To(cell.id(), *to),
                    None => Reach::Nowhere,
                }
            }
            _ => Reach::Nowhere,
        }
    }

    /// Takes the result of a stream's subscription: the results of its topics, or the refusal of all of it.
    pub fn take_answer(&mut self, id: SessionId) -> Option<Result<Vec<AckResult>, Refusal>> {
        self.answered.remove(&id)
    }

    /// Refuses the subscription of a stream whose session ends with `code` before it was answered.
    pub(super) fn refuse_unanswered(&mut self, id: SessionId, code: CloseCode, reason: &str) {
        let is_unanswered = self
            .sessions
            .get(id)
            .is_some_and(|session| session.transport == Transport::Sse && session.subscriptions.acks == 0);
        if !is_unanswered || self.answered.contains_key(&id) {
            return;
        }
        let code = match code {
            CloseCode::TOKEN_EXPIRED => ErrorCode::TokenExpired,
            _ => ErrorCode::Internal,
        };
        self.counts.refused(code);
        self.answered.insert(id, Err(Refusal::new(code, reason)));
    }

    /// Keeps the answer to a stream's subscription until [`Self::take_answer`].
    pub(super) fn keep_answer(
        &mut self,
        id: SessionId,
        answer: impl FnOnce() -> Result<Vec<AckResult>, Refusal>,
    ) {
        if self
            .sessions
            .get_mut(id)
            .is_some_and(|session| session.transport == Transport::Sse)
        {
            self.answered.entry(id).or_insert_with(answer);
        }
    }
}
