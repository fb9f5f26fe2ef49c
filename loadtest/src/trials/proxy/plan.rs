//! The faults of one direction of one connection, and after how many bytes each happens.
//!
//! Pure: no socket, no clock. A plan depends only on the seed, the connection's number and the direction. It counts in
//! bytes that were passed on, never in time. So the same seed causes the same faults at the same bytes, however the
//! network divides them into segments. With TCP it cannot be repeated when these bytes come, and so which connection
//! comes first.

use std::time::Duration;

use clap::ValueEnum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// Most bytes that are passed on at a time while a connection trickles.
const TRICKLE_AT_ONCE_MAX: u64 = 16;
/// Most bytes that trickle before the connection flows again.
const TRICKLE_BYTES_MAX: u64 = 2_048;
/// Most pieces that are late before the connection is in time again.
const LATE_PIECES_MAX: u64 = 16;
/// A piece is late by at most the longest pause divided by this.
const LATE_PART: u64 = 16;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Nothing is passed on for a while, as when a phone changes its cell
    Stall,
    /// Only a few bytes are passed on at a time
    Trickle,
    /// Each piece is late, for a while
    Delay,
    /// Both sides are reset (RST)
    Reset,
    /// Both sides are closed (FIN), in the middle of anything
    Close,
    /// This direction is closed, and the other goes on for a while
    HalfClose,
}

/// The faults that may happen, and how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Rules {
    /// The faults that happen, all equally often
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "stall,trickle,delay,reset,close,half-close",
        value_name = "LIST"
    )]
    pub(crate) faults: Vec<Fault>,
    /// Mean number of bytes towards the client between two faults of a connection
    #[arg(long, default_value_t = 131_072, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub(crate) every_bytes: u64,
    /// Mean number of bytes towards the server between two faults of a connection
    #[arg(long, default_value_t = 8_192, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub(crate) every_bytes_up: u64,
    /// The longest stall, in milliseconds
    #[arg(long, default_value_t = 1_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) pause_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

/// The faults of one direction of one connection.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Selects the faults and their places.
    random: ChaCha8Rng,
    /// Selects the delays of single pieces, whose number depends on how the bytes come.
    pieces: ChaCha8Rng,
    faults: Vec<Fault>,
    every_bytes: u64,
    pause_ms: u64,
    /// Bytes until the next fault; 0 only when it is due.
    until_next: u64,
    /// How many bytes trickle from now on.
    pub(crate) trickle: u64,
    late: u64,
}

impl Plan {
    pub(crate) fn new(seed: u64, number: u64, direction: Direction, rules: &Rules) -> Self {
        // Each direction of each connection has its own random stream, so that none depends on the faults of another.
        let stream = number << 2 | u64::from(direction == Direction::Up) << 1;
        let random = |stream| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(stream);
            random
        };
        let mut plan = Self {
            random: random(stream),
            pieces: random(stream | 1),
            faults: rules.faults.clone(),
            every_bytes: match direction {
                Direction::Down => rules.every_bytes,
                Direction::Up => rules.every_bytes_up,
            },
            pause_ms: rules.pause_ms,
            until_next: 0,
            trickle: 0,
            late: 0,
        };
        plan.until_next = plan.spacing();
        plan
    }

    /// How many bytes of at most `wanted` may be passed on at once: never beyond the next fault.
    pub(crate) fn room(&mut self, wanted: usize) -> usize {
        let most = match self.trickle {
            0 => u64::MAX,
            left => left.min(1 + below(&mut self.pieces, TRICKLE_AT_ONCE_MAX)),
        };
        let most = if self.faults.is_empty() {
            most
        } else {
            most.min(self.until_next)
        };
        usize::try_from(most).unwrap_or(usize::MAX).min(wanted).max(1)
    }

    /// How long the next piece is delayed, if it is.
    pub(crate) fn lateness(&mut self) -> Option<Duration> {
        self.late = self.late.checked_sub(1)?;
        let most_ms = (self.pause_ms / LATE_PART).max(1);
        Some(Duration::from_millis(1 + below(&mut self.pieces, most_ms)))
    }

    /// Counts `count` bytes that were passed on, which may be no more than [`room`](Self::room). Returns the fault that
    /// is due now, and how long it lasts if it is a stall. The plan itself keeps how much trickles or is late from now
    /// on.
    pub(crate) fn passed(&mut self, count: usize) -> Option<(Fault, Duration)> {
        self.trickle = self.trickle.saturating_sub(count as u64);
        if self.faults.is_empty() {
            return None;
        }
        self.until_next = self.until_next.saturating_sub(count as u64);
        if self.until_next > 0 {
            return None;
        }
        self.until_next = self.spacing();
        let chosen = self.below(self.faults.len() as u64) as usize;
        let fault = self.faults[chosen];
        let mut pause = Duration::ZERO;
        match fault {
            Fault::Stall => pause = Duration::from_millis(1 + self.below(self.pause_ms)),
            Fault::Trickle => self.trickle = 1 + self.below(TRICKLE_BYTES_MAX),
            Fault::Delay => self.late = 1 + self.below(LATE_PIECES_MAX),
            Fault::Reset | Fault::Close | Fault::HalfClose => {}
        }
        Some((fault, pause))
    }

    /// The number of bytes to the next fault: anything from 1 to twice the mean.
    fn spacing(&mut self) -> u64 {
        1 + self.below((2 * self.every_bytes).saturating_sub(1).max(1))
    }

    fn below(&mut self, bound: u64) -> u64 {
        below(&mut self.random, bound)
    }
}

/// A number below `bound`. The bounds are so far below 2⁶⁴ that the bias towards small numbers does not show.
fn below(random: &mut ChaCha8Rng, bound: u64) -> u64 {
    random.next_u64() % bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Fault; 6] = [
        Fault::Stall,
        Fault::Trickle,
        Fault::Delay,
        Fault::Reset,
        Fault::Close,
        Fault::HalfClose,
    ];

    fn plan(seed: u64, number: u64, direction: Direction, faults: &[Fault]) -> Plan {
        let rules = Rules {
            faults: faults.to_vec(),
            every_bytes: 1_000,
            every_bytes_up: 1_000,
            pause_ms: 100,
        };
        Plan::new(seed, number, direction, &rules)
    }

    /// The first `count` faults of a plan, each with the byte at which it comes, if at most `piece` bytes come at a
    /// time.
    fn strikes(mut plan: Plan, piece: usize, count: usize) -> Vec<(u64, (Fault, Duration))> {
        let (mut at, mut found) = (0, Vec::new());
        while found.len() < count {
            let room = plan.room(piece);
            plan.lateness();
            at += room as u64;
            found.extend(plan.passed(room).map(|strike| (at, strike)));
        }
        found
    }

    #[test]
    fn the_same_seed_strikes_at_the_same_bytes_however_they_come() {
        let whole = strikes(plan(7, 3, Direction::Down, &ALL), 16_384, 200);
        for piece in [1, 777] {
            assert_eq!(strikes(plan(7, 3, Direction::Down, &ALL), piece, 200), whole);
        }
        for (seed, number, direction) in [
            (8, 3, Direction::Down),
            (7, 4, Direction::Down),
            (7, 3, Direction::Up),
        ] {
            assert_ne!(strikes(plan(seed, number, direction, &ALL), 16_384, 200), whole);
        }
    }

    #[test]
    fn every_kind_happens_and_the_mean_is_kept() {
        let found = strikes(plan(1, 0, Direction::Down, &ALL), usize::MAX, 2_000);
        for fault in ALL {
            let count = found.iter().filter(|(_, strike)| strike.0 == fault).count();
            assert!((200..500).contains(&count), "{fault:?} {count} times of 2,000");
        }
        let mean = found.last().map_or(0, |(at, _)| *at) / 2_000;
        assert!((900..1_100).contains(&mean), "{mean} bytes apart in the mean");
    }

    #[test]
    fn pieces_are_small_while_it_trickles_and_late_while_it_delays() {
        let struck = |fault| {
            let mut plan = plan(1, 0, Direction::Down, &[fault]);
            assert_eq!(plan.lateness(), None);
            while plan.passed(plan.until_next as usize).is_none() {}
            plan.until_next = u64::MAX;
            plan
        };
        let mut trickling = struck(Fault::Trickle);
        let mut left = trickling.trickle;
        while left > 0 {
            let room = trickling.room(16_384);
            assert!((1..=TRICKLE_AT_ONCE_MAX).contains(&(room as u64)), "{room}");
            assert_eq!(trickling.passed(room), None);
            left -= room as u64;
        }
        assert_eq!(trickling.room(16_384), 16_384);
        let mut late = struck(Fault::Delay);
        let pieces: Vec<Duration> = std::iter::from_fn(|| late.lateness()).collect();
        assert!(
            (1..=LATE_PIECES_MAX).contains(&(pieces.len() as u64)),
            "{pieces:?}"
        );
        assert!(
            pieces
                .iter()
                .all(|late| *late <= Duration::from_millis(100 / LATE_PART)),
            "{pieces:?}"
        );
    }

    #[test]
    fn without_faults_nothing_happens() {
        let mut plan = plan(1, 0, Direction::Down, &[]);
        assert_eq!((plan.room(16_384), plan.passed(1_000_000)), (16_384, None));
    }
}
