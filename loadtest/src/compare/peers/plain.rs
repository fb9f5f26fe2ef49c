//! The least that one can say: `sub a,b,c` answered with `ok 3`, `pub TOPIC PAYLOAD`, and payloads alone coming in.
//!
//! Spoken by the peers whose server leaves it to us what is said: uWebSockets, ws and the naive server.

use tickwire_wire::frame::Opcode;

use super::{Delivered, Inbound, Message, Protocol, runs};

/// What is said to uWebSockets, ws and the naive server.
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

    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound {
        if message.starts_with(b"\"") {
            delivered(message, None);
            return Inbound::default();
        }
        match message.strip_prefix(b"ok ").and_then(super::whole_number) {
            Some(topics) => Inbound::confirmed(topics),
            None => Inbound::not_understood(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::{inbound, published, sent, topics};
    use super::*;

    #[test]
    fn what_is_sent() {
        expect![[r#"text "sub bench.t0,bench.t1""#]].assert_eq(&sent(&Plain.subscribe(&topics(2))));
        expect![[r#"text "pub bench.t1 \"17.\"""#]].assert_eq(&published(&Plain, "bench.t1", "\"17.\""));
    }

    #[test]
    fn what_comes_in() {
        expect![[r#"delivered "\"17.\"""#]].assert_eq(&inbound(&Plain, b"\"17.\""));
        expect!["confirmed 12"].assert_eq(&inbound(&Plain, b"ok 12"));
        for strange in [&b""[..], b"ok", b"ok ", b"ok 1x", b"17"] {
            assert!(
                inbound(&Plain, strange).starts_with("fault a message of "),
                "{strange:?}"
            );
        }
    }
}
