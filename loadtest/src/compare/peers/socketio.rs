//! Socket.IO: protocol revision 5 over Engine.IO protocol revision 4, with WebSocket as the only transport.
//!
//! A text message begins with Engine.IO's packet type (`0` open, `2` ping, `3` pong, `4` message). In a message,
//! Socket.IO's type follows (`0` connect, `2` event, `3` ack). A payload travels as the JSON string that it is.
//! Socket.IO writes it back unchanged, since it is ASCII without escapes.

use tickwire_wire::frame::Opcode;

use super::{Delivered, Inbound, Message, Protocol, runs, whole_number};

pub(super) struct SocketIo;

impl Protocol for SocketIo {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/socket.io/?EIO=4&transport=websocket", None)
    }

    fn greet(&self) -> Vec<Message> {
        vec![Message::text("40")]
    }

    /// An event before the namespace is connected closes the connection (socket.io's `client.js`, `ondecoded`).
    fn awaits_greeting(&self) -> bool {
        true
    }

    fn subscribe(&self, topics: &[String], _: &str) -> Vec<Message> {
        runs(topics)
            .enumerate()
            .map(|(id, topics)| Message::text(format!("42{id}[\"sub\",[\"{}\"]]", topics.join("\",\""))))
            .collect()
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        out.extend_from_slice(b"42[\"pub\",\"");
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(payload);
        out.push(b']');
        Opcode::Text
    }

    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound {
        if let Some(payload) = inside(message, b"42[\"m\",") {
            delivered(payload, None);
            return Inbound::default();
        }
        match message {
            b"2" => Inbound {
                answer: Some(Message::text("3")),
                ..Inbound::default()
            },
            // Engine.IO's open packet with its settings needs no answer.
            [b'0', b'{', ..] => Inbound::default(),
            [b'4', b'0', b'{', ..] => Inbound::greeted(),
            _ => match acknowledged(message) {
                Some(topics) => Inbound::confirmed(topics),
                None => Inbound::not_understood(message),
            },
        }
    }
}

/// The bytes between `before` and a closing bracket.
fn inside<'m>(message: &'m [u8], before: &[u8]) -> Option<&'m [u8]> {
    message.strip_prefix(before)?.strip_suffix(b"]")
}

/// The number in an ack, `43ID[NUMBER]`.
fn acknowledged(message: &[u8]) -> Option<usize> {
    let rest = message.strip_prefix(b"43")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    whole_number(inside(&rest[digits..], b"[")?)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::{inbound, published, sent, topics};
    use super::*;

    #[test]
    fn what_is_sent() {
        expect![[r#"text "40""#]].assert_eq(&sent(&SocketIo.greet()));
        expect![[r#"text "420[\"sub\",[\"bench.t0\",\"bench.t1\"]]""#]]
            .assert_eq(&sent(&SocketIo.subscribe(&topics(2), "")));
        expect![[r#"text "42[\"pub\",\"bench.t1\",\"17.\"]""#]]
            .assert_eq(&published(&SocketIo, "bench.t1", "\"17.\""));
    }

    #[test]
    fn what_comes_in() {
        let open =
            br#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        expect![""].assert_eq(&inbound(&SocketIo, open));
        expect!["greeted"].assert_eq(&inbound(&SocketIo, br#"40{"sid":"y"}"#));
        expect!["confirmed 2"].assert_eq(&inbound(&SocketIo, b"430[2]"));
        expect!["confirmed 40"].assert_eq(&inbound(&SocketIo, b"4312[40]"));
        expect![[r#"delivered "\"17.\"""#]].assert_eq(&inbound(&SocketIo, br#"42["m","17."]"#));
        expect![[r#"answer text "3""#]].assert_eq(&inbound(&SocketIo, b"2"));
        for strange in [
            "",
            "1",
            "41",
            r#"44{"message":"no"}"#,
            r#"42["x","17."]"#,
            "430[]",
            "430",
        ] {
            let found = inbound(&SocketIo, strange.as_bytes());
            assert!(found.starts_with("fault a message of "), "{strange:?}");
        }
    }
}
