//! Random messages and data of every kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value};
use tickwire_wire::limits::BOOK_CHECKSUM_LEVELS;
use tickwire_wire::market::{Bbo, Book, Candle, Level, Side, Ticker, Trade};
use tickwire_wire::message::{
    AckResult, AnnouncedLimits, EndReason, GapReason, Position, Positions, ReplayRange, Since, StaleReason,
    Subscribe, TopicRequest, TopicState,
};
use tickwire_wire::{
    ClientMessage, Control, Decimal, Epoch, ErrorCode, Kind, Micros, Mode, Moment, Payload, Refusal,
    ReplaySpeed, RequestId, Seq, Symbol,
};

/// Any JSON.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200..200_i64).prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has finite numbers", |n| n.is_finite())
            .prop_map(Value::from),
        any::<f32>()
            .prop_filter("JSON has finite numbers", |n| n.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            vec((".{0,4}", inner), 0..20).prop_map(|pairs| Value::from(Map::from_iter(pairs))),
        ]
    })
}

/// Any decimal: 96 bits and up to 28 places.
pub(crate) fn decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = prop_oneof![
        any::<i32>().prop_map(i128::from),
        -(1_i128 << 96) + 1..1_i128 << 96
    ];
    (mantissa, 0..=28_u32)
        .prop_map(|(mantissa, scale)| rust_decimal::Decimal::from_i128_with_scale(mantissa, scale).into())
}

fn micros() -> impl Strategy<Value = Micros> {
    any::<u64>().prop_map(Micros)
}

fn speed() -> impl Strategy<Value = ReplaySpeed> {
    let factor = prop_oneof![any::<f64>(), (1_u64..1_000_000).prop_map(|factor| factor as f64)];
    factor.prop_filter_map("a speed", |factor| ReplaySpeed::new(factor).ok())
}

fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch::from_number)
}

fn symbol() -> impl Strategy<Value = Symbol> {
    "[A-Z]{3,5}-[A-Z]{3,4}".prop_map(|text| Symbol::from(text.as_str()))
}

fn id() -> impl Strategy<Value = RequestId> {
    any::<u64>().prop_map(RequestId)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Every), Just(Mode::Conflate), Just(Mode::Snapshot)]
}

fn modes() -> impl Strategy<Value = BTreeMap<Kind, Mode>> {
    let kind = prop_oneof![Just(Kind::State), Just(Kind::Book), Just(Kind::Event)];
    btree_map(kind, mode(), 0..4)
}

fn levels() -> impl Strategy<Value = Vec<Level>> {
    let level = (decimal(), decimal()).prop_map(|(price, size)| Level { price, size });
    vec(level, 0..2 * BOOK_CHECKSUM_LEVELS)
}

fn ticker() -> impl Strategy<Value = Ticker> {
    (symbol(), vec(decimal(), 11), micros()).prop_map(|(symbol, n, time)| Ticker {
        symbol,
        last: n[0],
        bid: n[1],
        bid_size: n[2],
        ask: n[3],
        ask_size: n[4],
        open: n[5],
        high: n[6],
        low: n[7],
        volume: n[8],
        vwap: n[9],
        change_pct: n[10],
        time,
    })
}

fn candle() -> impl Strategy<Value = Candle> {
    let interval = prop_oneof![Just("1s"), Just("1m"), Just("1h")].prop_map(Arc::from);
    (
        symbol(),
        interval,
        vec(decimal(), 5),
        micros(),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(symbol, interval, n, start, trades, closed)| Candle {
            symbol,
            interval,
            start,
            open: n[0],
            high: n[1],
            low: n[2],
            close: n[3],
            volume: n[4],
            trades,
            closed,
        })
}

fn bbo() -> impl Strategy<Value = Bbo> {
    (symbol(), vec(decimal(), 4), micros()).prop_map(|(symbol, n, time)| Bbo {
        symbol,
        bid: n[0],
        bid_size: n[1],
        ask: n[2],
        ask_size: n[3],
        time,
    })
}

fn trade() -> impl Strategy<Value = Trade> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    (symbol(), any::<u64>(), decimal(), decimal(), side, micros()).prop_map(
        |(symbol, id, price, size, side, time)| Trade {
            symbol,
            id,
            price,
            size,
            side,
            time,
        },
    )
}

/// A book as subscribers get it: `replace` is never sent.
fn book() -> impl Strategy<Value = Book> {
    (symbol(), levels(), levels(), any::<u32>(), micros()).prop_map(|(symbol, bids, asks, checksum, time)| {
        Book {
            symbol,
            bids,
            asks,
            checksum,
            time,
            replace: false,
        }
    })
}

/// Market data of every type.
pub(crate) fn market() -> impl Strategy<Value = Payload> {
    prop_oneof![
        ticker().prop_map(|data| Payload::Ticker(Box::new(data))),
        bbo().prop_map(|data| Payload::Bbo(Box::new(data))),
        trade().prop_map(|data| Payload::Trade(Box::new(data))),
        candle().prop_map(|data| Payload::Candle(Box::new(data))),
        book().prop_map(|data| Payload::Book(Box::new(data))),
    ]
}

fn positions() -> impl Strategy<Value = Vec<Positions>> {
    let of_one = (any::<String>(), btree_map(any::<String>(), seq(), 0..4));
    vec(
        of_one.prop_map(|(epoch, seqs)| Positions {
            epoch: Epoch::from(epoch.as_str()),
            seqs,
        }),
        0..3,
    )
}

fn topic_request() -> impl Strategy<Value = TopicRequest> {
    let position = (any::<String>(), seq()).prop_map(|(epoch, seq)| Position {
        epoch: Epoch::from(epoch.as_str()),
        seq,
    });
    let since = prop_oneof![position.prop_map(Since::One), positions().prop_map(Since::Many)];
    prop_oneof![
        any::<String>().prop_map(TopicRequest::Pattern),
        (any::<String>(), option::of(since)).prop_map(|(topic, since)| TopicRequest::Since { topic, since }),
        (any::<String>(), micros(), option::of(speed())).prop_map(|(topic, from, speed)| {
            TopicRequest::From {
                topic,
                from: Moment(from),
                speed,
            }
        }),
    ]
}

/// Any request, with texts as bad as a client's.
pub(crate) fn request() -> impl Strategy<Value = ClientMessage> {
    let subscribe = (
        id(),
        vec(topic_request(), 0..6),
        option::of(mode()),
        option::of(any::<u32>()),
        any::<bool>(),
    );
    let text = any::<String>;
    let payload =
        json().prop_map(|value| Payload::from_json(value.to_string().as_bytes()).expect("shallow JSON"));
    prop_oneof![
        subscribe.prop_map(|(id, topics, mode, conflate_ms, snapshot)| {
            ClientMessage::Subscribe(Subscribe {
                id,
                topics,
                mode,
                conflate_ms,
                snapshot,
            })
        }),
        (id(), positions()).prop_map(|(id, since)| ClientMessage::Positions { id, since }),
        (id(), vec(text(), 0..6)).prop_map(|(id, topics)| ClientMessage::Unsubscribe { id, topics }),
        (
            option::of(id()),
            text(),
            payload,
            option::of("[a-zé\"]{1,32}"),
            option::of(any::<u64>()),
        )
            .prop_map(|(id, topic, data, key, ts)| ClientMessage::Publish {
                id,
                topic,
                data,
                key: key.map(|key| key.parse().expect("a key")),
                ts: ts.map(Micros),
            }),
        (id(), text()).prop_map(|(id, topic)| ClientMessage::Resync { id, topic }),
        (id(), text()).prop_map(|(id, token)| ClientMessage::Auth {
            id,
            token: token.into()
        }),
        option::of(id()).prop_map(|id| ClientMessage::Ping { id }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let code = prop::sample::select(&ErrorCode::ALL[..]);
    (code, any::<String>()).prop_map(|(code, reason)| Refusal::new(code, reason))
}

fn ack_result() -> impl Strategy<Value = AckResult> {
    (
        any::<String>(),
        option::of(any::<usize>()),
        option::of(epoch()),
        option::of(seq()),
        (option::of(mode()), option::of(modes())),
        option::of(any::<u32>()),
        (
            option::of(any::<bool>()),
            option::of(any::<usize>()),
            option::of(any::<usize>()),
            any::<bool>(),
            option::of((seq(), seq())),
            option::of(micros()),
        ),
        option::of(refusal()),
    )
        .prop_map(
            |(
                topic,
                matched,
                epoch,
                seq,
                (mode, modes),
                conflate_ms,
                (recovered, resumed, not_resumed, duplicate, replay, not_stored),
                error,
            )| AckResult {
                topic,
                matched,
                epoch,
                seq,
                mode,
                modes,
                conflate_ms,
                recovered,
                replay: replay.map(|(from_seq, to_seq)| ReplayRange { from_seq, to_seq }),
                not_stored,
                resumed,
                not_resumed,
                duplicate,
                error,
            },
        )
}

fn welcome() -> impl Strategy<Value = Control> {
    let numbers = any::<(usize, usize, [u32; 4])>();
    let limits = numbers.prop_map(|(subscriptions, message_bytes, rates)| {
        let [ops_per_s, ops_burst, publishes_per_s, publishes_burst] = rates;
        AnnouncedLimits {
            subscriptions,
            message_bytes,
            ops_per_s,
            ops_burst,
            publishes_per_s,
            publishes_burst,
        }
    });
    (any::<String>(), any::<String>(), micros(), any::<u64>(), limits).prop_map(
        |(session, server, ts, heartbeat_ms, limits)| Control::Welcome {
            session,
            server,
            ts,
            heartbeat_ms,
            limits,
        },
    )
}

/// Any control message.
pub(crate) fn control() -> impl Strategy<Value = Control> {
    let reason = prop_oneof![
        Just(GapReason::Slow),
        Just(GapReason::History),
        Just(GapReason::Epoch)
    ];
    let state = prop_oneof![Just(TopicState::Stale), Just(TopicState::Live)];
    let why = option::of(prop_oneof![
        Just(StaleReason::Partial),
        Just(StaleReason::Hole),
        Just(StaleReason::Crossed)
    ]);
    let text = any::<String>;
    prop_oneof![
        welcome(),
        (id(), vec(ack_result(), 0..5)).prop_map(|(id, results)| Control::Ack { id, results }),
        (text(), epoch(), seq(), seq(), reason).prop_map(|(topic, epoch, from, to, reason)| Control::Gap {
            topic,
            epoch,
            from,
            to,
            reason,
        }),
        (text(), state, why).prop_map(|(topic, state, reason)| Control::Status {
            topic,
            state,
            reason,
            seq: None,
        }),
        (text(), seq()).prop_map(|(topic, seq)| Control::Status {
            topic,
            state: TopicState::CaughtUp,
            reason: None,
            seq: Some(seq),
        }),
        micros().prop_map(|ts| Control::Heartbeat { ts }),
        (option::of(id()), option::of(micros()), micros()).prop_map(|(id, received, ts)| Control::Pong {
            id,
            ts,
            received
        }),
        id().prop_map(|id| Control::Synced { id }),
        (text(), epoch(), seq()).prop_map(|(topic, epoch, seq)| Control::Joined { topic, epoch, seq }),
        (
            text(),
            epoch(),
            seq(),
            prop_oneof![Just(EndReason::Expired), Just(EndReason::Deleted)]
        )
            .prop_map(|(topic, epoch, seq, reason)| Control::End {
                topic,
                epoch,
                seq,
                reason
            }),
        any::<(u64, u64)>().prop_map(|(reconnect_after_ms, deadline_ms)| Control::Drain {
            reconnect_after_ms,
            deadline_ms,
        }),
        (option::of(id()), refusal()).prop_map(|(id, refusal)| Control::error(id, refusal)),
    ]
}
