//! The L2 order book that the broker keeps of each `book` topic.
//!
//! Levels are sorted, prices unique, sizes above zero. A change is applied whole or refused whole. Never larger than
//! [`BOOK_LEVELS_MAX`] a side.

use tickwire_wire::Refusal;
use tickwire_wire::error::ErrorCode;
use tickwire_wire::limits::{BOOK_CHECKSUM_LEVELS, BOOK_LEVELS_MAX};
use tickwire_wire::market::{self, BookChecksum, Level};

/// One side, worst level first: most changes are near the best, at the cheap end.
#[derive(Debug, Clone, Default)]
struct Side(Vec<Level>);

/// Which side, and so what "better" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Bids,
    Asks,
}

impl Side {
    /// Where `price` is or would be inserted.
    fn find(&self, which: Which, price: tickwire_wire::Decimal) -> Result<usize, usize> {
        match which {
            Which::Bids => self.0.binary_search_by(|level| level.price.cmp(&price)),
            Which::Asks => self.0.binary_search_by(|level| price.cmp(&level.price)),
        }
    }

    /// Applies one change; tells whether a level that the checksum covers changed.
    fn apply(&mut self, which: Which, change: Level) -> bool {
        let before = self.0.len();
        match self.find(which, change.price) {
            Ok(at) if change.size.is_zero() => {
                self.0.remove(at);
                before - at <= BOOK_CHECKSUM_LEVELS
            }
            Ok(at) => {
                let changed = self.0[at].size != change.size;
                self.0[at].size = change.size;
                changed && before - at <= BOOK_CHECKSUM_LEVELS
            }
            Err(_) if change.size.is_zero() => false,
            Err(at) => {
                self.0.insert(at, change);
                before - at < BOOK_CHECKSUM_LEVELS
            }
        }
    }

    fn best_first(&self) -> impl Iterator<Item = Level> {
        self.0.iter().rev().copied()
    }

    /// Whether `changes` fit, all their levels taken as new.
    fn has_room(&self, changes: &[Level]) -> bool {
        self.0.len() + changes.len() <= BOOK_LEVELS_MAX
            || self.0.len() + changes.iter().filter(|c| !c.size.is_zero()).count() <= BOOK_LEVELS_MAX
    }

    /// The changes that turn this side into `target`: removals, then new and changed levels.
    fn changes_to(&self, which: Which, target: &Self) -> Vec<Level> {
        let zero = tickwire_wire::Decimal::ZERO;
        let gone = self
            .best_first()
            .filter(|level| target.find(which, level.price).is_err());
        let mut changes: Vec<Level> = gone
            .map(|level| Level {
                price: level.price,
                size: zero,
            })
            .collect();
        changes.extend(target.best_first().filter(|level| {
            self.find(which, level.price)
                .map_or(true, |at| self.0[at].size != level.size)
        }));
        changes
    }
}

/// Both sides and their checksum.
#[derive(Debug, Clone, Default)]
pub struct Book {
    bids: Side,
    asks: Side,
    checksum: u32,
}

impl Book {
    /// Applies a publisher's message and returns the levels that changed, with the checksum after them: what
    /// subscribers get as an `update`.
    ///
    /// # Errors
    /// `bad_request` for a negative price or size, `limit_exceeded` for too many levels; the book is then unchanged.
    ///
    /// ```
    /// use tickwire_router::Book;
    /// use tickwire_wire::market;
    /// let change = r#"{"symbol":"X","bids":[["99","2"]],"asks":[["101","1"]],"time":0}"#;
    /// let change: market::Book = serde_json::from_str(change)?;
    /// let mut book = Book::default();
    /// let update = book.apply(change)?;
    /// assert_eq!(update.checksum, book.snapshot("X".into(), update.time).checksum);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(&mut self, mut message: market::Book) -> Result<market::Book, Refusal> {
        for level in message.bids.iter().chain(&message.asks) {
            if level.price.is_negative() || level.size.is_negative() {
                let reason = format!("book level [{:?},{:?}] is negative", level.price, level.size);
                return Err(Refusal::bad_request(reason));
            }
        }
        if message.replace {
            let mut target = Self::default();
            target.change(&message.bids, &message.asks)?;
            message.bids = self.bids.changes_to(Which::Bids, &target.bids);
            message.asks = self.asks.changes_to(Which::Asks, &target.asks);
            message.replace = false;
            *self = target;
        } else {
            self.change(&message.bids, &message.asks)?;
        }
        message.checksum = self.checksum;
        Ok(message)
    }

    /// Applies level changes and brings the checksum up to date.
    fn change(&mut self, bids: &[Level], asks: &[Level]) -> Result<(), Refusal> {
        if !self.bids.has_room(bids) || !self.asks.has_room(asks) {
            let reason = format!("a book holds at most {BOOK_LEVELS_MAX} levels a side");
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        // An empty book's checksum is CRC-32 of nothing, 0, as the default has it.
        let mut covered = false;
        for level in bids {
            covered |= self.bids.apply(Which::Bids, *level);
        }
        for level in asks {
            covered |= self.asks.apply(Which::Asks, *level);
        }
        if covered {
            let mut sum = BookChecksum::default();
            sum.side(self.asks.best_first());
            sum.side(self.bids.best_first());
            self.checksum = sum.finish();
        }
        Ok(())
    }

    /// The whole book, best levels first, as a `snapshot` carries it.
    #[must_use]
    pub fn snapshot(&self, symbol: tickwire_wire::Symbol, time: tickwire_wire::Micros) -> market::Book {
        market::Book {
            symbol,
            bids: self.bids.best_first().collect(),
            asks: self.asks.best_first().collect(),
            checksum: self.checksum,
            time,
            replace: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tickwire_wire::{Decimal, Micros, Symbol};

    use super::*;

    fn level(price: i64, size: i64) -> Level {
        Level {
            price: Decimal::new(price, 2),
            size: Decimal::new(size, 3),
        }
    }

    fn message(bids: Vec<Level>, asks: Vec<Level>, replace: bool) -> market::Book {
        market::Book {
            symbol: Symbol::from("X"),
            bids,
            asks,
            checksum: 9,
            time: Micros(1),
            replace,
        }
    }

    /// The rule of PROTOCOL.md written naively, on text.
    fn naive_checksum(bids: &BTreeMap<Decimal, Decimal>, asks: &BTreeMap<Decimal, Decimal>) -> u32 {
        let mut text = String::new();
        for (price, size) in asks.iter().take(10).chain(bids.iter().rev().take(10)) {
            for number in [price, size] {
                text += number.to_string().replace('.', "").trim_start_matches('0');
            }
        }
        crc32(text.as_bytes())
    }

    /// CRC-32 (IEEE 802.3), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| {
                if c & 1 == 1 {
                    (c >> 1) ^ 0xedb8_8320
                } else {
                    c >> 1
                }
            })
        })
    }

    #[test]
    fn a_refused_change_leaves_the_book_as_it_was() {
        let mut book = Book::default();
        book.apply(message(vec![level(100, 1)], vec![], false))
            .expect("valid");
        let before = book.snapshot("X".into(), Micros(0));
        let negative = message(vec![level(100, 5), level(-1, 1)], vec![], false);
        assert_eq!(
            book.apply(negative).expect_err("negative").code,
            ErrorCode::BadRequest
        );
        let many = (1..=BOOK_LEVELS_MAX as i64 + 1).map(|p| level(p, 1)).collect();
        assert_eq!(
            book.apply(message(many, vec![], false)).expect_err("many").code,
            ErrorCode::LimitExceeded
        );
        assert_eq!(book.snapshot("X".into(), Micros(0)), before);
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_book(
            changes in prop::collection::vec(
                (any::<bool>(), 1_i64..60, prop_oneof![Just(0_i64), 1_i64..2_000], prop::bool::weighted(0.02)), 1..200),
        ) {
            let mut book = Book::default();
            let mut sides = [BTreeMap::new(), BTreeMap::new()];
            // A client that only ever sees the updates.
            let mut client = [BTreeMap::new(), BTreeMap::new()];
            for (bid, price, size, replace) in changes {
                let change = level(price, size);
                let (bids, asks) = if bid { (vec![change], vec![]) } else { (vec![], vec![change]) };
                if replace {
                    sides = [BTreeMap::new(), BTreeMap::new()];
                }
                let side = &mut sides[usize::from(bid)];
                if size == 0 { side.remove(&change.price); } else { side.insert(change.price, change.size); }
                let update = book.apply(message(bids, asks, replace)).expect("valid");
                for (levels, at) in [(&update.asks, 0), (&update.bids, 1)] {
                    for l in levels {
                        if l.size.is_zero() { client[at].remove(&l.price); } else { client[at].insert(l.price, l.size); }
                    }
                }
                prop_assert_eq!(&client, &sides);
                prop_assert_eq!(update.checksum, naive_checksum(&sides[1], &sides[0]));
                let snapshot = book.snapshot("X".into(), Micros(0));
                let bids: Vec<_> = sides[1].iter().rev().map(|(p, s)| (*p, *s)).collect();
                let got: Vec<_> = snapshot.bids.iter().map(|l| (l.price, l.size)).collect();
                prop_assert_eq!(got, bids);
                prop_assert_eq!(snapshot.checksum, update.checksum);
            }
        }
    }
}
