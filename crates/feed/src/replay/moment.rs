//! The times of recordings. The number of digits tells the unit: seconds, milliseconds, microseconds or nanoseconds.
//!
//! A moment between September 2001 and November 2286 has ten digits in seconds and three more in each finer unit. A
//! number of another length is refused. Fractions of a microsecond are cut off.

use thiserror::Error;
use tickwire_wire::Micros;

/// The first moment with ten digits, in seconds.
const FIRST: u64 = 1_000_000_000;
/// The first moment with eleven digits, in seconds.
const END: u64 = 10_000_000_000;

/// A number that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0} is no time: since 1970 a moment has 10 digits in seconds, 13 in milliseconds, 16 in microseconds, 19 in nanoseconds"
)]
pub(super) struct MomentError(u64);

/// The moment that `number` tells in its unit.
pub(super) fn of_number(number: u64) -> Result<Micros, MomentError> {
    unit_us(number).map(|unit| Micros(unit.apply(number)))
}

/// A unit: how many microseconds it has, or how many of it make a microsecond.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Micros(u64),
    Parts(u64),
}

impl Unit {
    const fn apply(self, number: u64) -> u64 {
        match self {
            // No overflow: the number has the number of digits of its unit, so the product is below 2^64.
            Self::Micros(micros) => number * micros,
            Self::Parts(parts) => number / parts,
        }
    }
}

fn unit_us(number: u64) -> Result<Unit, MomentError> {
    let within = |per_second: u64| (FIRST * per_second..END.saturating_mul(per_second)).contains(&number);
    if within(1) {
        Ok(Unit::Micros(1_000_000))
    } else if within(1_000) {
        Ok(Unit::Micros(1_000))
    } else if within(1_000_000) {
        Ok(Unit::Micros(1))
    } else if within(1_000_000_000) {
        Ok(Unit::Parts(1_000))
    } else {
        Err(MomentError(number))
    }
}

/// The moment in `text`, which is digits with or without a fraction; `None` if it is not a number.
pub(super) fn of_text(text: &str) -> Result<Option<Micros>, MomentError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) {
        return Ok(None);
    }
    let Ok(number) = whole.parse() else {
        return Ok(None);
    };
    let unit = unit_us(number)?;
    let part = match unit {
        Unit::Micros(micros) => {
            // The fraction has as many digits as the unit's microseconds need.
            let places = micros.ilog10() as usize;
            let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(places);
            kept.fold(0, |part, digit| part * 10 + u64::from(digit - b'0'))
        }
        Unit::Parts(_) => 0,
    };
    Ok(Some(Micros(unit.apply(number) + part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_told_by_the_magnitude() {
        for (text, micros) in [
            ("1723161254", 1_723_161_254_000_000),
            ("1723161254.5", 1_723_161_254_500_000),
            ("1633998512.0633569", 1_633_998_512_063_356),
            ("1723161254087", 1_723_161_254_087_000),
            ("1723161254087.25", 1_723_161_254_087_250),
            ("1723161254087896", 1_723_161_254_087_896),
            ("1723161254087896.9", 1_723_161_254_087_896),
            ("1723161254087896568", 1_723_161_254_087_896),
            ("1000000000", 1_000_000_000_000_000),
            ("9999999999999999999", 9_999_999_999_999_999),
        ] {
            assert_eq!(of_text(text), Ok(Some(Micros(micros))), "{text}");
            if let Ok(number) = text.parse() {
                assert_eq!(of_number(number), Ok(Micros(micros)), "{text}");
            }
        }
    }

    #[test]
    fn a_number_of_another_magnitude_is_no_time() {
        for number in [
            0,
            999_999_999,
            10_000_000_000,
            999_999_999_999,
            10_000_000_000_000,
            999_999_999_999_999,
            10_000_000_000_000_000,
            999_999_999_999_999_999,
            10_000_000_000_000_000_000,
            u64::MAX,
        ] {
            assert_eq!(of_number(number), Err(MomentError(number)));
            assert_eq!(of_text(&number.to_string()), Err(MomentError(number)));
        }
        for text in [
            "",
            "x",
            "+1723161254",
            "-1",
            "1723161254.",
            ".5",
            "1e9",
            "18446744073709551616",
        ] {
            assert_eq!(of_text(text), Ok(None), "{text:?}");
        }
    }
}
