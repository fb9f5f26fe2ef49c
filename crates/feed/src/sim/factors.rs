//! The factors that move prices together: one for the whole market and one per sector, as random walks.
//!
//! A value is the sum of relative changes since the start. A symbol applies the difference since it last looked. A step
//! is a millisecond at least, so that the cost does not grow with the rate of events.

use super::chance::Chance;

/// Number of sectors.
pub(super) const SECTORS: usize = 8;

/// Relative change per square root of a second: of the whole market, and of a sector.
const MARKET_VOLATILITY: f64 = 0.000_05;
const SECTOR_VOLATILITY: f64 = 0.000_05;
/// Typical jump of the market in a shock.
const SHOCK_JUMP: f64 = 0.000_1;
/// Shortest step in nanoseconds.
const STEP_NS: u64 = 1_000_000;

/// The values of the factors.
#[derive(Debug, Default)]
pub(super) struct Factors {
    now_ns: u64,
    market: f64,
    sectors: [f64; SECTORS],
}

impl Factors {
    /// Moves on to `now_ns` if it is at least a step away.
    pub(super) fn advance(&mut self, now_ns: u64, chance: &mut Chance) {
        let elapsed_ns = now_ns - self.now_ns;
        if elapsed_ns < STEP_NS {
            return;
        }
        self.now_ns = now_ns;
        let root = (elapsed_ns as f64 * 1e-9).sqrt();
        self.market += MARKET_VOLATILITY * root * chance.normal();
        for sector in &mut self.sectors {
            *sector += SECTOR_VOLATILITY * root * chance.normal();
        }
    }

    /// Moves the whole market, as news does.
    pub(super) fn shock(&mut self, chance: &mut Chance) {
        self.market += SHOCK_JUMP * chance.normal();
    }

    /// The values that a symbol of `sector` follows: the market's and the sector's.
    pub(super) fn of(&self, sector: usize) -> (f64, f64) {
        (self.market, self.sectors[sector])
    }
}
