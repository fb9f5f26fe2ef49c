//! When a certificate ends: just as much of X.509 as it takes to find that out.
//!
//! Pure: bytes in, a time out. Reads no clock and trusts nothing: what is not where RFC 5280 has it gives no time.

use crate::net::der::{SEQUENCE, element, of};

/// Tags of DER (X.690 §8.1.2) that are met on the way.
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which may be left out (RFC 5280 §4.1.2.1).
const VERSION: u8 = 0xa0;

/// Seconds from 1970 to the end of the certificate `der` (RFC 5280 §4.1.2.5), if it can be found.
pub(super) fn not_after(der: &[u8]) -> Option<u64> {
    let mut certificate = of(SEQUENCE, &mut &*der)?;
    let mut signed = of(SEQUENCE, &mut certificate)?;
    if signed.first() == Some(&VERSION) {
        element(&mut signed)?;
    }
    for _ in ["serial number", "signature's algorithm", "issuer"] {
        element(&mut signed)?;
    }
    let mut validity = of(SEQUENCE, &mut signed)?;
    element(&mut validity)?; // not before
    match element(&mut validity)? {
        (UTC_TIME, text) => {
            // RFC 5280 §4.1.2.5.1: two digits for the years 1950 to 2049.
            let year = digits(text, 0..2)?;
            let century = if year < 50 { 2_000 } else { 1_900 };
            seconds(century + year, text.get(2..)?)
        }
        (GENERALIZED_TIME, text) => seconds(digits(text, 0..4)?, text.get(4..)?),
        _ => None,
    }
}

/// The number that some digits of `text` are.
fn digits(text: &[u8], range: std::ops::Range<usize>) -> Option<u64> {
    let digits = text.get(range)?;
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Seconds from 1970 to `MMDDHHMMSSZ` of `year`.
fn seconds(year: u64, text: &[u8]) -> Option<u64> {
    const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    if text.len() != 11 || text[10] != b'Z' || year < 1970 {
        return None;
    }
    let (month, day) = (digits(text, 0..2)?, digits(text, 2..4)?);
    let (hour, minute, second) = (digits(text, 4..6)?, digits(text, 6..8)?, digits(text, 8..10)?);
    let before_month = DAYS_BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
        + before_month
        + u64::from(is_leap && month > 2)
        + day.checked_sub(1)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(year: i32, month: u8, day: u8) -> Option<u64> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, month, day);
        not_after(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn ends_of_certificates() {
        for ((year, month, day), seconds) in [
            ((1999, 12, 31), 946_598_400),
            ((2024, 2, 29), 1_709_164_800),
            ((2024, 3, 1), 1_709_251_200),
            ((2049, 12, 31), 2_524_521_600),
            // From here on the time is written in another way.
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
            ((4096, 1, 1), 67_090_118_400),
        ] {
            assert_eq!(end_of(year, month, day), Some(seconds), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let whole = params.self_signed(&key).expect("a certificate").der().to_vec();
        assert!(not_after(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len().min(200) {
            // Whatever comes of it, it must not panic.
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = not_after(&changed);
        }
    }
}
