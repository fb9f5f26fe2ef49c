//! The head of a data message, read without reading the rest.
//!
//! The broker writes `update` and `snapshot` always in the same way; this looks for exactly that and reads topic, number and
//! time in some tens of nanoseconds. What looks otherwise is left to the real decoder: slower, never wrong.

use tickwire_wire::codec::DataOp;

/// What a data message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head<'m> {
    pub(crate) op: DataOp,
    pub(crate) topic: &'m [u8],
    pub(crate) seq: u64,
    pub(crate) ts: u64,
}

/// The head of `message`, if it is a data message in the broker's own layout.
#[inline]
pub(crate) fn scan(message: &[u8]) -> Option<Head<'_>> {
    let rest = message.strip_prefix(br#"{"op":""#)?;
    let (op, rest) = match rest.strip_prefix(br#"update","topic":""#) {
        Some(rest) => (DataOp::Update, rest),
        None => (DataOp::Snapshot, rest.strip_prefix(br#"snapshot","topic":""#)?),
    };
    let (topic, mut rest) = text(rest)?;
    if op == DataOp::Snapshot {
        (_, rest) = text(rest.strip_prefix(br#","epoch":""#)?)?;
    }
    let (seq, rest) = number(rest.strip_prefix(br#","seq":"#)?)?;
    let (ts, rest) = number(rest.strip_prefix(br#","ts":"#)?)?;
    let whole = rest.starts_with(br#","data":"#) && rest.ends_with(b"}");
    whole.then_some(Head { op, topic, seq, ts })
}

/// What stands before the next quote, and what after it. A text with escapes is not for here.
#[inline]
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (bytes[end] == b'"').then(|| (&bytes[..end], &bytes[end + 1..]))
}

/// A whole number, and what follows it.
#[inline]
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // The largest of 19 digits fits.
    if !(1..=19).contains(&digits) {
        return None;
    }
    let value = bytes[..digits]
        .iter()
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some((value, &bytes[digits..]))
}

#[cfg(test)]
mod tests {
    use tickwire_wire::codec::Stamp;
    use tickwire_wire::{Codec, Epoch, Micros, Payload, Seq};

    use super::*;

    /// The head as the broker's own encoder writes it is the head that is read.
    #[test]
    fn what_the_broker_writes_is_read() {
        let epoch = Epoch::from("k3v9");
        let payload = Payload::from_json(br#"{"a":"}"}"#).expect("JSON");
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
                let topic = topic.as_bytes();
                assert_eq!(scan(&message), Some(Head { op, topic, seq, ts }));
                for end in 0..message.len() {
                    assert!(
                        scan(&message[..end]).is_none_or(|head| head.seq == seq),
                        "cut at {end}"
                    );
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
            assert_eq!(scan(message.as_bytes()), None, "{message}");
        }
    }
}
