//! The `Date` of an answer (RFC 9110 §6.6.1): what hyper would add, but for a clock that cannot be right.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{DATE, HeaderMap, HeaderValue};

/// Seconds since 1970 at which the year 10000 begins, which the format has no room for.
const YEAR_10000_S: u64 = 253_402_300_800;

thread_local! {
    /// The second that was written last.
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// Adds the date to an answer. One that has no clock by which it could be told goes without.
pub(crate) fn date(headers: &mut HeaderMap) {
    if let Some(date) = at(SystemTime::now()) {
        headers.insert(DATE, date);
    }
}

fn at(now: SystemTime) -> Option<HeaderValue> {
    // Before 1970 a clock was never set.
    let seconds = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    if seconds >= YEAR_10000_S {
        return None;
    }
    LAST.with_borrow_mut(|last| match last {
        Some((second, date)) if *second == seconds => Some(date.clone()),
        _ => {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let date = HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()?;
            *last = Some((seconds, date.clone()));
            Some(date)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_tells_no_date() {
        let after = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let text = |now| at(now).map(|date| date.to_str().unwrap().to_owned());
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(text(after(YEAR_10000_S)), None);
        for (seconds, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            // The clock is put back.
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (YEAR_10000_S - 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(after(seconds)).as_deref(), Some(date));
            assert_eq!(text(after(seconds)).as_deref(), Some(date), "again");
        }
    }
}
