//! Makes a symbol's book out of depth events and snapshots: which event follows, which is late, and what is missing.
//!
//! Events are numbered by the updates of the book that they contain. A spot event follows if its first update is at
//! most the next one. A futures event follows if the event before it (`pu`) is not newer than the book. While the book
//! is in doubt, the events of the last [`RECENT_US`] are kept. A late snapshot, such as one that was requested, makes
//! the book whole if every event since is among them. The kept events have at most [`RECENT_LEVELS_MAX`] levels, and
//! those of all symbols together have a budget. When there are more, the oldest are dropped.
//! together a budget; what does not fit is let go, the oldest first.

use std::collections::VecDeque;

use tickwire_wire::Micros;
use tickwire_wire::market::Level;
use tickwire_wire::message::StaleReason;

/// How long a depth event is kept for a snapshot, in microseconds.
const RECENT_US: u64 = 30_000_000;
/// Most levels in the events of a symbol that are kept for a snapshot.
const RECENT_LEVELS_MAX: usize = 65_536;
/// Most levels in the kept events of all symbols together: 32 MiB.
pub(super) const ALL_RECENT_LEVELS_MAX: usize = 1_048_576;

/// A depth event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Depth {
    pub(super) first_id: u64,
    pub(super) last_id: u64,
    /// The last update of the previous event. Only futures have it.
    pub(super) previous_id: Option<u64>,
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
    pub(super) time: Micros,
}

impl Depth {
    /// Whether no update is missing between update `id` and this event.
    fn follows(&self, id: u64) -> bool {
        match self.previous_id {
            Some(previous) => previous <= id,
            None => self.first_id <= id.saturating_add(1),
        }
    }

    /// What keeping the event costs, in levels.
    fn weight(&self) -> usize {
        1 + self.bids.len() + self.asks.len()
    }
}

/// What to do with a depth event.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// The event changes the book. If updates are missing before it, `hole_after` is the last one that the book had.
    Applies { hole_after: Option<u64> },
    /// The snapshot before it already contains it.
    Covered,
    /// The event came before, or a newer one did, which ended with this update.
    Stale { seen: u64 },
}

/// What to do with a snapshot.
#[derive(Debug, PartialEq)]
pub(super) enum Whole {
    /// The snapshot becomes the book, followed by these events.
    Applies { newer: Vec<Depth> },
    /// The snapshot is old: the book is whole and contains this later update.
    Old { book_id: u64 },
    /// The book is in doubt, and events between the snapshot and this update of the book are missing.
    Unreachable { book_id: u64 },
}

/// The state of one symbol's book.
#[derive(Debug, Default)]
pub(super) struct BookLine {
    /// The newest update in any depth event.
    seen: Option<u64>,
    /// The last update in the book.
    book_id: Option<u64>,
    /// Why the book cannot be relied on; `None` if it is whole.
    doubt: Option<StaleReason>,
    /// The events since the doubt began, each with the time at which it was received.
    recent: VecDeque<(Micros, Depth)>,
    recent_levels: usize,
}

impl BookLine {
    /// Why the book cannot be relied on; `None` if it is whole.
    pub(super) fn doubt(&self) -> Option<StaleReason> {
        self.doubt
    }

    /// Whether the book is whole and at update `id`.
    pub(super) fn is_at(&self, id: u64) -> bool {
        self.doubt.is_none() && self.book_id == Some(id)
    }

    /// Takes an event that was received at `at`. `all` is the number of levels that all symbols keep.
    pub(super) fn depth(&mut self, at: Micros, depth: &Depth, all: &mut usize) -> Change {
        if let Some(seen) = self.seen.filter(|seen| depth.last_id <= *seen) {
            return Change::Stale { seen };
        }
        self.seen = Some(depth.last_id);
        if self.book_id.is_some_and(|id| depth.last_id <= id) {
            return Change::Covered;
        }
        let hole_after = self.book_id.filter(|id| !depth.follows(*id));
        if self.book_id.is_none() {
            self.doubt = Some(StaleReason::Partial);
        } else if hole_after.is_some() {
            self.doubt = self.doubt.or(Some(StaleReason::Hole));
        }
        self.book_id = Some(depth.last_id);
        if self.doubt.is_some() {
            self.keep(at, depth, all);
        }
        Change::Applies { hole_after }
    }

    fn keep(&mut self, at: Micros, depth: &Depth, all: &mut usize) {
        self.recent_levels += depth.weight();
        *all += depth.weight();
        self.recent.push_back((at, depth.clone()));
        while let Some((oldest_at, oldest)) = self.recent.front()
            && (at.since(*oldest_at) > RECENT_US
                || self.recent_levels > RECENT_LEVELS_MAX
                || *all > ALL_RECENT_LEVELS_MAX)
        {
            self.recent_levels -= oldest.weight();
            *all -= oldest.weight();
            self.recent.pop_front();
        }
    }

    /// Takes a snapshot of the book at update `last_id`.
    pub(super) fn snapshot(&mut self, last_id: u64, all: &mut usize) -> Whole {
        let mut newer = Vec::new();
        if let Some(book_id) = self.book_id.filter(|id| *id > last_id) {
            if self.doubt.is_none() {
                return Whole::Old { book_id };
            }
            let since = self.recent.iter().map(|(_, depth)| depth);
            let since: Vec<&Depth> = since.filter(|depth| depth.last_id > last_id).collect();
            let mut reached = last_id;
            for depth in &since {
                if depth.follows(reached) {
                    reached = depth.last_id;
                }
            }
            if reached != book_id {
                return Whole::Unreachable { book_id };
            }
            newer = since.into_iter().cloned().collect();
        }
        self.book_id = Some(self.book_id.map_or(last_id, |id| id.max(last_id)));
        self.doubt = None;
        *all -= self.recent_levels;
        self.recent_levels = 0;
        self.recent.clear();
        Whole::Applies { newer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(first_id: u64, last_id: u64) -> Depth {
        Depth {
            first_id,
            last_id,
            previous_id: None,
            bids: Vec::new(),
            asks: Vec::new(),
            time: Micros(0),
        }
    }

    fn futures(previous_id: u64, first_id: u64, last_id: u64) -> Depth {
        Depth {
            previous_id: Some(previous_id),
            ..spot(first_id, last_id)
        }
    }

    const FITS: Change = Change::Applies { hole_after: None };

    fn hole(after: u64) -> Change {
        Change::Applies {
            hole_after: Some(after),
        }
    }

    #[test]
    fn what_follows_what_is_late_and_what_is_missing() {
        let (mut line, mut all) = (BookLine::default(), 0);
        assert_eq!(line.snapshot(100, &mut all), Whole::Applies { newer: vec![] });
        for (depth, expected, doubt) in [
            (spot(95, 100), Change::Covered, None),
            // An event may begin before the snapshot and end after it.
            (spot(98, 102), FITS, None),
            (spot(103, 104), FITS, None),
            (spot(101, 102), Change::Stale { seen: 104 }, None),
            (spot(103, 104), Change::Stale { seen: 104 }, None),
            (spot(111, 112), hole(104), Some(StaleReason::Hole)),
            (spot(113, 113), FITS, Some(StaleReason::Hole)),
            (
                spot(105, 110),
                Change::Stale { seen: 113 },
                Some(StaleReason::Hole),
            ),
        ] {
            let got = line.depth(Micros(0), &depth, &mut all);
            assert_eq!((got, line.doubt()), (expected, doubt), "{depth:?}");
        }
        assert_eq!(line.snapshot(109, &mut all), Whole::Unreachable { book_id: 113 });
        let newer = vec![spot(111, 112), spot(113, 113)];
        assert_eq!(line.snapshot(110, &mut all), Whole::Applies { newer });
        assert_eq!((line.doubt(), all), (None, 0));
        assert_eq!(line.snapshot(112, &mut all), Whole::Old { book_id: 113 });
    }

    #[test]
    fn futures_follow_by_the_event_before() {
        let (mut line, mut all) = (BookLine::default(), 0);
        line.snapshot(1_000, &mut all);
        for (depth, expected) in [
            (futures(950, 960, 990), Change::Covered),
            // Numbers of other instruments lie between the events of one.
            (futures(990, 995, 1_040), FITS),
            (futures(1_040, 1_051, 1_060), FITS),
            (futures(1_040, 1_051, 1_060), Change::Stale { seen: 1_060 }),
            (futures(1_070, 1_071, 1_080), hole(1_060)),
        ] {
            assert_eq!(line.depth(Micros(0), &depth, &mut all), expected, "{depth:?}");
        }
        let newer = vec![futures(1_070, 1_071, 1_080)];
        assert_eq!(line.snapshot(1_070, &mut all), Whole::Applies { newer });
    }

    #[test]
    fn events_are_kept_half_a_minute_for_a_snapshot_that_comes_late() {
        let (mut line, mut all) = (BookLine::default(), 0);
        for n in 1..=400_u64 {
            assert_eq!(line.depth(Micros(n * 100_000), &spot(n, n), &mut all), FITS);
            assert_eq!(line.doubt(), Some(StaleReason::Partial));
        }
        assert_eq!((line.recent.len(), all), (301, 301));
        assert_eq!(line.snapshot(98, &mut all), Whole::Unreachable { book_id: 400 });
        let Whole::Applies { newer } = line.snapshot(99, &mut all) else {
            panic!("every event since is there")
        };
        assert_eq!((newer.len(), all, line.doubt()), (301, 0, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let level = Level {
            price: "1".parse().expect("a number"),
            size: "1".parse().expect("a number"),
        };
        let mut all = 0;
        let mut lines: Vec<BookLine> = (0..40).map(|_| BookLine::default()).collect();
        for n in 1..=20_u64 {
            for line in &mut lines {
                let mut depth = spot(n, n);
                depth.bids = vec![level; 9_999];
                line.depth(Micros(0), &depth, &mut all);
                assert!(line.recent_levels <= RECENT_LEVELS_MAX && all <= ALL_RECENT_LEVELS_MAX);
            }
        }
        let kept: usize = lines.iter().map(|line| line.recent_levels).sum();
        assert_eq!(kept, all);
        assert!(all > ALL_RECENT_LEVELS_MAX / 2, "{all}");
    }
}
