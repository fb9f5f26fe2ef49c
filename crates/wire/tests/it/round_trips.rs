//! A message that a codec writes is read back equal, and both codecs agree.

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::{ClientMessage, Codec, Epoch, Micros, Payload, Seq, ServerMessage};

use crate::values::{control, decimal, json, market, request};

/// The data of `payload` as a subscriber of `codec` reads it. The stamp must arrive as well.
fn carried(codec: Codec, op: DataOp, payload: &Payload, (number, micros): (u64, u64)) -> String {
    let sent = Stamp {
        topic: "a.BTC-USD",
        epoch: &Epoch::from_number(number),
        seq: Seq(number),
        ts: Micros(micros),
    };
    let mut bytes = Vec::new();
    codec.encode_data(op, sent, payload, &mut bytes);
    let (topic, read_seq, read_ts, data) = match codec.decode_server(&bytes).expect("a data message") {
        ServerMessage::Update { topic, seq, ts, data } if op == DataOp::Update => (topic, seq, ts, data),
        ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            ts,
            data,
        } if op == DataOp::Snapshot => {
            assert_eq!(&epoch, sent.epoch);
            (topic, seq, ts, data)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (topic.as_str(), read_seq, read_ts),
        (sent.topic, sent.seq, sent.ts)
    );
    data.get().to_owned()
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("JSON")
}

/// Requests are equal if their payloads are equal as values, since they may be written differently.
fn by_value(message: ClientMessage) -> (ClientMessage, Option<Value>) {
    match message {
        ClientMessage::Publish {
            id,
            topic,
            data: data @ (Payload::Json(_) | Payload::Packed(_)),
            key,
            ts,
        } => {
            let mut text = Vec::new();
            data.write_json(&mut text);
            let data = Payload::from_json(b"null").expect("JSON");
            (
                ClientMessage::Publish {
                    id,
                    topic,
                    data,
                    key,
                    ts,
                },
                Some(value(&text)),
            )
        }
        message => (message, None),
    }
}

/// Checks that `text` is JSON of `data`.
fn reads_as<T: DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str, data: &T) {
    assert_eq!(&serde_json::from_str::<T>(text).expect("market data"), data);
}

/// The fields of market data that are numbers on the wire. All others are text, lists of text or flags.
const INTEGERS: [&str; 5] = ["time", "id", "start", "trades", "checksum"];

fn has_no_bare_decimal(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(name, field)| {
            field.is_u64() == INTEGERS.contains(&name.as_str())
                && (field.is_u64() || has_no_bare_decimal(field))
        }),
        Value::Array(items) => items.iter().all(has_no_bare_decimal),
        Value::Number(_) => false,
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

proptest! {
    #[test]
    fn requests(message in request()) {
        for codec in Codec::ALL {
            let mut bytes = Vec::new();
            codec.encode_request(&message, &mut bytes);
            let read = codec.decode_request(&bytes).expect("a request");
            prop_assert_eq!(by_value(read), by_value(message.clone()), "{}", codec);
        }
    }

    #[test]
    fn control_messages(message in control()) {
        for codec in Codec::ALL {
            let mut bytes = Vec::new();
            codec.encode_control(&message, &mut bytes);
            let Ok(ServerMessage::Control(read)) = codec.decode_server(&bytes) else {
                panic!("{codec} does not read {message:?}");
            };
            prop_assert_eq!(&read, &message, "{}", codec);
        }
    }

    #[test]
    fn any_json_payload(data in json(), stamp: (u64, u64)) {
        let text = data.to_string();
        let payload = Payload::from_json(text.as_bytes()).expect("shallow JSON");
        for op in [DataOp::Update, DataOp::Snapshot] {
            prop_assert_eq!(&carried(Codec::Json, op, &payload, stamp), &text);
            let packed = carried(Codec::MessagePack, op, &payload, stamp);
            prop_assert_eq!(value(packed.as_bytes()), data.clone());
        }
    }

    #[test]
    fn market_data(payload in market(), stamp: (u64, u64)) {
        for codec in Codec::ALL {
            for op in [DataOp::Update, DataOp::Snapshot] {
                let text = carried(codec, op, &payload, stamp);
                match &payload {
                    Payload::Ticker(data) => reads_as(&text, &**data),
                    Payload::Bbo(data) => reads_as(&text, &**data),
                    Payload::Trade(data) => reads_as(&text, &**data),
                    Payload::Candle(data) => reads_as(&text, &**data),
                    Payload::Book(data) => reads_as(&text, &**data),
                    Payload::Json(_) | Payload::Packed(_) => panic!("not market data"),
                }
                prop_assert!(has_no_bare_decimal(&value(text.as_bytes())), "{}", text);
            }
        }
    }

    #[test]
    fn decimals(number in decimal()) {
        let text = number.to_string();
        prop_assert_eq!(text.parse(), Ok(number));
    }
}
