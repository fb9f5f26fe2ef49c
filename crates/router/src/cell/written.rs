//! Messages of a topic that a log has, entered together while nobody reads the topic yet.
//!
//! The outcome is that of [`apply`](TopicCell::apply) for one after the other. But what the history would drop again at once is not
//! even read, unless it changes a book; and the checksum of a book is compared once, after its last change. What
//! comes from a log was checked when it was numbered, and the log has checksums of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tickwire_wire::message::StaleReason;
use tickwire_wire::{ErrorCode, Kind, Micros, Payload, Refusal, Seq, market};

use super::entering::{NotEntered, Numbered};
use super::{State, TopicCell};
use crate::memory::Moves;
use crate::publication::Publication;

/// The text of a message in a log: JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenText<'a> {
    /// The data of a message.
    Data(&'a [u8]),
    /// The levels of a book that a message changes, with the checksum after them.
    Change(&'a [u8]),
    /// All levels of a book.
    Whole(&'a [u8]),
}

/// A message of a log. Its text is read only if the topic needs it.
#[derive(Debug, Clone, Copy)]
pub struct WrittenMessage<'a> {
    /// The number of the message before it.
    pub after: Seq,
    /// Its own number.
    pub seq: Seq,
    /// Its time.
    pub ts: Micros,
    /// Why the book is in doubt from this message on.
    pub doubt: Option<StaleReason>,
    /// Its text.
    pub text: WrittenText<'a>,
}

/// Reads a book message of a log.
///
/// # Errors
/// If `text` is no book message.
pub fn read_written_book(text: &[u8]) -> Result<Box<market::Book>, Refusal> {
    let text = std::str::from_utf8(text).map_err(|error| no_book(&error))?;
    let book = market::Book::from_json(text).map_err(|error| no_book(&error))?;
    Ok(Box::new(book))
}

fn no_book(error: &dyn std::error::Error) -> Refusal {
    Refusal::bad_request(format!("not a book message: {error}"))
}

impl WrittenMessage<'_> {
    /// The message with its text read.
    ///
    /// # Errors
    /// If its text is not what a log has.
    pub fn read(&self) -> Result<Numbered, Refusal> {
        let payload = match self.text {
            WrittenText::Data(text) => Payload::from_json(text)?,
            WrittenText::Change(text) => Payload::Book(read_written_book(text)?),
            WrittenText::Whole(text) => {
                let mut book = read_written_book(text)?;
                book.replace = true;
                Payload::Book(book)
            }
        };
        Ok(Numbered {
            after: self.after,
            seq: self.seq,
            ts: self.ts,
            payload,
            doubt: self.doubt,
        })
    }
}

/// What messages that enter together have left to be done behind the last of them.
#[derive(Debug, Default)]
struct Entering {
    moves: Moves,
    /// How often all histories together were over their budget.
    over: usize,
    /// The place of the last change of a book whose checksum was not compared, and that checksum.
    unchecked: Option<(usize, u32)>,
}

impl TopicCell {
    /// Enters messages of a log. They must be in the order of their numbers, without a hole. Shards are not told of them. `now` is
    /// the time at this broker. Returns how often all histories together were over their budget.
    ///
    /// # Errors
    /// The place of a message that does not enter, and why. Those before it have entered. A change of a book that does not
    /// fit may be found only at a later place.
    pub(crate) fn enter_written<'a>(
        &self,
        messages: impl ExactSizeIterator<Item = WrittenMessage<'a>>,
        now: Micros,
    ) -> Result<usize, (usize, NotEntered)> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return Err((0, NotEntered::Ended));
        }
        let mut entering = Entering::default();
        let mut needless = messages.len().saturating_sub(state.history.capacity());
        if self.kind != Kind::Book && state.history.keeps_candles() {
            needless = 0;
        }
        let mut entered = Ok(());
        let mut doubt = self.doubted.load(Ordering::Relaxed);
        for (at, message) in messages.enumerate() {
            entered = state.enter_one(&message, at, at < needless, &mut entering);
            if entered.is_err() {
                break;
            }
            doubt = message.doubt.is_some();
        }
        let settled = state.compare_checksum(&mut entering);
        let memory = &state.lineage.memory;
        memory.record(&entering.moves);
        state.heard = now;
        state.count_book();
        self.doubted.store(doubt, Ordering::Relaxed);
        settled.and(entered)?;
        Ok(entering.over)
    }
}

impl State {
    /// Enters message `at`. If it is `needless`, the history will not keep it.
    fn enter_one(
        &mut self,
        message: &WrittenMessage<'_>,
        at: usize,
        needless: bool,
        entering: &mut Entering,
    ) -> Result<(), (usize, NotEntered)> {
        let head = self.head();
        if message.seq <= head {
            return Err((at, NotEntered::Known));
        }
        let refused = |refusal| (at, NotEntered::Refused(refusal));
        let follows = message.after == head;
        let payload = match message.text {
            WrittenText::Data(_) if follows && needless && self.lineage.kind != Kind::Book => None,
            WrittenText::Change(text) if follows && message.seq == head.next() && self.book().is_some() => {
                let change = read_written_book(text).map_err(refused)?;
                self.sequencer.change_levels(&change).map_err(refused)?;
                entering.unchecked = Some((at, change.checksum));
                (!needless).then_some(Payload::Book(change))
            }
            WrittenText::Whole(_) | WrittenText::Change(_) | WrittenText::Data(_) => {
                self.compare_checksum(entering)?;
                return self.follow_written(message, at, entering);
            }
        };
        self.sequencer.followed(message.seq, message.doubt);
        match payload {
            Some(payload) => self.keep_written(message, payload, entering),
            None => self.history.pass_over(message.ts, &mut entering.moves),
        }
        Ok(())
    }

    /// Enters message `at` as one that comes alone.
    fn follow_written(
        &mut self,
        message: &WrittenMessage<'_>,
        at: usize,
        entering: &mut Entering,
    ) -> Result<(), (usize, NotEntered)> {
        let head = self.head();
        if message.after != head && !matches!(message.text, WrittenText::Whole(_)) {
            return Err((at, NotEntered::Hole(head)));
        }
        let refused = |refusal| (at, NotEntered::Refused(refusal));
        let numbered = message.read().map_err(refused)?;
        let (numbered, _) = self
            .sequencer
            .follow(numbered, &self.lineage.topic)
            .map_err(refused)?;
        let begins_anew = numbered.seq != numbered.after.next();
        self.keep_written(message, numbered.payload, entering);
        if begins_anew {
            self.history.begin_with_newest();
        }
        Ok(())
    }

    /// Gives the history a message that the sequencer has counted.
    fn keep_written(&mut self, message: &WrittenMessage<'_>, payload: Payload, entering: &mut Entering) {
        let publication = Publication::new(self.lineage.clone(), message.seq, message.ts, payload);
        let publication = Arc::new(publication.doubted(message.doubt).held_as_value());
        let moves = &mut entering.moves;
        entering.over += usize::from(self.history.push_with(publication, &self.lineage.memory, moves));
    }

    /// Compares the checksum of the book with that of the last change. If they differ, the book is lost.
    fn compare_checksum(&mut self, entering: &mut Entering) -> Result<(), (usize, NotEntered)> {
        let Some((at, expected)) = entering.unchecked.take() else {
            return Ok(());
        };
        if self.sequencer.checksum() == Some(expected) {
            return Ok(());
        }
        self.sequencer.lose_book();
        let reason = format!(
            "the changes of {} up to here were made to another book than the one here",
            self.lineage.topic
        );
        let refusal = Refusal::new(ErrorCode::Internal, reason);
        Err((at, NotEntered::Refused(refusal)))
    }
}

#[cfg(test)]
mod tests;
