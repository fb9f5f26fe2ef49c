//! What is known of answers beside their bytes: where they bring a reader, and what became of the subscription of a stream.
//!
//! A stream is opened by what its request is answered, so that answer is kept as a value until it is taken. There is one for
//! each such session at most, and none of one that is gone.

use tickwire_wire::message::AckResult;
use tickwire_wire::{Control, Kind, Refusal};

use super::Shard;
use crate::item::Reach;
use crate::session::{SessionId, Transport};

impl Shard {
    /// Where a control message brings its reader.
    pub(super) fn reach_of(&self, message: &Control) -> Reach {
        match message {
            Control::Ack { .. } => Reach::Begins,
            Control::Gap { topic, to, .. } => {
                // A reader of a book is nowhere before the snapshot that ends the gap.
                let cell = self
                    .directory
                    .find(topic)
                    .filter(|cell| cell.kind() != Kind::Book);
                cell.map_or(Reach::Nowhere, |cell| Reach::To(cell.id(), *to))
            }
            _ => Reach::Nowhere,
        }
    }

    /// What became of the subscription of a stream, once: the results of its topics, or why all of it was refused.
    pub fn take_answer(&mut self, id: SessionId) -> Option<Result<Vec<AckResult>, Refusal>> {
        self.answered.remove(&id)
    }

    /// Keeps the answer to a stream's subscription for who opens the stream.
    pub(super) fn keep_answer(
        &mut self,
        id: SessionId,
        answer: impl FnOnce() -> Result<Vec<AckResult>, Refusal>,
    ) {
        if self
            .session(id)
            .is_some_and(|session| session.transport == Transport::Sse)
        {
            self.answered.entry(id).or_insert_with(answer);
        }
    }
}
