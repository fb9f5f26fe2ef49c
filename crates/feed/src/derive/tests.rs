//! Ticker and candles, compared with hand-made sequences and with an independent computation.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tickwire_wire::market::Side;

use super::*;

fn derive() -> Derive {
    Derive::new("X-USD".into(), &Intervals::default())
}

fn trade(time_ms: u64, price: &str, size: &str) -> Trade {
    Trade {
        symbol: "X-USD".into(),
        id: 1,
        price: price.parse().expect("a price"),
        size: size.parse().expect("a size"),
        side: Side::Buy,
        time: Micros(time_ms * 1_000),
    }
}

fn line(candle: &Candle) -> String {
    let Candle {
        interval,
        start,
        open,
        high,
        low,
        close,
        volume,
        trades,
        closed,
        ..
    } = candle;
    let end = if *closed { " closed" } else { "" };
    format!(
        "{interval} {} o{open} h{high} l{low} c{close} v{volume} n{trades}{end}\n",
        start.0 / 1_000
    )
}

/// Runs `events`, separated by `; `: `ms price size` is a trade, `ms` alone another event, `end` the end of the feed.
fn check(events: &str, expected: &Expect) {
    let (mut derive, mut log) = (derive(), String::new());
    for event in events.split("; ") {
        let words: Vec<&str> = event.split(' ').collect();
        let time_ms = words[0].parse().unwrap_or(u64::MAX / 1_000);
        derive.close(Micros(time_ms * 1_000), |_, candle| log += &line(&candle));
        let [_, price, size] = words[..] else { continue };
        match derive.trade(&trade(time_ms, price, size)) {
            Ok(Timeliness::InTime) => derive.candles(|_, candle| log += &line(&candle)),
            Ok(Timeliness::Late) => log += "late\n",
            Err(refused) => log += &format!("{refused}\n"),
        }
    }
    expected.assert_eq(&log);
}

#[test]
fn candles_open_fill_and_close() {
    check(
        "59000 10 1; 59900 12 0.5; 60000 9 2; 60100; 61000; end",
        &expect![[r#"
            1s 59000 o10 h10 l10 c10 v1 n1
            1m 0 o10 h10 l10 c10 v1 n1
            1s 59000 o10 h12 l10 c12 v1.5 n2
            1m 0 o10 h12 l10 c12 v1.5 n2
            1s 59000 o10 h12 l10 c12 v1.5 n2 closed
            1m 0 o10 h12 l10 c12 v1.5 n2 closed
            1s 60000 o9 h9 l9 c9 v2 n1
            1m 60000 o9 h9 l9 c9 v2 n1
            1s 60000 o9 h9 l9 c9 v2 n1 closed
            1m 60000 o9 h9 l9 c9 v2 n1 closed
        "#]],
    );
}

#[test]
fn a_closed_candle_stays_closed() {
    check(
        "1500 10 1; 2000; 1999 11 1; 2100 12 1",
        &expect![[r#"
            1s 1000 o10 h10 l10 c10 v1 n1
            1m 0 o10 h10 l10 c10 v1 n1
            1s 1000 o10 h10 l10 c10 v1 n1 closed
            late
            1s 2000 o12 h12 l12 c12 v1 n1
            1m 0 o10 h12 l10 c12 v3 n3
        "#]],
    );
}

#[test]
fn trades_that_would_not_stay_exact_are_refused() {
    check(
        "1 0 1; 1 -1 1; 1 1 0; 1 1000000000001 1; 1 0.0000000000001 1; 1 1 0.0000000000001; \
         1 1 10000000000000001; 1 1000000000000 9999999999999999; 2 0.000000000001 0.999999999999; 2 1 1",
        &expect![[r#"
            price 0 is not above 0 and at most 1000000000000 with 12 digits after the point
            price -1 is not above 0 and at most 1000000000000 with 12 digits after the point
            size 0 is not above 0 with at most 12 digits after the point
            price 1000000000001 is not above 0 and at most 1000000000000 with 12 digits after the point
            price 0.0000000000001 is not above 0 and at most 1000000000000 with 12 digits after the point
            size 0.0000000000001 is not above 0 with at most 12 digits after the point
            size 10000000000000001 would take the session's volume over 10000000000000000
            1s 0 o1000000000000 h1000000000000 l1000000000000 c1000000000000 v9999999999999999 n1
            1m 0 o1000000000000 h1000000000000 l1000000000000 c1000000000000 v9999999999999999 n1
            1s 0 o1000000000000 h1000000000000 l0.000000000001 c0.000000000001 v9999999999999999.999999999999 n2
            1m 0 o1000000000000 h1000000000000 l0.000000000001 c0.000000000001 v9999999999999999.999999999999 n2
            size 1 would take the session's volume over 10000000000000000
        "#]],
    );
}

#[test]
fn the_widest_change_of_price_is_in_range() {
    let mut derive = derive();
    for (price, size) in [
        ("0.000000000001", "0.000000000001"),
        ("1000000000000", "9999999999999999"),
    ] {
        assert_eq!(derive.trade(&trade(1, price, size)), Ok(Timeliness::InTime));
    }
    let ticker = derive.ticker().expect("trades were made");
    assert_eq!(ticker.change_pct.to_string(), "99999999999999999999999900");
    assert_eq!(ticker.vwap.to_string(), "1000000000000");
}

#[test]
fn ticker_sums_up_the_session() {
    let mut derive = derive();
    assert!(derive.ticker().is_none());
    assert_eq!(derive.trade(&trade(1, "3", "1")), Ok(Timeliness::InTime));
    let ticker = derive.ticker().expect("a trade was made");
    assert!(ticker.bid.is_zero() && ticker.ask_size.is_zero(), "no quotes yet");
    derive.quote(&Bbo {
        symbol: "X-USD".into(),
        bid: Decimal::new(2, 0),
        bid_size: Decimal::new(5, 0),
        ask: Decimal::new(4, 0),
        ask_size: Decimal::new(6, 0),
        time: Micros(1),
    });
    for (price, size) in [("4", "0.5"), ("2", "1.5")] {
        assert_eq!(derive.trade(&trade(2, price, size)), Ok(Timeliness::InTime));
    }
    let ticker = derive.ticker().expect("trades were made");
    let json = serde_json::to_string(&ticker).expect("a ticker has JSON");
    expect![[r#"{"symbol":"X-USD","last":"2","bid":"2","bid_size":"5","ask":"4","ask_size":"6","open":"3","high":"4","low":"2","volume":"3","vwap":"2.66666667","change_pct":"-33.3333","time":2000}"#]]
        .assert_eq(&json);
}

proptest! {
    /// Sums kept step by step equal sums over the whole list in plain integers.
    #[test]
    fn sums_agree_with_the_trades(
        trades in prop::collection::vec((0_u64..300, 1_i64..100_000, 1_i64..100_000), 1..200),
    ) {
        let mut derive = derive();
        let mut closed = Vec::new();
        let (mut time_ms, mut done) = (0, Vec::new());
        for (gap_ms, price, size) in trades {
            time_ms += gap_ms;
            let one = Trade {
                price: Decimal::new(price, 2),
                size: Decimal::new(size, 3),
                ..trade(time_ms, "1", "1")
            };
            derive.close(one.time, |_, candle| closed.push(candle));
            prop_assert_eq!(derive.trade(&one), Ok(Timeliness::InTime));
            done.push((time_ms / 1_000, price, size));
            let volume: i64 = done.iter().map(|(_, _, size)| size).sum();
            let notional: i64 = done.iter().map(|(_, price, size)| price * size).sum();
            let ticker = derive.ticker().expect("a trade was made");
            prop_assert_eq!(ticker.volume, Decimal::new(volume, 3));
            // |vwap - notional/volume| is at most half of the last digit.
            let off = ticker.vwap.get() * Number::new(volume, 3) - Number::new(notional, 5);
            prop_assert!(off.abs() <= Number::new(volume, 3) * Number::new(5, VWAP_DIGITS + 1));
        }
        derive.close(Micros(u64::MAX), |_, candle| closed.push(candle));
        for candle in closed.iter().filter(|candle| &*candle.interval == "1s") {
            let of: Vec<_> = done.iter().filter(|(second, ..)| *second == candle.start.0 / 1_000_000).collect();
            let prices = || of.iter().map(|(_, price, _)| *price);
            prop_assert_eq!(candle.trades, of.len() as u64);
            prop_assert_eq!(candle.open, Decimal::new(of[0].1, 2));
            prop_assert_eq!(candle.close, Decimal::new(of[of.len() - 1].1, 2));
            prop_assert_eq!(Some(candle.high), prices().max().map(|price| Decimal::new(price, 2)));
            prop_assert_eq!(Some(candle.low), prices().min().map(|price| Decimal::new(price, 2)));
            prop_assert_eq!(candle.volume, Decimal::new(of.iter().map(|(_, _, size)| size).sum(), 3));
        }
        let in_seconds: u64 = closed.iter().filter(|c| &*c.interval == "1s").map(|c| c.trades).sum();
        let in_minutes: u64 = closed.iter().filter(|c| &*c.interval == "1m").map(|c| c.trades).sum();
        prop_assert_eq!((in_seconds, in_minutes), (done.len() as u64, done.len() as u64));
    }
}
