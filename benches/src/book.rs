//! The order book that the broker keeps: changes with their checksums, and whole snapshots.

use tickwire_router::OrderBook;
use tickwire_wire::codec::DataOp;
use tickwire_wire::market::{self, BookChecksum, Level};
use tickwire_wire::{Codec, Decimal, Epoch, Payload};

use crate::case::HotPath;
use crate::encode::{data_of, encode};
use crate::set_up::{self, NOW, Side};

/// Cycles of four changes in a run: a level gets another size and then its old one; a new level is added behind it and
/// then removed. After each cycle the book is as before.
const CIRCLES: usize = 25;

/// Where in the book the changes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In the best five levels, so that each changes the checksum.
    Top,
    /// In the worst five levels, which the checksum does not cover.
    Deep,
}

/// A hundred messages with a change of one level each.
#[derive(Debug)]
pub struct Changes {
    book: OrderBook,
    changes: Vec<market::Book>,
    next: Vec<market::Book>,
}

impl Changes {
    /// Changes of a book with `levels` levels a side.
    ///
    /// # Panics
    /// Never: the book is valid.
    #[must_use]
    pub fn new(levels: usize, place: Where) -> Self {
        let mut book = OrderBook::default();
        book.apply(set_up::whole_book(levels)).expect("a valid book");
        let circle = |circle: usize| {
            let side = if circle.is_multiple_of(2) {
                Side::Bids
            } else {
                Side::Asks
            };
            let depth = match place {
                Where::Top => circle % 5,
                Where::Deep => levels - 1 - circle % 5,
            };
            let level = set_up::level(side, depth);
            let behind = set_up::level_behind(side, depth);
            let with_size = |level: Level, size| Level { size, ..level };
            [
                with_size(level, Decimal::new(777, 3)),
                level,
                behind,
                with_size(behind, Decimal::ZERO),
            ]
            .map(|change| set_up::change_of(side, change))
        };
        Self {
            book,
            changes: (0..CIRCLES).flat_map(circle).collect(),
            next: Vec::new(),
        }
    }
}

impl HotPath for Changes {
    /// The sum of the checksums.
    type Output = u64;

    const PREPARES: bool = true;

    fn prepare(&mut self) {
        self.next.clone_from(&self.changes);
    }

    fn run(&mut self) -> u64 {
        let mut sum = 0;
        for change in self.next.drain(..) {
            let update = self.book.apply(change).expect("a valid change");
            sum += u64::from(update.checksum);
        }
        sum
    }

    fn check(&mut self, sum: &u64) {
        let before = self.book.snapshot(set_up::symbol(), NOW);
        let mut expected = 0;
        for (at, change) in (1..).zip(self.changes.clone()) {
            let update = self.book.apply(change.clone()).expect("a valid change");
            assert_eq!((&update.bids, &update.asks), (&change.bids, &change.asks));
            let now = self.book.snapshot(set_up::symbol(), NOW);
            let mut checksum = BookChecksum::default();
            checksum.side(now.asks.iter().copied());
            checksum.side(now.bids.iter().copied());
            assert_eq!(update.checksum, checksum.finish());
            assert_eq!(now == before, at % 4 == 0 || at % 4 == 2, "change {at}");
            expected += u64::from(update.checksum);
        }
        assert_eq!(*sum, expected);
    }
}

/// A whole book encoded as a frame. This is the cost of a new subscriber, shared by all that come before the next
/// change.
#[derive(Debug)]
pub struct WholeSnapshot {
    book: OrderBook,
    epoch: Epoch,
    codec: Codec,
}

impl WholeSnapshot {
    /// A book with `levels` levels a side, encoded in `codec`.
    ///
    /// # Panics
    /// Never: the book is valid.
    #[must_use]
    pub fn new(levels: usize, codec: Codec) -> Self {
        let mut book = OrderBook::default();
        book.apply(set_up::whole_book(levels)).expect("a valid book");
        Self {
            book,
            epoch: Epoch::from("k3v9"),
            codec,
        }
    }
}

impl HotPath for WholeSnapshot {
    type Output = Box<[u8]>;

    fn run(&mut self) -> Box<[u8]> {
        let whole = Payload::Book(Box::new(self.book.snapshot(set_up::symbol(), NOW)));
        encode(&whole, &self.epoch, DataOp::Snapshot, self.codec)
    }

    fn check(&mut self, bytes: &Box<[u8]>) {
        let data = data_of(bytes, DataOp::Snapshot, self.codec);
        let read: market::Book = serde_json::from_value(data).expect("a book");
        assert_eq!(read, self.book.snapshot(set_up::symbol(), NOW));
        let mut whole = set_up::whole_book(read.bids.len());
        (whole.checksum, whole.replace) = (read.checksum, false);
        assert_eq!(read, whole);
    }
}
