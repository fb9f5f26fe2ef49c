//! Exact decimal numbers for prices and sizes. They are text on the wire, and never floats.
//!
//! A [`Decimal`] holds no trailing zeros after the point and no negative zero, so that equal numbers have equal text.
//! Never rounds: a text that does not fit exactly is an error.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::limits::DECIMAL_BYTES_MAX;

/// Why a text is no decimal number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// The text is longer than [`DECIMAL_BYTES_MAX`].
    #[error("decimal has {0} bytes; at most {DECIMAL_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The text is not digits with at most one point, or has more digits than fit exactly (28).
    #[error("{0:?} is not a decimal number of at most 28 digits")]
    Malformed(String),
}

/// An exact decimal number without trailing zeros.
///
/// ```
/// use tickwire_wire::Decimal;
/// let price: Decimal = "61837.63000000".parse()?;
/// assert_eq!(price.to_string(), "61837.63");
/// # Ok::<(), tickwire_wire::DecimalError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal(rust_decimal::Decimal);

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // The prices of one instrument mostly have equally many digits after the point. Then nothing needs to be
        // scaled.
        if self.0.scale() == other.0.scale() {
            self.0.mantissa().cmp(&other.0.mantissa())
        } else {
            self.0.cmp(&other.0)
        }
    }
}

impl Decimal {
    /// The number 0.
    pub const ZERO: Self = Self(rust_decimal::Decimal::ZERO);

    /// The number `mantissa` / 10^`scale`.
    ///
    /// # Panics
    /// When `scale` is over 28.
    ///
    /// ```
    /// use tickwire_wire::Decimal;
    /// assert_eq!(Decimal::new(6_183_760, 2).to_string(), "61837.6");
    /// ```
    #[must_use]
    pub fn new(mut mantissa: i64, mut scale: u32) -> Self {
        assert!(scale <= 28, "scale {scale} is over 28");
        // Divisions by constants of one machine word are several times faster than `normalize` on 96 bits.
        while scale >= 4 && mantissa % 10_000 == 0 {
            mantissa /= 10_000;
            scale -= 4;
        }
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self(rust_decimal::Decimal::new(mantissa, scale))
    }

    /// The number in `text`, if that is one of at most [`SHORT_DIGITS_MAX`] digits, as nearly all are.
    fn of_short(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        if digits.len() > SHORT_DIGITS_MAX + 1 || !digits.first()?.is_ascii_digit() {
            return None;
        }
        // With one digit too many this is wrong, and not used.
        let (mut mantissa, mut point) = (0_i64, None);
        for (at, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => mantissa = mantissa.wrapping_mul(10).wrapping_add(i64::from(byte - b'0')),
                b'.' if point.is_none() => point = Some(at),
                _ => return None,
            }
        }
        let scale = point.map_or(0, |point| digits.len() - point - 1);
        let has_room = digits.len() - usize::from(point.is_some()) <= SHORT_DIGITS_MAX;
        if !has_room || point.is_some() && scale == 0 {
            return None;
        }
        let mantissa = if digits.len() < text.len() {
            -mantissa
        } else {
            mantissa
        };
        Some(Self::new(mantissa, u32::try_from(scale).ok()?))
    }

    /// Whether the number is 0.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Whether the number is below 0.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// The number's digits without sign, point and leading zeros. A book's checksum covers these.
    #[must_use]
    pub fn digits(self) -> u128 {
        self.0.mantissa().unsigned_abs()
    }

    /// The number for calculations.
    #[must_use]
    pub fn get(self) -> rust_decimal::Decimal {
        self.0
    }
}

impl From<rust_decimal::Decimal> for Decimal {
    fn from(number: rust_decimal::Decimal) -> Self {
        Self(number.normalize())
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        if let Some(number) = Self::of_short(text) {
            return Ok(number);
        }
        if text.len() > DECIMAL_BYTES_MAX {
            return Err(DecimalError::TooLong(text.len()));
        }
        let malformed = || DecimalError::Malformed(text.to_owned());
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if !plain || !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('.') {
            return Err(malformed());
        }
        rust_decimal::Decimal::from_str_exact(text)
            .map(Self::from)
            .map_err(|_| malformed())
    }
}

/// Digits that always fit in an `i64`.
const SHORT_DIGITS_MAX: usize = 18;

/// Room for any decimal's text: a sign, a zero, a point, 28 digits after it.
const TEXT_BYTES_MAX: usize = 40;

impl Decimal {
    /// The number as text, written into `buffer`.
    fn text(self, buffer: &mut [u8; TEXT_BYTES_MAX]) -> &str {
        let mut digits = itoa::Buffer::new();
        // Nearly all fit in 64 bits, which are formatted faster.
        let digits = match u64::try_from(self.digits()) {
            Ok(small) => digits.format(small),
            Err(_) => digits.format(self.digits()),
        };
        let scale = self.0.scale() as usize;
        let mut len = 0;
        let mut push = |bytes: &[u8]| {
            buffer[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        if self.is_negative() {
            push(b"-");
        }
        match digits.len().checked_sub(scale) {
            Some(_) if scale == 0 => push(digits.as_bytes()),
            Some(whole) if whole > 0 => {
                push(&digits.as_bytes()[..whole]);
                push(b".");
                push(&digits.as_bytes()[whole..]);
            }
            _ => {
                push(b"0.");
                push(&[b'0'; 28][..scale - digits.len()]);
                push(digits.as_bytes());
            }
        }
        // Only ASCII was written.
        std::str::from_utf8(&buffer[..len]).unwrap_or_default()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES_MAX]))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; TEXT_BYTES_MAX]))
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number as a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_exact_and_canonical() {
        for (text, canonical, digits) in [
            ("0.00000000", "0", 0),
            ("61837.63000000", "61837.63", 6_183_763),
            ("100.00", "100", 100),
            ("0.05005", "0.05005", 5_005),
            ("-0", "0", 0),
            ("-1.50", "-1.5", 15),
            ("007.0", "7", 7),
            (
                "999999999999999999",
                "999999999999999999",
                999_999_999_999_999_999,
            ),
            (
                "0999999999999999999",
                "999999999999999999",
                999_999_999_999_999_999,
            ),
            ("0.000000000000000001", "0.000000000000000001", 1),
        ] {
            let number: Decimal = text.parse().expect(text);
            assert_eq!(
                (number.to_string().as_str(), number.digits()),
                (canonical, digits),
                "{text}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn text_is_that_of_the_library(mantissa in -((1_i128 << 96) - 1)..(1_i128 << 96), shift in 0_u32..96, scale in 0_u32..=28) {
            let number = rust_decimal::Decimal::from_i128_with_scale(mantissa >> shift, scale).normalize();
            proptest::prop_assert_eq!(Decimal::from(number).to_string(), number.to_string());
        }

        #[test]
        fn a_short_text_is_read_as_the_library_reads_it(text in "-?[0-9]{0,20}\\.?[0-9]{0,20}[-.x]?") {
            let digits = text.strip_prefix('-').unwrap_or(&text);
            let is_plain = digits.starts_with(|first: char| first.is_ascii_digit()) && !digits.ends_with('.');
            let expected = rust_decimal::Decimal::from_str_exact(&text).ok().filter(|_| is_plain);
            let read = text.parse::<Decimal>().ok();
            proptest::prop_assert_eq!(read.map(|read| read.get().serialize()), expected.map(|number| number.normalize().serialize()));
        }

        #[test]
        fn new_is_the_normalized_number(digits: i64, zeros in 0..19u32, scale in 0..=28u32) {
            let power = 10_i64.pow(zeros);
            let mantissa = digits / power * power;
            let expected = rust_decimal::Decimal::new(mantissa, scale).normalize();
            let number = Decimal::new(mantissa, scale);
            proptest::prop_assert_eq!(number.get().serialize(), expected.serialize());
            proptest::prop_assert_eq!(number.to_string(), expected.to_string());
        }
    }

    #[test]
    fn zero_has_one_form() {
        for scale in 0..=28 {
            assert_eq!(
                Decimal::new(0, scale).get().serialize(),
                Decimal::ZERO.get().serialize()
            );
        }
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let texts = [
            "-2", "-1.5", "-0.01", "0", "0.009", "0.01", "0.1", "1", "1.05", "1.5", "2", "10",
        ];
        let numbers: Vec<Decimal> = texts.iter().map(|text| text.parse().expect(text)).collect();
        for (i, a) in numbers.iter().enumerate() {
            for (j, b) in numbers.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn texts_that_are_no_decimal() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1e5",
            "1_000",
            "+1",
            "0x1",
            "1.2.3",
            "NaN",
            "0.00000000000000000000000000001",
        ] {
            assert!(text.parse::<Decimal>().is_err(), "{text:?}");
        }
    }
}
