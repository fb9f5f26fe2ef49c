//! The L2 order book that the broker keeps of each `book` topic.
//!
//! Levels are sorted, prices are unique, and sizes are above zero. A change is applied whole or refused whole. A side
//! never has more than [`BOOK_LEVELS_MAX`] levels.

mod side;

use tickwire_wire::Refusal;
use tickwire_wire::error::ErrorCode;
use tickwire_wire::limits::BOOK_LEVELS_MAX;
use tickwire_wire::market::{self, BookChecksum, Level};

use side::{Side, Which};

/// Both sides and their checksum.
#[derive(Debug, Clone, Default)]
pub struct OrderBook {
    bids: Side,
    asks: Side,
    checksum: u32,
}

impl OrderBook {
    /// The bytes of memory that the book holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bids.memory_bytes() + self.asks.memory_bytes()
    }

    /// The bytes of memory that the book needs beyond those that it holds, to apply a publisher's message.
    pub(crate) fn growth_bytes(&self, message: &market::Book) -> usize {
        if message.replace {
            let levels = (message.bids.len() + message.asks.len()) * size_of::<Level>();
            return levels.saturating_sub(self.bids.memory_bytes() + self.asks.memory_bytes());
        }
        self.bids.growth_bytes(Which::Bids, &message.bids)
            + self.asks.growth_bytes(Which::Asks, &message.asks)
    }

    /// Applies a publisher's message and returns the levels that changed, with the checksum after them: what
    /// subscribers get as an `update`.
    ///
    /// # Errors
    /// `bad_request` for a negative price or size, `limit_exceeded` for too many levels; the book is then unchanged.
    ///
    /// ```
    /// use tickwire_router::OrderBook;
    /// use tickwire_wire::market;
    /// let change = r#"{"symbol":"X","bids":[["99","2"]],"asks":[["101","1"]],"time":0}"#;
    /// let change: market::Book = serde_json::from_str(change)?;
    /// let mut book = OrderBook::default();
    /// let update = book.apply(change)?;
    /// assert_eq!(update.checksum, book.snapshot("X".into(), update.time).checksum);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(&mut self, mut message: market::Book) -> Result<market::Book, Refusal> {
        check_levels(&message)?;
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
        // The checksum of an empty book is the CRC-32 of nothing, 0, which is also the default.
        if self.change_sides(bids, asks)? {
            self.compute_checksum();
        }
        Ok(())
    }

    /// Applies the levels of a message that is no whole book. The checksum is out of date afterwards, until it is
    /// [computed](Self::compute_checksum).
    pub(crate) fn change_levels(&mut self, message: &market::Book) -> Result<(), Refusal> {
        check_levels(message)?;
        self.change_sides(&message.bids, &message.asks).map(drop)
    }

    /// Brings the checksum up to date, and returns it.
    pub(crate) fn compute_checksum(&mut self) -> u32 {
        let mut sum = BookChecksum::default();
        sum.side(self.asks.best_first());
        sum.side(self.bids.best_first());
        self.checksum = sum.finish();
        self.checksum
    }

    /// Applies level changes. Returns whether the checksum may be another afterwards.
    fn change_sides(&mut self, bids: &[Level], asks: &[Level]) -> Result<bool, Refusal> {
        if !self.bids.has_room(Which::Bids, bids) || !self.asks.has_room(Which::Asks, asks) {
            let reason = format!("a book holds at most {BOOK_LEVELS_MAX} levels a side");
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        Ok(self.bids.apply(Which::Bids, bids) | self.asks.apply(Which::Asks, asks))
    }

    /// Whether the best bid is not below the best ask.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        let best = self.bids.best().zip(self.asks.best());
        best.is_some_and(|(bid, ask)| bid >= ask)
    }

    /// The best bid and the best ask, if both sides have a level.
    #[must_use]
    pub fn best_quotes(&self) -> Option<(Level, Level)> {
        self.bids.best_first().next().zip(self.asks.best_first().next())
    }

    /// The whole book, best levels first, in the form of a `snapshot`.
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

/// Refuses levels below zero.
fn check_levels(message: &market::Book) -> Result<(), Refusal> {
    let mut levels = message.bids.iter().chain(&message.asks);
    match levels.find(|level| level.price.is_negative() || level.size.is_negative()) {
        Some(level) => {
            let reason = format!("book level [{:?},{:?}] is negative", level.price, level.size);
            Err(Refusal::bad_request(reason))
        }
        None => Ok(()),
    }
}

/// Refuses a book of an instrument that is not the one in the last tokens of `topic`.
///
/// # Errors
/// `bad_request`, with both names.
pub fn check_symbol(topic: &str, book: &market::Book) -> Result<(), Refusal> {
    let before = topic.strip_suffix(book.symbol.as_str());
    if before.is_some_and(|before| before.is_empty() || before.ends_with('.')) {
        return Ok(());
    }
    let reason = format!("a book of symbol {:?} does not belong to {topic}", book.symbol);
    Err(Refusal::bad_request(reason))
}

/// The refusal of a message to the book `topic` that is no book message.
pub(crate) fn not_a_book(topic: &str) -> Refusal {
    Refusal::bad_request(format!(
        "{topic} is a book; only book messages can be published to it"
    ))
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

    /// The checksum rule of PROTOCOL.md ("The checksum of a book"), written naively on text.
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
        let mut book = OrderBook::default();
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

    #[test]
    fn a_full_side_refused_changes_that_add_no_level() {
        let side =
            |from: i64, to: i64, size: i64| -> Vec<Level> { (from..to).map(|p| level(p, size)).collect() };
        let full = BOOK_LEVELS_MAX as i64 + 1;
        for (changes, fits) in [
            (side(1, full, 2), true),
            (vec![level(7, 3)], true),
            (vec![level(full, 1)], false),
            (vec![level(1, 0), level(full, 1)], true),
            (vec![level(full, 1), level(1, 0)], true),
            (vec![level(full, 1), level(full, 0), level(full, 0)], true),
            ([side(1, 1_000, 0), side(full, full + 1_000, 1)].concat(), false),
            ([side(1, 1_001, 0), side(full, full + 1_000, 1)].concat(), true),
        ] {
            for (bids, asks) in [(changes.clone(), vec![]), (vec![], changes.clone())] {
                let mut book = OrderBook::default();
                let whole = side(1, full, 1);
                let whole = if asks.is_empty() {
                    (whole, vec![])
                } else {
                    (vec![], whole)
                };
                book.apply(message(whole.0, whole.1, true))
                    .expect("as many as there may be");
                let applied = book.apply(message(bids, asks, false));
                assert_eq!(applied.is_ok(), fits, "{:?}", &changes[..changes.len().min(3)]);
            }
        }
    }

    #[test]
    fn a_book_is_crossed_when_its_best_bid_is_not_below_its_best_ask() {
        let mut book = OrderBook::default();
        assert!(!book.is_crossed(), "nothing is not crossed");
        for (bids, asks, crossed) in [
            (vec![level(100, 1)], vec![], false),
            (vec![], vec![level(101, 1)], false),
            (vec![level(101, 1)], vec![], true),
            (vec![], vec![level(101, 0)], false),
            (vec![], vec![level(99, 1), level(102, 1)], true),
            (vec![level(101, 0), level(100, 0), level(98, 1)], vec![], false),
        ] {
            book.apply(message(bids, asks, false)).expect("valid");
            assert_eq!(
                book.is_crossed(),
                crossed,
                "{:?}",
                book.snapshot("X".into(), Micros(0))
            );
        }
    }

    /// A message that is both long and deep is finished in one pass. The naive book has no such rule.
    #[test]
    fn long_messages_at_the_worst_prices_agree_with_a_naive_book() {
        let (mut book, mut naive) = (OrderBook::default(), [BTreeMap::new(), BTreeMap::new()]);
        for round in 0_i64..12 {
            let replace = round % 5 == 0;
            // New levels come below all others or between them, or levels go again. Some prices come twice.
            let side = |sign: i64| -> Vec<Level> {
                (0..400)
                    .map(|at| {
                        let far = (at * 7 + round * 131) % 900;
                        level(100_000 + sign * (10 + far), (at + round) % 3)
                    })
                    .collect()
            };
            let (bids, asks) = (side(-1), side(1));
            if replace {
                naive = [BTreeMap::new(), BTreeMap::new()];
            }
            for (side, changes) in naive.iter_mut().zip([&asks, &bids]) {
                for change in changes {
                    if change.size.is_zero() {
                        side.remove(&change.price);
                    } else {
                        side.insert(change.price, change.size);
                    }
                }
            }
            let update = book.apply(message(bids, asks, replace)).expect("valid");
            let got = book.snapshot("X".into(), Micros(0));
            let pairs = |levels: &[Level]| levels.iter().map(|l| (l.price, l.size)).collect::<Vec<_>>();
            let best_asks: Vec<_> = naive[0].iter().map(|(p, s)| (*p, *s)).collect();
            let best_bids: Vec<_> = naive[1].iter().rev().map(|(p, s)| (*p, *s)).collect();
            assert_eq!(pairs(&got.asks), best_asks, "round {round}");
            assert_eq!(pairs(&got.bids), best_bids, "round {round}");
            assert_eq!(
                update.checksum,
                naive_checksum(&naive[1], &naive[0]),
                "round {round}"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_book(
            changes in prop::collection::vec(
                (any::<bool>(), 1_i64..60, prop_oneof![Just(0_i64), 1_i64..2_000], prop::bool::weighted(0.02)), 1..200),
        ) {
            let mut book = OrderBook::default();
            let mut sides = [BTreeMap::new(), BTreeMap::new()];
            // A client that sees only the updates.
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
