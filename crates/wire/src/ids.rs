//! The numbers and names of a topic's messages: sequence number, epoch, time.
//!
//! They are newtypes, never bare integers. Nothing here reads a clock: time is an argument.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The integer that equals a float. Languages whose numbers are all floats write integers in this way. Up to 2⁵³ each
/// float stands for one integer; a larger one is refused.
pub(crate) fn integral(number: f64) -> Option<u64> {
    const EXACT_MAX: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    ((0.0..=EXACT_MAX).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// Reads a `u64`. Its errors are for people and name no Rust type.
pub(crate) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an integer from 0 to {}", u64::MAX)
        }
        fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
            // MessagePack may write a positive number as a signed one.
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
            integral(number).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
        }
    }
    deserializer.deserialize_any(Whole)
}

/// The position of a message in its topic: 1 for the first, and one more for each next message. 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(#[serde(deserialize_with = "whole_number")] pub u64);

impl Seq {
    /// The position before the first message.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    ///
    /// ```
    /// use tickwire_wire::Seq;
    /// assert_eq!(Seq(57).next(), Seq(58));
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(#[serde(deserialize_with = "whole_number")] pub u64);

impl Micros {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// Microseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The epoch of a topic's sequence numbers, an opaque short string. When it changes, a client drops the state that it
/// holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// The epoch made from `number`: lower-case base 36, at least four characters.
    ///
    /// ```
    /// use tickwire_wire::Epoch;
    /// assert_eq!(Epoch::from_number(36 * 36 * 36).as_str(), "1000");
    /// ```
    #[must_use]
    pub fn from_number(mut number: u64) -> Self {
        let mut digits = [b'0'; 13];
        let mut at = digits.len();
        while number > 0 || at > digits.len() - 4 {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(number % 36).unwrap_or(0)];
            number /= 36;
        }
        Self(String::from_utf8_lossy(&digits[at..]).into())
    }

    /// The epoch as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Epoch {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
