//! The latencies of a run in its outcome: a few quantiles of a histogram.

use std::fmt::{self, Display};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::swarm::report::micros;

/// Longest latency that is distinguished, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

/// An empty histogram of latencies in microseconds.
pub(crate) fn latencies() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?)
}

/// Latencies in microseconds; all 0 if there were none.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Latency {
    /// The quantiles of `histogram`, which is in microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = [self.p50, self.p99, self.p999, self.max].map(micros);
        write!(f, "p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}")
    }
}
