//! Tickwire in MessagePack, to compare its codecs with each other.
//!
//! Updates are read by hand, in the one layout that the protocol allows: `[0, topic, seq, ts, data]`, the data being a
//! string here. Everything else is decoded in full; what is neither is a fault.

use tickwire_wire::frame::Opcode;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Mode, Payload, RequestId, ServerMessage};

use crate::compare::peers::{Inbound, Message, Protocol};
use crate::swarm::payload::PAYLOAD_BYTES;

const CODEC: Codec = Codec::MessagePack;

/// What is said to Tickwire in MessagePack.
pub(crate) struct MessagePack;

impl Protocol for MessagePack {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/v1/ws", Some(CODEC.subprotocol()))
    }

    fn subscribe(&self, topics: &[String]) -> Vec<Message> {
        let request = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: topics.iter().cloned().map(TopicRequest::Pattern).collect(),
            mode: Some(Mode::Every),
            conflate_ms: None,
            snapshot: false,
        });
        let mut payload = Vec::new();
        CODEC.encode_request(&request, &mut payload);
        let opcode = CODEC.opcode();
        vec![Message { opcode, payload }]
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        // The payload is JSON by its definition; were it not, the server would get an empty message and refuse it.
        if let Ok(data) = Payload::from_json(payload) {
            let request = ClientMessage::Publish {
                id: None,
                topic: topic.to_owned(),
                data,
            };
            CODEC.encode_request(&request, out);
        }
        CODEC.opcode()
    }

    fn inbound(&self, message: &[u8], delivered: &mut dyn FnMut(&[u8])) -> Inbound {
        if let Some(update) = Update::read(message) {
            let mut payload = [b'"'; PAYLOAD_BYTES];
            match payload.get_mut(1..=update.text.len()) {
                Some(text) if update.text.len() == PAYLOAD_BYTES - 2 => text.copy_from_slice(update.text),
                _ => {
                    delivered(update.text);
                    return Inbound::default();
                }
            }
            delivered(&payload);
            return Inbound::default();
        }
        match CODEC.decode_server(message) {
            Ok(ServerMessage::Control(control)) => of_control(&control),
            other => fault(format!("not understood: {other:?}")),
        }
    }

    fn sequence<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], u64)> {
        let update = Update::read(message)?;
        Some((update.topic, update.seq))
    }
}

fn fault(why: String) -> Inbound {
    Inbound {
        fault: Some(why),
        ..Inbound::default()
    }
}

fn of_control(control: &Control) -> Inbound {
    match control {
        Control::Ack { results, .. } => match results.iter().find_map(|result| result.error.as_ref()) {
            None => Inbound {
                confirmed: results.len(),
                ..Inbound::default()
            },
            Some(error) => fault(format!("refused: {}", error.reason)),
        },
        Control::Gap { from, to, .. } => Inbound {
            missing: to.0.saturating_sub(from.0) + 1,
            ..Inbound::default()
        },
        Control::Welcome { .. } => Inbound {
            greeted: true,
            ..Inbound::default()
        },
        Control::Heartbeat { .. } | Control::Joined { .. } | Control::Synced { .. } => Inbound::default(),
        other => fault(format!("not expected: {other:?}")),
    }
}

/// An update whose data is a string.
#[derive(Debug, PartialEq)]
struct Update<'m> {
    topic: &'m [u8],
    seq: u64,
    text: &'m [u8],
}

impl<'m> Update<'m> {
    fn read(message: &'m [u8]) -> Option<Self> {
        let rest = message.strip_prefix(&[0x95, 0x00])?;
        let (topic, rest) = string(rest)?;
        let (seq, rest) = unsigned(rest)?;
        let (_, rest) = unsigned(rest)?;
        let (text, rest) = string(rest)?;
        rest.is_empty().then_some(Self { topic, seq, text })
    }
}

/// A string of less than 65,536 bytes, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first @ 0xa0..=0xbf, rest @ ..] => (usize::from(first & 0x1f), rest),
        [0xd9, length, rest @ ..] => (usize::from(*length), rest),
        [0xda, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// An integer that is not negative, and what follows it.
fn unsigned(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let length = match first {
        0x00..=0x7f => return Some((u64::from(*first), rest)),
        0xcc => 1,
        0xcd => 2,
        0xce => 4,
        0xcf => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(length)?;
    let value = digits
        .iter()
        .fold(0, |value, digit| value << 8 | u64::from(*digit));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use tickwire_wire::codec::{DataOp, Stamp};
    use tickwire_wire::{Epoch, Micros, Seq};

    use super::*;
    use crate::swarm::payload;

    /// An update as the broker's own encoder writes it is read, and its payload is what was published.
    #[test]
    fn what_the_broker_writes_is_read() {
        let mut published = Vec::new();
        payload::Payload::new().write(payload::Nanos(77), 5, &mut published);
        let data = Payload::from_json(&published).expect("JSON");
        let epoch = Epoch::from("e");
        for seq in [1, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX) + 1] {
            let mut message = Vec::new();
            let stamp = Stamp {
                topic: "bench.t17",
                epoch: &epoch,
                seq: Seq(seq),
                ts: Micros(1_700_000_000_000_000),
            };
            CODEC.encode_data(DataOp::Update, stamp, &data, &mut message);
            assert_eq!(MessagePack.sequence(&message), Some((&b"bench.t17"[..], seq)));
            let mut delivered = Vec::new();
            let inbound = MessagePack.inbound(&message, &mut |payload| delivered.push(payload.to_vec()));
            assert_eq!(
                (inbound, delivered),
                (Inbound::default(), vec![published.clone()])
            );
            for end in 0..message.len() {
                assert_eq!(Update::read(&message[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_published_is_a_request() {
        let mut published = Vec::new();
        payload::Payload::new().write(payload::Nanos(77), 5, &mut published);
        let mut out = Vec::new();
        MessagePack.publish("bench.t1", &published, &mut out);
        let request = CODEC.decode_request(&out).expect("a request");
        let data = Payload::from_json(&published).expect("JSON");
        let topic = "bench.t1".to_owned();
        assert_eq!(
            request,
            ClientMessage::Publish {
                id: None,
                topic,
                data
            }
        );
    }

    #[test]
    fn nonsense_is_a_fault() {
        let inbound = MessagePack.inbound(b"\x93\x00\x01\x02", &mut |_| panic!("nothing is delivered"));
        assert!(inbound.fault.is_some());
    }
}
