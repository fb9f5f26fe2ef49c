//! Candles, tickers and best quotes of published trades and books, over WebSocket and HTTP.

use serde_json::{Value, json};

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
    std::fs::write(&file, RULES).expect("a file can be written");
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
    std::fs::write(&file, "[[derive]]\nfrom = \"trade.>\"\n").expect("a file can be written");
    let path = file.to_str().expect("a path is text");
    let (status, log) = crate::support::refused_to_start(&["--config", path]);
    assert!(!status.success() && log.contains("feed.kind = \"sim\""), "{log}");
}
