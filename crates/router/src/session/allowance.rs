//! What is left to a session of its rates: requests and the work that they make, publications, and refusals.
//!
//! Never reads a clock, and closes nothing: it says when its session is to be closed.

use tickwire_wire::error::ErrorCode;
use tickwire_wire::limits::{ADDRESS_VISITS, REFUSALS_FORGIVEN_PER_S};
use tickwire_wire::{Micros, Refusal};

use crate::bucket::{Bucket, Rate, SharedBucket};
use crate::rights::PublishRate;
use crate::shard::ShardSettings;

/// What becomes of something that came too fast.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TooFast {
    /// It is refused.
    Refused(Refusal),
    /// Its session is closed for this reason: it went on after as many such refusals as it may have.
    Closed(&'static str),
}

impl TooFast {
    /// The refusal of one of `what`: the next one may come in `wait_us` microseconds.
    fn refused(what: &str, per_s: u32, burst: u32, wait_us: u64) -> Refusal {
        let wait_ms = wait_us.div_ceil(1_000);
        let reason =
            format!("more than {per_s} {what} per second after a burst of {burst}; wait {wait_ms} ms");
        Refusal::new(ErrorCode::RateLimited, reason)
    }
}

/// What is left of a rate, and of the refusals with `rate_limited` that a session may have for it.
#[derive(Debug, Default)]
struct Metered {
    left: Bucket,
    patience: Bucket,
}

impl Metered {
    /// Takes one. So many refusals may come at once; they are forgiven as fast as the rate allows.
    ///
    /// # Errors
    /// When there is none: with the microseconds until there is one, or without them if there were too many refusals.
    fn take(&mut self, (per_s, burst): (u32, u32), refusals: u32, now: Micros) -> Result<(), Option<u64>> {
        let Err(wait_us) = self.left.take(Rate::new(per_s, burst), now) else {
            return Ok(());
        };
        let forgiven = self.patience.take(Rate::new(per_s, refusals), now);
        Err(forgiven.is_ok().then_some(wait_us))
    }
}

/// What is left to a session of its rates.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// Its requests, and the work that they make.
    requests: Metered,
    publications: Metered,
    /// The requests in a row that may be refused for what they ask.
    refusals: Bucket,
    /// The looks at topics that all sessions of its address may take, if these are counted.
    visits: Option<SharedBucket>,
}

impl Allowance {
    /// Lets looks at topics be taken from those of the session's address, too.
    pub(crate) fn share(&mut self, visits: SharedBucket) {
        self.visits = Some(visits);
    }

    /// Takes one request.
    pub(crate) fn take_request(&mut self, settings: &ShardSettings, now: Micros) -> Result<(), TooFast> {
        let limits = settings.limits;
        let rate = (limits.ops_per_s, limits.ops_burst);
        let taken = self
            .requests
            .take(rate, settings.session_limits.rate_limited, now);
        taken.map_err(|wait_us| match wait_us {
            Some(wait_us) => TooFast::Refused(TooFast::refused("requests", rate.0, rate.1, wait_us)),
            None => TooFast::Closed("requests went on after rate_limited"),
        })
    }

    /// Takes one publication of those that may come at `rate`, with so many refusals at once.
    pub(crate) fn take_publication(
        &mut self,
        PublishRate { per_s, burst }: PublishRate,
        refusals: u32,
        now: Micros,
    ) -> Result<(), TooFast> {
        let taken = self.publications.take((per_s, burst), refusals, now);
        taken.map_err(|wait_us| match wait_us {
            Some(wait_us) => TooFast::Refused(TooFast::refused("publications", per_s, burst, wait_us)),
            None => TooFast::Closed("publications went on after rate_limited"),
        })
    }

    /// Whether what the session was charged for the work of its requests is within its allowance, and within that of its
    /// address: a client that connects anew has a new allowance of its own, and its address has the old one.
    pub(crate) fn check(&self, settings: &ShardSettings, now: Micros) -> Result<(), Refusal> {
        let limits = settings.limits;
        let own = self
            .requests
            .left
            .check(Rate::new(limits.ops_per_s, limits.ops_burst), now);
        let all = self
            .visits
            .as_ref()
            .map_or(Ok(()), |visits| visits.check(address_rate(settings), now));
        own.and(all)
            .map_err(|wait_us| TooFast::refused("requests", limits.ops_per_s, limits.ops_burst, wait_us))
    }

    /// Takes requests, of the session's and of its address's, for one that looked at so many topics.
    pub(crate) fn charge_visits(&mut self, settings: &ShardSettings, visited: usize, now: Micros) {
        let rate = Rate::new(settings.limits.ops_per_s, settings.limits.ops_burst);
        self.requests.left.charge_visits(rate, visited, now);
        if let Some(visits) = &self.visits {
            visits.charge_visits(address_rate(settings), visited, now);
        }
    }

    /// A request was refused for what it asks. Returns whether it was one too many, of `most` in a row.
    pub(crate) fn refused(&mut self, most: u32, now: Micros) -> bool {
        // The last one of them closes.
        let forgiving = Rate::new(REFUSALS_FORGIVEN_PER_S, most.saturating_sub(1));
        most <= 1 || self.refusals.take(forgiving, now).is_err()
    }

    /// A request was accepted: refusals are counted anew.
    pub(crate) fn accepted(&mut self) {
        self.refusals = Bucket::default();
    }
}

/// How fast the allowance of an address for looks at topics fills: that of a few connections.
fn address_rate(settings: &ShardSettings) -> Rate {
    let of_all = |of_one: u32| of_one.saturating_mul(ADDRESS_VISITS);
    Rate::new(
        of_all(settings.limits.ops_per_s),
        of_all(settings.limits.ops_burst),
    )
}
