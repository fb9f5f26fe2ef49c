//! What is published, by message number: the topic, the payload and, if it was recorded, the time.
//!
//! The script is the same for every server and repeats at its end. It never changes, so the publisher and the checks
//! share it.

use std::rc::Rc;

use crate::compare::{Recording, Tempo};
use crate::swarm::{Nanos, PAYLOAD_BYTES, Payload, payload};

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

    /// As [`Self::plain`], with payloads of the same length that look like market data. How well padding compresses
    /// would say nothing.
    pub(crate) fn market(topics: u32) -> Self {
        let part = |topic| Part {
            topic,
            payload: Payload::of(market(topic).as_bytes()),
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

/// A text like a best bid and offer, as long as every payload that is not recorded. Time and number replace its first
/// 35 bytes.
fn market(topic: u32) -> String {
    // Digits that look random and are always the same.
    let digits = |place: u32, count: usize| {
        let mut state = (u64::from(topic) * 9 + u64::from(place) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let digits = format!("{:016}", (state ^ (state >> 27)) % 10_u64.pow(16));
        digits[..count].to_owned()
    };
    let mut text = format!(
        "{}'S{topic}','bid':'{}.{}','bid_size':'{}.{}','ask':'{}.{}','ask_size':'{}.{}','time':{}",
        "x".repeat(35),
        digits(0, 5),
        digits(1, 2),
        digits(2, 1),
        digits(3, 5),
        digits(4, 5),
        digits(5, 2),
        digits(6, 1),
        digits(7, 5),
        digits(8, 16),
    );
    text.truncate(PAYLOAD_BYTES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::recording::Recorded;

    #[test]
    fn market_payloads_are_as_long_as_the_plain_ones_and_all_differ() {
        let (market, plain) = (Script::market(100), Script::plain(100));
        let mut seen = std::collections::HashSet::new();
        for number in 0..100 {
            let (mut out, mut padding) = (Vec::new(), Vec::new());
            let bytes = market.write(Nanos(5), number, &mut out);
            assert_eq!(bytes.len(), plain.write(Nanos(5), number, &mut padding).len());
            assert!(market.agrees(bytes) && market.due(bytes) == Some(Nanos(5)));
            assert!(seen.insert(bytes[40..].to_vec()));
        }
    }

    fn recording() -> Recording {
        let message = |at_ns, stream, text: &str| Recorded {
            at_ns,
            stream,
            text: text.as_bytes().into(),
        };
        let messages = vec![
            message(0, 0, &"a".repeat(50)),
            message(4_000, 1, &"b".repeat(60)),
            message(9_000, 2, &"c".repeat(50)),
        ];
        Recording {
            messages,
            ..Recording::default()
        }
    }

    #[test]
    fn a_plain_script_goes_round_the_topics() {
        let script = Script::plain(3);
        let topics: Vec<u32> = (0..7).map(|number| script.topic(number)).collect();
        assert_eq!(topics, [0, 1, 2, 0, 1, 2, 0]);
        assert!(script.tempo().is_none());
        let mut out = Vec::new();
        let payload = script.write(Nanos(7), 5, &mut out);
        assert_eq!(
            (payload.len(), script.due(payload), script.agrees(payload)),
            (PAYLOAD_BYTES, Some(Nanos(7)), true)
        );
    }

    #[test]
    fn a_recorded_script_has_the_sizes_and_streams_of_the_recording() {
        let script = Script::recorded(&recording(), 2, 10);
        let mut out = Vec::new();
        for (number, topic, bytes) in [(0, 0, 50), (1, 1, 60), (2, 0, 50), (3, 0, 50), (4, 1, 60)] {
            assert_eq!(script.topic(number), topic, "{number}");
            let payload = script.write(Nanos(8), number, &mut out);
            assert_eq!(
                (payload.len(), script.due(payload), script.agrees(payload)),
                (bytes, Some(Nanos(8)), true)
            );
        }
        assert_eq!(script.messages(), 3);
    }

    #[test]
    fn a_payload_of_another_length_or_content_is_seen() {
        let script = Script::recorded(&recording(), 3, 1);
        let mut out = Vec::new();
        let good = script.write(Nanos(8), 1, &mut out).to_vec();
        assert_eq!(script.due(&good[..good.len() - 1]), None);
        let mut bad = good;
        bad[40] = b'!';
        assert_eq!((script.due(&bad), script.agrees(&bad)), (Some(Nanos(8)), false));
    }
}
