//! How a shard hands over what it has counted for accounts: with its other counts, and when a day ends.

use std::sync::Arc;

use tickwire_router::Shard;
use tickwire_wire::Micros;

use super::Hub;
use crate::accounting::{Accounting, DayNumber};
use crate::run::clock::Clock;

/// The books that a shard's counts go into, and the day that they are of.
#[derive(Debug)]
pub(super) struct ShardBooks {
    accounting: Arc<Accounting>,
    clock: Clock,
    day: DayNumber,
    /// When the day ends, by the broker's clock.
    day_ends: Micros,
}

impl ShardBooks {
    /// Books that begin today.
    pub(super) fn new(accounting: Arc<Accounting>, clock: Clock) -> Self {
        let day = DayNumber::of(clock.wall());
        Self {
            accounting,
            clock,
            day,
            day_ends: clock.at_wall(day.end()),
        }
    }

    /// When the day ends. The shard has a cycle then, so that nothing of the next day is counted for this one.
    pub(super) fn day_ends(&self) -> Micros {
        self.day_ends
    }

    pub(super) fn day_ended(&self, now: Micros) -> bool {
        now >= self.day_ends
    }

    /// Books what `shard` has counted.
    fn book(&mut self, shard: &mut Shard) {
        let taken = shard.take_accounts();
        if !taken.is_empty() {
            self.accounting.book(self.day, taken);
        }
        // The system's clock may have been corrected, so the end of the day is looked up again each time.
        let day = DayNumber::of(self.clock.wall());
        if day > self.day {
            self.day = day;
            shard.begin_day();
        }
        self.day_ends = self.clock.at_wall(self.day.end());
    }
}

impl Hub {
    /// Books what was delivered since the last time, if there is accounting.
    pub(crate) fn book(&mut self) {
        if let Some(books) = &mut self.books {
            books.book(&mut self.shard);
        }
    }
}
