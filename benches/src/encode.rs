//! Encoding one message as the frame that all its subscribers share.

use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::frame::{frame, payload_of};
use tickwire_wire::{Codec, Epoch, Payload, Seq, ServerMessage};

use crate::case::HotPath;
use crate::set_up::NOW;

/// The topic of every message that is encoded.
const TOPIC: &str = "ticker.BTC-USD";
/// The number of every message that is encoded.
const SEQ: Seq = Seq(1_234_567);

/// A message, the kind of data message to encode it as, and a codec.
#[derive(Debug)]
pub struct Encode {
    epoch: Epoch,
    payload: Payload,
    op: DataOp,
    codec: Codec,
}

impl Encode {
    /// Encodes `payload` as an `op` in `codec`.
    #[must_use]
    pub fn new(payload: Payload, op: DataOp, codec: Codec) -> Self {
        Self {
            epoch: Epoch::from("k3v9"),
            payload,
            op,
            codec,
        }
    }
}

/// The frame of a data message.
pub(crate) fn encode(payload: &Payload, epoch: &Epoch, op: DataOp, codec: Codec) -> Box<[u8]> {
    let stamp = Stamp {
        topic: TOPIC,
        epoch,
        seq: SEQ,
        ts: NOW,
    };
    frame(codec.opcode(), |out| codec.encode_data(op, stamp, payload, out))
}

/// The data of a frame that [`encode`] made. Checks the rest of the frame.
pub(crate) fn data_of(bytes: &[u8], op: DataOp, codec: Codec) -> serde_json::Value {
    let message = codec.decode_server(payload_of(bytes)).expect("what was encoded");
    let (topic, seq, ts, data) = match (op, message) {
        (DataOp::Update, ServerMessage::Update { topic, seq, ts, data }) => (topic, seq, ts, data),
        (
            DataOp::Snapshot,
            ServerMessage::Snapshot {
                topic, seq, ts, data, ..
            },
        ) => (topic, seq, ts, data),
        (op, message) => panic!("an {op:?} became {message:?}"),
    };
    assert_eq!((topic.as_str(), seq, ts), (TOPIC, SEQ, NOW));
    serde_json::from_str(data.get()).expect("JSON")
}

impl HotPath for Encode {
    type Output = Box<[u8]>;

    fn run(&mut self) -> Box<[u8]> {
        encode(&self.payload, &self.epoch, self.op, self.codec)
    }

    fn check(&mut self, bytes: &Box<[u8]>) {
        let mut json = Vec::new();
        self.payload.write_json(&mut json);
        let expected: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(data_of(bytes, self.op, self.codec), expected);
    }
}
