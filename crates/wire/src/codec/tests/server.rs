//! The exact bytes of every server message: a change here is a change of the protocol.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;
use crate::error::ErrorCode;
use crate::market::{Bbo, Book, Candle, Level, Side, Ticker, Trade};
use crate::message::{
    AckResult, AnnouncedLimits, EndReason, GapReason, Mode, ReplayRange, RequestId, TopicState,
};
use crate::{Decimal, Symbol};

const TS: Micros = Micros(1_723_075_200_000_000);

fn control(message: &Control, expected: Expect) {
    let mut text = Vec::new();
    Codec::Json.encode_control(message, &mut text);
    expected.assert_eq(std::str::from_utf8(&text).expect("UTF-8"));
    let mut packed = Vec::new();
    Codec::MessagePack.encode_control(message, &mut packed);
    let as_json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let mut expected = Vec::new();
    msgpack::write(&as_json, &mut expected);
    // It is the same map with the same names in the same order.
    assert_eq!(
        packed.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    for (codec, bytes) in [(Codec::Json, &text), (Codec::MessagePack, &packed)] {
        let Ok(ServerMessage::Control(read)) = codec.decode_server(bytes) else {
            panic!("{codec} is not read");
        };
        assert_eq!(&read, message, "{codec}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn control_messages() {
    control(
        &Control::Welcome {
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
        },
        expect![[
            r#"{"op":"welcome","session":"s1","server":"tickwire/0.1.0","ts":1723075200000000,"heartbeat_ms":15000,"limits":{"subscriptions":1024,"message_bytes":65536,"ops_per_s":50,"ops_burst":200,"publishes_per_s":10000,"publishes_burst":20000}}"#
        ]],
    );
    let results = vec![
        AckResult {
            topic: "ticker.BTC-USD".to_owned(),
            epoch: Some(Epoch::from("k3v9")),
            seq: Some(Seq(57)),
            mode: Some(Mode::Conflate),
            conflate_ms: Some(100),
            recovered: Some(true),
            ..AckResult::default()
        },
        AckResult {
            topic: "trade.*".to_owned(),
            matched: Some(12),
            mode: Some(Mode::Every),
            ..AckResult::default()
        },
        AckResult {
            topic: "bad..topic".to_owned(),
            error: Some(Refusal::new(ErrorCode::BadTopic, "empty token at byte 4")),
            ..AckResult::default()
        },
    ];
    let id = RequestId(1);
    control(
        &Control::Ack { id, results },
        expect![[
            r#"{"op":"ack","id":1,"results":[{"topic":"ticker.BTC-USD","epoch":"k3v9","seq":57,"mode":"conflate","conflate_ms":100,"recovered":true},{"topic":"trade.*","matched":12,"mode":"every"},{"topic":"bad..topic","error":{"code":"bad_topic","reason":"empty token at byte 4"}}]}"#
        ]],
    );
    control(
        &Control::Ack { id, results: vec![] },
        expect![[r#"{"op":"ack","id":1,"results":[]}"#]],
    );
    control(
        &Control::Gap {
            topic: "trade.BTC-USD".to_owned(),
            epoch: Epoch::from("k3v9"),
            from: Seq(62),
            to: Seq(70),
            reason: GapReason::Slow,
        },
        expect![[r#"{"op":"gap","topic":"trade.BTC-USD","epoch":"k3v9","from":62,"to":70,"reason":"slow"}"#]],
    );
    control(
        &Control::End {
            topic: "option.X".to_owned(),
            epoch: Epoch::from("k3v9"),
            seq: Seq(912),
            reason: EndReason::Expired,
        },
        expect![[r#"{"op":"end","topic":"option.X","epoch":"k3v9","seq":912,"reason":"expired"}"#]],
    );
    let result = AckResult {
        topic: "trade.*".to_owned(),
        matched: Some(12),
        mode: Some(Mode::Every),
        resumed: Some(11),
        not_resumed: Some(1),
        ..AckResult::default()
    };
    let results = vec![result];
    control(
        &Control::Ack { id, results },
        expect![[
            r#"{"op":"ack","id":1,"results":[{"topic":"trade.*","matched":12,"mode":"every","resumed":11,"not_resumed":1}]}"#
        ]],
    );
    control(&Control::Synced { id }, expect![[r#"{"op":"synced","id":1}"#]]);
    control(
        &Control::Joined {
            topic: "late.a".to_owned(),
            epoch: Epoch::from("k3v9"),
            seq: Seq(0),
        },
        expect![[r#"{"op":"joined","topic":"late.a","epoch":"k3v9","seq":0}"#]],
    );
    let topic = "ticker.BTC-USD".to_owned();
    let state = TopicState::Stale;
    control(
        &Control::Status {
            topic,
            state,
            reason: None,
            seq: None,
        },
        expect![[r#"{"op":"status","topic":"ticker.BTC-USD","state":"stale"}"#]],
    );
    control(
        &Control::Status {
            topic: "trade.BTC-USD".to_owned(),
            state: TopicState::CaughtUp,
            reason: None,
            seq: Some(Seq(70)),
        },
        expect![[r#"{"op":"status","topic":"trade.BTC-USD","state":"caught_up","seq":70}"#]],
    );
    let result = AckResult {
        topic: "trade.BTC-USD".to_owned(),
        epoch: Some(Epoch::from("k3v9")),
        seq: Some(Seq(57)),
        mode: Some(Mode::Every),
        replay: Some(ReplayRange {
            from_seq: Seq(58),
            to_seq: Seq(70),
        }),
        not_stored: Some(TS),
        ..AckResult::default()
    };
    let results = vec![result];
    control(
        &Control::Ack { id, results },
        expect![[
            r#"{"op":"ack","id":1,"results":[{"topic":"trade.BTC-USD","epoch":"k3v9","seq":57,"mode":"every","replay":{"from_seq":58,"to_seq":70},"not_stored":1723075200000000}]}"#
        ]],
    );
    control(
        &Control::Heartbeat { ts: TS },
        expect![[r#"{"op":"heartbeat","ts":1723075200000000}"#]],
    );
    control(
        &Control::Pong {
            id: Some(RequestId(9)),
            ts: TS,
            received: Some(Micros(TS.0 - 250)),
        },
        expect![[r#"{"op":"pong","id":9,"ts":1723075200000000,"received":1723075199999750}"#]],
    );
    control(
        &Control::Pong {
            id: Some(RequestId(9)),
            ts: TS,
            received: None,
        },
        expect![[r#"{"op":"pong","id":9,"ts":1723075200000000}"#]],
    );
    control(
        &Control::Pong {
            id: None,
            ts: TS,
            received: None,
        },
        expect![[r#"{"op":"pong","ts":1723075200000000}"#]],
    );
    control(
        &Control::Drain {
            reconnect_after_ms: 8_300,
            deadline_ms: 60_000,
        },
        expect![[r#"{"op":"drain","reconnect_after_ms":8300,"deadline_ms":60000}"#]],
    );
    let refusal = |code| Refusal::new(code, "a \"quoted\" reason");
    control(
        &Control::error(Some(id), refusal(ErrorCode::Forbidden)),
        expect![[
            r#"{"op":"error","id":1,"code":"forbidden","reason":"a \"quoted\" reason","retryable":false}"#
        ]],
    );
    control(
        &Control::error(None, refusal(ErrorCode::RateLimited)),
        expect![[r#"{"op":"error","code":"rate_limited","reason":"a \"quoted\" reason","retryable":true}"#]],
    );
}

#[test]
fn error_codes_are_those_of_the_protocol() {
    for code in ErrorCode::ALL {
        assert_eq!(
            serde_json::to_string(&code).expect("a string"),
            format!("{:?}", code.as_str())
        );
    }
}

fn number(text: &str) -> Decimal {
    text.parse().expect(text)
}

fn data(payload: Payload, update: Expect, packed_snapshot: Expect) {
    let stamp = Stamp {
        topic: "a.BTC-USD",
        epoch: &Epoch::from("k3v9"),
        seq: Seq(58),
        ts: TS,
    };
    let mut text = Vec::new();
    Codec::Json.encode_data(DataOp::Update, stamp, &payload, &mut text);
    update.assert_eq(std::str::from_utf8(&text).expect("UTF-8"));
    let mut packed = Vec::new();
    Codec::MessagePack.encode_data(DataOp::Snapshot, stamp, &payload, &mut packed);
    packed_snapshot.assert_eq(&packed.escape_ascii().to_string());
}

#[test]
fn data_messages() {
    let stamp = Stamp {
        topic: "chat.x",
        epoch: &Epoch::from("k3v9"),
        seq: Seq(57),
        ts: TS,
    };
    let payload = Payload::from_json(br#"{"text": "hi"}"#).expect("JSON");
    for (op, json, packed) in [
        (
            DataOp::Update,
            expect![[
                r#"{"op":"update","topic":"chat.x","seq":57,"ts":1723075200000000,"data":{"text": "hi"}}"#
            ]],
            expect![[r#"\x95\x00\xa6chat.x9\xcf\x00\x06\x1f \xb57\xa0\x00\x81\xa4text\xa2hi"#]],
        ),
        (
            DataOp::Snapshot,
            expect![[
                r#"{"op":"snapshot","topic":"chat.x","epoch":"k3v9","seq":57,"ts":1723075200000000,"data":{"text": "hi"}}"#
            ]],
            expect![[r#"\x96\x01\xa6chat.x\xa4k3v99\xcf\x00\x06\x1f \xb57\xa0\x00\x81\xa4text\xa2hi"#]],
        ),
    ] {
        let mut out = Vec::new();
        Codec::Json.encode_data(op, stamp, &payload, &mut out);
        json.assert_eq(std::str::from_utf8(&out).expect("UTF-8"));
        out.clear();
        Codec::MessagePack.encode_data(op, stamp, &payload, &mut out);
        packed.assert_eq(&out.escape_ascii().to_string());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn market_data() {
    let symbol = Symbol::from("BTC-USD");
    let ticker = Ticker {
        symbol: symbol.clone(),
        last: number("61837.63"),
        bid: number("61837.62"),
        bid_size: number("0.5"),
        ask: number("61837.64"),
        ask_size: number("1"),
        open: number("60000"),
        high: number("62000.1"),
        low: number("59000"),
        volume: number("1234.56789"),
        vwap: number("61000.00000001"),
        change_pct: number("-3.06"),
        time: TS,
    };
    data(
        Payload::Ticker(Box::new(ticker)),
        expect![[
            r#"{"op":"update","topic":"a.BTC-USD","seq":58,"ts":1723075200000000,"data":{"symbol":"BTC-USD","last":"61837.63","bid":"61837.62","bid_size":"0.5","ask":"61837.64","ask_size":"1","open":"60000","high":"62000.1","low":"59000","volume":"1234.56789","vwap":"61000.00000001","change_pct":"-3.06","time":1723075200000000}}"#
        ]],
        expect![[
            r#"\x96\x01\xa9a.BTC-USD\xa4k3v9:\xcf\x00\x06\x1f \xb57\xa0\x00\x8d\xa6symbol\xa7BTC-USD\xa4last\xa861837.63\xa3bid\xa861837.62\xa8bid_size\xa30.5\xa3ask\xa861837.64\xa8ask_size\xa11\xa4open\xa560000\xa4high\xa762000.1\xa3low\xa559000\xa6volume\xaa1234.56789\xa4vwap\xae61000.00000001\xaachange_pct\xa5-3.06\xa4time\xcf\x00\x06\x1f \xb57\xa0\x00"#
        ]],
    );
    let bbo = Bbo {
        symbol: symbol.clone(),
        bid: number("61837.62"),
        bid_size: number("0.5"),
        ask: number("61837.64"),
        ask_size: number("0"),
        time: TS,
    };
    data(
        Payload::Bbo(Box::new(bbo)),
        expect![[
            r#"{"op":"update","topic":"a.BTC-USD","seq":58,"ts":1723075200000000,"data":{"symbol":"BTC-USD","bid":"61837.62","bid_size":"0.5","ask":"61837.64","ask_size":"0","time":1723075200000000}}"#
        ]],
        expect![[
            r#"\x96\x01\xa9a.BTC-USD\xa4k3v9:\xcf\x00\x06\x1f \xb57\xa0\x00\x86\xa6symbol\xa7BTC-USD\xa3bid\xa861837.62\xa8bid_size\xa30.5\xa3ask\xa861837.64\xa8ask_size\xa10\xa4time\xcf\x00\x06\x1f \xb57\xa0\x00"#
        ]],
    );
    let trade = Trade {
        symbol: symbol.clone(),
        id: 42,
        price: number("61837.63"),
        size: number("0.001"),
        side: Side::Sell,
        time: TS,
    };
    data(
        Payload::Trade(Box::new(trade)),
        expect![[
            r#"{"op":"update","topic":"a.BTC-USD","seq":58,"ts":1723075200000000,"data":{"symbol":"BTC-USD","id":42,"price":"61837.63","size":"0.001","side":"sell","time":1723075200000000}}"#
        ]],
        expect![[
            r#"\x96\x01\xa9a.BTC-USD\xa4k3v9:\xcf\x00\x06\x1f \xb57\xa0\x00\x86\xa6symbol\xa7BTC-USD\xa2id*\xa5price\xa861837.63\xa4size\xa50.001\xa4side\xa4sell\xa4time\xcf\x00\x06\x1f \xb57\xa0\x00"#
        ]],
    );
    let candle = Candle {
        symbol: symbol.clone(),
        interval: Arc::from("1m"),
        start: TS,
        open: number("1"),
        high: number("2"),
        low: number("0.5"),
        close: number("1.5"),
        volume: number("10"),
        trades: 3,
        closed: false,
    };
    data(
        Payload::Candle(Box::new(candle)),
        expect![[
            r#"{"op":"update","topic":"a.BTC-USD","seq":58,"ts":1723075200000000,"data":{"symbol":"BTC-USD","interval":"1m","start":1723075200000000,"open":"1","high":"2","low":"0.5","close":"1.5","volume":"10","trades":3,"closed":false}}"#
        ]],
        expect![[
            r#"\x96\x01\xa9a.BTC-USD\xa4k3v9:\xcf\x00\x06\x1f \xb57\xa0\x00\x8a\xa6symbol\xa7BTC-USD\xa8interval\xa21m\xa5start\xcf\x00\x06\x1f \xb57\xa0\x00\xa4open\xa11\xa4high\xa12\xa3low\xa30.5\xa5close\xa31.5\xa6volume\xa210\xa6trades\x03\xa6closed\xc2"#
        ]],
    );
    let level = |price, size| Level {
        price: number(price),
        size: number(size),
    };
    let book = Book {
        symbol,
        bids: vec![level("61837.62", "0.5"), level("61837.6", "0")],
        asks: vec![level("61837.64", "1")],
        checksum: 3_310_070_434,
        time: TS,
        replace: true,
    };
    data(
        Payload::Book(Box::new(book)),
        expect![[
            r#"{"op":"update","topic":"a.BTC-USD","seq":58,"ts":1723075200000000,"data":{"symbol":"BTC-USD","bids":[["61837.62","0.5"],["61837.6","0"]],"asks":[["61837.64","1"]],"checksum":3310070434,"time":1723075200000000}}"#
        ]],
        expect![[
            r#"\x96\x01\xa9a.BTC-USD\xa4k3v9:\xcf\x00\x06\x1f \xb57\xa0\x00\x85\xa6symbol\xa7BTC-USD\xa4bids\x92\x92\xa861837.62\xa30.5\x92\xa761837.6\xa10\xa4asks\x91\x92\xa861837.64\xa11\xa8checksum\xce\xc5K\xaa\xa2\xa4time\xcf\x00\x06\x1f \xb57\xa0\x00"#
        ]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn messages_that_a_client_does_not_know_or_cannot_read() {
    let show = |codec: Codec, bytes: &[u8]| match codec.decode_server(bytes) {
        Ok(ServerMessage::Unknown(op)) => format!("unknown {op}"),
        Ok(message) => format!("{message:?}"),
        Err(error) => error.to_string(),
    };
    for (text, expected) in [
        (r#"{"op":"later","x":1}"#, expect!["unknown later"]),
        (
            r#"{"op":"heartbeat","ts":1,"x":[1]}"#,
            expect!["Control(Heartbeat { ts: Micros(1) })"],
        ),
        (
            r#"{"op":"update","topic":"a","seq":1,"ts":2,"data":null}"#,
            expect![[r#"Update { topic: "a", seq: Seq(1), ts: Micros(2), data: RawValue(null) }"#]],
        ),
        (
            r#"{"op":"update","topic":"a","seq":1,"ts":2}"#,
            expect!["unreadable message from the broker: update without data"],
        ),
        (
            r#"{"op":"snapshot","topic":"a","seq":1,"ts":2,"data":1}"#,
            expect!["unreadable message from the broker: snapshot without epoch"],
        ),
        (
            r#"{"op":"gap","topic":"a"}"#,
            expect!["unreadable message from the broker: missing field `epoch`"],
        ),
        (
            r#"{"topic":"a"}"#,
            expect!["unreadable message from the broker: missing field `op` at line 1 column 13"],
        ),
        (
            "",
            expect!["unreadable message from the broker: EOF while parsing a value at line 1 column 0"],
        ),
    ] {
        expected.assert_eq(&show(Codec::Json, text.as_bytes()));
    }
    for (bytes, expected) in [
        (&b"\x81\xa2op\xa5later"[..], expect!["unknown later"]),
        (
            b"\x95\x00\xa1a\x01\x02\xc0",
            expect![[r#"Update { topic: "a", seq: Seq(1), ts: Micros(2), data: RawValue(null) }"#]],
        ),
        (
            b"\x94\x00\xa1a\x01\x02",
            expect!["unreadable message from the broker: an array that is neither an update nor a snapshot"],
        ),
        (
            b"\x95\x01\xa1a\x01\x02\xc0",
            expect!["unreadable message from the broker: an array that is neither an update nor a snapshot"],
        ),
        (
            b"\x95\x00\xa1a\xa1b\x02\xc0",
            expect![[
                r#"unreadable message from the broker: invalid type: string "b", expected an integer from 0 to 18446744073709551615"#
            ]],
        ),
        (
            b"\x91\xa7welcome",
            expect!["unreadable message from the broker: an array that is neither an update nor a snapshot"],
        ),
        (
            b"\x95\x00\xa1a\x01\x02\xdd\xff\xff\xff\xff",
            expect![
                "unreadable message from the broker: 4294967295 values are declared at byte 6 but 0 bytes follow"
            ],
        ),
        (
            b"",
            expect!["unreadable message from the broker: the message ends at byte 0, inside a value"],
        ),
    ] {
        expected.assert_eq(&show(Codec::MessagePack, bytes));
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack_of_a_client() {
    let deep = 100_000;
    for text in [
        "[".repeat(deep),
        format!(r#"{{"op":"ack","id":1,"results":{}"#, "[".repeat(deep)),
        format!(r#"{{"op":"heartbeat","x":{}"#, r#"{"a":"#.repeat(deep)),
    ] {
        assert!(Codec::Json.decode_server(text.as_bytes()).is_err());
    }
    for head in [&b""[..], b"\x95\x00\xa1a\x01\x02", b"\x82\xa2op\xa3ack\xa1x"] {
        let bytes = [head, &vec![0x91; deep], b"\xc0"].concat();
        assert!(Codec::MessagePack.decode_server(&bytes).is_err());
    }
}

/// A client of this version stays connected when a later broker sends values that it does not know.
#[test]
fn values_of_a_later_version_do_not_make_a_message_unreadable() {
    let read = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let mut packed = Vec::new();
        msgpack::write(&value, &mut packed);
        let read = [(Codec::Json, text.as_bytes()), (Codec::MessagePack, &packed)]
            .map(|(codec, bytes)| format!("{:?}", codec.decode_server(bytes).expect(text)));
        assert_eq!(read[0], read[1]);
        read[0].clone()
    };
    expect![[r#"Control(Error { id: Some(RequestId(1)), code: Internal, reason: "x", retryable: false })"#]]
        .assert_eq(&read(
            r#"{"op":"error","id":1,"code":"out_of_stock","reason":"x"}"#,
        ));
    let gap = read(r#"{"op":"gap","topic":"a","epoch":"k","from":1,"to":2,"reason":"expired"}"#);
    assert!(gap.contains("reason: Slow"), "{gap}");
    let end = read(r#"{"op":"end","topic":"a","epoch":"k","seq":2,"reason":"moved"}"#);
    assert!(end.contains("reason: Deleted"), "{end}");
    let ack = r#"{"op":"ack","id":1,"results":[{"topic":">","modes":{"log":"every","state":"conflate","book":"latest"}}]}"#;
    let ack = read(ack);
    assert!(ack.contains("modes: Some({State: Conflate})"), "{ack}");
    let status = read(r#"{"op":"status","topic":"a","state":"detached"}"#);
    assert_eq!(status, r#"Unknown("status")"#);
    let stale = read(r#"{"op":"status","topic":"a","state":"stale","reason":"late"}"#);
    assert!(stale.contains("state: Stale, reason: None"), "{stale}");
    let known = read(r#"{"op":"status","topic":"a","state":"stale","reason":"hole","since":3}"#);
    assert!(known.contains("reason: Some(Hole)"), "{known}");
}
