//! The mean number of ticks per virtual second is the configured rate.
//!
//! A burst may put the market ahead by the ticks of up to 0.2 s, so the tests last at least a few seconds.

use tickwire_wire::Micros;

use crate::support::{START, sim};

/// Checks that the mean rate in the `seconds` after the first books is `rate`, within 5 %.
fn check(symbols: u32, rate: u32, seconds: f64, seeds: &[u64]) {
    for &seed in seeds {
        let mut sim = sim(symbols, rate, seed);
        // The opening takes as long as its ticks take at the rate, but at most half a second.
        let opening = 2 * u64::from(symbols);
        let opening_us = (opening * 1_000_000 / u64::from(rate)).min(500_000);
        let end = Micros(START.0 + opening_us + (seconds * 1e6) as u64);
        let mut ticks = 0_u64;
        while sim.next_tick().at < end {
            ticks += 1;
        }
        let mean = (ticks - opening) as f64 / seconds;
        let off = mean / f64::from(rate) - 1.0;
        assert!(
            off.abs() < 0.05,
            "seed {seed}: {mean} ticks/s instead of {rate} over {symbols} symbols"
        );
    }
}

#[test]
fn one_symbol_and_one_tick_per_second() {
    check(1, 1, 3_600.0, &[1, 2, 3]);
}

#[test]
fn ten_symbols_and_a_thousand_ticks() {
    check(10, 1_000, 60.0, &[1, 2, 3]);
}

#[test]
fn a_hundred_symbols_and_ten_thousand_ticks() {
    check(100, 10_000, 10.0, &[1, 2, 3]);
}

#[test]
fn ten_thousand_symbols_and_two_hundred_thousand_ticks() {
    check(10_000, 200_000, 5.0, &[1, 2]);
}

#[test]
fn ten_thousand_symbols_and_a_million_ticks() {
    check(10_000, 1_000_000, 0.5, &[1]);
}

#[test]
fn ten_thousand_symbols_and_one_tick_per_second() {
    check(10_000, 1, 3_600.0, &[1, 2, 3]);
}
