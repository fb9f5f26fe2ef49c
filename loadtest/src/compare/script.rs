//! What is published, by message number: the topic, the payload and, if it was recorded, the time.
//!
//! The script is the same for every server and repeats at its end. It never changes, so the publisher and the checks
//! share it.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::compare::{Recording, Tempo};
use crate::swarm::{Nanos, Payload, payload};

#[derive(Debug)]
struct Part {
    topic: u32,
    payload: Payload,
}

/// What is published, by message number.
#[derive(Debug)]
pub(crate) struct Script {
    /// The messages; at least one.
    parts: Vec<Part>,
    /// The length of every payload in bytes, if all are the same.
    even: Option<usize>,
    tempo: Option<Rc<Tempo>>,
}

impl Script {
    /// A script that uses `topics` topics in turn, with payloads of padding. There is always one message.
    pub(crate) fn plain(topics: u32) -> Self {
        let part = |topic| Part {
            topic,
            payload: Payload::new(),
        };
        Self::new((0..topics.max(1)).map(part).collect(), None)
    }

    /// As [`Self::plain`], with payloads of `bytes` bytes that look like market data. How well padding compresses
    /// would say nothing.
    pub(crate) fn market(topics: u32, bytes: usize) -> Self {
        let part = |topic| Part {
            topic,
            payload: Payload::of(market(topic, bytes).as_bytes()),
        };
        Self::new((0..topics.max(1)).map(part).collect(), None)
    }

    /// As [`Self::plain`], with payloads that are JSON objects of `bytes` bytes.
    pub(crate) fn objects(topics: u32, bytes: usize) -> Self {
        let part = |topic| Part {
            topic,
            payload: Payload::object(bytes),
        };
        Self::new((0..topics.max(1)).map(part).collect(), None)
    }

    /// The messages of `recording`, `speed` times faster. Each stream has a topic; if there are more streams than
    /// `topics`, some share one.
    pub(crate) fn recorded(recording: &Recording, topics: u32, speed: u32) -> Self {
        let parts = recording.messages.iter().map(|message| Part {
            topic: message.stream % topics.max(1),
            payload: Payload::of(&message.text),
        });
        let speed = u64::from(speed.max(1));
        let times = recording
            .messages
            .iter()
            .map(|message| message.at_ns / speed)
            .collect();
        Self::new(parts.collect(), Some(Rc::new(Tempo::new(times))))
    }

    fn new(parts: Vec<Part>, tempo: Option<Rc<Tempo>>) -> Self {
        let first = parts[0].payload.bytes();
        let even = parts
            .iter()
            .all(|part| part.payload.bytes() == first)
            .then_some(first);
        Self { parts, even, tempo }
    }

    #[inline]
    fn part(&self, number: u64) -> &Part {
        &self.parts[(number % self.parts.len() as u64) as usize]
    }

    /// The number of messages until the script repeats.
    pub(crate) fn messages(&self) -> u64 {
        self.parts.len() as u64
    }

    /// When the messages are due, if that was recorded.
    pub(crate) fn tempo(&self) -> Option<Rc<Tempo>> {
        self.tempo.clone()
    }

    /// The payload of message `number`, without time and number.
    pub(crate) fn payload(&self, number: u64) -> &Payload {
        &self.part(number).payload
    }

    pub(crate) fn topic(&self, number: u64) -> u32 {
        self.part(number).topic
    }

    /// Replaces the content of `out` by the payload of message `number`, due at `due`.
    pub(crate) fn write<'o>(&self, due: Nanos, number: u64, out: &'o mut Vec<u8>) -> &'o [u8] {
        self.part(number).payload.write(due, number, out)
    }

    /// When the message with this payload was due; `None` if it is not a payload or has the wrong length.
    #[inline]
    pub(crate) fn due(&self, payload: &[u8]) -> Option<Nanos> {
        let bytes = match self.even {
            Some(bytes) => bytes,
            None => self.part(payload::number(payload)?).payload.bytes(),
        };
        if payload.len() != bytes {
            return None;
        }
        payload::due(payload)
    }

    /// Whether every byte of a payload is as it was written.
    pub(crate) fn agrees(&self, payload: &[u8]) -> bool {
        payload::number(payload).is_some_and(|number| self.part(number).payload.agrees(payload))
    }
}

/// A text of `bytes` bytes like a best bid and offer, or several. Its digits look random and are always the same. Time and
/// number replace its first 35 bytes.
fn market(topic: u32, bytes: usize) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(topic));
    let quote = format!(
        "'S{topic}','bid':'#####.##','bid_size':'#.#####','ask':'#####.##','ask_size':'#.#####','time':{},",
        "#".repeat(16)
    );
    let letters = "x".repeat(35);
    let digits = letters
        .chars()
        .chain(quote.chars().cycle())
        .map(|letter| match letter {
            '#' => char::from(b'0' + (random.next_u32() % 10) as u8),
            other => other,
        });
    digits.take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::recording::Recorded;
    use crate::swarm::PAYLOAD_BYTES;

    fn recording() -> Recording {
        let message = |(at_ns, stream, bytes): (u64, u32, usize)| Recorded {
            at_ns,
            stream,
            text: vec![b'a'; bytes].into(),
        };
        Recording {
            messages: [(0, 0, 50), (4_000, 1, 60), (9_000, 2, 50)].map(message).into(),
            ..Recording::default()
        }
    }

    #[test]
    fn each_message_has_its_topic_and_length() {
        const P: usize = PAYLOAD_BYTES;
        for (script, messages) in [
            (Script::plain(3), &[(0, P), (1, P), (2, P), (0, P)][..]),
            (Script::market(3, P), &[(0, P), (1, P), (2, P), (0, P)]),
            (Script::market(3, 512), &[(0, 512), (1, 512), (2, 512), (0, 512)]),
            (Script::objects(3, 512), &[(0, 512), (1, 512), (2, 512), (0, 512)]),
            (
                Script::recorded(&recording(), 2, 10),
                &[(0, 50), (1, 60), (0, 50), (0, 50), (1, 60)],
            ),
        ] {
            let mut out = Vec::new();
            for (number, (topic, bytes)) in (0..).zip(messages) {
                assert_eq!(script.topic(number), *topic, "{number}");
                let payload = script.write(Nanos(8), number, &mut out);
                let found = (payload.len(), script.due(payload), script.agrees(payload));
                assert_eq!(found, (*bytes, Some(Nanos(8)), true));
            }
            assert_eq!(script.messages(), 3);
        }
        assert!(Script::plain(3).tempo().is_none());
    }

    #[test]
    fn market_payloads_all_differ() {
        let (market, mut out) = (Script::market(100, PAYLOAD_BYTES), Vec::new());
        let texts = (0..100).map(|number| market.write(Nanos(5), number, &mut out)[40..].to_vec());
        assert_eq!(texts.collect::<std::collections::HashSet<_>>().len(), 100);
    }

    #[test]
    fn a_payload_of_another_length_or_content_is_seen() {
        let script = Script::recorded(&recording(), 3, 1);
        let mut bad = script.write(Nanos(8), 1, &mut Vec::new()).to_vec();
        assert_eq!(script.due(&bad[..bad.len() - 1]), None);
        bad[40] = b'!';
        assert_eq!((script.due(&bad), script.agrees(&bad)), (Some(Nanos(8)), false));
    }
}
