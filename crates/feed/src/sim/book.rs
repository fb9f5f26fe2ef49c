//! One side of a book, in whole price steps and lots.
//!
//! A level's *key* is its price on the ask side and minus its price on the bid side. On both sides a smaller key is
//! then a better price, and the same code serves both. Two sides do not cross if the sum of their best keys is above 0.
//! Between two acts a side always holds [`LEVELS_MIN`] to [`LEVELS_MAX`] levels, best first, within [`SPAN`] steps.
//! Every change is recorded in [`Changes`], and only there.

use tickwire_wire::market::Level as WireLevel;

use super::chance::Chance;

/// Fewest levels of a side.
pub(super) const LEVELS_MIN: usize = 10;
/// Most levels of a side.
pub(super) const LEVELS_MAX: usize = 20;
/// Levels of a side at the beginning.
const LEVELS_FIRST: usize = 15;
/// Largest distance of a level from the best one, in price steps.
pub(super) const SPAN: i32 = 96;
/// Most lots of a level, in typical orders.
const LEVEL_ORDERS_MAX: u32 = 2_000;

/// A price level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) key: i32,
    pub(super) lots: u32,
}

/// The changes of one act to one side.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<Level>);

impl Changes {
    /// Records that the level at `key`, which has `lots`, is about to change.
    fn note(&mut self, key: i32, lots: u32) {
        self.0.push(Level { key, lots });
    }

    /// Takes the levels that are different now, best first.
    pub(super) fn take(&mut self, side: &Ladder, to_wire: impl Fn(Level) -> WireLevel) -> Vec<WireLevel> {
        // The first record of a level holds its lots before the act; the sort is stable.
        self.0.sort_by_key(|before| before.key);
        self.0.dedup_by_key(|before| before.key);
        self.0.retain_mut(|level| {
            let now = side.find(level.key).map_or(0, |index| side.levels[index].lots);
            let changed = now != level.lots;
            level.lots = now;
            changed
        });
        self.0.drain(..).map(to_wire).collect()
    }
}

/// One side of a book.
#[derive(Debug)]
pub(super) struct Ladder {
    levels: [Level; LEVELS_MAX],
    len: usize,
    /// The lots of a typical order.
    order_lots: u32,
}

impl Ladder {
    /// A side whose best level is at `key`.
    pub(super) fn new(key: i32, order_lots: u32, chance: &mut Chance) -> Self {
        let mut side = Self {
            levels: [Level::default(); LEVELS_MAX],
            len: 0,
            order_lots,
        };
        let mut ignored = Changes::default();
        side.put(key, chance, &mut ignored);
        side.fill(LEVELS_FIRST, chance, &mut ignored);
        side
    }

    /// The levels, best first.
    pub(super) fn levels(&self) -> &[Level] {
        &self.levels[..self.len]
    }

    /// The best level.
    pub(super) fn best(&self) -> Level {
        self.levels[0]
    }

    /// The index of the level at `key`, or the index at which it would be.
    fn find(&self, key: i32) -> Result<usize, usize> {
        let index = self.levels().iter().take_while(|level| level.key < key).count();
        if index < self.len && self.levels[index].key == key {
            Ok(index)
        } else {
            Err(index)
        }
    }

    /// Adds an order at `key`, to the level there or as a new level. If there are too many levels, the worst one is
    /// removed; if the new level would be the worst, nothing happens.
    pub(super) fn put(&mut self, key: i32, chance: &mut Chance, changes: &mut Changes) {
        match self.find(key) {
            Ok(index) => {
                let level = &mut self.levels[index];
                changes.note(key, level.lots);
                let most = self.order_lots * LEVEL_ORDERS_MAX;
                level.lots = (level.lots + chance.heavy(self.order_lots, 60)).min(most);
            }
            Err(LEVELS_MAX) => {}
            Err(index) => {
                if self.len == LEVELS_MAX {
                    self.remove(LEVELS_MAX - 1, changes);
                }
                changes.note(key, 0);
                self.levels.copy_within(index..self.len, index + 1);
                self.levels[index] = Level {
                    key,
                    lots: chance.heavy(4 * self.order_lots, 20),
                };
                self.len += 1;
            }
        }
    }

    /// Takes `lots` from the level at `index` and removes the level if nothing is left.
    pub(super) fn reduce(&mut self, index: usize, lots: u32, changes: &mut Changes) {
        let level = self.levels[index];
        if lots >= level.lots {
            self.remove(index, changes);
        } else {
            changes.note(level.key, level.lots);
            self.levels[index].lots -= lots;
        }
    }

    /// Removes the level at `index`.
    pub(super) fn remove(&mut self, index: usize, changes: &mut Changes) {
        changes.note(self.levels[index].key, self.levels[index].lots);
        self.levels.copy_within(index + 1..self.len, index);
        self.len -= 1;
    }

    /// Removes every level better than `key` and makes `key` the best one.
    pub(super) fn retreat(&mut self, key: i32, chance: &mut Chance, changes: &mut Changes) {
        while self.len > 0 && self.best().key < key {
            self.remove(0, changes);
        }
        if self.len == 0 || self.best().key > key {
            self.put(key, chance, changes);
        }
    }

    /// Removes levels that are too far from the best one, then adds worse ones until there are enough.
    pub(super) fn tidy(&mut self, chance: &mut Chance, changes: &mut Changes) {
        while self.levels[self.len - 1].key > self.best().key + SPAN {
            self.remove(self.len - 1, changes);
        }
        self.fill(LEVELS_MIN, chance, changes);
    }

    fn fill(&mut self, enough: usize, chance: &mut Chance, changes: &mut Changes) {
        while self.len < enough {
            let step = 1 + chance.below(3) as i32;
            let end = self.best().key + SPAN;
            let mut key = (self.levels[self.len - 1].key + step).min(end);
            // If the farthest price is taken, use the next free price before it. There are more prices than levels.
            while self.find(key).is_ok() {
                key -= 1;
            }
            self.put(key, chance, changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_filled_up_stays_within_the_span() {
        let mut chance = Chance::new(1);
        let mut side = Ladder::new(1_000, 10, &mut chance);
        let mut changes = Changes::default();
        while side.levels().len() > 1 {
            side.remove(1, &mut changes);
        }
        side.put(1_000 + SPAN, &mut chance, &mut changes);
        side.tidy(&mut chance, &mut changes);
        assert_eq!(side.levels().len(), LEVELS_MIN);
        assert!(side.levels().is_sorted_by(|a, b| a.key < b.key));
        assert!(side.levels().iter().all(|level| level.key <= 1_000 + SPAN));
    }

    proptest! {
        /// Whatever happens, a side stays in order, and the changes lead from the side before the act to the side after
        /// it.
        #[test]
        fn changes_lead_from_before_to_after(
            seed: u64,
            acts in prop::collection::vec(prop::collection::vec((0..4_u8, 0..30_i32), 1..6), 1..40),
        ) {
            let mut chance = Chance::new(seed);
            let mut side = Ladder::new(1_000, 10, &mut chance);
            for act in acts {
                let before = side.levels().to_vec();
                let mut changes = Changes::default();
                for (kind, number) in act {
                    let index = number as usize % side.levels().len();
                    match kind {
                        0 => side.put(1_000 + number, &mut chance, &mut changes),
                        1 if side.levels().len() > 1 => side.remove(index, &mut changes),
                        2 if side.levels().len() > 1 => side.reduce(index, number as u32, &mut changes),
                        3 => side.retreat(1_000 + number, &mut chance, &mut changes),
                        _ => {}
                    }
                }
                side.tidy(&mut chance, &mut changes);
                let levels = side.levels();
                prop_assert!((LEVELS_MIN..=LEVELS_MAX).contains(&levels.len()));
                prop_assert!(levels.is_sorted_by(|a, b| a.key < b.key));
                prop_assert!(levels.iter().all(|level| level.lots > 0 && level.key <= levels[0].key + SPAN));

                let mut replayed = before;
                for change in changes.take(&side, |level| WireLevel {
                    price: tickwire_wire::Decimal::new(level.key.into(), 0),
                    size: tickwire_wire::Decimal::new(level.lots.into(), 0),
                }) {
                    let key: i32 = change.price.to_string().parse().expect("a key");
                    let lots: u32 = change.size.to_string().parse().expect("lots");
                    let old = replayed.iter().position(|level| level.key == key).map(|at| replayed.remove(at));
                    prop_assert_ne!(old.map_or(0, |level| level.lots), lots, "no change at {}", key);
                    if lots > 0 {
                        replayed.push(Level { key, lots });
                    }
                }
                replayed.sort_by_key(|level| level.key);
                prop_assert_eq!(&replayed, side.levels());
            }
        }
    }
}
