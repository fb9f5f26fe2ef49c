//! Reading requests of clients.

use tickwire_wire::message::{BadRequest, Position, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Epoch, RequestId, Seq};

use crate::case::HotPath;

/// A request as it came in.
#[derive(Debug)]
pub struct RequestDecode {
    message: ClientMessage,
    bytes: Vec<u8>,
    codec: Codec,
}

impl RequestDecode {
    /// A `subscribe` of so many `topics`; every fourth of them comes back with a position.
    #[must_use]
    pub fn subscribe(topics: usize, codec: Codec) -> Self {
        let topic = |at: usize| {
            let topic = format!("trade.SYMBOL-{at}");
            if at % 4 == 3 {
                let since = Position {
                    epoch: Epoch::from("k3v9"),
                    seq: Seq(57 + at as u64),
                };
                TopicRequest::Since {
                    topic,
                    since: Some(since.into()),
                }
            } else {
                TopicRequest::Pattern(topic)
            }
        };
        let message = ClientMessage::Subscribe(Subscribe {
            id: RequestId(7),
            topics: (0..topics).map(topic).collect(),
            mode: None,
            conflate_ms: None,
            snapshot: true,
        });
        let mut bytes = Vec::new();
        codec.encode_request(&message, &mut bytes);
        Self {
            message,
            bytes,
            codec,
        }
    }
}

impl HotPath for RequestDecode {
    type Output = Result<ClientMessage, BadRequest>;

    fn run(&mut self) -> Self::Output {
        self.codec.decode_request(&self.bytes)
    }

    fn check(&mut self, read: &Self::Output) {
        assert_eq!(read.as_ref(), Ok(&self.message));
    }
}
