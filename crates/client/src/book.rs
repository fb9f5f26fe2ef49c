//! An L2 order book built from a topic's snapshots and updates, checked at every message.
//!
//! Pure: no socket, no clock. A book is either *usable* — it equals what the broker held after its last message, proved
//! by the checksum — or *stale*: nothing came yet, or a message did not fit. A stale book shows no levels, refuses
//! updates and becomes usable again with the next snapshot; ask for one with `resync`. Memory is bounded by
//! [`BOOK_LEVELS_MAX`] levels a side.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use thiserror::Error;
use tickwire_wire::limits::BOOK_LEVELS_MAX;
use tickwire_wire::market::{Book, BookChecksum, Level};
use tickwire_wire::message::Position;
use tickwire_wire::{Decimal, Epoch, Seq};

use crate::planted::{Fault, is_planted};

/// Why a message could not be applied. After each of these errors the book is stale.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BookError {
    /// The data is not a book.
    #[error("message {seq} holds no book: {reason}")]
    Malformed {
        /// The number of the message.
        seq: Seq,
        /// What is wrong with the data.
        reason: String,
    },
    /// A price or size is below zero, or a level of a snapshot has size zero.
    #[error("message {seq} has an impossible level: price {price}, size {size}")]
    BadLevel {
        /// The number of the message.
        seq: Seq,
        /// The level's price.
        price: Decimal,
        /// The level's size.
        size: Decimal,
    },
    /// A side has more levels than [`BOOK_LEVELS_MAX`].
    #[error("message {seq} makes a side of {levels} levels; at most {BOOK_LEVELS_MAX} are possible")]
    TooManyLevels {
        /// The number of the message.
        seq: Seq,
        /// The number of levels of the larger side.
        levels: usize,
    },
    /// A change came while the book is stale, so there is nothing to apply it to.
    #[error("change {seq} came without a snapshot before it; wait for one or ask with resync")]
    NoSnapshot {
        /// The number of the message.
        seq: Seq,
    },
    /// Changes before this one are missing.
    #[error("change {got} came where {expected} was due; ask for a snapshot with resync")]
    Hole {
        /// The number of the change that had to come.
        expected: Seq,
        /// The number of the change that came.
        got: Seq,
    },
    /// The checksum shows that the book differs from the broker's.
    #[error("after message {seq} the book's checksum is {computed:#010x} and not {announced:#010x}")]
    WrongChecksum {
        /// The number of the message.
        seq: Seq,
        /// The broker's checksum.
        announced: u32,
        /// The checksum of what was built here.
        computed: u32,
    },
}

/// One instrument's order book.
///
/// ```
/// use tickwire_client::book::L2Book;
/// use tickwire_wire::{Epoch, Seq};
///
/// let mut book = L2Book::default();
/// let snapshot = r#"{"symbol":"A","bids":[["9.9","1"]],"asks":[["10.1","2"]],"checksum":629245110,"time":1}"#;
/// book.snapshot(&Epoch::from("k3v9"), Seq(7), snapshot)?;
/// assert_eq!(book.bids().next().map(|level| level.price.to_string()), Some("9.9".to_owned()));
/// # Ok::<(), tickwire_client::book::BookError>(())
/// ```
#[derive(Debug, Default)]
pub struct L2Book {
    bids: BTreeMap<Reverse<Decimal>, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
    /// The position of the last message that the book contains; `None` while the book is stale.
    at: Option<Position>,
}

impl L2Book {
    /// Replaces the book with the snapshot `data`, which is JSON text and message `seq` of lineage `epoch`.
    ///
    /// # Errors
    /// When the data is not a book, a level is bad, a side has too many levels or the checksum differs. The book is
    /// stale then.
    pub fn snapshot(&mut self, epoch: &Epoch, seq: Seq, data: &str) -> Result<(), BookError> {
        self.empty();
        let book = parse(seq, data)?;
        if let Some(level) = levels(&book).find(|level| level.size.is_zero()) {
            return Err(bad_level(seq, level));
        }
        let result = self.apply(seq, &book);
        self.finish(result, || Position {
            epoch: epoch.clone(),
            seq,
        })
    }

    /// Applies the changes `data`, which are JSON text and message `seq`.
    ///
    /// # Errors
    /// When the book is stale, changes are missing, the data is not a book, a level is bad, a side has too many levels
    /// or the checksum differs. The book is stale then.
    pub fn update(&mut self, seq: Seq, data: &str) -> Result<(), BookError> {
        let Some(at) = self.at.take() else {
            return Err(BookError::NoSnapshot { seq });
        };
        let result = if at.seq.0.checked_add(1) == Some(seq.0) {
            parse(seq, data).and_then(|book| self.apply(seq, &book))
        } else {
            Err(BookError::Hole {
                expected: Seq(at.seq.0.saturating_add(1)),
                got: seq,
            })
        };
        self.finish(result, || Position { epoch: at.epoch, seq })
    }

    /// Makes the book empty and usable. Call it for a topic without a message: its `ack` or its `joined` says 0, and no
    /// snapshot comes.
    pub fn begin(&mut self, epoch: &Epoch) {
        self.empty();
        self.at = Some(Position {
            epoch: epoch.clone(),
            seq: Seq::ZERO,
        });
    }

    /// Empties the book and makes it stale. Call it at a `gap`: only a snapshot makes the book usable again.
    pub fn make_stale(&mut self) {
        if !is_planted(Fault::StaleBook) {
            self.empty();
        }
    }

    fn empty(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.at = None;
    }

    /// The position of the last message that the book contains; `None` while the book is stale.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        self.at.as_ref()
    }

    /// The bids, best first. `take(n)` gives the top `n` levels.
    pub fn bids(&self) -> impl Iterator<Item = Level> + '_ {
        self.bids.iter().map(|(price, size)| Level {
            price: price.0,
            size: *size,
        })
    }

    /// The asks, best first. `take(n)` gives the top `n` levels.
    pub fn asks(&self) -> impl Iterator<Item = Level> + '_ {
        self.asks.iter().map(|(price, size)| Level {
            price: *price,
            size: *size,
        })
    }

    /// The checksum of the current book, over its best levels as the broker computes it.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut sum = BookChecksum::default();
        sum.side(self.asks());
        sum.side(self.bids());
        sum.finish()
    }

    /// Sets and removes levels, then compares the checksum.
    fn apply(&mut self, seq: Seq, book: &Book) -> Result<(), BookError> {
        if let Some(level) = levels(book).find(|level| level.price.is_negative() || level.size.is_negative())
        {
            return Err(bad_level(seq, level));
        }
        for level in &book.bids {
            set(&mut self.bids, Reverse(level.price), level.size);
        }
        for level in &book.asks {
            set(&mut self.asks, level.price, level.size);
        }
        let levels = self.bids.len().max(self.asks.len());
        if levels > BOOK_LEVELS_MAX {
            return Err(BookError::TooManyLevels { seq, levels });
        }
        let computed = self.checksum();
        if computed == book.checksum {
            Ok(())
        } else {
            Err(BookError::WrongChecksum {
                seq,
                announced: book.checksum,
                computed,
            })
        }
    }

    /// Makes the book usable at position `at`, or stale if `result` is an error.
    fn finish(
        &mut self,
        result: Result<(), BookError>,
        at: impl FnOnce() -> Position,
    ) -> Result<(), BookError> {
        match &result {
            Ok(()) => self.at = Some(at()),
            Err(_) => self.empty(),
        }
        result
    }
}

fn parse(seq: Seq, data: &str) -> Result<Book, BookError> {
    serde_json::from_str(data).map_err(|error| BookError::Malformed {
        seq,
        reason: error.to_string(),
    })
}

fn levels(book: &Book) -> impl Iterator<Item = &Level> {
    book.bids.iter().chain(&book.asks)
}

fn bad_level(seq: Seq, level: &Level) -> BookError {
    BookError::BadLevel {
        seq,
        price: level.price,
        size: level.size,
    }
}

fn set<K: Ord>(side: &mut BTreeMap<K, Decimal>, price: K, size: Decimal) {
    if size.is_zero() {
        side.remove(&price);
    } else {
        side.insert(price, size);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use tickwire_wire::Micros;
    use tickwire_wire::market::Symbol;

    use super::*;

    /// Parses levels such as `"10.1x2 10.2x1"`.
    fn side(text: &str) -> Vec<Level> {
        let level = |pair: &str| {
            let (price, size) = pair.split_once('x').expect("PRICExSIZE");
            Level {
                price: price.parse().expect(pair),
                size: size.parse().expect(pair),
            }
        };
        text.split_whitespace().map(level).collect()
    }

    fn data(bids: &str, asks: &str, checksum: u32) -> String {
        let book = Book {
            symbol: Symbol::from("A"),
            bids: side(bids),
            asks: side(asks),
            checksum,
            time: Micros(1),
            replace: false,
        };
        serde_json::to_string(&book).expect("a book serialises")
    }

    /// The checksum of a whole book.
    fn sum(bids: &str, asks: &str) -> u32 {
        let mut sum = BookChecksum::default();
        sum.side(side(asks).into_iter());
        sum.side(side(bids).into_iter());
        sum.finish()
    }

    fn show(book: &L2Book) -> String {
        let text = |levels: Vec<Level>| {
            let levels: Vec<_> = levels.iter().map(|l| format!("{}x{}", l.price, l.size)).collect();
            levels.join(" ")
        };
        let at = book
            .position()
            .map_or("stale".to_owned(), |at| format!("{}:{}", at.epoch, at.seq));
        format!(
            "{at} bids [{}] asks [{}]",
            text(book.bids().collect()),
            text(book.asks().collect())
        )
    }

    fn book_at_7() -> L2Book {
        let mut book = L2Book::default();
        let (bids, asks) = ("9.9x1 9.8x5", "10.1x2 10.2x4");
        book.snapshot(&Epoch::from("k3v9"), Seq(7), &data(bids, asks, sum(bids, asks)))
            .expect("a good snapshot");
        book
    }

    #[test]
    fn changes_set_and_remove_levels() {
        let mut book = book_at_7();
        let checksum = sum("9.9x3 9.8x5 9.7x1", "10.2x4");
        book.update(Seq(8), &data("9.9x3 9.7x1", "10.1x0 11x0", checksum))
            .expect("a good change");
        assert_eq!(show(&book), "k3v9:8 bids [9.9x3 9.8x5 9.7x1] asks [10.2x4]");
    }

    #[test]
    fn the_checksum_covers_ten_levels_a_side() {
        let asks: String = (10..31).map(|price| format!("{price}x1 ")).collect();
        let top: String = (10..20).map(|price| format!("{price}x1 ")).collect();
        let mut book = L2Book::default();
        book.snapshot(&Epoch::from("e"), Seq(1), &data("", &asks, sum("", &top)))
            .expect("ten levels count");
        assert_eq!(book.asks().count(), 21);
    }

    fn check_error(seq: u64, data: &str, expected: &Expect) {
        let mut book = book_at_7();
        let error = book.update(Seq(seq), data).expect_err("must be refused");
        expected.assert_eq(&error.to_string());
        assert_eq!(show(&book), "stale bids [] asks []");
        let next = book.update(Seq(seq + 1), data).expect_err("stale");
        assert_eq!(next, BookError::NoSnapshot { seq: Seq(seq + 1) });
        let fresh = data_of_a_good_snapshot();
        assert_eq!(book.snapshot(&Epoch::from("k3v9"), Seq(20), &fresh), Ok(()));
    }

    fn data_of_a_good_snapshot() -> String {
        data("1x1", "2x2", sum("1x1", "2x2"))
    }

    #[test]
    fn what_does_not_fit_makes_the_book_stale() {
        check_error(
            8,
            &data("9.9x3", "", 1),
            &expect!["after message 8 the book's checksum is 0x2a193813 and not 0x00000001"],
        );
        check_error(
            9,
            &data("", "", 1),
            &expect!["change 9 came where 8 was due; ask for a snapshot with resync"],
        );
        check_error(
            7,
            &data("", "", 1),
            &expect!["change 7 came where 8 was due; ask for a snapshot with resync"],
        );
        check_error(
            8,
            "{}",
            &expect!["message 8 holds no book: missing field `symbol` at line 1 column 2"],
        );
        check_error(
            8,
            &data("9.9x-1", "", 1),
            &expect!["message 8 has an impossible level: price 9.9, size -1"],
        );
    }

    #[test]
    fn a_snapshot_holds_no_removals() {
        let mut book = L2Book::default();
        let error = book
            .snapshot(&Epoch::from("e"), Seq(1), &data("9x0", "", 0))
            .expect_err("size 0");
        expect!["message 1 has an impossible level: price 9, size 0"].assert_eq(&error.to_string());
    }

    #[test]
    fn a_side_is_bounded() {
        let asks: String = (0..=BOOK_LEVELS_MAX).map(|price| format!("{price}x1 ")).collect();
        let mut book = L2Book::default();
        let error = book
            .snapshot(&Epoch::from("e"), Seq(1), &data("", &asks, 0))
            .expect_err("too many");
        assert_eq!(
            error,
            BookError::TooManyLevels {
                seq: Seq(1),
                levels: BOOK_LEVELS_MAX + 1
            }
        );
    }

    /// The levels of a side as text, `PRICExSIZE`, in the order that `best_first` gives to the prices.
    fn render(model: &BTreeMap<u32, u32>, best_first: impl Fn(&mut Vec<u32>)) -> String {
        let mut prices: Vec<_> = model.keys().copied().collect();
        best_first(&mut prices);
        prices
            .iter()
            .map(|price| format!("{price}x{} ", model[price]))
            .collect()
    }

    proptest! {
        /// A book built from changes equals the snapshot of the same state.
        #[test]
        fn changes_and_snapshots_agree(
            changes in prop::collection::vec(
                prop::collection::vec((any::<bool>(), 1..40_u32, 0..4_u32), 0..6), 1..30)
        ) {
            let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
            let epoch = Epoch::from("e");
            let mut changed = L2Book::default();
            changed.snapshot(&epoch, Seq(0), &data("", "", sum("", ""))).expect("an empty book");
            for (seq, change) in (1..).zip(changes) {
                let mut levels = [String::new(), String::new()];
                for (is_bid, price, size) in change {
                    let side = if is_bid { &mut bids } else { &mut asks };
                    if size == 0 { side.remove(&price); } else { side.insert(price, size); }
                    levels[usize::from(is_bid)] += &format!("{price}x{size} ");
                }
                let bids = render(&bids, |prices| prices.reverse());
                let asks = render(&asks, |_| {});
                let checksum = sum(&bids, &asks);
                prop_assert_eq!(changed.update(Seq(seq), &data(&levels[1], &levels[0], checksum)), Ok(()));
                let mut fresh = L2Book::default();
                prop_assert_eq!(fresh.snapshot(&epoch, Seq(seq), &data(&bids, &asks, checksum)), Ok(()));
                prop_assert_eq!(show(&changed), show(&fresh));
            }
        }
    }
}
