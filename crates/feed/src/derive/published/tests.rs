//! What is published for trades, quotes and books, by a script of messages and times.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tickwire_wire::{Decimal, PackedSlice};

use super::*;

/// A time far from the epoch, at the beginning of a day.
const DAY: u64 = 1_700_006_400_000_000;

fn rule(from: &str, candles: &[Interval], ticker: bool, bbo: bool) -> DeriveRule {
    let (from, candles) = (from.parse().expect("a pattern"), candles.to_vec());
    DeriveRule {
        from,
        candles,
        ticker,
        bbo,
    }
}

fn topic(name: &str) -> Topic {
    name.parse().expect("a topic")
}

fn open(deriver: &mut Deriver, name: &str) -> SourceNo {
    deriver
        .open(&topic(name))
        .expect("it is short")
        .expect("a rule reads it")
}

/// A deriver, the milliseconds since [`DAY`], and what it has published.
struct Desk {
    deriver: Deriver,
    now: Micros,
    log: String,
}

impl Desk {
    fn new(rules: Vec<DeriveRule>) -> Self {
        Self {
            deriver: Deriver::new(rules),
            now: Micros(DAY),
            log: String::new(),
        }
    }

    /// Goes to `ms` after the beginning of the day, and publishes what is due on the way.
    fn go(&mut self, ms: u64) {
        let until = Micros(DAY + ms * 1_000);
        while let Some(due) = self.deriver.next_due().filter(|due| *due <= until) {
            self.now = due;
            let (at, log) = ((due.0 - DAY) / 1_000, &mut self.log);
            self.deriver
                .publish_due(due, 1, |topic, payload| note(log, at, topic, &payload));
        }
        self.now = until;
    }

    fn take(&mut self, source: SourceNo, json: &str) -> Result<(), NotDerived> {
        let payload = Payload::from_json(json.as_bytes()).expect("JSON");
        let (at, log) = ((self.now.0 - DAY) / 1_000, &mut self.log);
        let times = (self.now, self.now);
        self.deriver.take(source, &payload, times, |topic, payload| {
            note(log, at, topic, &payload);
        })
    }

    fn end(&mut self, source: SourceNo) {
        let (at, log) = ((self.now.0 - DAY) / 1_000, &mut self.log);
        self.deriver
            .end(source, |topic, payload| note(log, at, topic, &payload));
    }

    /// What was published since the last time.
    fn shows(&mut self, expected: &Expect) {
        expected.assert_eq(&std::mem::take(&mut self.log));
    }
}

/// Adds a line for a message that is published at `at`.
fn note(log: &mut String, at: u64, topic: &Topic, payload: &Payload) {
    let what = match payload {
        Payload::Candle(candle) => format!(
            "{} {} {} {} v{} n{}{}",
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.trades,
            if candle.closed { " closed" } else { "" },
        ),
        Payload::Ticker(ticker) => format!("last {} of {}/{}", ticker.last, ticker.bid, ticker.ask),
        Payload::Bbo(bbo) => format!("{}/{} at {}", bbo.bid, bbo.ask, bbo.time),
        other => panic!("nothing else is derived: {other:?}"),
    };
    writeln!(log, "{at} {topic} {what}").expect("a string");
}

fn trade(price: u32, ms: u64) -> String {
    format!(r#"{{"price":"{price}","size":1,"time":{}}}"#, DAY + ms * 1_000)
}

#[test]
fn trades_make_candles_and_a_ticker() {
    let short = [Interval::Second, Interval::Minute];
    let mut desk = Desk::new(vec![rule("trade.>", &short, true, true)]);
    let source = open(&mut desk.deriver, "trade.x.A");
    desk.go(10);
    desk.take(source, r#"{"bid":"9","bid_size":"1","ask":11,"ask_size":"1"}"#)
        .expect("quotes");
    desk.take(source, &trade(10, 5)).expect("a trade");
    desk.go(50);
    desk.take(source, &trade(12, 45)).expect("a trade");
    desk.go(900);
    desk.shows(&expect![[r#"
        110 ticker.x.A last 12 of 9/11
        110 candle.1s.x.A 10 12 10 12 v2 n2
        110 candle.1m.x.A 10 12 10 12 v2 n2
    "#]]);
    // A trade of a later second closes the candle at once.
    desk.go(1_500);
    desk.take(source, &trade(8, 1_400)).expect("a trade");
    desk.go(60_999);
    desk.shows(&expect![[r#"
        1500 candle.1s.x.A 10 12 10 12 v2 n2 closed
        1600 ticker.x.A last 8 of 9/11
        1600 candle.1s.x.A 8 8 8 8 v1 n1
        1600 candle.1m.x.A 10 12 8 8 v3 n3
        3000 candle.1s.x.A 8 8 8 8 v1 n1 closed
    "#]]);
    desk.go(120_000);
    desk.shows(&expect![[r#"
        61000 candle.1m.x.A 10 12 8 8 v3 n3 closed
    "#]]);
    assert_eq!(
        desk.deriver.next_due(),
        None,
        "nothing is planned for a quiet market"
    );
}

#[test]
fn a_trade_in_messagepack_is_read_as_one_in_json() {
    let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Second], false, false)]);
    let source = open(&mut desk.deriver, "trade.A");
    let (mut packed, now) = (Vec::new(), desk.now);
    let json = Payload::from_json(trade(7, 0).as_bytes()).expect("JSON");
    json.write_msgpack(&mut packed);
    let payload = Payload::Packed(PackedSlice::parse(&packed).expect("MessagePack").to_value());
    let taken = desk.deriver.take(source, &payload, (now, now), |_, _| {});
    assert_eq!((taken, desk.deriver.tally().taken), (Ok(()), 1));
}

#[test]
fn what_comes_late_is_in_the_ticker_alone() {
    let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Second], true, true)]);
    let source = open(&mut desk.deriver, "trade.A");
    for (price, ms) in [(1, 500), (2, 1_100), (3, 900)] {
        desk.go(1_200);
        desk.take(source, &trade(price, ms)).expect("a trade");
    }
    desk.go(1_300);
    desk.shows(&expect![[r#"
        1200 candle.1s.A 1 1 1 1 v1 n1 closed
        1300 ticker.A last 3 of 0/0
        1300 candle.1s.A 2 2 2 2 v1 n1
    "#]]);
    assert_eq!(desk.deriver.tally(), Tally { taken: 3, late: 1 });
}

/// A clock that is ahead, or a time in nanoseconds, would close the candles of the future: every later trade were late.
#[test]
fn a_trade_of_the_future_counts_when_it_came() {
    let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Second], false, false)]);
    let source = open(&mut desk.deriver, "trade.A");
    desk.go(100);
    desk.take(source, &format!(r#"{{"price":1,"size":1,"time":{}}}"#, u64::MAX))
        .expect("a trade");
    desk.go(1_100);
    desk.take(source, &trade(2, 1_050)).expect("a trade");
    desk.shows(&expect![[r#"
        200 candle.1s.A 1 1 1 1 v1 n1
        1100 candle.1s.A 1 1 1 1 v1 n1 closed
    "#]]);
    assert_eq!(desk.deriver.tally().late, 0);
}

/// The clock closed the candles of the past between two trades of a body that was published in one go.
#[test]
fn trades_of_the_past_make_whole_candles() {
    let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Minute], false, false)]);
    let source = open(&mut desk.deriver, "trade.A");
    for number in 0..300 {
        desk.go(86_400_000 + number / 2);
        desk.take(source, &trade(100 + number as u32, number * 1_000))
            .expect("a trade");
    }
    desk.go(86_402_000);
    let closed: Vec<&str> = desk.log.lines().filter(|line| line.ends_with("closed")).collect();
    assert_eq!(
        closed,
        [
            "86400030 candle.1m.A 100 159 100 159 v60 n60 closed",
            "86400060 candle.1m.A 160 219 160 219 v60 n60 closed",
            "86400090 candle.1m.A 220 279 220 279 v60 n60 closed",
            "86400120 candle.1m.A 280 339 280 339 v60 n60 closed",
            "86401149 candle.1m.A 340 399 340 399 v60 n60 closed",
        ]
    );
    assert_eq!(desk.deriver.tally().late, 0);
}

#[test]
fn books_give_best_quotes_when_these_change() {
    let rules = vec![rule("trade.>", &[], true, true), rule("book.>", &[], true, true)];
    let mut desk = Desk::new(rules);
    let (book, trades) = (
        open(&mut desk.deriver, "book.A"),
        open(&mut desk.deriver, "trade.A"),
    );
    assert_eq!(book, trades, "they are one market");
    let level = |price: u32| Level {
        price: Decimal::new(i64::from(price), 0),
        size: Decimal::new(1, 0),
    };
    for (ms, bid) in [(0, 5), (10, 6), (300, 6), (600, 6), (700, 7)] {
        desk.go(ms);
        let (best, now) = ((level(bid), level(9)), desk.now);
        desk.deriver.take_best(book, best, Micros(ms), now);
    }
    desk.take(trades, r#"{"price":1,"size":1}"#).expect("a trade");
    desk.go(1_000);
    desk.shows(&expect![[r#"
        100 bbo.A 6/9 at 10
        800 bbo.A 7/9 at 700
        800 ticker.A last 1 of 7/9
    "#]]);
}

#[test]
fn a_market_ends_with_its_last_topic_and_begins_anew() {
    let candles = [Interval::Minute];
    let rules = vec![
        rule("trade.>", &candles, false, false),
        rule("fill.*", &candles, false, false),
    ];
    let mut desk = Desk::new(rules);
    let (one, two) = (
        open(&mut desk.deriver, "trade.A"),
        open(&mut desk.deriver, "fill.A"),
    );
    desk.take(one, &trade(5, 0)).expect("a trade");
    desk.end(one);
    desk.take(two, &trade(6, 0)).expect("a trade");
    desk.shows(&expect![""]);
    desk.end(two);
    desk.shows(&expect![[r#"
        0 candle.1m.A 5 6 5 6 v2 n2
        0 candle.1m.A 5 6 5 6 v2 n2 closed
    "#]]);
    assert_eq!(desk.deriver.next_due(), None);
    let again = open(&mut desk.deriver, "trade.A");
    assert_eq!(again, one, "its number is used again");
    desk.take(again, &trade(7, 0)).expect("a trade");
    desk.go(100);
    desk.shows(&expect![[r#"
        100 candle.1m.A 7 7 7 7 v1 n1
    "#]]);
}

#[test]
fn what_nothing_can_be_made_of_changes_nothing() {
    let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Second], true, false)]);
    let source = open(&mut desk.deriver, "trade.A");
    desk.take(source, &trade(1, 0)).expect("a trade");
    desk.go(1_500);
    desk.log.clear();
    for text in [
        "1",
        r#"{"price":"1"}"#,
        r#"{"price":"0","size":"1"}"#,
        r#"{"price":"-1","size":"1"}"#,
        r#"{"price":"1","size":"10000000000000001"}"#,
        r#"{"price":"1000000000001","size":"1"}"#,
        r#"{"price":"0.0000000000001","size":"1"}"#,
    ] {
        assert!(desk.take(source, text).is_err(), "{text}");
    }
    desk.shows(&expect![""]);
    assert_eq!(desk.deriver.tally(), Tally { taken: 1, late: 0 });
}

#[test]
fn a_name_is_what_follows_the_plain_tokens() {
    for (from, name, expected) in [
        ("trade.>", "trade.A", Some("A")),
        ("trade.>", "trade.x.A", Some("x.A")),
        ("md.trade.*", "md.trade.A", Some("A")),
        ("trade.*.spot", "trade.A.spot", Some("A.spot")),
        ("trade.A", "trade.A", Some("A")),
        ("fills", "fills", Some("fills")),
        ("trade.>", "trade", None),
        ("trade.*", "trade.x.A", None),
        ("trade.>", "trades.A", None),
    ] {
        let rule = rule(from, &[], true, true);
        assert_eq!(rule.name(name), expected, "{from} {name}");
        assert!(expected.is_none_or(|name| rule.reads(name)), "{from} {name}");
    }
    let mut deriver = Deriver::new(vec![rule("t.>", &Interval::ALL, true, true)]);
    let long = topic(&format!("t.{}", "a".repeat(250)));
    assert!(deriver.open(&long).is_err(), "candle.15m.… would be too long");
    assert_eq!(deriver.open(&topic("u.A")), Ok(None));
}

proptest! {
    /// Each candle has exactly the trades of its time, whatever the order and pace of what is published.
    #[test]
    fn no_trade_is_lost_or_counted_twice(
        trades in proptest::collection::vec((1_u32..50, 0_u64..4_000, 0_u64..1_500), 1..60),
    ) {
        let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Second], true, false)]);
        let source = open(&mut desk.deriver, "trade.A");
        let mut now = 0;
        for (price, ago, later) in &trades {
            now += later;
            desk.go(now);
            desk.take(source, &trade(*price, now.saturating_sub(*ago))).expect("a trade");
        }
        desk.end(source);
        let counted: u64 = desk
            .log
            .lines()
            .filter_map(|line| line.strip_suffix(" closed")?.rsplit_once(" n")?.1.parse::<u64>().ok())
            .sum();
        let tally = desk.deriver.tally();
        prop_assert_eq!(tally.taken, trades.len() as u64);
        prop_assert_eq!(counted, tally.taken - tally.late);
    }

    /// Markets that are kept and restored at any moments are those that were never interrupted.
    #[test]
    fn a_restart_changes_nothing(
        steps in proptest::collection::vec(
            (1_u32..50, 0_u64..4_000, 0_u64..1_500, proptest::option::weighted(0.3, 0_u8..2)),
            1..80,
        ),
    ) {
        let rules = || vec![rule("trade.>", &[Interval::Second, Interval::Minute], true, false)];
        let (mut desk, mut restarted) = (Desk::new(rules()), Desk::new(rules()));
        let source = open(&mut desk.deriver, "trade.A");
        let mut again = open(&mut restarted.deriver, "trade.A");
        let mut now = 0;
        for (price, ago, later, restart) in &steps {
            now += later;
            for (desk, source) in [(&mut desk, source), (&mut restarted, again)] {
                desk.go(now);
                desk.take(source, &trade(*price, now.saturating_sub(*ago))).expect("a trade");
                desk.take(source, r#"{"bid":"1.10","bid_size":"2","ask":"3","ask_size":4}"#).expect("quotes");
            }
            if restart.is_some() {
                let kept: Vec<KeptMarket> = restarted.deriver.kept().collect();
                let text = serde_json::to_string(&kept).expect("JSON");
                let read: Vec<KeptMarket> = serde_json::from_str(&text).expect("it was written");
                prop_assert_eq!(&read, &kept);
                restarted.deriver = Deriver::new(rules());
                again = open(&mut restarted.deriver, "trade.A");
                for market in &read {
                    restarted.deriver.restore(market).expect("it was kept");
                }
            }
            let states = [&desk, &restarted].map(|desk| desk.deriver.kept().collect::<Vec<_>>());
            // Whether it is published already may differ: it is due at once after a restart.
            let texts = states.map(|state| {
                let text = serde_json::to_string(&state).expect("JSON");
                text.replace("\"has_traded\":true", "").replace("\"has_traded\":false", "")
            });
            prop_assert_eq!(&texts[0], &texts[1]);
        }
        desk.end(source);
        restarted.end(again);
        let closed = |desk: &Desk| -> Vec<String> {
            let lines = desk.log.lines().filter(|line| line.ends_with(" closed"));
            lines.map(|line| line.split_once(' ').map_or("", |(_, line)| line).to_owned()).collect()
        };
        prop_assert_eq!(closed(&desk), closed(&restarted));
    }
}

/// What is not the state of a market is refused, and a market that nobody reads any more is left out.
#[test]
fn only_what_was_kept_is_restored() {
    let mut desk = Desk::new(vec![rule("trade.>", &[Interval::Second], true, false)]);
    let source = open(&mut desk.deriver, "trade.A");
    desk.take(source, &trade(5, 0)).expect("a trade");
    let kept: Vec<KeptMarket> = desk.deriver.kept().collect();
    let text = serde_json::to_string(&kept[0]).expect("JSON");
    let mut other = Deriver::new(vec![rule("trade.>", &[Interval::Second], true, false)]);
    assert_eq!(other.restore(&kept[0]), Ok(()), "nobody reads it");
    assert_eq!(other.kept().count(), 0);
    open(&mut other, "trade.A");
    let wrong = text.replace("\"notional\":\"", "\"notional\":\"x");
    let wrong: KeptMarket = serde_json::from_str(&wrong).expect("its form is right");
    assert!(other.restore(&wrong).is_err());
    assert_eq!(other.restore(&kept[0]), Ok(()));
    assert_eq!(other.kept().collect::<Vec<_>>(), kept);
}
