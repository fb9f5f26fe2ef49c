//! A moment as clients write it: microseconds since 1970, or a date and a time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use thiserror::Error;

use crate::Micros;

/// A moment that a client names: `1723161253000000`, or `2024-08-08T23:54:13Z` (RFC 3339, with any offset).
///
/// ```
/// use tickwire_wire::{Micros, Moment};
///
/// assert_eq!("2024-08-09T01:54:13+02:00".parse(), Ok(Moment(Micros(1_723_161_253_000_000))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Moment(pub Micros);

/// Why a text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadMoment {
    /// It is neither a whole number nor a date with a time.
    #[error(
        "{0:?} is no moment: write microseconds since 1970, such as 1723161253000000, or a date and a time, such as 2024-08-08T23:54:13Z"
    )]
    NotUnderstood(String),
    /// No message is so old.
    #[error("{0:?} is before 1970")]
    Before1970(String),
}

/// The most characters of a text that an error shows.
const SHOWN_CHARS_MAX: usize = 40;

impl FromStr for Moment {
    type Err = BadMoment;

    fn from_str(text: &str) -> Result<Self, BadMoment> {
        let shown = || text.chars().take(SHOWN_CHARS_MAX).collect();
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let micros = text.parse().map_err(|_| BadMoment::NotUnderstood(shown()))?;
            return Ok(Self(Micros(micros)));
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| BadMoment::NotUnderstood(shown()))?;
        let micros = u64::try_from(time.timestamp_micros()).map_err(|_| BadMoment::Before1970(shown()))?;
        Ok(Self(Micros(micros)))
    }
}

/// The date and the time in UTC (RFC 3339), or the microseconds since 1970 where no such date exists.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.0;
        match i64::try_from(micros)
            .ok()
            .and_then(DateTime::from_timestamp_micros)
        {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => micros.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_723_161_253_000_000, "2024-08-08T23:54:13Z"),
            (1_723_161_253_000_001, "2024-08-08T23:54:13.000001Z"),
            (u64::MAX, "18446744073709551615"),
        ] {
            let moment = Moment(Micros(micros));
            assert_eq!(moment.to_string(), text);
            assert_eq!(text.parse(), Ok(moment));
        }
    }

    #[test]
    fn moments() {
        for (text, micros) in [
            ("0", 0),
            ("1723161253000000", 1_723_161_253_000_000),
            ("18446744073709551615", u64::MAX),
            ("1970-01-01T00:00:00Z", 0),
            ("2024-08-08T23:54:13Z", 1_723_161_253_000_000),
            ("2024-08-08t23:54:13.000001z", 1_723_161_253_000_001),
            ("2024-08-08T23:54:13.0000019Z", 1_723_161_253_000_001),
            ("2024-08-08 23:54:13Z", 1_723_161_253_000_000),
            ("2024-08-09T01:54:13+02:00", 1_723_161_253_000_000),
            ("1970-01-01T01:00:00+01:00", 0),
        ] {
            assert_eq!(text.parse(), Ok(Moment(Micros(micros))), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment() {
        for text in [
            "",
            " 1",
            "-1",
            "1.5",
            "1e15",
            "18446744073709551616",
            "2024-08-08",
            "2024-08-08T23:54:13",
            "2024-13-08T23:54:13Z",
            "2024-08-08T23:54:13+99:00",
            "yesterday",
        ] {
            let wrong = BadMoment::NotUnderstood(text.to_owned());
            assert_eq!(text.parse::<Moment>(), Err(wrong), "{text}");
        }
        let early = "1969-12-31T23:59:59Z";
        assert_eq!(
            early.parse::<Moment>(),
            Err(BadMoment::Before1970(early.to_owned()))
        );
        let long = "9".repeat(1_000);
        assert_eq!(
            long.parse::<Moment>(),
            Err(BadMoment::NotUnderstood("9".repeat(40)))
        );
    }
}
