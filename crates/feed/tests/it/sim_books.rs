//! Books, trades, quotes, tickers and candles of the simulated market, for any seed.

use std::collections::BTreeMap;

use expect_test::expect;
use proptest::prelude::*;
use tickwire_feed::{Feed, Sim, SimConfig, SimError};
use tickwire_wire::{Micros, Payload, Topic};

use crate::book_audit::BookAudit;
use crate::derived_audit::DerivedAudit;
use crate::support::{START, by_symbol, sim, ticks};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// A book is never crossed and never empty and holds 10 to 20 levels a side, and every message changes something. A
    /// trade takes its size from the best level of that moment. Best quotes come exactly when they have changed.
    #[test]
    fn books_trades_and_quotes_agree(seed: u64, symbols in 1..6_u32, rate in 50..50_000_u32) {
        let mut feed = Feed::Sim(sim(symbols, rate, seed));
        let all = ticks(&mut feed, 15_000);
        for ticks in by_symbol(&all).into_values() {
            let mut audit = BookAudit::default();
            // The last event may be incomplete.
            ticks.iter().for_each(|tick| audit.tick(tick));
            audit.finish();
        }
    }

    /// Ticker and candles equal the sums over the trades. Each trade is in a ticker within the delay, and each candle
    /// closes once.
    #[test]
    fn ticker_and_candles_agree_with_trades(seed: u64, symbols in 1..4_u32, rate in 50..2_000_u32) {
        let mut feed = Feed::Sim(sim(symbols, rate, seed));
        let all = ticks(&mut feed, 6_000);
        for ticks in by_symbol(&all).into_values() {
            let mut audit = DerivedAudit::new(true, 1);
            ticks.iter().for_each(|tick| audit.tick(tick));
            // The last event may be incomplete; the one before is complete.
            let last = ticks[ticks.len() - 1].at;
            let complete = ticks.iter().rev().map(|tick| tick.at).find(|at| *at < last).unwrap_or(START);
            prop_assert!(audit.finish(complete) > 0, "there were candles");
            // The delay of 100 ms, and a microsecond for rounding.
            prop_assert!(audit.waited_us_max <= 100_001, "a ticker took {} µs", audit.waited_us_max);
        }
    }

    /// Every symbol publishes its whole book before anything else, within the first half second.
    #[test]
    fn books_come_first(seed: u64, symbols in 1..200_u32, rate in 1..1_000_000_u32) {
        let mut feed = Feed::Sim(sim(symbols, rate, seed));
        let all = ticks(&mut feed, 2 * symbols as usize + 200);
        let symbols_seen = by_symbol(&all);
        prop_assert_eq!(symbols_seen.len(), symbols as usize);
        for ticks in symbols_seen.into_values() {
            prop_assert!(matches!(&ticks[0].payload, Payload::Book(book) if book.replace));
            prop_assert!(matches!(ticks[1].payload, Payload::Bbo(_)));
            prop_assert!(ticks[0].at < START.plus_ms(500));
        }
        prop_assert_eq!(all[0].at, START);
    }
}

#[test]
fn a_seed_names_one_market_to_the_byte() {
    let bytes = |seed: u64, count: usize| {
        let mut feed = Feed::Sim(sim(50, 20_000, seed));
        let mut crc = flate2::Crc::new();
        for _ in 0..count {
            let tick = feed.next_tick().expect("the simulated market never ends");
            let payload = match &tick.payload {
                Payload::Ticker(data) => serde_json::to_vec(data),
                Payload::Bbo(data) => serde_json::to_vec(data),
                Payload::Trade(data) => serde_json::to_vec(data),
                Payload::Candle(data) => serde_json::to_vec(data),
                Payload::Book(data) => serde_json::to_vec(data),
                Payload::Json(_) | Payload::Packed(_) => {
                    panic!("the simulated market publishes market data only")
                }
            };
            crc.update(&tick.at.0.to_le_bytes());
            crc.update(&tick.topic.0.to_le_bytes());
            crc.update(&payload.expect("market data has JSON"));
        }
        format!("{:08x}", crc.sum())
    };
    assert_eq!(bytes(7, 5_000), bytes(7, 5_000));
    assert_ne!(bytes(7, 5_000), bytes(8, 5_000));
    // The value is the same on every platform. It changes only when the model does.
    expect!["ced44709"].assert_eq(&bytes(42, 20_000));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let config = SimConfig {
        symbols: 1,
        rate: 1,
        seed: 0,
        start: START,
    };
    for (config, message) in [
        (
            SimConfig { symbols: 0, ..config },
            "0 symbols were asked for; the simulated market has 1 to 10000",
        ),
        (
            SimConfig {
                symbols: 10_001,
                ..config
            },
            "10001 symbols were asked for; the simulated market has 1 to 10000",
        ),
        (
            SimConfig { rate: 0, ..config },
            "0 ticks per second were asked for; the simulated market makes 1 to 1000000",
        ),
        (
            SimConfig {
                rate: 1_000_001,
                ..config
            },
            "1000001 ticks per second were asked for; the simulated market makes 1 to 1000000",
        ),
        (
            SimConfig {
                start: Micros(u64::MAX),
                ..config
            },
            "time 18446744073709551615 is too late to begin; at most 9223372036854775807 µs since the Unix epoch can be simulated",
        ),
    ] {
        let error: SimError = Sim::new(config).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn topics_are_six_per_symbol_from_the_beginning() {
    let feed = Feed::Sim(sim(2, 1, 0));
    let topics: Vec<&str> = feed.topics().iter().map(Topic::as_str).collect();
    expect![[r#"trade.BTC-USD book.BTC-USD bbo.BTC-USD ticker.BTC-USD candle.1s.BTC-USD candle.1m.BTC-USD trade.ETH-USD book.ETH-USD bbo.ETH-USD ticker.ETH-USD candle.1s.ETH-USD candle.1m.ETH-USD"#]]
        .assert_eq(&topics.join(" "));
    let mut counted = BTreeMap::new();
    for topic in Feed::Sim(sim(10_000, 1, 0)).topics() {
        *counted.entry(topic.as_str().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counted.len(), 60_000, "all topics differ");
}
