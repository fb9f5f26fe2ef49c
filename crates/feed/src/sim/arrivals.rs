//! Which symbol acts next, and when: a Hawkes process over all symbols, simulated exactly at constant cost per event.
//!
//! An event comes by itself (an immigrant; the symbols have heavy-tailed weights) or is caused by an earlier event of
//! the same symbol (offspring). The number of offspring is Poisson-distributed, with exponential delays; trades cause
//! more than quotes do. This is exactly a Hawkes process with exponential kernel. An exponential delay has no memory,
//! so nothing needs to be scheduled. The offspring that has not come yet waits in a pool. The pool as a whole brings
//! events at (its size × decay rate), and each is drawn uniformly from it. So the intensity is constant between two
//! events, nothing is rejected, and 10,000 symbols cost as much as one.
//!
//! There are two pools: quick answers, and slow aftermath. Now and then a shock puts offspring of many symbols into the
//! quick one. A pool holds at most [`POOL_MAX`]; further offspring is dropped.

use super::alias::Alias;
use super::chance::Chance;
use crate::topics::SymbolNo;

/// Most offspring in one pool. The highest rate needs a fifth of it.
const POOL_MAX: usize = 1 << 20;
/// How fast each pool empties, per second.
const DECAY: [f64; 2] = [20.0, 0.5];
/// The share of offspring that goes into the first pool.
const QUICK: f64 = 0.7;

/// Probability that an immigrant is a trade.
const IMMIGRANT_TRADES: f64 = 0.08;
/// Mean offspring of a trade and of a quote: trades, then quotes.
const TRADE_OFFSPRING: [f64; 2] = [0.60, 0.60];
const QUOTE_OFFSPRING: [f64; 2] = [0.03, 0.50];
/// e^-1.20 and e^-0.53: the probabilities of no offspring, with all digits so that every platform agrees.
const TRADE_CHILDLESS: f64 = 0.301_194_211_912_202_1;
const QUOTE_CHILDLESS: f64 = 0.588_604_969_678_355_2;

/// Shocks per second.
const SHOCKS_PER_S: f64 = 0.2;
/// A shock typically brings the events of this many seconds, and at most [`SHOCK_MOST`] times that.
const SHOCK_S: f64 = 0.02;
const SHOCK_MOST: f64 = 8.0;
/// Probability that an event of a shock is a trade.
const SHOCK_TRADES: f64 = 0.4;

/// What a symbol does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A taker crosses the spread.
    Trade,
    /// A maker adds, cancels or moves quotes.
    Quote,
}

/// The next arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A symbol acts.
    Act { symbol: SymbolNo, act: Act },
    /// A shock hits all symbols.
    Shock,
}

/// A symbol and its future act, in one word: pools are large and read at random.
#[derive(Debug, Clone, Copy)]
struct Waiting(u32);

impl Waiting {
    fn new(symbol: u32, act: Act) -> Self {
        Self(symbol << 1 | u32::from(act == Act::Trade))
    }

    fn arrival(self) -> Arrival {
        let act = if self.0 & 1 == 1 { Act::Trade } else { Act::Quote };
        Arrival::Act {
            symbol: SymbolNo(self.0 >> 1),
            act,
        }
    }
}

/// Draws the number of offspring.
#[derive(Debug)]
struct Offspring {
    /// The probability of at most 0, 1, 2, … offspring.
    at_most: [f64; 8],
    trades: f64,
}

impl Offspring {
    fn new([trades, quotes]: [f64; 2], childless: f64) -> Self {
        let mean = trades + quotes;
        let (mut term, mut sum, mut at_most) = (childless, 0.0, [0.0; 8]);
        for (k, entry) in at_most.iter_mut().enumerate() {
            sum += term;
            *entry = sum;
            term = term * mean / (k + 1) as f64;
        }
        Self {
            at_most,
            trades: trades / mean,
        }
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        let unit = chance.unit();
        self.at_most
            .iter()
            .take_while(|at_most| unit >= **at_most)
            .count()
    }
}

/// The Hawkes process.
#[derive(Debug)]
pub(super) struct Arrivals {
    symbols: Alias,
    immigrants_per_s: f64,
    events_per_s: f64,
    pools: [Vec<Waiting>; 2],
    of_trade: Offspring,
    of_quote: Offspring,
}

/// The mean number of trades and quotes that one immigrant brings in the end, including itself: (I - Aᵀ)⁻¹ applied to
/// the mix of immigrants.
fn descendants() -> (f64, f64) {
    let [tt, tq] = TRADE_OFFSPRING;
    let [qt, qq] = QUOTE_OFFSPRING;
    let determinant = (1.0 - tt) * (1.0 - qq) - qt * tq;
    let (t, q) = (IMMIGRANT_TRADES, 1.0 - IMMIGRANT_TRADES);
    (
        ((1.0 - qq) * t + qt * q) / determinant,
        (tq * t + (1.0 - tt) * q) / determinant,
    )
}

impl Arrivals {
    /// A process over `symbols` symbols, the busiest first. It brings `events_per_s` in the long run and is in its
    /// long-run state from the first moment.
    pub(super) fn new(symbols: u32, events_per_s: f64, chance: &mut Chance) -> Self {
        let weights: Vec<f64> = (0..symbols).map(|rank| 1.0 / (f64::from(rank) + 1.5)).collect();
        let mut arrivals = Self {
            symbols: Alias::new(&weights),
            immigrants_per_s: 0.0,
            events_per_s: 0.0,
            pools: [Vec::new(), Vec::new()],
            of_trade: Offspring::new(TRADE_OFFSPRING, TRADE_CHILDLESS),
            of_quote: Offspring::new(QUOTE_OFFSPRING, QUOTE_CHILDLESS),
        };
        arrivals.set_rate(events_per_s);
        let (trades, quotes) = descendants();
        let offspring = (trades + quotes - 1.0) / (trades + quotes);
        let trade_share = (trades - IMMIGRANT_TRADES) / (trades + quotes - 1.0);
        for (pool, share) in [QUICK, 1.0 - QUICK].into_iter().enumerate() {
            let size = (events_per_s * offspring * share / DECAY[pool] + chance.unit()) as usize;
            for _ in 0..size.min(POOL_MAX) {
                let symbol = arrivals.symbols.pick(chance);
                let act = if chance.happens(trade_share) {
                    Act::Trade
                } else {
                    Act::Quote
                };
                arrivals.pools[pool].push(Waiting::new(symbol, act));
            }
        }
        arrivals
    }

    /// Sets the number of events per second in the long run.
    pub(super) fn set_rate(&mut self, events_per_s: f64) {
        let (trades, quotes) = descendants();
        self.events_per_s = events_per_s;
        self.immigrants_per_s = events_per_s / (trades + quotes);
    }

    /// The next arrival, and the nanoseconds until it, if time runs `pace` times as fast as planned.
    pub(super) fn next(&mut self, chance: &mut Chance, pace: f64) -> (u64, Arrival) {
        let [quick, slow] = [0, 1].map(|pool| self.pools[pool].len() as f64 * DECAY[pool]);
        let total = self.immigrants_per_s + quick + slow + SHOCKS_PER_S;
        let gap_ns = chance.exponential() / (total * pace) * 1e9;
        let mut at = chance.unit() * total - self.immigrants_per_s;
        if at < 0.0 {
            let symbol = self.symbols.pick(chance);
            let act = if chance.happens(IMMIGRANT_TRADES) {
                Act::Trade
            } else {
                Act::Quote
            };
            return (
                gap_ns as u64,
                Arrival::Act {
                    symbol: SymbolNo(symbol),
                    act,
                },
            );
        }
        for (pool, intensity) in [quick, slow].into_iter().enumerate() {
            at -= intensity;
            if at < 0.0 {
                let pool = &mut self.pools[pool];
                let index = chance.below(pool.len() as u32);
                return (gap_ns as u64, pool.swap_remove(index as usize).arrival());
            }
        }
        (gap_ns as u64, Arrival::Shock)
    }

    /// Adds the offspring of an event of `symbol`.
    pub(super) fn excite(&mut self, symbol: SymbolNo, act: Act, chance: &mut Chance) {
        let offspring = match act {
            Act::Trade => &self.of_trade,
            Act::Quote => &self.of_quote,
        };
        for _ in 0..offspring.draw(chance) {
            let act = if chance.happens(offspring.trades) {
                Act::Trade
            } else {
                Act::Quote
            };
            let pool = &mut self.pools[usize::from(!chance.happens(QUICK))];
            if pool.len() < POOL_MAX {
                pool.push(Waiting::new(symbol.0, act));
            }
        }
    }

    /// Adds offspring of many symbols at once.
    pub(super) fn shock(&mut self, chance: &mut Chance) {
        let unit = chance.unit();
        let seconds = SHOCK_S * (unit / (1.0 - unit)).min(SHOCK_MOST);
        let room = POOL_MAX - self.pools[0].len();
        for _ in 0..((self.events_per_s * seconds) as usize).min(room) {
            let symbol = self.symbols.pick(chance);
            let act = if chance.happens(SHOCK_TRADES) {
                Act::Trade
            } else {
                Act::Quote
            };
            self.pools[0].push(Waiting::new(symbol, act));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_at_their_rate_and_mix() {
        let mut chance = Chance::new(1);
        let mut arrivals = Arrivals::new(100, 1_000.0, &mut chance);
        let (mut now_ns, mut acts, mut trades, mut shocks) = (0, 0_u32, 0_u32, 0_u32);
        while acts < 100_000 {
            let (gap_ns, arrival) = arrivals.next(&mut chance, 1.0);
            now_ns += gap_ns;
            match arrival {
                Arrival::Act { symbol, act } => {
                    acts += 1;
                    trades += u32::from(act == Act::Trade);
                    arrivals.excite(symbol, act, &mut chance);
                }
                Arrival::Shock => shocks += 1,
            }
        }
        let seconds = now_ns as f64 * 1e-9;
        let (of_trades, of_quotes) = descendants();
        let expected = of_trades / (of_trades + of_quotes);
        let share = f64::from(trades) / f64::from(acts);
        assert!(
            (f64::from(acts) / seconds / 1_000.0 - 1.0).abs() < 0.03,
            "{acts} events in {seconds} s"
        );
        assert!(
            (share - expected).abs() < 0.01,
            "{share} of the events are trades instead of {expected}"
        );
        assert!((5..40).contains(&shocks), "{shocks} shocks in {seconds} s");
    }

    #[test]
    fn pools_are_bounded() {
        let mut chance = Chance::new(1);
        // A thousand times the highest rate.
        let mut arrivals = Arrivals::new(10, 1e9, &mut chance);
        for _ in 0..10 {
            arrivals.shock(&mut chance);
        }
        assert!(arrivals.pools.iter().all(|pool| pool.len() == POOL_MAX));
        arrivals.excite(SymbolNo(0), Act::Trade, &mut chance);
        assert!(arrivals.pools.iter().all(|pool| pool.len() == POOL_MAX));
    }
}
