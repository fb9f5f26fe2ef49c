//! Keeps requests within the rates that the broker announced, so that it refuses none for coming too fast.
//!
//! Token buckets, pure: the time is an argument. A bucket holds four fifths of the announced burst, because requests
//! that left at intervals may arrive together.

use std::time::Duration;

use tickwire_wire::message::AnnouncedLimits;
use tokio::time::Instant;

/// The units of a bucket that one request costs, so that all sums are whole numbers.
const REQUEST: u64 = 1_000_000_000;

/// Which of the broker's rates a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Request,
    Publication,
}

/// Tells when the next request may be sent.
#[derive(Debug)]
pub(crate) struct Pace {
    requests: Rate,
    /// `None` if the broker counts publications among the requests.
    publications: Option<Rate>,
}

impl Pace {
    /// Starts the pace for `limits` at `now`. An announced rate of 0 means no limit.
    pub(crate) fn new(limits: &AnnouncedLimits, now: Instant) -> Self {
        let publications = Rate::new(limits.publishes_per_s, limits.publishes_burst, now);
        Self {
            requests: Rate::new(limits.ops_per_s, limits.ops_burst, now),
            publications: (limits.publishes_per_s > 0).then_some(publications),
        }
    }

    /// The time until a request that counts as `counted` may be sent.
    pub(crate) fn wait(&mut self, counted: Counted, now: Instant) -> Duration {
        self.rate(counted).wait(now)
    }

    /// Takes a request that counts as `counted` from its bucket.
    pub(crate) fn spend(&mut self, counted: Counted) {
        self.rate(counted).spend();
    }

    fn rate(&mut self, counted: Counted) -> &mut Rate {
        match (counted, &mut self.publications) {
            (Counted::Publication, Some(publications)) => publications,
            _ => &mut self.requests,
        }
    }
}

/// A token bucket.
#[derive(Debug)]
struct Rate {
    /// Requests per second; 0 means no limit.
    per_s: u64,
    /// The most that the bucket holds.
    full: u64,
    level: u64,
    at: Instant,
}

impl Rate {
    fn new(per_s: u32, burst: u32, now: Instant) -> Self {
        let burst = u64::from(burst.max(per_s));
        let full = (burst - burst / 5).max(1) * REQUEST;
        Self {
            per_s: u64::from(per_s),
            full,
            level: full,
            at: now,
        }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        if self.per_s == 0 {
            return Duration::ZERO;
        }
        let passed_ns = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.level = self
            .level
            .saturating_add(passed_ns.saturating_mul(self.per_s))
            .min(self.full);
        self.at = self.at.max(now);
        Duration::from_nanos(REQUEST.saturating_sub(self.level).div_ceil(self.per_s))
    }

    fn spend(&mut self) {
        self.level = self.level.saturating_sub(REQUEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ops_per_s: u32, ops_burst: u32) -> AnnouncedLimits {
        AnnouncedLimits {
            subscriptions: 1,
            message_bytes: 1,
            ops_per_s,
            ops_burst,
            publishes_per_s: 0,
            publishes_burst: 0,
        }
    }

    /// The milliseconds from the start at which `count` requests are sent that all wait.
    fn sent_at_ms(limits: &AnnouncedLimits, count: usize) -> Vec<u128> {
        sent_as(&vec![Counted::Request; count], limits)
    }

    /// The same for requests that count as `requests` says.
    fn sent_as(requests: &[Counted], limits: &AnnouncedLimits) -> Vec<u128> {
        let start = Instant::now();
        let mut now = start;
        let mut pace = Pace::new(limits, now);
        let mut send = |counted| {
            now += pace.wait(counted, now);
            assert_eq!(pace.wait(counted, now), Duration::ZERO, "the wait is long enough");
            pace.spend(counted);
            (now - start).as_millis()
        };
        requests.iter().map(|counted| send(*counted)).collect()
    }

    #[test]
    fn a_burst_then_the_rate() {
        assert_eq!(sent_at_ms(&limits(50, 5), 1)[0], 0);
        // A burst of less than one second's worth counts as one second's worth.
        let sent = sent_at_ms(&limits(10, 5), 10);
        assert_eq!(sent, [0, 0, 0, 0, 0, 0, 0, 0, 100, 200]);
        let sent = sent_at_ms(&limits(50, 200), 163);
        assert_eq!(sent[158..], [0, 0, 20, 40, 60]);
    }

    #[test]
    fn one_request_always_fits_and_no_rate_is_no_limit() {
        assert_eq!(sent_at_ms(&limits(1, 1), 3), [0, 1_000, 2_000]);
        assert_eq!(sent_at_ms(&limits(0, 0), 1_000)[999], 0);
    }

    #[test]
    fn quiet_time_refills_no_more_than_the_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(&limits(10, 10), start);
        let later = start + Duration::from_secs(1_000_000);
        for _ in 0..8 {
            assert_eq!(pace.wait(Counted::Request, later), Duration::ZERO);
            pace.spend(Counted::Request);
        }
        assert_eq!(pace.wait(Counted::Request, later), Duration::from_millis(100));
    }

    #[test]
    fn publications_wait_for_their_own_rate_and_for_no_other() {
        let publications = [Counted::Publication; 9];
        let own = AnnouncedLimits {
            publishes_per_s: 10,
            publishes_burst: 10,
            ..limits(1, 1)
        };
        assert_eq!(sent_as(&publications, &own)[7..], [0, 100]);
        let between = [&publications[..8], &[Counted::Request, Counted::Publication]].concat();
        assert_eq!(sent_as(&between, &own)[7..], [0, 0, 100]);
        // A broker that announces no rate of publications counts them among the requests.
        assert_eq!(sent_as(&publications[..3], &limits(1, 1)), [0, 1_000, 2_000]);
    }
}
