//! The payload of every message of a comparison: the same bytes for all servers.
//!
//! It is a JSON string literal without escapes: the time at which the message was due and its number, at fixed places,
//! then padding or recorded text. Or it is a JSON object whose first value is such a string. A server must deliver exactly these
//! bytes. Reading a payload only reads the digits;
//! [`Payload::agrees`] checks every byte.

use std::ops::Range;
use std::time::{Duration, Instant};

/// The bytes of a payload that is not recorded.
pub(crate) const PAYLOAD_BYTES: usize = 128;
/// The place of the digits of the time: nanoseconds since a moment that the run chose. They last for 115 days.
const TIME: Range<usize> = 1..1 + DIGITS;
/// The place of the digits of the number.
const NUMBER: Range<usize> = TIME.end + 1..TIME.end + 1 + DIGITS;
pub(crate) const DIGITS: usize = 16;
/// What is before the string with time and number in an object.
const OBJECT: &[u8] = br#"{"at":"#;
/// The fewest bytes of an object.
pub(crate) const OBJECT_BYTES_MIN: usize = 120;
/// The bytes before the padding or the recorded text.
const HEAD_BYTES: usize = NUMBER.end + 1;

/// A moment of a run, in nanoseconds of the monotonic clock since its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

/// The origin of a run's moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
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
    /// The time since `earlier`; zero if `earlier` is later.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Payload(Box<[u8]>);

impl Payload {
    pub(crate) fn new() -> Self {
        Self::of(&[b'x'; PAYLOAD_BYTES])
    }

    /// A payload with `text`, of the same length. Quotes, time and number replace its first and last bytes. Characters
    /// that would need escapes in JSON are replaced. A text that is too short is padded.
    pub(crate) fn of(text: &[u8]) -> Self {
        let plain = |byte: &u8| match byte {
            b'"' => b'\'',
            b'\\' => b'/',
            b' '..=b'~' => *byte,
            _ => b'?',
        };
        let mut bytes: Vec<u8> = text.iter().map(plain).collect();
        bytes.resize(text.len().max(HEAD_BYTES + 1), b'x');
        let last = bytes.len() - 1;
        for (at, byte) in [(0, b'"'), (TIME.end, b'.'), (NUMBER.end, b'.'), (last, b'"')] {
            bytes[at] = byte;
        }
        Self(bytes.into())
    }

    /// An object of `bytes` bytes, at least [`OBJECT_BYTES_MIN`]: a quote, with as many levels of a book as there is room for.
    pub(crate) fn object(bytes: usize) -> Self {
        const LEVELS: [&str; 2] = [r#","levels":["#, "]"];
        const ID: [&str; 2] = [r#","id":""#, r#""}"#];
        let long = |parts: [&str; 2]| parts.concat().len();
        let nothing = "0".repeat(DIGITS);
        let mut text = format!(
            r#"{{"at":"{nothing}.{nothing}.","symbol":"BTC-USD","bid":61837.61,"ask":61837.99,"size":0.5312"#
        );
        let room = bytes.saturating_sub(text.len() + long(LEVELS) + long(ID));
        let mut levels = String::new();
        for number in 0_u32.. {
            let apart = if number == 0 { "" } else { "," };
            let level = format!("{apart}[{:.2},0.5312]", 61_837.61 - f64::from(number) * 0.25);
            if levels.len() + level.len() > room {
                break;
            }
            levels += &level;
        }
        if !levels.is_empty() {
            text += &LEVELS.join(&levels);
        }
        let padding = "x".repeat(bytes.saturating_sub(text.len() + long(ID)));
        Self((text + &ID.join(&padding)).into_bytes().into())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Replaces the content of `out` by the payload of message `number`, due at `due`. Numbers and times with more than
    /// 16 digits wrap.
    pub(crate) fn write<'o>(&self, due: Nanos, number: u64, out: &'o mut Vec<u8>) -> &'o [u8] {
        out.clear();
        out.extend_from_slice(&self.0);
        let text = string_mut(out);
        write_digits(&mut text[TIME], due.0);
        write_digits(&mut text[NUMBER], number);
        out
    }

    /// Whether every byte of `bytes` is as it was written, for any time and number.
    pub(crate) fn agrees(&self, bytes: &[u8]) -> bool {
        let (found, own) = (string(bytes), string(&self.0));
        bytes.len() == self.0.len()
            && bytes.len() - found.len() == self.0.len() - own.len()
            && due(bytes).is_some()
            && number(bytes).is_some()
            && found[..TIME.start] == own[..TIME.start]
            && found[TIME.end..NUMBER.start] == own[TIME.end..NUMBER.start]
            && found[NUMBER.end..] == own[NUMBER.end..]
    }
}

/// A payload from the quote before its time on.
#[inline]
fn string(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(OBJECT).unwrap_or(payload)
}

fn string_mut(payload: &mut [u8]) -> &mut [u8] {
    let before = payload.len() - string(payload).len();
    &mut payload[before..]
}

pub(crate) fn write_digits(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[inline]
fn read_digits(digits: &[u8]) -> Option<u64> {
    let (high, rest) = digits.split_first_chunk()?;
    let low = rest.first_chunk()?;
    Some(eight_digits(*high)? * 100_000_000 + eight_digits(*low)?)
}

/// The number that eight digits spell, computed at once: pairs of digits become numbers, then pairs of these, and
/// again.
#[inline]
fn eight_digits(digits: [u8; 8]) -> Option<u64> {
    const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let digits = u64::from_le_bytes(digits);
    // '0' to '9' are 0x30 to 0x39. Adding 6 does not change their high half, but changes that of all others from 0x3a
    // on.
    let high = |bytes: u64| bytes & HIGH_HALVES;
    if high(digits) != ZEROS || high(digits + 0x0606_0606_0606_0606) != ZEROS {
        return None;
    }
    let ones = digits & !HIGH_HALVES;
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// When the message with this payload was due; `None` if the bytes are not a payload.
#[inline]
pub(crate) fn due(payload: &[u8]) -> Option<Nanos> {
    read_digits(string(payload).get(TIME)?).map(Nanos)
}

/// The number of the message with this payload; `None` if the bytes are not a payload.
#[inline]
pub(crate) fn number(payload: &[u8]) -> Option<u64> {
    read_digits(string(payload).get(NUMBER)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (payload, mut out) = (Payload::new(), Vec::new());
        for (time, number_) in [
            (0, 0),
            (1_234_567_890_123_456, 9_999_999_999_999_999),
            (9_999_999_999_999_999, 1),
        ] {
            let bytes = payload.write(Nanos(time), number_, &mut out);
            assert_eq!((due(bytes), number(bytes)), (Some(Nanos(time)), Some(number_)));
            assert!(payload.agrees(bytes));
            let text: String = serde_json::from_slice(bytes).expect("a JSON string");
            assert_eq!(text.len(), PAYLOAD_BYTES - 2);
            assert_eq!(&text[..34], format!("{time:016}.{number_:016}."));
        }
    }

    #[test]
    fn an_object_has_its_length_and_levels() {
        let mut out = Vec::new();
        for (bytes, levels) in [
            (OBJECT_BYTES_MIN, None),
            (128, None),
            (200, Some(4)),
            (512, Some(21)),
        ] {
            let payload = Payload::object(bytes);
            let written = payload.write(Nanos(17), 4, &mut out);
            assert_eq!(
                (written.len(), due(written), number(written)),
                (bytes, Some(Nanos(17)), Some(4))
            );
            assert!(payload.agrees(written));
            let object: serde_json::Value = serde_json::from_slice(written).expect("a JSON object");
            assert_eq!(object["at"], "0000000000000017.0000000000000004.");
            assert_eq!(object["levels"].as_array().map(Vec::len), levels, "{object}");
        }
    }

    #[test]
    fn damage_is_seen() {
        for payload in [Payload::new(), Payload::object(PAYLOAD_BYTES)] {
            check_damage(&payload);
        }
    }

    fn check_damage(payload: &Payload) {
        let mut out = Vec::new();
        let good = payload.write(Nanos(17), 4, &mut out).to_vec();
        for at in 0..PAYLOAD_BYTES {
            let mut bad = good.clone();
            bad[at] = b'!';
            assert!(!payload.agrees(&bad), "byte {at}");
        }
        for bad in [&good[1..], &good[..PAYLOAD_BYTES - 1], &good[..NUMBER.start]] {
            assert!(!payload.agrees(bad));
        }
    }

    #[test]
    fn a_part_is_no_payload() {
        let good = Payload::new().write(Nanos(17), 4, &mut Vec::new()).to_vec();
        assert_eq!(
            (
                due(&good[1..]),
                due(&good[..TIME.end - 1]),
                number(&good[..TIME.end])
            ),
            (None, None, None)
        );
    }

    /// Every byte at every place is a digit or is refused.
    #[test]
    fn only_digits_are_digits() {
        for at in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"12345678";
                digits[at] = byte;
                let expected = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok());
                assert_eq!(eight_digits(digits), expected, "{digits:?}");
            }
        }
    }

    #[test]
    fn a_recorded_text_is_a_string_of_its_length() {
        let recorded = br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255208,"s":"A\"}}"#;
        let mut out = Vec::new();
        let payload = Payload::of(recorded);
        let bytes = payload.write(Nanos(5), 6, &mut out);
        assert_eq!((bytes.len(), payload.bytes()), (recorded.len(), recorded.len()));
        let text: String = serde_json::from_slice(bytes).expect("a JSON string");
        assert_eq!(
            text,
            "0000000000000005.0000000000000006.e':'trade','E':1723161255208,'s':'A/'}"
        );
        for short in [&b""[..], b"{}", &[b'{'; HEAD_BYTES]] {
            let bytes = Payload::of(short).write(Nanos(5), 6, &mut out).to_vec();
            assert_eq!(
                (bytes.len(), due(&bytes)),
                (HEAD_BYTES + 1, Some(Nanos(5))),
                "{short:?}"
            );
            serde_json::from_slice::<String>(&bytes).expect("a JSON string");
        }
    }
}
