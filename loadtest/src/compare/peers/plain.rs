//! The shortest possible protocol: `sub a,b,c` is answered with `ok 3`, `pub TOPIC PAYLOAD` publishes, and each
//! incoming message is a payload. Publications may also be JSON, which the server must read.
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

    fn subscribe(&self, topics: &[String], _: &str) -> Vec<Message> {
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

/// The same with publications like those of Tickwire: `{"op":"publish","topic":…,"data":…}`. The server reads the JSON for the
/// topic and passes the message on as it came.
pub(super) struct Json;

impl Protocol for Json {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        Plain.endpoint()
    }

    fn subscribe(&self, topics: &[String], connection: &str) -> Vec<Message> {
        Plain.subscribe(topics, connection)
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        super::JSON.publish(topic, payload, out)
    }

    fn delivery<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], Numbered<'m>)> {
        // A line of a bulk publication has no operation.
        let rest = message
            .strip_prefix(br#"{"op":"publish","#)
            .or(message.strip_prefix(b"{"))?;
        let topic = rest.strip_prefix(br#""topic":""#)?;
        let end = topic.iter().position(|byte| *byte == b'"')?;
        let payload = topic[end..].strip_prefix(br#"","data":"#)?.strip_suffix(b"}")?;
        Some((payload, None))
    }

    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound {
        Plain.inbound(message, delivered)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::{inbound, published};
    use super::*;

    #[test]
    fn a_publication_in_json_comes_as_it_was_sent() {
        expect![[r#"text "{\"op\":\"publish\",\"topic\":\"bench.t1\",\"data\":{\"at\":\"17.\"}}""#]]
            .assert_eq(&published(&Json, "bench.t1", r#"{"at":"17."}"#));
        for message in [
            &br#"{"op":"publish","topic":"bench.t1","data":{"at":"17."}}"#[..],
            br#"{"topic":"bench.t1","data":{"at":"17."}}"#,
        ] {
            expect![[r#"delivered "{\"at\":\"17.\"}""#]].assert_eq(&inbound(&Json, message));
        }
        expect!["confirmed 3"].assert_eq(&inbound(&Json, b"ok 3"));
    }
}
