//! The books that are rebuilt to verify their checksums.
//!
//! A subscription may begin without the whole book: it is resumed, or has no snapshot. Such a book is unknown and
//! nothing is checked of it until a snapshot comes. Where a snapshot is due before any change, a change without it is a
//! broken promise.

use rustc_hash::FxHashMap;
use tickwire_wire::message::{AckResult, Position};
use tickwire_wire::{Epoch, Pattern, Seq};

use super::{BrokenPromise, Checker};
use crate::book::{BookError, L2Book};

#[derive(Debug)]
pub(super) struct Books {
    pattern: Pattern,
    books: FxHashMap<Box<str>, Rebuilt>,
}

/// A rebuilt book, as far as it is known.
#[derive(Debug, Default)]
struct Rebuilt {
    book: L2Book,
    /// Whether a snapshot has to come before any change.
    snapshot_due: bool,
}

impl Books {
    pub(super) fn of(pattern: Pattern) -> Self {
        Self {
            pattern,
            books: FxHashMap::default(),
        }
    }

    fn get_mut(&mut self, topic: &str) -> Option<&mut Rebuilt> {
        if !self.pattern.matches(topic) {
            return None;
        }
        if !self.books.contains_key(topic) {
            self.books.insert(topic.into(), Rebuilt::default());
        }
        self.books.get_mut(topic)
    }
}

impl Rebuilt {
    /// A subscription goes on from `at`. The book stays known if it is at that position.
    fn goes_on(&mut self, at: &Position) {
        self.snapshot_due = false;
        if self.book.position() == Some(at) {
            return;
        }
        if at.seq == Seq::ZERO {
            self.book.begin(&at.epoch);
        } else {
            self.book.make_stale();
        }
    }

    fn awaits_snapshot(&mut self) {
        self.book.make_stale();
        self.snapshot_due = true;
    }
}

impl Checker {
    fn book_mut(&mut self, topic: &str) -> Option<&mut Rebuilt> {
        self.books.as_mut()?.get_mut(topic)
    }

    /// The subscription of `topic` goes on from `at` and needs no snapshot.
    pub(super) fn book_goes_on(&mut self, topic: &str, at: &Position) {
        if let Some(rebuilt) = self.book_mut(topic) {
            rebuilt.goes_on(at);
        }
    }

    /// A snapshot of `topic` has to come before any change.
    pub(super) fn book_awaits_snapshot(&mut self, topic: &str) {
        if let Some(rebuilt) = self.book_mut(topic) {
            rebuilt.awaits_snapshot();
        }
    }

    /// An ack came for a topic that is live already, or for a one-shot of it. A topic at 0 has no message yet: its book
    /// begins empty.
    pub(super) fn book_acked(&mut self, result: &AckResult) {
        if let (Some(epoch), Some(Seq::ZERO)) = (&result.epoch, result.seq)
            && self.is_live(&result.topic)
        {
            self.begin_book(&result.topic, epoch);
        }
    }

    /// An ack came for a topic without earlier messages. `snapshot` says whether a snapshot comes if the topic has a
    /// message.
    pub(super) fn book_subscribed(&mut self, result: &AckResult, since: Option<&Position>, snapshot: bool) {
        let (Some(epoch), Some(seq)) = (result.epoch.clone(), result.seq) else {
            return;
        };
        match (since, result.recovered) {
            (Some(since), Some(true)) => self.book_goes_on(&result.topic, since),
            // A refused resume brings a snapshot even if the request wanted none.
            (_, recovered) if seq != Seq::ZERO && (snapshot || recovered == Some(false)) => {
                self.book_awaits_snapshot(&result.topic);
            }
            _ => self.book_goes_on(&result.topic, &Position { epoch, seq }),
        }
    }

    /// Handles a `joined` of `topic`.
    pub(super) fn book_joined(&mut self, topic: &str, epoch: &Epoch, seq: Seq) {
        if seq == Seq::ZERO {
            self.begin_book(topic, epoch);
            return;
        }
        let epoch = epoch.clone();
        self.book_goes_on(topic, &Position { epoch, seq });
    }

    /// Handles an `end` of `topic`.
    pub(super) fn book_ended(&mut self, topic: &str) {
        if let Some(rebuilt) = self.book_mut(topic) {
            rebuilt.book.make_stale();
        }
    }

    /// The topic has no message yet: if it is a book, the book begins empty.
    fn begin_book(&mut self, topic: &str, epoch: &Epoch) {
        if let Some(rebuilt) = self.book_mut(topic)
            && rebuilt.book.position().is_none_or(|at| at.epoch != *epoch)
        {
            rebuilt.book.begin(epoch);
            rebuilt.snapshot_due = false;
        }
    }

    /// Handles a snapshot of `topic`.
    pub(super) fn book_snapshot(
        &mut self,
        topic: &str,
        epoch: &Epoch,
        seq: Seq,
        data: &str,
    ) -> Result<(), BrokenPromise> {
        let Some(rebuilt) = self.book_mut(topic) else {
            return Ok(());
        };
        rebuilt.snapshot_due = false;
        let verdict = rebuilt.book.snapshot(epoch, seq, data);
        verdict.map_err(|error| broken(topic, error))
    }

    /// Handles an update of `topic`.
    pub(super) fn book_update(&mut self, topic: &str, seq: Seq, data: &str) -> Result<(), BrokenPromise> {
        let Some(rebuilt) = self.book_mut(topic) else {
            return Ok(());
        };
        // A fault is reported once: after it the book is unknown until the next snapshot.
        let is_due = std::mem::take(&mut rebuilt.snapshot_due);
        if rebuilt.book.position().is_none() && !is_due {
            return Ok(());
        }
        let verdict = rebuilt.book.update(seq, data);
        verdict.map_err(|error| broken(topic, error))
    }
}

fn broken(topic: &str, error: BookError) -> BrokenPromise {
    BrokenPromise::Book {
        topic: topic.to_owned(),
        error,
    }
}
