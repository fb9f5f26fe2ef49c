//! The memory of a topic: whether it may hold more, which messages it promises to keep, and what is counted for its
//! book.

use tickwire_wire::{ErrorCode, Payload, Refusal, Seq};

use super::{Resume, State};
use crate::book::OrderBook;
use crate::memory::{MESSAGE_OVERHEAD, Memory, MessagePlace};
use crate::planted::{Fault, is_planted};
use crate::positions::Missed;
use crate::publication::Publication;
use crate::replays::Pinned;

impl State {
    /// Keeps the messages after `since`, which all exist, for a session that may have `most` bytes of them kept. Stops
    /// at the first message that does not fit, since a pattern may ask this of very many topics at once.
    pub(super) fn promise(&self, since: Seq, most: usize) -> Resume {
        let (mut all, mut new) = (0_usize, 0_usize);
        for publication in self.history.read(since) {
            all += publication.data_bytes();
            // A message that is kept already takes no more room, even if its frames have grown since.
            let is_new = !publication.is_pinned();
            if is_new {
                new += publication.memory_bytes();
            }
            if all > most || is_new && !self.lineage.memory.replays.has_room(new) {
                return Resume::TooMuch(Missed::since(since));
            }
        }
        let messages = self.history.read(since).cloned();
        let messages = messages.map(Pinned::new).collect();
        Resume::Replay { since, messages }
    }

    /// The bytes that the values of all topics hold more if `payload` becomes the value of this one.
    pub(super) fn growth_bytes(&self, payload: &Payload) -> usize {
        let before = self.history.newest().map_or(0, |newest| newest.data_bytes());
        growth_bytes(before, payload, self.book())
    }

    /// Counts the book as it is now, and drops the old snapshot. Does nothing for a topic that never had a book.
    pub(super) fn count_book(&mut self) {
        let bytes = self.book().map_or(0, OrderBook::memory_bytes) + self.ahead_bytes();
        let before = std::mem::replace(&mut self.book_bytes, bytes);
        if before > 0 || bytes > 0 {
            self.lineage.memory.values.change(before, bytes);
            self.drop_snapshot();
        }
    }

    /// Counts no book any more if it is lost. A message that is refused shows that.
    pub(super) fn count_if_lost(&mut self) {
        if self.book().is_none() {
            self.count_book();
        }
    }

    pub(super) fn drop_snapshot(&mut self) {
        let is_kept = |seq: Seq| is_planted(Fault::SnapshotKept) && seq.0.is_multiple_of(4);
        if let Some(snapshot) = self.book_snapshot.take_if(|snapshot| !is_kept(snapshot.seq)) {
            snapshot.move_to(MessagePlace::Nowhere);
        }
    }
}

/// The bytes that the values of all topics hold more if `payload` becomes the value of a topic. `before` is the bytes of
/// the topic's value now, and `book` its book, if it has one.
fn growth_bytes(before: usize, payload: &Payload, book: Option<&OrderBook>) -> usize {
    message_growth(before, payload.heap_bytes()) + book_growth(payload, book)
}

/// The part of [`growth_bytes`] for the message, whose payload has `heap_bytes` bytes.
pub(super) fn message_growth(before: usize, heap_bytes: usize) -> usize {
    let bytes = size_of::<Publication>() + MESSAGE_OVERHEAD + heap_bytes;
    bytes.saturating_sub(before)
}

/// The part of [`growth_bytes`] for the book.
pub(super) fn book_growth(payload: &Payload, book: Option<&OrderBook>) -> usize {
    match (payload, book) {
        (Payload::Book(message), Some(book)) => book.growth_bytes(message),
        (Payload::Book(message), None) => OrderBook::default().growth_bytes(message),
        _ => 0,
    }
}

/// Checks that the values of all topics may hold `more` bytes. A value that needs no more than before is always allowed.
pub(crate) fn check_room(memory: &Memory, more: usize) -> Result<(), Refusal> {
    if more == 0 || memory.values.has_room(more) {
        return Ok(());
    }
    let reason = format!(
        "the values of all topics have their most bytes ({}); publish less, or raise limits.value_bytes",
        memory.values.max()
    );
    Err(Refusal::new(ErrorCode::LimitExceeded, reason))
}
