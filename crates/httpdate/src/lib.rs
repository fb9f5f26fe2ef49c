//! Stands in for the crate `httpdate`, for hyper: the same dates, but without a panic where a clock cannot be right.
//!
//! hyper renders the date when a thread serves its first connection, whether an answer will have it or not, and the crate
//! panics before 1970 and after 9999. Here such times are the first and the last that the format can tell
//! (RFC 9110 §5.6.7, IMF-fixdate). Only what hyper uses of the crate is here: whoever needs more of it fails to compile.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;
/// The last second of the year 9999.
const LAST_S: u64 = 253_402_300_799;
/// Thursday, the day of the week on which 1970 began, is the first.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A time as HTTP tells it, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpDate {
    /// Since 1970.
    seconds: u64,
}

impl From<SystemTime> for HttpDate {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: since.as_secs().min(LAST_S),
        }
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds / DAY_S, self.seconds % DAY_S);
        let (year, month, day) = civil(days);
        // hyper takes it in pieces as well, but all 29 bytes of it.
        write!(
            f,
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            DAYS[(days % 7) as usize],
            MONTHS[month],
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Year, index of the month and day of the month, `days` after 1970 began.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // By whole cycles of 400 years first, so that a date costs at most 400 steps and those of our time sixty.
    const CYCLE_DAYS: u64 = 400 * 365 + 97;
    let mut year = 1_970 + days / CYCLE_DAYS * 400;
    days %= CYCLE_DAYS;
    loop {
        let length = 365 + u64::from(is_leap(year));
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates() {
        let text = |time| HttpDate::from(time).to_string();
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (LAST_S + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(text(before), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
