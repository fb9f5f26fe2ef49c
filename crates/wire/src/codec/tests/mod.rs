//! Requests as clients may write them, hostile ones, the exact bytes of every server message, and the specification.
#![expect(
    clippy::needless_pass_by_value,
    reason = "`expect![…]` is meant to be an argument"
)]

mod books;
mod hostile;
mod packed;
mod publish;
mod requests;
mod samples;
mod server;
mod specification;

use super::*;
use crate::json_text::tests::is_same;

/// The result of reading `bytes` with `codec`: the request, written again as JSON, or the answer.
fn outcome(codec: Codec, bytes: &[u8]) -> String {
    match codec.decode_request(bytes) {
        Ok(message) => {
            assert_payload_encodes(&message);
            let mut text = Vec::new();
            Codec::Json.encode_request(&message, &mut text);
            String::from_utf8(text).expect("JSON is UTF-8")
        }
        Err(BadRequest { id, refusal }) => {
            let id = id.map_or_else(|| "no id".to_owned(), |id| format!("id {}", id.0));
            format!("{id}, {refusal}")
        }
    }
}

/// Checks that an accepted payload can be sent to subscribers of either codec, and that they can read it.
fn assert_payload_encodes(message: &ClientMessage) {
    let ClientMessage::Publish { data, .. } = message else {
        return;
    };
    let mut text = Vec::new();
    data.write_json(&mut text);
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    let stamp = Stamp {
        topic: "a.b",
        epoch: &Epoch::from("k3v9"),
        seq: Seq(57),
        ts: Micros(1),
    };
    for codec in Codec::ALL {
        for op in [DataOp::Update, DataOp::Snapshot] {
            let mut bytes = Vec::new();
            codec.encode_data(op, stamp, data, &mut bytes);
            let (ServerMessage::Update { data, .. } | ServerMessage::Snapshot { data, .. }) =
                codec.decode_server(&bytes).expect("a data message")
            else {
                panic!("not a data message");
            };
            match codec {
                Codec::Json => assert_eq!(data.get(), text),
                Codec::MessagePack => assert!(is_same(&text, data.get()), "{text} came as {data}"),
            }
        }
    }
}
