//! Decoding the requests of clients.

use tickwire_wire::message::{BadRequest, Position, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Epoch, JsonText, Payload, RequestId, Seq};

use crate::case::HotPath;
use crate::set_up;

/// A request, and its bytes.
#[derive(Debug)]
pub struct RequestDecode {
    message: ClientMessage,
    bytes: Vec<u8>,
    codec: Codec,
}

impl RequestDecode {
    /// A `subscribe` for `topics` topics. Every fourth topic is resumed from a position.
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
        Self::of(message, codec)
    }

    /// A `publish` of a JSON object. The object's text is the one that decoding MessagePack writes, so that both codecs
    /// carry the same.
    ///
    /// # Panics
    /// Never: the text is JSON.
    #[must_use]
    pub fn publish(codec: Codec) -> Self {
        let mut packed = Vec::new();
        set_up::published().write_msgpack(&mut packed);
        let data = JsonText::from_msgpack(&packed).expect("JSON in MessagePack");
        let message = ClientMessage::Publish {
            id: Some(RequestId(7)),
            topic: "chat.lobby".to_owned(),
            data: Payload::Json(data),
            key: None,
            ts: None,
        };
        Self::of(message, codec)
    }

    fn of(message: ClientMessage, codec: Codec) -> Self {
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
        // Data stays in the form in which it came, so the values are compared.
        let text = |message: &ClientMessage| {
            let mut text = Vec::new();
            Codec::Json.encode_request(message, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        assert_eq!(read.as_ref().map(text), Ok(text(&self.message)));
    }
}
