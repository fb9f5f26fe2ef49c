//! An update of Tickwire's as its broker writes it in JSON, read in a few dozen steps.
//!
//! Every delivery goes through here, so nothing is looked at twice and the time of the broker not at all. What is written in
//! any other way is not understood here and left to the protocol, which reads it in full; so is one delivery of many anyway.

/// What an update begins with; the number of its topic follows.
const BEGINS: &[u8] = br#"{"op":"update","topic":"bench.t"#;
/// Digits of a time in microseconds from the year 2001 to 2286.
const TIME_DIGITS: usize = 16;
/// Most digits of a number that cannot overflow.
const DIGITS_MAX: usize = 19;

/// An update.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Update<'m> {
    /// Number of its topic.
    pub(crate) topic: u32,
    pub(crate) seq: u64,
    /// As it was published.
    pub(crate) data: &'m [u8],
}

impl<'m> Update<'m> {
    /// The update that `message` is, if it is one.
    #[inline]
    pub(crate) fn read(message: &'m [u8]) -> Option<Self> {
        let (topic, rest) = number(message.strip_prefix(BEGINS)?)?;
        let topic = u32::try_from(topic).ok()?;
        let (seq, rest) = number(rest.strip_prefix(br#"","seq":"#)?)?;
        let rest = rest.strip_prefix(br#","ts":"#)?.get(TIME_DIGITS..)?;
        let data = rest.strip_prefix(br#","data":"#)?.strip_suffix(b"}")?;
        Some(Self { topic, seq, data })
    }
}

/// The number that `bytes` begin with, and what follows it.
#[inline]
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut digits) = (0_u64, 0);
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        digits += 1;
    }
    (1..=DIGITS_MAX)
        .contains(&digits)
        .then(|| (value, &bytes[digits..]))
}

#[cfg(test)]
mod tests {
    use tickwire_wire::codec::{DataOp, Stamp};
    use tickwire_wire::{Codec, Epoch, Micros, Payload, Seq};

    use super::*;

    /// What the broker's own codec makes of a publication.
    fn written(topic: &str, seq: u64) -> Vec<u8> {
        let (epoch, mut out) = (Epoch::from("e"), Vec::new());
        let stamp = Stamp {
            topic,
            epoch: &epoch,
            seq: Seq(seq),
            ts: Micros(1_700_000_000_000_000),
        };
        let data = Payload::from_json(b"\"17.\"").expect("a payload");
        Codec::Json.encode_data(DataOp::Update, stamp, &data, &mut out);
        out
    }

    #[test]
    fn what_the_broker_writes_is_read() {
        for (number, seq) in [(0, 1), (7, 58), (123, u64::from(u32::MAX) + 1)] {
            let message = written(&format!("bench.t{number}"), seq);
            let expected = Update {
                topic: number,
                seq,
                data: b"\"17.\"",
            };
            assert_eq!(Update::read(&message), Some(expected));
            for end in 0..message.len() {
                assert_eq!(Update::read(&message[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn anything_else_is_left_to_the_protocol() {
        for message in [
            &written("ticker.A", 1)[..],
            &written("bench.tx", 1),
            &written("bench.t1", u64::MAX),
            br#"{"op":"update","topic":"bench.t1","seq":1,"ts":17,"data":"17."}"#,
            br#"{"op":"heartbeat","ts":1700000000000000}"#,
            b"\"17.\"",
        ] {
            assert_eq!(
                Update::read(message),
                None,
                "{}",
                String::from_utf8_lossy(message)
            );
        }
    }
}
