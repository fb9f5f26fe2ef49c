//! Measures how fast the simulated market makes ticks on one core:
//! `cargo run --release --example throughput -- SYMBOLS RATE TICKS`.
//!
//! Each tick is dropped at once. The program does not wait for the time at which a tick is due.

#![expect(clippy::print_stdout, reason = "the figures are the point")]

use std::time::Instant;

use tickwire_feed::{Sim, SimConfig};
use tickwire_wire::{Micros, Payload};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default));
    let (symbols, rate, ticks) = (number(10_000)?, number(1_000_000)?, number(5_000_000)?);
    let built = Instant::now();
    let start = Micros(1_700_000_000_000_000);
    let mut sim = Sim::new(SimConfig {
        symbols,
        rate,
        seed: 1,
        start,
    })?;
    let built_ms = built.elapsed().as_secs_f64() * 1e3;
    let (mut kinds, mut last, began) = ([0_u64; 6], start, Instant::now());
    for _ in 0..ticks {
        let tick = sim.next_tick();
        last = tick.at;
        kinds[match tick.payload {
            Payload::Trade(_) => 0,
            Payload::Book(_) => 1,
            Payload::Bbo(_) => 2,
            Payload::Ticker(_) => 3,
            Payload::Candle(_) => 4,
            Payload::Json(_) | Payload::Packed(_) => 5,
        }] += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    let virtual_s = last.since(start) as f64 / 1e6;
    let per_s = f64::from(ticks) / seconds / 1e6;
    println!("{symbols} symbols at {rate}/s: {per_s:.2} million ticks/s, built in {built_ms:.1} ms");
    println!(
        "{virtual_s:.3} virtual s, mean rate {:.0}/s",
        f64::from(ticks) / virtual_s
    );
    let [trades, books, bbos, tickers, candles, _] = kinds;
    println!("{trades} trades, {books} books, {bbos} bbos, {tickers} tickers, {candles} candles");
    Ok(())
}
