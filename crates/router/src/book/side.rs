//! One side of a book: its sorted levels, and how changes are applied to them.
//!
//! Levels are in one piece of memory, the worst first: most changes are near the best, where few levels have to move.
//! When the changes of a message have moved [`MOVES_MAX`] times as many levels as there are, its other changes are
//! applied in one pass over all levels. So its cost is bounded by the number of levels and changes, wherever the
//! changes are.

use std::cmp::Ordering;

use tickwire_wire::Decimal;
use tickwire_wire::limits::{BOOK_CHECKSUM_LEVELS, BOOK_LEVELS_MAX};
use tickwire_wire::market::Level;

/// The changes of one message may move this many times the levels of the side. After that the rest of them are merged
/// in.
const MOVES_MAX: usize = 8;

/// One of the two sides. It decides which price is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Bids,
    Asks,
}

impl Which {
    /// Less when `a` is worse than `b`.
    #[inline]
    fn order(self, a: Decimal, b: Decimal) -> Ordering {
        match self {
            Self::Bids => a.cmp(&b),
            Self::Asks => b.cmp(&a),
        }
    }
}

/// One side, worst level first. Prices are unique, sizes above zero.
#[derive(Debug, Default)]
pub(super) struct Side(Vec<Level>);

impl Clone for Side {
    /// Copies the room for further levels as well, so that the copy grows when the side would.
    fn clone(&self) -> Self {
        let mut levels = Vec::with_capacity(self.0.capacity());
        levels.extend_from_slice(&self.0);
        Self(levels)
    }
}

impl Side {
    /// The bytes of memory that the levels hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Level>()
    }

    /// The index of `price`: `Ok` if there is such a level, or `Err` with the place where it would be inserted.
    fn find(&self, which: Which, price: Decimal) -> Result<usize, usize> {
        self.0.binary_search_by(|level| which.order(level.price, price))
    }

    /// Applies the changes in their order. Returns whether a level that the checksum covers may have changed.
    pub(super) fn apply(&mut self, which: Which, changes: &[Level]) -> bool {
        let (mut covered, mut moved) = (false, 0);
        for (done, change) in changes.iter().enumerate() {
            if moved > MOVES_MAX * self.0.len() {
                self.merge(which, &changes[done..]);
                return true;
            }
            let before = self.0.len();
            match self.find(which, change.price) {
                Ok(at) if change.size.is_zero() => {
                    self.0.remove(at);
                    covered |= before - at <= BOOK_CHECKSUM_LEVELS;
                    moved += before - at;
                }
                Ok(at) => {
                    let changed = self.0[at].size != change.size;
                    self.0[at].size = change.size;
                    covered |= changed && before - at <= BOOK_CHECKSUM_LEVELS;
                }
                Err(_) if change.size.is_zero() => {}
                Err(at) => {
                    self.0.insert(at, *change);
                    covered |= before - at < BOOK_CHECKSUM_LEVELS;
                    moved += before - at;
                }
            }
        }
        covered
    }

    /// Does the same as [`Self::apply`], in one pass over the levels from the best to the worst.
    fn merge(&mut self, which: Which, changes: &[Level]) {
        let mut changes = changes.to_vec();
        // The sort is stable: of several changes of one price, the last stays the last.
        changes.sort_by(|a, b| which.order(a.price, b.price));
        let levels = &mut self.0;
        let mut read = levels.len();
        let room = changes.iter().filter(|change| !change.size.is_zero()).count();
        levels.extend(changes.iter().take(room));
        // Levels from `write` on are done. Levels before `read` are still to be looked at.
        let mut write = levels.len();
        for (at, change) in changes.iter().enumerate().rev() {
            if changes.get(at + 1).is_some_and(|next| next.price == change.price) {
                continue;
            }
            let worse =
                levels[..read].partition_point(|level| which.order(level.price, change.price).is_lt());
            let same = levels[..read]
                .get(worse)
                .is_some_and(|level| level.price == change.price);
            let better = worse + usize::from(same);
            write -= read - better;
            levels.copy_within(better..read, write);
            read = worse;
            if !change.size.is_zero() {
                write -= 1;
                levels[write] = *change;
            }
        }
        levels.drain(read..write);
    }

    /// The price of the best level, if there is one.
    pub(super) fn best(&self) -> Option<Decimal> {
        self.0.last().map(|level| level.price)
    }

    pub(super) fn best_first(&self) -> impl Iterator<Item = Level> {
        self.0.iter().rev().copied()
    }

    /// Whether the side has at most [`BOOK_LEVELS_MAX`] levels after `changes`.
    pub(super) fn has_room(&self, which: Which, changes: &[Level]) -> bool {
        if self.0.len() + changes.len() <= BOOK_LEVELS_MAX {
            return true;
        }
        // Changes may be of levels that are there, or make room for others. So they are tried.
        let mut after = self.clone();
        after.apply(which, changes);
        after.0.len() <= BOOK_LEVELS_MAX
    }

    /// The bytes of memory that `changes` need beyond those that the side holds. Those of a message that removes levels
    /// and adds others may need less.
    pub(super) fn growth_bytes(&self, which: Which, changes: &[Level]) -> usize {
        let is_new = |change: &&Level| !change.size.is_zero() && self.find(which, change.price).is_err();
        let levels = self.0.len() + changes.iter().filter(is_new).count();
        levels.saturating_sub(self.0.capacity()) * size_of::<Level>()
    }

    /// The changes that turn this side into `target`: removals, then new and changed levels, each best first.
    pub(super) fn changes_to(&self, which: Which, target: &Self) -> Vec<Level> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (self.best_first().peekable(), target.best_first().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => which.order(old.price, new.price),
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (None, None) => break,
            };
            let left = old.next_if(|_| order.is_ge());
            let right = new.next_if(|_| order.is_le());
            match (left, right) {
                (Some(left), None) => gone.push(Level {
                    price: left.price,
                    size: Decimal::ZERO,
                }),
                (None, Some(right)) => come.push(right),
                (Some(left), Some(right)) if left.size != right.size => come.push(right),
                _ => {}
            }
        }
        gone.append(&mut come);
        gone
    }
}
