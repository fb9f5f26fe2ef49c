//! Which topics are in a bad state: silent for too long, or crossed books.

use std::sync::atomic::Ordering;

use tickwire_wire::Micros;

use super::Directory;
use crate::cell::StaleCheck;

/// The number of topics that are checked for staleness before other work has its turn.
const STALE_LOOKS_AT_ONCE: usize = 1_024;

impl Directory {
    /// Finds the topics that have been silent for too long at `now`. Returns when to call this again. That is at once
    /// if so many topics were checked that other work should have its turn, and never if no rule applies to a topic
    /// yet.
    pub fn look_for_stale(&self, now: Micros) -> Option<Micros> {
        for _ in 0..STALE_LOOKS_AT_ONCE {
            let Some(look) = self.staleness.looks.next_due(now) else {
                break;
            };
            let Some(cell) = self.get(look.topic) else {
                continue;
            };
            let from = match cell.look(now, look.rule.after_ms, &self.queues) {
                StaleCheck::At(last) => last,
                StaleCheck::Nothing => now,
                StaleCheck::FellSilent => {
                    self.staleness.fell_silent();
                    now
                }
            };
            let due = from.plus_ms(look.rule.after_ms);
            self.staleness.looks.again(look, due);
        }
        self.staleness.looks.next_timeout()
    }

    /// Number of topics that are stale.
    #[must_use]
    pub fn stale_topics(&self) -> u64 {
        self.staleness.stale()
    }

    /// How often a topic fell silent or came back.
    #[must_use]
    pub fn stale_changes(&self) -> u64 {
        self.staleness.changes()
    }

    /// How often a book became crossed: its best bid was no longer below its best ask.
    #[must_use]
    pub fn crossed_books(&self) -> u64 {
        self.crossed_books.load(Ordering::Relaxed)
    }
}
