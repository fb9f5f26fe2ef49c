//! The counters of one thread.
//!
//! They are plain numbers that the thread owns: counting is an addition and touches no memory of other threads.
//! [`flush`](LocalMetrics::flush) moves what has changed into the catalogue. Dropping the struct flushes it and takes
//! back what the thread added to gauges.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::definition::MetricType;
use crate::histogram::{BUCKETS, HISTOGRAM_CELLS, bucket_of};
use crate::table::{Metric, TABLE};

/// One thread's part of every metric. Labels are given as indices of their values, in the order in which the metric's
/// [`Definition`](crate::Definition) names the labels. An index beyond a label's values counts as the last value.
#[derive(Debug)]
pub struct LocalMetrics {
    catalogue: Arc<Catalogue>,
    /// The thread's counts since its start.
    values: Box<[u64]>,
    /// The part of `values` that is in the catalogue.
    flushed: Box<[u64]>,
}

impl LocalMetrics {
    pub(crate) fn new(catalogue: &Arc<Catalogue>) -> Self {
        let zeros = vec![0; catalogue.cells()].into_boxed_slice();
        Self {
            catalogue: Arc::clone(catalogue),
            values: zeros.clone(),
            flushed: zeros,
        }
    }

    #[inline]
    fn value(&mut self, metric: Metric, labels: &[usize]) -> &mut u64 {
        &mut self.values[self.catalogue.layout(metric).cell(labels)]
    }

    /// Adds `n` to a counter or a gauge.
    #[inline]
    pub fn add(&mut self, metric: Metric, labels: &[usize], n: u64) {
        let value = self.value(metric, labels);
        *value = value.wrapping_add(n);
    }

    /// Subtracts `n` from a gauge. Another thread may have added it.
    #[inline]
    pub fn sub(&mut self, metric: Metric, labels: &[usize], n: u64) {
        self.add(metric, labels, n.wrapping_neg());
    }

    /// Sets this thread's part of a gauge to `value`, or of a counter that is counted elsewhere.
    #[inline]
    pub fn set(&mut self, metric: Metric, labels: &[usize], value: u64) {
        *self.value(metric, labels) = value;
    }

    /// Adds an observation of `value` microseconds or bytes to a histogram.
    #[inline]
    pub fn observe(&mut self, metric: Metric, value: u64) {
        let first = self.catalogue.layout(metric).first;
        let cells = &mut self.values[first..first + HISTOGRAM_CELLS];
        cells[bucket_of(value)] = cells[bucket_of(value)].wrapping_add(1);
        cells[BUCKETS] = cells[BUCKETS].wrapping_add(value);
    }

    /// The part of a counter that was added since the last flush.
    #[must_use]
    pub fn unflushed(&self, metric: Metric, labels: &[usize]) -> u64 {
        let cell = self.catalogue.layout(metric).cell(labels);
        self.values[cell].wrapping_sub(self.flushed[cell])
    }

    /// Moves what has changed since the last flush into the catalogue. Call it between cycles, several times per
    /// second, and when the thread becomes idle.
    pub fn flush(&mut self) {
        let parts = self.values.iter().zip(self.flushed.iter_mut());
        for (cell, (value, flushed)) in parts.enumerate().filter(|(_, (value, flushed))| value != flushed) {
            self.catalogue.add_to_cell(cell, value.wrapping_sub(*flushed));
            *flushed = *value;
        }
    }
}

impl Drop for LocalMetrics {
    fn drop(&mut self) {
        for (definition, layout) in TABLE.iter().zip(self.catalogue.layouts()) {
            if definition.kind == MetricType::Gauge {
                self.values[layout.first..layout.end()].fill(0);
            }
        }
        self.flush();
    }
}
