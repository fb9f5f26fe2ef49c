//! The payload of every message that is compared: 128 bytes, the same for all servers.
//!
//! A JSON string literal: the time at which the message was due and its number, at fixed places, then padding. Whoever
//! delivers it must deliver these bytes. Reading one touches the digits only; [`verify`] looks at every byte.

use std::time::{Duration, Instant};

/// Bytes of a payload.
pub(crate) const PAYLOAD_BYTES: usize = 128;
/// Where the 19 digits of the time stand: nanoseconds since a moment that the run chose.
const TIME: std::ops::Range<usize> = 1..20;
/// Where the 12 digits of the number stand.
const NUMBER: std::ops::Range<usize> = 21..33;

/// A moment of a run, in nanoseconds of the monotonic clock since its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

/// The origin of a run's moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The moment now. It fits for 584 years.
    #[inline]
    pub(crate) fn now(self) -> Nanos {
        let passed = self.0.elapsed();
        Nanos(passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos()))
    }
}

impl Nanos {
    /// Time since `earlier`; none before it.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment so much later.
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A payload that can be written anew again and again.
#[derive(Debug, Clone)]
pub(crate) struct Payload([u8; PAYLOAD_BYTES]);

impl Payload {
    /// A payload with nothing but padding.
    pub(crate) fn new() -> Self {
        let mut bytes = [b'x'; PAYLOAD_BYTES];
        bytes[0] = b'"';
        bytes[TIME.end] = b'.';
        bytes[NUMBER.end] = b'.';
        bytes[PAYLOAD_BYTES - 1] = b'"';
        Self(bytes)
    }

    /// The payload of message `number`, due at `due`. Numbers beyond 12 digits wrap.
    pub(crate) fn write(&mut self, due: Nanos, number: u64) -> &[u8] {
        write_digits(&mut self.0[TIME], due.0);
        write_digits(&mut self.0[NUMBER], number);
        &self.0
    }
}

fn write_digits(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[inline]
fn read_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
}

/// When the message with this payload was due. None if the bytes are no payload.
#[inline]
pub(crate) fn due(payload: &[u8]) -> Option<Nanos> {
    let payload: &[u8; PAYLOAD_BYTES] = payload.try_into().ok()?;
    read_digits(&payload[TIME]).map(Nanos)
}

/// Whether every byte is as it was written.
pub(crate) fn verify(payload: &[u8]) -> bool {
    let number = payload.get(NUMBER).and_then(read_digits);
    let (Some(due), Some(number)) = (due(payload), number) else {
        return false;
    };
    Payload::new().write(due, number) == payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut payload = Payload::new();
        for (time, number) in [
            (0, 0),
            (1_234_567_890_123_456_789, 999_999_999_999),
            (9_999_999_999_999_999_999, 1),
        ] {
            let bytes = payload.write(Nanos(time), number).to_vec();
            assert_eq!(due(&bytes), Some(Nanos(time)));
            assert!(verify(&bytes));
            let text: String = serde_json::from_slice(&bytes).expect("a JSON string");
            assert_eq!(text.len(), PAYLOAD_BYTES - 2);
            assert_eq!(&text[..33], format!("{time:019}.{number:012}."));
        }
    }

    #[test]
    fn damage_is_seen() {
        let good = Payload::new().write(Nanos(17), 4).to_vec();
        for at in 0..PAYLOAD_BYTES {
            let mut bad = good.clone();
            bad[at] = b'!';
            assert!(!verify(&bad), "byte {at}");
        }
        assert_eq!((due(&good[1..]), verify(&good[1..])), (None, false));
        assert_eq!(due(&[b'"'; PAYLOAD_BYTES]), None);
    }
}
