//! How messages get their numbers and enter their topic.
//!
//! A broker alone numbers its messages itself: each topic has one [`Sequencer`], and a message is numbered and enters
//! under one lock. Entering, it becomes the value, joins the history and is queued for each shard that wants it. Readers
//! see no difference between a message that was numbered here and one that was numbered elsewhere. A message enters
//! once, and directly behind the message before it, or as a whole book. A refused message leaves everything as it was.
//! Never reads a clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thiserror::Error;
use tickwire_wire::message::StaleReason;
use tickwire_wire::{ErrorCode, Kind, Micros, Payload, Refusal, Seq, Topic, market};

use super::holding::check_room;
use super::{Published, State, TopicCell};
use crate::arrival::{Arrival, Copied};
use crate::book::{OrderBook, not_a_book};
use crate::publication::Publication;
use crate::queue::Recipients;

/// A message with its number. It is the same at every broker that has the topic.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// The number of the message before it. That is `seq` less one, unless a message was lost together with a book.
    pub after: Seq,
    /// Its own number, above `after`.
    pub seq: Seq,
    /// When it was numbered, or the time that its publisher gave it.
    pub ts: Micros,
    /// The content. For a book: the levels that the message changes, with the checksum after them; or with `replace` all
    /// levels of it, whatever was before.
    pub payload: Payload,
    /// Why the book is in doubt from this message on.
    pub doubt: Option<StaleReason>,
}

impl Numbered {
    /// Whether this is a whole book, which needs no message before it.
    fn is_whole_book(&self) -> bool {
        matches!(&self.payload, Payload::Book(book) if book.replace)
    }

    /// Whether this is a whole book that does not follow on the messages before it, because a message was lost together
    /// with the book.
    fn begins_anew(&self) -> bool {
        self.seq != self.after.next()
    }
}

/// Why a message that was numbered elsewhere did not enter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotEntered {
    /// The topic has or had this message already.
    #[error("the message entered before")]
    Known,
    /// Messages before it are missing: the topic's newest message has this number.
    #[error("the message does not follow on message {0}, the newest that is here")]
    Hole(Seq),
    /// The topic has ended.
    #[error("the topic has ended")]
    Ended,
    /// The message does not fit what the topic holds. A book that does not take a change is lost, until it enters whole
    /// behind this message.
    #[error("{}", .0.reason)]
    Refused(Refusal),
}

/// Why a message was not published to a cell.
#[derive(Debug)]
pub(crate) enum NotPublished {
    /// The topic has ended. Here is the message back: it may be the first of the topic's next life.
    Ended(Payload),
    /// The message does not fit the topic.
    Refused(Refusal),
}

impl From<Refusal> for NotPublished {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl TopicCell {
    /// Gives `payload` the next number and enters it. Afterwards the caller calls
    /// [`Directory::entered`](crate::Directory::entered).
    pub(crate) fn publish(
        &self,
        payload: Payload,
        arrival: Arrival<'_>,
        to: Recipients<'_>,
    ) -> Result<Published, NotPublished> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return Err(NotPublished::Ended(payload));
        }
        check_room(&state.lineage.memory, state.growth_bytes(&payload))?;
        let ts = arrival.ts(state.history.newest().map(|newest| newest.ts));
        match state.sequencer.number(payload, ts, &self.topic, arrival.copied) {
            Ok((numbered, crossed)) => Ok(self.enter(state, numbered, crossed, arrival.now, to)),
            Err(refusal) => {
                state.count_if_lost();
                Err(refusal.into())
            }
        }
    }

    /// Enters a message that was numbered elsewhere, in the epoch of this topic. `now` is the time of its arrival here.
    /// A whole book needs no message before it: it enters behind a hole, and its readers are told what is missing.
    ///
    /// Whether there is room for it among the values was decided where it was numbered. If `over_hole` is set, any message
    /// enters behind a hole, and what the topic holds begins with it.
    pub(crate) fn apply(
        &self,
        numbered: Numbered,
        (now, over_hole): (Micros, bool),
        to: Recipients<'_>,
    ) -> Result<Published, NotEntered> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended.is_some() {
            return Err(NotEntered::Ended);
        }
        let head = state.head();
        if numbered.seq <= head {
            return Err(NotEntered::Known);
        }
        if numbered.after != head && !numbered.is_whole_book() && !over_hole {
            return Err(NotEntered::Hole(head));
        }
        match state.sequencer.follow(numbered, &self.topic) {
            Ok((numbered, crossed)) => Ok(self.enter(state, numbered, crossed, now, to)),
            Err(refusal) => {
                state.count_if_lost();
                Err(NotEntered::Refused(refusal))
            }
        }
    }

    /// Makes a numbered message visible. The sequencer has counted it already.
    fn enter(
        &self,
        state: &mut State,
        numbered: Numbered,
        crossed: bool,
        now: Micros,
        to: Recipients<'_>,
    ) -> Published {
        let begins_anew = numbered.begins_anew();
        let Numbered {
            seq,
            ts,
            payload,
            doubt,
            ..
        } = numbered;
        self.doubted.store(doubt.is_some(), Ordering::Relaxed);
        let publication = Publication::new(state.lineage.clone(), seq, ts, payload);
        let publication = Arc::new(publication.doubted(doubt).entered(now).held_as_value());
        state.count_book();
        state.heard = now;
        let came_back = self.stale_since().is_some();
        if came_back {
            self.stale.store(0, Ordering::Relaxed);
        }
        to.push(&publication, state.interested);
        let over_budget = state.history.push(publication, &state.lineage.memory);
        if begins_anew {
            state.history.begin_with_newest();
        }
        Published {
            epoch: state.lineage.epoch.clone(),
            seq,
            kind: self.kind,
            over_budget,
            crossed,
            came_back,
            ticket: None,
        }
    }
}

/// Gives the messages of a topic their numbers. It holds the newest number and, for a book, the levels that changes are
/// checked against.
///
/// While a broker numbers its messages itself, its readers see the sequencer's number and book. The sequencer needs
/// nothing else from the topic, so a second one, ahead of what readers see, can be kept beside it.
#[derive(Debug, Clone)]
pub(super) struct Sequencer {
    kind: Kind,
    seq: Seq,
    /// `None` after a panic half-way through a change.
    book: Option<Box<OrderBook>>,
    /// Why the book is in doubt, as its source says.
    doubt: Option<StaleReason>,
}

impl Sequencer {
    /// The sequencer of a topic of `kind` without a message.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            seq: Seq::ZERO,
            book: (kind == Kind::Book).then(Box::default),
            doubt: None,
        }
    }

    /// A sequencer that goes on behind message `seq`, with the whole `book` after it. A book that is missing is lost.
    pub(super) fn restored(
        kind: Kind,
        seq: Seq,
        book: Option<market::Book>,
        doubt: Option<StaleReason>,
    ) -> Result<Self, Refusal> {
        let mut sequencer = Self::new(kind);
        sequencer.seq = seq;
        sequencer.doubt = doubt.filter(|reason| *reason != StaleReason::Crossed);
        match (&mut sequencer.book, book) {
            (Some(empty), Some(whole)) => {
                let checksum = whole.checksum;
                let changed = empty.apply(whole)?;
                if changed.checksum != checksum {
                    return Err(Refusal::bad_request(
                        "the checksum of the book is that of another",
                    ));
                }
            }
            (lost, None) if seq > Seq::ZERO => *lost = None,
            (_, _) => {}
        }
        Ok(sequencer)
    }

    /// The newest number.
    pub(super) fn seq(&self) -> Seq {
        self.seq
    }

    /// The book after the newest message, if the topic is a book and has not lost it.
    pub(super) fn book(&self) -> Option<&OrderBook> {
        self.book.as_deref()
    }

    /// Loses the book, as a panic half-way through a change does.
    pub(super) fn lose_book(&mut self) {
        self.book = None;
    }

    /// Marks the book as in doubt from the next message on, until a message replaces the whole book. The first reason
    /// holds. A topic that is no book has nothing to doubt.
    pub(super) fn doubt(&mut self, reason: StaleReason) {
        if self.kind == Kind::Book {
            self.doubt = self.doubt.or(Some(reason));
        }
    }

    /// Gives `payload` the next number and the time `now`. Also returns whether the book became crossed by it. A copy
    /// gets the number of what it copies; a book must come whole behind messages that are lost.
    pub(super) fn number(
        &mut self,
        payload: Payload,
        now: Micros,
        topic: &Topic,
        copied: Option<&Copied>,
    ) -> Result<(Numbered, bool), Refusal> {
        let after = self.seq;
        let mut seq = copied.map_or(after.next(), |copied| copied.seq);
        if seq <= after {
            let reason = format!("{topic} has message {seq} already");
            return Err(Refusal::bad_request(reason));
        }
        let mut crossed = false;
        let payload = match (self.kind, payload) {
            (Kind::Book, Payload::Book(message)) => {
                if seq != after.next() {
                    self.lose_book();
                } else if self.book.is_none() {
                    // The message that was lost with the book has a number, too. Because of its gap, every reader of
                    // the old book begins again with the whole book: how the two differ is not known.
                    seq = seq.next();
                }
                let (update, became_crossed) = self.change_book(*message, topic)?;
                crossed = became_crossed;
                Payload::Book(Box::new(update))
            }
            (Kind::Book, _) => return Err(not_a_book(topic.as_str())),
            (Kind::State | Kind::Event, payload) => payload,
        };
        self.seq = seq;
        if let (Kind::Book, Some(copied)) = (self.kind, copied) {
            self.doubt = copied.doubt.filter(|reason| *reason != StaleReason::Crossed);
        }
        let is_crossed = self.book().is_some_and(OrderBook::is_crossed);
        let doubt = self.doubt.or(is_crossed.then_some(StaleReason::Crossed));
        let numbered = Numbered {
            after,
            seq,
            ts: now,
            payload,
            doubt,
        };
        Ok((numbered, crossed))
    }

    /// Takes over a message that another sequencer has numbered: the next one here, or a whole book of a later number.
    /// Returns it as one that follows on the newest message here, and whether the book became crossed by it.
    ///
    /// If the checksum after the change differs here, the book here is wrong. Then it is lost, and the message is
    /// refused. It comes back only with a number left out, because only by their gap do readers of the wrong book learn
    /// that they have to begin again.
    pub(super) fn follow(&mut self, numbered: Numbered, topic: &Topic) -> Result<(Numbered, bool), Refusal> {
        let numbered = Numbered {
            after: self.seq,
            ..numbered
        };
        let (begins_anew, mut crossed) = (numbered.begins_anew(), false);
        let payload = match (self.kind, numbered.payload) {
            (Kind::Book, Payload::Book(_)) if self.book.is_none() && !begins_anew => {
                return Err(lost_book(topic));
            }
            (Kind::Book, Payload::Book(change)) => {
                if begins_anew {
                    self.book = Some(Box::default());
                }
                let checksum = change.checksum;
                match self.change_book(*change, topic) {
                    Ok((update, became_crossed)) if update.checksum == checksum => {
                        crossed = became_crossed;
                        Payload::Book(Box::new(update))
                    }
                    _ => {
                        self.lose_book();
                        return Err(another_book(topic, numbered.seq));
                    }
                }
            }
            (Kind::Book, _) => return Err(not_a_book(topic.as_str())),
            (Kind::State | Kind::Event, payload) => payload,
        };
        self.seq = numbered.seq;
        // The book itself shows that it is crossed. Other reasons come from its source and hold until the next whole
        // book.
        self.doubt = numbered.doubt.filter(|reason| *reason != StaleReason::Crossed);
        Ok((Numbered { payload, ..numbered }, crossed))
    }

    /// Counts a message that another sequencer has numbered and that directly follows, once a book has taken its levels.
    pub(super) fn followed(&mut self, seq: Seq, doubt: Option<StaleReason>) {
        self.seq = seq;
        self.doubt = doubt.filter(|reason| *reason != StaleReason::Crossed);
    }

    /// Applies a change that is no whole book, and leaves it to the caller to compare the [checksum](Self::checksum)
    /// behind the last one. A book that does not take it is lost.
    pub(super) fn change_levels(&mut self, change: &market::Book) -> Result<(), Refusal> {
        // The book is taken out, so that a panic half-way through a change leaves no book instead of a wrong one.
        let Some(mut book) = self.book.take() else {
            return Err(Refusal::new(ErrorCode::Internal, "the book was lost before"));
        };
        book.change_levels(change)?;
        self.book = Some(book);
        Ok(())
    }

    /// The checksum of the book, computed from its levels.
    pub(super) fn checksum(&mut self) -> Option<u32> {
        self.book.as_mut().map(|book| book.compute_checksum())
    }

    /// Applies a message to the book of `topic`. Returns the changes, and whether the book became crossed by them.
    fn change_book(&mut self, message: market::Book, topic: &Topic) -> Result<(market::Book, bool), Refusal> {
        let (whole, was_lost) = (message.replace, self.book.is_none());
        // The book is taken out, so that a panic half-way through a change leaves no book instead of a wrong one.
        let mut book = match self.book.take() {
            Some(book) => book,
            None if whole => Box::default(),
            None => return Err(lost_book(topic)),
        };
        let was_crossed = book.is_crossed();
        let applied = book.apply(message);
        let is_crossed = book.is_crossed();
        // A lost book does not come back by a message that was refused.
        self.book = (applied.is_ok() || !was_lost).then_some(book);
        let update = applied?;
        if whole {
            self.doubt = None;
        }
        Ok((update, is_crossed && !was_crossed))
    }
}

fn lost_book(topic: &Topic) -> Refusal {
    let reason =
        format!("a fault of the broker has lost the book {topic}; publish it whole, with \"replace\": true");
    Refusal::new(ErrorCode::Internal, reason)
}

fn another_book(topic: &Topic, seq: Seq) -> Refusal {
    let reason = format!("change {seq} of the book {topic} was made to another book than the one here");
    Refusal::new(ErrorCode::Internal, reason)
}

#[cfg(test)]
mod tests;
