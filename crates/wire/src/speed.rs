//! How fast stored messages are replayed.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::ids::integral;

/// By how much faster than they came stored messages are sent: `1` is as fast, `10` ten times as fast, `0.5` half as fast.
/// It is a finite number above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplaySpeed(f64);

// It is never NaN.
impl Eq for ReplaySpeed {}

/// A number that is no speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a speed is a number above 0, such as 10, or 1 for as fast as the messages came")]
pub struct BadSpeed;

impl ReplaySpeed {
    /// The speed of this factor.
    ///
    /// # Errors
    /// If it is not a finite number above 0.
    pub fn new(factor: f64) -> Result<Self, BadSpeed> {
        if factor.is_finite() && factor > 0.0 {
            Ok(Self(factor))
        } else {
            Err(BadSpeed)
        }
    }

    /// The factor.
    #[must_use]
    pub const fn factor(self) -> f64 {
        self.0
    }

    /// The time in microseconds in which the messages of `us` microseconds are sent.
    #[must_use]
    pub fn scale(self, us: u64) -> u64 {
        // What does not fit is more than any program runs; the conversion stops there.
        (us as f64 / self.0) as u64
    }
}

impl FromStr for ReplaySpeed {
    type Err = BadSpeed;

    fn from_str(text: &str) -> Result<Self, BadSpeed> {
        text.parse().map_err(|_| BadSpeed).and_then(Self::new)
    }
}

impl fmt::Display for ReplaySpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ReplaySpeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match integral(self.0) {
            Some(whole) => serializer.serialize_u64(whole),
            None => serializer.serialize_f64(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_finite_number_above_0() {
        for (text, us, json) in [
            ("1", 1_000_000, "1"),
            ("10", 100_000, "10"),
            ("0.5", 2_000_000, "0.5"),
            ("1e3", 1_000, "1000"),
            ("1e300", 0, "1e+300"),
            ("1e-300", u64::MAX, "1e-300"),
        ] {
            let speed: ReplaySpeed = text.parse().expect(text);
            assert_eq!(speed.scale(1_000_000), us, "{text}");
            assert_eq!(serde_json::to_string(&speed).expect("a number"), json);
        }
        for text in ["0", "-1", "-0.0", "NaN", "inf", "1e999", "fast", ""] {
            assert_eq!(text.parse::<ReplaySpeed>(), Err(BadSpeed), "{text}");
        }
    }
}
