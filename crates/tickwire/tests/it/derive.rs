//! Candles, tickers and best quotes of published trades and books, over WebSocket and HTTP.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::journal::{Journal, UNLIMITED, kill};
use crate::program::run;
use crate::support::{Broker, Frame, Socket, get, poll, post};

const RULES: &str = r#"
anonymous_publish = [">"]

[[derive]]
from = "trade.>"

[[derive]]
from = "book.>"
"#;

/// A broker without a feed that derives by [`RULES`].
fn deriving() -> (Broker, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    fs::write(&file, RULES).expect("a file can be written");
    let path = file.to_str().expect("a path is text");
    (Broker::start(&["--feed", "none", "--config", path]), folder)
}

/// The next update of `topic` whose data is as wanted.
fn update(socket: &mut Socket, topic: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = socket.message();
        let is_it = message["op"] == "update" && message["topic"] == topic && wanted(&message["data"]);
        if is_it {
            return message["data"].clone();
        }
    }
}

/// A minute of 14 November 2023, in microseconds.
const MINUTE: u64 = 1_699_920_000_000_000;

#[test]
fn published_trades_and_books_make_candles_tickers_and_best_quotes() {
    let (broker, _folder) = deriving();
    let mut reader = Socket::open(&broker);
    let subscribe = json!({"op": "subscribe", "id": 1, "mode": "every",
        "topics": ["candle.1m.A", "ticker.A", "bbo.A"]});
    reader.send(Frame::text(&subscribe.to_string()));
    // A book, then a trade as the feed writes it, then one with numbers and other fields, then one of a later minute.
    let mut publisher = Socket::open(&broker);
    for (topic, data) in [
        (
            "book.A",
            json!({"symbol": "A", "bids": [["9", "1"]], "asks": [["11", "2"]], "time": MINUTE}),
        ),
        (
            "trade.A",
            json!({"symbol": "A", "id": 1, "price": "10.5", "size": "2", "side": "buy", "time": MINUTE + 1}),
        ),
        (
            "trade.A",
            json!({"price": 10.25, "size": 0.5, "time": MINUTE + 2, "venue": "x"}),
        ),
        ("trade.A", json!({"note": "no price"})),
    ] {
        let publish = json!({"op": "publish", "topic": topic, "data": data});
        publisher.send(Frame::text(&publish.to_string()));
    }
    let candle = update(&mut reader, "candle.1m.A", |data| data["trades"] == 2);
    let expected = json!({"symbol": "A", "interval": "1m", "start": MINUTE, "open": "10.5", "high": "10.5",
        "low": "10.25", "close": "10.25", "volume": "2.5", "trades": 2, "closed": false});
    assert_eq!(candle, expected);
    let later = json!({"price": "12", "size": "1", "time": MINUTE + 60_000_000}).to_string();
    assert_eq!(post(broker.listen, "/v1/topics/trade.A", &later).status, 200);
    let closed = update(&mut reader, "candle.1m.A", |data| data["closed"] == true);
    assert_eq!(
        (&closed["close"], &closed["trades"]),
        (&json!("10.25"), &json!(2))
    );
    let value = |topic: &str| {
        poll("a value", || {
            let answer = get(broker.listen, &format!("/v1/topics/{topic}"));
            let answer = (answer.status == 200).then(|| serde_json::from_str::<Value>(&answer.body));
            answer.map(|value| value.expect("JSON")["data"].clone())
        })
    };
    let ticker = poll("the last trade", || {
        Some(value("ticker.A")).filter(|ticker| ticker["last"] == "12")
    });
    assert_eq!(
        (&ticker["bid"], &ticker["ask"], &ticker["volume"]),
        (&json!("9"), &json!("11"), &json!("3.5"))
    );
    assert_eq!(value("bbo.A")["ask_size"], "2");
    // The day has a candle, too.
    assert_eq!(value("candle.1d.A")["interval"], "1d");
    broker.wait_for_metric("tickwire_derive_messages_total", |count| count == 4.0);
    broker.wait_for_metric("tickwire_derive_skipped_messages_total", |count| count == 1.0);
    assert!(broker.has_log("\"nothing is derived from a message\",\"topic\":\"trade.A\",\"seq\":3,"));
    broker.stop();
}

#[test]
fn a_chart_can_be_drawn_at_once_from_a_body_of_trades() {
    let (broker, _folder) = deriving();
    // A trade every six seconds for 600 minutes of the past.
    let lines = (0..6_000_u64).map(|n| {
        let (price, time) = (100 + n % 7, MINUTE + n * 6_000_000);
        format!(r#"{{"topic":"trade.x.B","data":{{"price":"{price}","size":"1","time":{time}}}}}"#)
    });
    let body = lines.collect::<Vec<_>>().join("\n");
    let answer = post(broker.listen, "/v1/publish", &body);
    assert_eq!(answer.body, r#"{"published":6000}"#);
    // The last candle is closed a second after its last trade has come.
    let history = poll("the last closed candle", || {
        let answer = get(broker.listen, "/v1/topics/candle.1m.x.B/history?limit=1024");
        let history: Value = serde_json::from_str(&answer.body).ok()?;
        let last = history["messages"].as_array()?.last()?;
        let is_over = last["data"]["start"] == MINUTE + 599 * 60_000_000 && last["data"]["closed"] == true;
        is_over.then_some(history)
    });
    let messages = history["messages"].as_array().expect("messages");
    let starts: Vec<u64> = messages
        .iter()
        .map(|message| {
            let candle = &message["data"];
            assert_eq!(
                (&candle["closed"], &candle["trades"]),
                (&json!(true), &json!(10)),
                "{candle}"
            );
            candle["start"].as_u64().expect("a time")
        })
        .collect();
    let expected = (99..600).map(|minute| MINUTE + minute * 60_000_000);
    assert_eq!(
        starts,
        expected.collect::<Vec<_>>(),
        "the value, and 500 before it"
    );
    // A subscription goes on from the last message, without a gap.
    let mut reader = Socket::open(&broker);
    let since = json!({"epoch": history["epoch"], "seq": history["newest"]});
    let subscribe =
        json!({"op": "subscribe", "id": 1, "topics": [{"topic": "candle.1m.x.B", "since": since}]});
    reader.send(Frame::text(&subscribe.to_string()));
    assert_eq!(reader.message()["results"][0]["recovered"], true);
    assert_eq!(broker.metric("tickwire_derive_missed_messages_total"), Some(0.0));
    broker.stop();
}

#[test]
fn rules_that_would_make_what_the_feed_makes_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    fs::write(&file, "[[derive]]\nfrom = \"trade.>\"\n").expect("a file can be written");
    let path = file.to_str().expect("a path is text");
    let (status, log) = crate::support::refused_to_start(&["--config", path]);
    assert!(!status.success() && log.contains("feed.kind = \"sim\""), "{log}");
}

/// The number of checkpoints that a journal has had.
fn newest_checkpoint(journal: &Journal) -> Option<String> {
    let names = fs::read_dir(journal.folder.path()).expect("it is there");
    let names = names.map(|entry| {
        entry
            .expect("it is there")
            .file_name()
            .into_string()
            .expect("UTF-8")
    });
    names.filter(|name| name.ends_with(".checkpoint")).max()
}

/// A trade of market `name`: its price in cents, its size, its time.
type Dealt = (&'static str, u64, u64, u64);

/// What a candle of the trades in `dealt` says, by its beginning.
fn candles(dealt: &[Dealt], name: &str, length: u64) -> BTreeMap<u64, [u64; 6]> {
    let mut candles = BTreeMap::new();
    for (_, price, size, time) in dealt.iter().filter(|(of, ..)| *of == name) {
        let candle = candles.entry(time - time % length);
        let [_, high, low, close, volume, trades] = candle.or_insert([*price, 0, u64::MAX, 0, 0, 0]);
        (*high, *low, *close) = ((*high).max(*price), (*low).min(*price), *price);
        (*volume, *trades) = (*volume + size, *trades + 1);
    }
    candles
}

/// The same of a candle that was published.
fn of_candle(candle: &Value) -> (u64, [u64; 6]) {
    let number = |field: &str| -> f64 {
        candle[field]
            .as_str()
            .expect("a decimal")
            .parse()
            .expect("a number")
    };
    let cents = |field: &str| (number(field) * 100.0).round() as u64;
    let candle_of = [
        cents("open"),
        cents("high"),
        cents("low"),
        cents("close"),
        number("volume") as u64,
        candle["trades"].as_u64().expect("a number"),
    ];
    (candle["start"].as_u64().expect("a time"), candle_of)
}

/// The data of a topic's value.
fn value(broker: &Broker, topic: &str) -> Option<Value> {
    let answer = get(broker.listen, &format!("/v1/topics/{topic}"));
    let value: Value = (answer.status == 200).then(|| serde_json::from_str(&answer.body).expect("JSON"))?;
    Some(value["data"].clone())
}

/// Markets of the past, whose candles are closed, and of today, whose candles stay open, while the broker is killed again and
/// again right behind an answer.
#[test]
fn what_is_derived_goes_on_after_kills() {
    let journal = Journal::new();
    let file = journal.folder.path().join("tickwire.toml");
    fs::write(&file, RULES).expect("a file can be written");
    let config = file.display().to_string();
    let start = || {
        let args = ["--feed", "none", "--config", &config, "--journal", journal.dir()];
        Broker::start_with(&args, &UNLIMITED)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let now = u64::try_from(now.as_micros()).expect("a time");
    let (mut dealt, mut random) = (Vec::<Dealt>::new(), 7_u64);
    let mut broker = start();
    for round in 0..8_u64 {
        let mut lines = Vec::new();
        for n in 0..600_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (price, size) = (100 + (random >> 33) % 900, 1 + (random >> 50) % 9);
            // Each round has minutes of its own, so no pause makes a trade late.
            let old = ("OLD", price, size, MINUTE + round * 600_000_000 + n * 400_000);
            let new = (
                "NEW",
                price,
                size,
                now.saturating_sub(1_000_000) + round * 1_000 + n,
            );
            for trade in [old, new] {
                let (name, price, size, time) = trade;
                lines.push(format!(
                    r#"{{"topic":"trade.{name}","data":{{"price":"{}.{:02}","size":"{size}","time":{time}}}}}"#,
                    price / 100,
                    price % 100
                ));
                dealt.push(trade);
            }
        }
        let before = newest_checkpoint(&journal);
        let answer = post(broker.listen, "/v1/publish", &lines.join("\n"));
        assert_eq!(answer.body, r#"{"published":1200}"#);
        if round % 3 == 1 {
            poll("a checkpoint", || {
                (newest_checkpoint(&journal) > before).then_some(())
            });
        }
        kill(broker);
        broker = start();
    }
    assert!(newest_checkpoint(&journal).is_some());

    check_candles(&broker, &journal, &dealt);
    check_tickers(&broker, &dealt);
    assert_eq!(broker.metric("tickwire_derive_missed_messages_total"), Some(0.0));
    assert_eq!(broker.metric("tickwire_derive_late_trades_total"), Some(0.0));
    broker.stop();
}

/// The old market has each closed candle once, and the new one has open candles with all trades.
fn check_candles(broker: &Broker, journal: &Journal, dealt: &[Dealt]) {
    let last = candles(dealt, "OLD", 60_000_000).into_iter().next_back();
    poll("the last candle is closed", || {
        let candle = value(broker, "candle.1m.OLD")?;
        (candle["closed"] == true && Some(of_candle(&candle)) == last).then_some(())
    });
    // The journal has everything that was ever published.
    let printed = run(&["journal", "cat", journal.dir(), "candle.1m.OLD"], "").stdout;
    let messages = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let closed = messages.filter(|message| message["data"]["closed"] == true);
    let closed: Vec<_> = closed.map(|message| of_candle(&message["data"])).collect();
    let expected = candles(dealt, "OLD", 60_000_000).into_iter();
    assert_eq!(closed, expected.collect::<Vec<_>>(), "each once");

    for (interval, length) in [("1h", 3_600_000_000), ("1d", 86_400_000_000)] {
        let topic = format!("candle.{interval}.NEW");
        let expected = candles(dealt, "NEW", length).into_iter().next_back();
        let found = || value(broker, &topic).map(|candle| of_candle(&candle));
        poll(&topic, || (found() == expected).then_some(()));
    }
}

fn check_tickers(broker: &Broker, dealt: &[Dealt]) {
    for name in ["OLD", "NEW"] {
        let all = candles(dealt, name, u64::MAX);
        let [open, high, low, last, volume, _] = all[&0];
        let notional: u64 = dealt
            .iter()
            .filter(|(of, ..)| *of == name)
            .map(|(_, price, size, _)| price * size)
            .sum();
        poll("the ticker", || {
            let ticker = value(broker, &format!("ticker.{name}"))?;
            let number = |field: &str| -> f64 {
                ticker[field]
                    .as_str()
                    .expect("a decimal")
                    .parse()
                    .expect("a number")
            };
            let cents = ["open", "high", "low", "last"].map(|field| (number(field) * 100.0).round() as u64);
            let is_whole = number("volume") as u64 == volume;
            if is_whole {
                assert_eq!(cents, [open, high, low, last], "{ticker}");
                let vwap = notional as f64 / 100.0 / volume as f64;
                assert!((number("vwap") - vwap).abs() < 1e-7, "{ticker} {vwap}");
            }
            is_whole.then_some(())
        });
    }
}
