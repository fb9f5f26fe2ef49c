//! The books that are rebuilt to verify their checksums.
//!
//! One whose subscription begins in the middle, resumed or without a snapshot, is not known, and nothing is claimed of it, until a
//! snapshot comes. Where a snapshot is due before any change, a change without it is a broken promise.

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

/// A book as far as it is known.
#[derive(Debug, Default)]
struct Rebuilt {
    book: L2Book,
    /// Whether a snapshot is to come before any change.
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
    /// A subscription goes on from `at`: from the book that is known if that is where it is.
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

    /// A topic's subscription goes on from `at`, and no snapshot needs to come.
    pub(super) fn book_goes_on(&mut self, topic: &str, at: &Position) {
        if let Some(rebuilt) = self.book_mut(topic) {
            rebuilt.goes_on(at);
        }
    }

    /// A snapshot is to come before any change.
    pub(super) fn book_awaits_snapshot(&mut self, topic: &str) {
        if let Some(rebuilt) = self.book_mut(topic) {
            rebuilt.awaits_snapshot();
        }
    }

    /// A topic was acked that came already, or of which a snapshot was asked for alone. If it stands at 0 it has no message yet,
    /// and begins with nothing.
    pub(super) fn book_acked(&mut self, result: &AckResult) {
        if let (Some(epoch), Some(Seq::ZERO)) = (&result.epoch, result.seq)
            && self.is_live(&result.topic)
        {
            self.begin_book(&result.topic, epoch);
        }
    }

    /// A topic was acked of which nothing came yet. `snapshot`: one is to come, if there is a message.
    pub(super) fn book_subscribed(&mut self, result: &AckResult, since: Option<&Position>, snapshot: bool) {
        let (Some(epoch), Some(seq)) = (result.epoch.clone(), result.seq) else {
            return;
        };
        match (since, result.recovered) {
            (Some(since), Some(true)) => self.book_goes_on(&result.topic, since),
            // A refused resume brings a snapshot whatever the request said of snapshots.
            (_, recovered) if seq != Seq::ZERO && (snapshot || recovered == Some(false)) => {
                self.book_awaits_snapshot(&result.topic);
            }
            _ => self.book_goes_on(&result.topic, &Position { epoch, seq }),
        }
    }

    /// A `joined` came of a topic.
    pub(super) fn book_joined(&mut self, topic: &str, epoch: &Epoch, seq: Seq) {
        if seq == Seq::ZERO {
            self.begin_book(topic, epoch);
            return;
        }
        let epoch = epoch.clone();
        self.book_goes_on(topic, &Position { epoch, seq });
    }

    /// A topic has no message yet: if it is a book, it begins with nothing.
    fn begin_book(&mut self, topic: &str, epoch: &Epoch) {
        if let Some(rebuilt) = self.book_mut(topic)
            && rebuilt.book.position().is_none_or(|at| at.epoch != *epoch)
        {
            rebuilt.book.begin(epoch);
            rebuilt.snapshot_due = false;
        }
    }

    /// A snapshot came of a topic.
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

    /// An update came of a topic.
    pub(super) fn book_update(&mut self, topic: &str, seq: Seq, data: &str) -> Result<(), BrokenPromise> {
        let Some(rebuilt) = self.book_mut(topic) else {
            return Ok(());
        };
        // What is wrong is said once: until the next snapshot the book is not known then.
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
