//! The shortest possible protocol: `sub a,b,c` is answered with `ok 3`, `pub TOPIC PAYLOAD` publishes, and each
//! incoming message is a payload.
//!
//! It is the protocol of the peers whose server leaves the choice to us: uWebSockets, ws and the naive server.

use tickwire_wire::frame::Opcode;

use super::{Delivered, Inbound, Message, Numbered, Protocol, runs};

/// The protocol of uWebSockets, ws and the naive server.
pub(super) struct Plain;

impl Protocol for Plain {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/", None)
    }

    fn subscribe(&self, topics: &[String]) -> Vec<Message> {
        runs(topics)
            .map(|topics| Message::text(format!("sub {}", topics.join(","))))
            .collect()
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        out.extend_from_slice(b"pub ");
        out.extend_from_slice(topic.as_bytes());
        out.push(b' ');
        out.extend_from_slice(payload);
        Opcode::Text
    }

    fn delivery<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], Numbered<'m>)> {
        message.starts_with(b"\"").then_some((message, None))
    }

    fn inbound(&self, message: &[u8], _: Delivered<'_>) -> Inbound {
        match message.strip_prefix(b"ok ").and_then(super::whole_number) {
            Some(topics) => Inbound::confirmed(topics),
            None => Inbound::not_understood(message),
        }
    }
}
