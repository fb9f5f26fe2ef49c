//! What a session has left of its rates: requests and their work, publications, and refusals.
//!
//! Never reads a clock, and closes nothing: it says when the session must be closed.

use tickwire_wire::error::ErrorCode;
use tickwire_wire::limits::{ADDRESS_VISITS, REFUSALS_FORGIVEN_PER_S};
use tickwire_wire::{Micros, Refusal};

use crate::bucket::{Bucket, Rate, SharedBucket};
use crate::rights::{PublishRate, Rights};
use crate::settings::ShardSettings;

/// The outcome of a request or publication that came too fast.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TooFast {
    /// It is refused.
    Refused(Refusal),
    /// Its session is closed for this reason, because it has used up its number of such refusals.
    Closed(String),
}

/// The refusal of one of `what` that came too fast. The next one may come in `wait_us` microseconds.
fn too_fast(what: &str, (per_s, burst): (u32, u32), wait_us: u64) -> Refusal {
    let wait_ms = wait_us.div_ceil(1_000);
    let reason = format!("more than {per_s} {what} per second after a burst of {burst}; wait {wait_ms} ms");
    Refusal::new(ErrorCode::RateLimited, reason)
}

/// What is left of a rate, and of the number of `rate_limited` refusals for it.
#[derive(Debug, Default)]
struct Metered {
    left: Bucket,
    patience: Bucket,
}

impl Metered {
    /// Takes one of `what`. `rate.0` of these may come per second, and `rate.1` at once. `refusals` may be refused at
    /// once; they are forgiven as fast as the rate allows.
    fn take(&mut self, what: &str, rate: (u32, u32), refusals: u32, now: Micros) -> Result<(), TooFast> {
        let Err(wait_us) = self.left.take(Rate::new(rate.0, rate.1), now) else {
            return Ok(());
        };
        Err(match self.patience.take(Rate::new(rate.0, refusals), now) {
            Ok(()) => TooFast::Refused(too_fast(what, rate, wait_us)),
            Err(_) => TooFast::Closed(format!("{what} went on after rate_limited")),
        })
    }
}

/// What a session has left of its rates.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Requests and their work.
    requests: Metered,
    publications: Metered,
    /// Refusals in a row for what a request asks.
    refusals: Bucket,
    /// Looks at topics for all sessions of its address, if these are counted.
    visits: Option<SharedBucket>,
}

impl Allowance {
    /// Makes looks at topics count for the session's address, too.
    pub(crate) fn share(&mut self, visits: SharedBucket) {
        self.visits = Some(visits);
    }

    /// Takes one request.
    pub(crate) fn take_request(
        &mut self,
        settings: &ShardSettings,
        rights: &Rights,
        now: Micros,
    ) -> Result<(), TooFast> {
        let refusals = settings.session_limits.rate_limited;
        self.requests
            .take("requests", ops(settings, rights), refusals, now)
    }

    /// Takes one publication at `rate`. `refusals` may be refused at once.
    pub(crate) fn take_publication(
        &mut self,
        rate: PublishRate,
        refusals: u32,
        now: Micros,
    ) -> Result<(), TooFast> {
        let rate = (rate.per_s, rate.burst);
        self.publications.take("publications", rate, refusals, now)
    }

    /// Checks that the work of the session's requests is within its allowance, and within that of its address. The
    /// second matters because a client that connects again has a new allowance of its own, but its address has the old
    /// one.
    pub(crate) fn check(
        &self,
        settings: &ShardSettings,
        rights: &Rights,
        now: Micros,
    ) -> Result<(), Refusal> {
        let (per_s, burst) = ops(settings, rights);
        let own = self.requests.left.check(Rate::new(per_s, burst), now);
        let visits = self.visits.as_ref();
        let all = visits.map_or(Ok(()), |visits| visits.check(address_rate(settings), now));
        own.and(all)
            .map_err(|wait_us| too_fast("requests", (per_s, burst), wait_us))
    }

    /// Charges a request that looked at `visited` topics to the session and to its address.
    pub(crate) fn charge_visits(
        &mut self,
        settings: &ShardSettings,
        rights: &Rights,
        visited: usize,
        now: Micros,
    ) {
        let (per_s, burst) = ops(settings, rights);
        self.requests
            .left
            .charge_visits(Rate::new(per_s, burst), visited, now);
        if let Some(visits) = &self.visits {
            visits.charge_visits(address_rate(settings), visited, now);
        }
    }

    /// Counts a request that was refused for what it asks. Returns whether it is the last of `most` in a row.
    pub(crate) fn refused(&mut self, most: u32, now: Micros) -> bool {
        // The last refusal closes the session, so one less fits in.
        let forgiving = Rate::new(REFUSALS_FORGIVEN_PER_S, most.saturating_sub(1));
        most <= 1 || self.refusals.take(forgiving, now).is_err()
    }

    /// Counts an accepted request: refusals are counted from the beginning again.
    pub(crate) fn accepted(&mut self) {
        self.refusals = Bucket::default();
    }
}

/// The number of requests that a session with these `rights` may send per second, and at once.
fn ops(settings: &ShardSettings, rights: &Rights) -> (u32, u32) {
    let limits = &settings.limits;
    let own = rights.own.requests.map(|own| (own.per_s, own.burst));
    own.unwrap_or((limits.ops_per_s, limits.ops_burst))
}

/// The rate at which the allowance of an address for looks at topics fills: that of a few connections.
fn address_rate(settings: &ShardSettings) -> Rate {
    let (per_s, burst) = (settings.limits.ops_per_s, settings.limits.ops_burst);
    let of_all = |of_one: u32| of_one.saturating_mul(ADDRESS_VISITS);
    Rate::new(of_all(per_s), of_all(burst))
}
