//! The codecs of requests and of what clients read: an accepted message can be encoded again and is still the same.

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
                ClientMessage::Publish { id, topic, .. },
                Ok(ClientMessage::Publish {
                    id: id_again,
                    topic: topic_again,
                    ..
                }),
            ) if other != codec => assert_eq!((id, topic), (&id_again, &topic_again), "{other}"),
            (_, again) => assert_eq!(Ok(&message), again.as_ref(), "{other}"),
        }
    }
    if let ClientMessage::Publish { data, .. } = &message {
        can_be_sent_on(data);
    }
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
