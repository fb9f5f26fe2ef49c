//! Samples of every message: each with all its fields, and with only those that it always has.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{ErrorCode, Refusal};
use crate::ids::{Epoch, Micros, Seq};
use crate::market::{Bbo, Book, Candle, Level, Side, Ticker, Trade};
use crate::message::{
    AckResult, AnnouncedLimits, ClientMessage, Control, EndReason, GapReason, Kind, Mode, Payload, Position,
    Positions, ReplayRange, RequestId, Since, StaleReason, Subscribe, TopicRequest, TopicState,
};
use crate::secret::Secret;
use crate::{Decimal, Moment, ReplaySpeed, Symbol};

const ID: RequestId = RequestId(u64::MAX);
const TS: Micros = Micros(1_723_075_200_000_000);

/// Books as publishers send them.
pub(super) const PUBLISHED_BOOKS: [&str; 2] = [
    r#"{"symbol":"A","bids":[["1","2"]],"asks":[["3","0"]],"checksum":7,"time":1,"replace":true}"#,
    r#"{"symbol":"A","time":1}"#,
];

fn epoch() -> Epoch {
    Epoch::from("k3v9")
}

fn topic() -> String {
    "trade.BTC-USD".to_owned()
}

fn positions() -> Vec<Positions> {
    vec![Positions {
        epoch: epoch(),
        seqs: BTreeMap::from([(topic(), Seq(57))]),
    }]
}

pub(super) fn requests() -> Vec<ClientMessage> {
    let since = |topic: &str, since| TopicRequest::Since {
        topic: topic.to_owned(),
        since,
    };
    let position = Position {
        epoch: epoch(),
        seq: Seq(57),
    };
    let mut requests = vec![
        ClientMessage::Subscribe(Subscribe {
            id: ID,
            topics: vec![
                TopicRequest::Pattern("ticker.*".to_owned()),
                since("trade.BTC-USD", Some(position.into())),
                since("trade.>", Some(Since::Many(positions()))),
                since("chat.lobby", None),
                TopicRequest::From {
                    topic: topic(),
                    from: Moment(TS),
                    speed: None,
                },
                TopicRequest::From {
                    topic: topic(),
                    from: Moment(TS),
                    speed: Some(ReplaySpeed::new(10.0).expect("a speed")),
                },
            ],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        }),
        ClientMessage::Positions {
            id: ID,
            since: positions(),
        },
        ClientMessage::Unsubscribe {
            id: ID,
            topics: vec![topic(), ">".to_owned()],
        },
        ClientMessage::Resync {
            id: ID,
            topic: topic(),
        },
        ClientMessage::Auth {
            id: ID,
            token: Secret::from("abc".to_owned()),
        },
    ];
    for mode in [Mode::Every, Mode::Conflate, Mode::Snapshot] {
        requests.push(ClientMessage::Subscribe(Subscribe {
            id: RequestId(0),
            topics: Vec::new(),
            mode: Some(mode),
            conflate_ms: Some(60_000),
            snapshot: false,
        }));
    }
    for id in [Some(ID), None] {
        let data = Payload::from_json(b"null").expect("JSON");
        requests.push(ClientMessage::Publish {
            id,
            topic: topic(),
            data,
            key: id.map(|_| "order-7/é".parse().expect("a key")),
            ts: id.map(|_| TS),
        });
        requests.push(ClientMessage::Ping { id });
    }
    requests
}

fn results() -> Vec<AckResult> {
    let modes = [Kind::State, Kind::Book, Kind::Event].map(|kind| (kind, Mode::default_for(kind)));
    let full = AckResult {
        topic: topic(),
        matched: Some(12),
        epoch: Some(epoch()),
        seq: Some(Seq(57)),
        mode: Some(Mode::Every),
        modes: Some(BTreeMap::from(modes)),
        conflate_ms: Some(100),
        recovered: Some(true),
        replay: Some(ReplayRange {
            from_seq: Seq(58),
            to_seq: Seq(70),
        }),
        not_stored: Some(TS),
        resumed: Some(11),
        not_resumed: Some(1),
        duplicate: true,
        error: None,
    };
    let refused = AckResult {
        topic: "bad..topic".to_owned(),
        error: Some(Refusal::new(ErrorCode::BadTopic, "empty token at byte 4")),
        ..AckResult::default()
    };
    vec![full, refused]
}

fn welcome() -> Control {
    Control::Welcome {
        session: "s1".to_owned(),
        server: "tickwire/0.1.0".to_owned(),
        ts: TS,
        heartbeat_ms: 15_000,
        limits: AnnouncedLimits {
            subscriptions: 1_024,
            message_bytes: 65_536,
            ops_per_s: 50,
            ops_burst: 200,
            publishes_per_s: 10_000,
            publishes_burst: 20_000,
        },
    }
}

fn statuses() -> impl Iterator<Item = Control> {
    let status = |state, reason, seq| Control::Status {
        topic: topic(),
        state,
        reason,
        seq,
    };
    let reasons = [StaleReason::Partial, StaleReason::Hole, StaleReason::Crossed];
    let doubts = reasons.map(|reason| status(TopicState::Stale, Some(reason), None));
    let others = [
        status(TopicState::Live, None, None),
        status(TopicState::CaughtUp, None, Some(Seq(70))),
    ];
    doubts.into_iter().chain(others)
}

pub(super) fn controls() -> Vec<Control> {
    let mut controls = vec![
        welcome(),
        Control::Ack {
            id: ID,
            results: results(),
        },
        Control::Ack {
            id: ID,
            results: Vec::new(),
        },
        Control::Synced { id: ID },
        Control::Joined {
            topic: topic(),
            epoch: epoch(),
            seq: Seq(0),
        },
        Control::Heartbeat { ts: TS },
        Control::Pong {
            id: Some(ID),
            ts: TS,
            received: Some(TS),
        },
        Control::Pong {
            id: None,
            ts: TS,
            received: None,
        },
        Control::Drain {
            reconnect_after_ms: 8_300,
            deadline_ms: 60_000,
        },
        Control::error(None, Refusal::bad_request("a reason")),
    ];
    for reason in [GapReason::Slow, GapReason::History, GapReason::Epoch] {
        controls.push(Control::Gap {
            topic: topic(),
            epoch: epoch(),
            from: Seq(62),
            to: Seq(70),
            reason,
        });
    }
    for reason in EndReason::ALL {
        controls.push(Control::End {
            topic: topic(),
            epoch: epoch(),
            seq: Seq(912),
            reason,
        });
    }
    controls.extend(statuses());
    for code in ErrorCode::ALL {
        controls.push(Control::error(Some(ID), Refusal::new(code, "a reason")));
    }
    controls
}

fn number(text: &str) -> Decimal {
    text.parse().expect(text)
}

fn ticker() -> Ticker {
    let one = number("61837.63");
    Ticker {
        symbol: Symbol::from("BTC-USD"),
        last: one,
        bid: one,
        bid_size: one,
        ask: one,
        ask_size: one,
        open: one,
        high: one,
        low: one,
        volume: one,
        vwap: one,
        change_pct: number("-3.06"),
        time: TS,
    }
}

/// Data of each kind, with the name of its schema.
pub(super) fn payloads() -> Vec<(&'static str, Payload)> {
    let symbol = Symbol::from("BTC-USD");
    let one = number("61837.63");
    let trade = |side| Trade {
        symbol: symbol.clone(),
        id: u64::MAX,
        price: one,
        size: one,
        side,
        time: TS,
    };
    vec![
        (
            "Data",
            Payload::from_json(br#"{"text":[1.5,null]}"#).expect("JSON"),
        ),
        ("Ticker", Payload::Ticker(Box::new(ticker()))),
        (
            "Bbo",
            Payload::Bbo(Box::new(Bbo {
                symbol: symbol.clone(),
                bid: one,
                bid_size: one,
                ask: one,
                ask_size: one,
                time: TS,
            })),
        ),
        ("Trade", Payload::Trade(Box::new(trade(Side::Buy)))),
        ("Trade", Payload::Trade(Box::new(trade(Side::Sell)))),
        (
            "Candle",
            Payload::Candle(Box::new(Candle {
                symbol: symbol.clone(),
                interval: Arc::from("1m"),
                start: TS,
                open: one,
                high: one,
                low: one,
                close: one,
                volume: one,
                trades: 3,
                closed: false,
            })),
        ),
        (
            "Book",
            Payload::Book(Box::new(Book {
                symbol: symbol.clone(),
                bids: vec![Level::from((one, number("0")))],
                asks: vec![Level::from((one, one))],
                checksum: u32::MAX,
                time: TS,
                replace: true,
            })),
        ),
    ]
}
