//! The codecs of requests and of what clients read: an accepted message can be encoded again and is still the same.

use tickwire_feed::{DeriveRule, Deriver, Interval};
use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::{ClientMessage, Codec, Epoch, Micros, Payload, Seq, ServerMessage};

/// Longest reason of a refusal in bytes: a reason must not repeat the whole message.
const REASON_BYTES_MAX: usize = 300;

/// Decodes a request in JSON.
///
/// # Panics
/// When an accepted request changes on being encoded and decoded again.
pub fn json(input: &[u8]) {
    request(Codec::Json, input);
}

/// Decodes a request in MessagePack.
///
/// # Panics
/// When an accepted request changes on being encoded and decoded again.
pub fn msgpack(input: &[u8]) {
    request(Codec::MessagePack, input);
}

fn request(codec: Codec, input: &[u8]) {
    // A client reads what a broker sends. The only check is that decoding ends in a value or an error.
    drop(codec.decode_server(input));
    let message = match codec.decode_request(input) {
        Ok(message) => message,
        Err(bad) => {
            let length = bad.refusal.reason.len();
            assert!(
                length <= REASON_BYTES_MAX,
                "{length} bytes: {}",
                bad.refusal.reason
            );
            return;
        }
    };
    if codec == Codec::Json {
        is_read_alike(input, &message);
    }
    for other in Codec::ALL {
        let mut bytes = Vec::new();
        other.encode_request(&message, &mut bytes);
        match (&message, other.decode_request(&bytes)) {
            // A number that MessagePack cannot hold becomes a string in it. `payloads` checks data more closely.
            (
                ClientMessage::Publish {
                    id, topic, key, ts, ..
                },
                Ok(ClientMessage::Publish {
                    id: id_again,
                    topic: topic_again,
                    key: key_again,
                    ts: ts_again,
                    ..
                }),
            ) if other != codec => {
                assert_eq!(
                    (id, topic, key, ts),
                    (&id_again, &topic_again, &key_again, &ts_again),
                    "{other}"
                );
            }
            (_, again) => assert_eq!(Ok(&message), again.as_ref(), "{other}"),
        }
    }
    if let ClientMessage::Publish { data, .. } = &message {
        can_be_sent_on(data);
        is_derived_from(data);
    }
}

/// Checks that what is derived from a published trade, if anything, is whole: a closed candle of each interval with all
/// trades.
fn is_derived_from(data: &Payload) {
    let mut deriver = Deriver::new(vec![DeriveRule {
        from: "t.>".parse().expect("a pattern"),
        candles: Interval::ALL.to_vec(),
        ticker: true,
        bbo: true,
    }]);
    let topic = "t.A".parse().expect("a topic");
    let source = deriver
        .open(&topic)
        .expect("it is short")
        .expect("a rule reads it");
    let (mut trades, mut bytes) = (0, Vec::new());
    let mut counted = |payload: &Payload| {
        bytes.clear();
        payload.write_json(&mut bytes);
        match payload {
            Payload::Candle(candle) if candle.closed => candle.trades,
            _ => 0,
        }
    };
    // The second one may be of a later second, and late, or of the same.
    for now in [1, 2_000_000].map(Micros) {
        let taken = deriver.take(source, data, (now, now), |_, payload| trades += counted(&payload));
        if taken.is_err() {
            break; // the second one may be too much for the volume
        }
        deriver.publish_due(Micros(now.0 + 200_000), 10, |_, payload| {
            trades += counted(&payload);
        });
    }
    deriver.end(source, |_, payload| trades += counted(&payload));
    let tally = deriver.tally();
    let all = tally.taken * Interval::ALL.len() as u64;
    let is_whole = trades == all || tally.late > 0 && trades < all || trades == 0;
    assert!(is_whole, "{trades} trades in candles, and {tally:?}");
}

/// Checks that the two readers of requests in JSON agree. The fast one leaves a request with a field that it does not know
/// to the other.
fn is_read_alike(input: &[u8], message: &ClientMessage) {
    let Some((b'}', fields)) = input.trim_ascii_end().split_last() else {
        return;
    };
    let with_more = [fields, br#","unknown to both":0}"#].concat();
    assert_eq!(Codec::Json.decode_request(&with_more).as_ref(), Ok(message));
}

/// Checks that published data reaches subscribers of both codecs unchanged.
fn can_be_sent_on(data: &Payload) {
    let epoch = Epoch::from("k3v9");
    let stamp = Stamp {
        topic: "chat.x",
        epoch: &epoch,
        seq: Seq(7),
        ts: Micros(1),
    };
    for codec in Codec::ALL {
        let mut bytes = Vec::new();
        codec.encode_data(DataOp::Update, stamp, data, &mut bytes);
        match codec.decode_server(&bytes) {
            Ok(ServerMessage::Update { seq: Seq(7), .. }) => {}
            other => panic!("{codec} has {other:?} for {data:?}"),
        }
    }
}
