//! Reads the head of a data message without the rest.
//!
//! The broker always writes `update` and `snapshot` in the same layout. This reads topic, number and time from that
//! layout in some tens of nanoseconds. A message in another layout is left to the real decoder, which is slower.

use tickwire_wire::codec::DataOp;

/// The digits of a time in microseconds between the years 2001 and 2286.
const TIME_DIGITS: usize = 16;
/// Most digits of a number that cannot overflow.
const DIGITS_MAX: usize = 19;

/// The head of a data message, and its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head<'m> {
    pub(crate) op: DataOp,
    pub(crate) topic: &'m [u8],
    pub(crate) seq: u64,
    time: &'m [u8],
    /// The data as it was published.
    pub(crate) data: &'m [u8],
}

impl<'m> Head<'m> {
    /// Reads the head of `message`, if it is a data message in the broker's own layout.
    #[inline]
    pub(crate) fn of(message: &'m [u8]) -> Option<Self> {
        let rest = message.strip_prefix(br#"{"op":""#)?;
        let (op, rest) = match rest.strip_prefix(br#"update","topic":""#) {
            Some(rest) => (DataOp::Update, rest),
            None => (DataOp::Snapshot, rest.strip_prefix(br#"snapshot","topic":""#)?),
        };
        let (topic, mut rest) = text(rest)?;
        if op == DataOp::Snapshot {
            (_, rest) = text(rest.strip_prefix(br#","epoch":""#)?)?;
        }
        let (seq, rest) = digits(rest.strip_prefix(br#","seq":"#)?)?;
        let (time, rest) = time(rest.strip_prefix(br#","ts":"#)?)?;
        let data = rest.strip_prefix(br#","data":"#)?.strip_suffix(b"}")?;
        Some(Self {
            op,
            topic,
            seq: number(seq),
            time,
            data,
        })
    }

    /// When the broker took the message, in microseconds since 1970.
    #[inline]
    pub(crate) fn ts(&self) -> u64 {
        number(self.time)
    }
}

/// The text before the next quote, and the bytes after it; `None` for a text with escapes.
#[inline]
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (bytes[end] == b'"').then(|| (&bytes[..end], &bytes[end + 1..]))
}

/// The digits of a time, and the bytes after them. A time always has the same number of digits.
#[inline]
fn time(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes.split_at_checked(TIME_DIGITS) {
        Some((time, rest @ [b',', ..])) if !time.contains(&b',') => Some((time, rest)),
        _ => digits(bytes),
    }
}

#[inline]
fn digits(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=DIGITS_MAX).contains(&count).then(|| bytes.split_at(count))
}

#[inline]
fn number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use tickwire_wire::codec::Stamp;
    use tickwire_wire::{Codec, Epoch, Micros, Payload, Seq};

    use super::*;

    /// The head that the broker's own encoder writes is the head that is read.
    #[test]
    fn what_the_broker_writes_is_read() {
        let epoch = Epoch::from("k3v9");
        let data = br#"{"a":"}"}"#;
        let payload = Payload::from_json(data).expect("JSON");
        for op in [DataOp::Update, DataOp::Snapshot] {
            for (topic, seq, ts) in [
                ("trade.BTC-USD", 58, 1_700_000_000_000_000),
                ("a", 1, 0),
                ("a.b", 10_u64.pow(18), 1),
            ] {
                let mut message = Vec::new();
                let stamp = Stamp {
                    topic,
                    epoch: &epoch,
                    seq: Seq(seq),
                    ts: Micros(ts),
                };
                Codec::Json.encode_data(op, stamp, &payload, &mut message);
                let head = Head::of(&message).expect("the broker's layout");
                assert_eq!(
                    (head.op, head.topic, head.seq, head.ts()),
                    (op, topic.as_bytes(), seq, ts)
                );
                assert_eq!(head.data, data);
                for end in 0..message.len() {
                    let head = Head::of(&message[..end]);
                    assert!(head.is_none_or(|head| head.seq == seq), "cut at {end}");
                }
            }
        }
    }

    #[test]
    fn other_layouts_are_left_to_the_decoder() {
        for message in [
            r#"{"op":"heartbeat","ts":1}"#,
            r#"{"op":"gap","topic":"a","epoch":"e","from":1,"to":2,"reason":"slow"}"#,
            r#"{"op":"update","seq":1,"topic":"a","ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a\"","seq":1,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":18446744073709551616,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":-1,"ts":1,"data":1}"#,
            r#"{"op":"snapshot","topic":"a","seq":1,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":1,"ts":1}"#,
            "",
        ] {
            assert_eq!(Head::of(message.as_bytes()), None, "{message}");
        }
    }
}
