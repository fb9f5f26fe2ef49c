//! The statistics of a real market: correlated prices, bursts, and a few busy symbols among many quiet ones.

use std::collections::BTreeMap;

use tickwire_feed::Feed;
use tickwire_wire::Payload;

use crate::support::{START, sim, symbol_of};

const SEEDS: [u64; 3] = [1, 2, 3];

/// Pearson's correlation coefficient.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += (a - mean_a) * (b - mean_b);
        aa += (a - mean_a) * (a - mean_a);
        bb += (b - mean_b) * (b - mean_b);
    }
    ab / (aa * bb).sqrt()
}

/// The relative changes of the middle price over `steps` intervals of 4 s, by symbol.
fn returns(symbols: u32, rate: u32, seed: u64, steps: u64) -> BTreeMap<String, Vec<f64>> {
    let mut feed = Feed::Sim(sim(symbols, rate, seed));
    let mut middle: BTreeMap<String, f64> = BTreeMap::new();
    let mut paths: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut step = 1;
    while step <= steps {
        let tick = feed.next_tick().expect("the simulated market never ends");
        if tick.at >= START.plus_ms(step * 4_000) {
            for (symbol, middle) in &middle {
                paths.entry(symbol.clone()).or_default().push(*middle);
            }
            step += 1;
        }
        if let Payload::Bbo(bbo) = &tick.payload {
            let number =
                |decimal: tickwire_wire::Decimal| decimal.to_string().parse::<f64>().expect("a number");
            middle.insert(bbo.symbol.to_string(), (number(bbo.bid) + number(bbo.ask)) / 2.0);
        }
    }
    let changes = |path: Vec<f64>| path.windows(2).map(|pair| pair[1] / pair[0] - 1.0).collect();
    paths
        .into_iter()
        .map(|(symbol, path)| (symbol, changes(path)))
        .collect()
}

#[test]
fn prices_move_together_and_more_so_within_a_sector() {
    const SECTOR: [&str; 5] = ["SOL-USD", "ADA-USD", "AVAX-USD", "TON-USD", "DOT-USD"];
    for seed in SEEDS {
        let returns = returns(15, 400, seed, 100);
        let (mut within, mut across) = (Vec::new(), Vec::new());
        for (a, changes_a) in &returns {
            for (b, changes_b) in returns.range(a.clone()..).skip(1) {
                let same = SECTOR.contains(&a.as_str()) && SECTOR.contains(&b.as_str());
                let apart = SECTOR.contains(&a.as_str()) != SECTOR.contains(&b.as_str());
                let found = correlation(changes_a, changes_b);
                if same {
                    within.push(found);
                } else if apart {
                    across.push(found);
                }
            }
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let (within, across) = (mean(&within), mean(&across));
        assert!(
            across > 0.2,
            "seed {seed}: mean correlation across sectors is {across}",
        );
        assert!(
            within > across + 0.1,
            "seed {seed}: within a sector {within}, across {across}",
        );
    }
}

#[test]
fn trades_come_in_bursts() {
    const WINDOW_US: u64 = 100_000;
    for seed in SEEDS {
        let mut feed = Feed::Sim(sim(10, 1_000, seed));
        // The number of takers per window: all trades of one taker have the same time.
        let mut takers: BTreeMap<u64, u32> = BTreeMap::new();
        let (mut last, mut windows) = (None, 0);
        while windows < 600 {
            let tick = feed.next_tick().expect("the simulated market never ends");
            windows = tick.at.since(START) / WINDOW_US;
            if let Payload::Trade(trade) = &tick.payload {
                let taker = (trade.symbol.clone(), trade.time);
                if trade.symbol.as_str() == "BTC-USD" && last.as_ref() != Some(&taker) {
                    *takers.entry(windows).or_default() += 1;
                    last = Some(taker);
                }
            }
        }
        let counts = || (0..windows).map(|window| f64::from(*takers.get(&window).unwrap_or(&0)));
        let mean = counts().sum::<f64>() / windows as f64;
        let variance = counts().map(|count| (count - mean) * (count - mean)).sum::<f64>() / windows as f64;
        // Independent takers would have a variance equal to the mean, within 6 % for 600 windows.
        assert!(
            variance / mean > 1.4,
            "seed {seed}: mean {mean}, variance {variance}",
        );
    }
}

#[test]
fn a_few_symbols_have_most_of_the_activity() {
    for seed in SEEDS {
        let mut feed = Feed::Sim(sim(1_000, 100_000, seed));
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..100_000 {
            let tick = feed.next_tick().expect("the simulated market never ends");
            *counts.entry(symbol_of(&tick.payload).to_owned()).or_default() += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let share = |counts: &[u32]| f64::from(counts.iter().sum::<u32>()) / 100_000.0;
        let (busy, quiet) = (share(&counts[..10]), share(&counts[500..]));
        assert!(busy > 0.25, "seed {seed}: the busiest 1 % have {busy}");
        assert!(quiet < 0.2, "seed {seed}: the quiet half has {quiet}");
    }
}
