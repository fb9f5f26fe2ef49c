//! The shared cells of one metric and their export.
//!
//! All series exist from the start; their number never changes. A gauge that has nothing to tell is not exported, since any number
//! would be read as one. Cells are relaxed atomics: each is exact by itself, and
//! a scrape that falls into a flush may see some of the flush's figures and not yet others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::histogram::{BUCKETS, BUCKETS_MICROS};
use crate::metric::{Metric, MetricType, Unit};

/// Cells of a histogram's series: the buckets, then the sum, in microseconds where the unit is seconds.
const HISTOGRAM_CELLS: usize = BUCKETS + 1;

/// What the cell of a gauge holds that has nothing to tell.
const NOTHING: u64 = i64::MIN.cast_unsigned();

/// One metric: its series in row-major order of its labels' values.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    metric: &'static Metric,
    desc: Desc,
    series: Arc<[Vec<proto::LabelPair>]>,
    cells: Arc<[AtomicU64]>,
}

impl Family {
    /// The family of `metric`, whose labels take `values`: one set per label, none of them empty.
    pub(crate) fn new(metric: &'static Metric, values: &[Vec<String>]) -> Result<Self, prometheus::Error> {
        let names = metric
            .labels
            .iter()
            .map(|label| label.name().to_owned())
            .collect();
        let desc = Desc::new(
            metric.name.to_owned(),
            metric.help.to_owned(),
            names,
            HashMap::new(),
        )?;
        let mut series = vec![Vec::new()];
        for (label, values) in metric.labels.iter().zip(values) {
            series = series
                .iter()
                .flat_map(|pairs| {
                    values
                        .iter()
                        .map(|value| [pairs.as_slice(), &[pair(label.name(), value)]].concat())
                })
                .collect();
        }
        let cells_per_series = match metric.kind {
            MetricType::Counter | MetricType::Gauge => 1,
            MetricType::Histogram => HISTOGRAM_CELLS,
        };
        let cells = (0..series.len() * cells_per_series)
            .map(|_| AtomicU64::new(0))
            .collect();
        Ok(Self {
            metric,
            desc,
            series: series.into(),
            cells,
        })
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Adds `n` to the counter or gauge `series`; a series beyond the last counts as the last. To lower a gauge, add
    /// the two's complement.
    #[inline]
    pub(crate) fn add(&self, series: usize, n: u64) {
        let last = self.series.len() - 1;
        self.cells[series.min(last)].fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the gauge `series` to `value`, in microseconds where the unit is seconds, or a counter that is counted elsewhere.
    pub(crate) fn set(&self, series: usize, value: u64) {
        self.cells[series].store(value, Ordering::Relaxed);
    }

    /// Has the gauge `series` not exported until it is set.
    pub(crate) fn set_nothing(&self, series: usize) {
        self.set(series, NOTHING);
    }

    fn has_something(&self, series: usize) -> bool {
        self.metric.kind != MetricType::Gauge || self.cells[series].load(Ordering::Relaxed) != NOTHING
    }

    /// Adds the counts of each bucket, and the sum, to the only series of a histogram.
    pub(crate) fn merge(&self, (counts, sum_micros): ([u64; BUCKETS], u64)) {
        for (cell, n) in self.cells.iter().zip(counts.into_iter().chain([sum_micros])) {
            if n > 0 {
                cell.fetch_add(n, Ordering::Relaxed);
            }
        }
    }

    fn sample(&self, series: usize) -> proto::Metric {
        let mut sample = proto::Metric::from_label(self.series[series].clone());
        let value = |at: usize| self.cells[at].load(Ordering::Relaxed);
        let in_unit = |raw: f64| match self.metric.unit {
            Unit::Seconds => raw / 1e6,
            Unit::One | Unit::Bytes => raw,
        };
        match self.metric.kind {
            MetricType::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value(series) as f64);
                sample.set_counter(counter);
            }
            MetricType::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(in_unit(value(series).cast_signed() as f64));
                sample.set_gauge(gauge);
            }
            MetricType::Histogram => {
                let first = series * HISTOGRAM_CELLS;
                let mut cumulative = 0_u64;
                let mut buckets = Vec::with_capacity(BUCKETS_MICROS.len());
                for (at, &bound) in BUCKETS_MICROS.iter().enumerate() {
                    cumulative = cumulative.wrapping_add(value(first + at));
                    let mut bucket = proto::Bucket::default();
                    bucket.set_upper_bound(in_unit(bound as f64));
                    bucket.set_cumulative_count(cumulative);
                    buckets.push(bucket);
                }
                let mut histogram = proto::Histogram::default();
                histogram.set_bucket(buckets);
                histogram.set_sample_count(cumulative.wrapping_add(value(first + BUCKETS - 1)));
                histogram.set_sample_sum(in_unit(value(first + BUCKETS) as f64));
                sample.set_histogram(histogram);
            }
        }
        sample
    }
}

impl Collector for Family {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(match self.metric.kind {
            MetricType::Counter => proto::MetricType::COUNTER,
            MetricType::Gauge => proto::MetricType::GAUGE,
            MetricType::Histogram => proto::MetricType::HISTOGRAM,
        });
        let told = (0..self.series.len()).filter(|series| self.has_something(*series));
        family.set_metric(told.map(|series| self.sample(series)).collect());
        vec![family]
    }
}

fn pair(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
