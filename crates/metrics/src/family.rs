//! The cells of one metric, and their export.
//!
//! All series exist from the start; their number never changes. A gauge that has nothing to tell is not exported, since
//! any number would be read as a value. Cells are relaxed atomics: each is exact by itself, but a scrape during a flush
//! may see only some of the flush's figures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::definition::{Definition, MetricType, Unit};
use crate::histogram::{BUCKETS, BUCKETS_MICROS, HISTOGRAM_CELLS};
use crate::labels::Label;

/// The value in the cell of a gauge that has nothing to tell.
pub(crate) const NOTHING: u64 = i64::MIN.cast_unsigned();

/// The place of a metric's cells, in row-major order of its labels' values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// The position of the first cell.
    pub(crate) first: usize,
    /// The number of values of each label; 1 where the metric has no such label.
    values: [usize; 2],
    cells_per_series: usize,
}

impl Layout {
    /// The layout of a metric whose labels have as many values as `values` says: at most two labels.
    pub(crate) fn new(kind: MetricType, first: usize, values: &[usize]) -> Self {
        let of = |at: usize| values.get(at).copied().unwrap_or(1);
        Self {
            first,
            values: [of(0), of(1)],
            cells_per_series: match kind {
                MetricType::Counter | MetricType::Gauge => 1,
                MetricType::Histogram => HISTOGRAM_CELLS,
            },
        }
    }

    /// The number of series.
    pub(crate) fn series(&self) -> usize {
        self.values[0] * self.values[1]
    }

    /// The position after the last cell.
    pub(crate) fn end(&self) -> usize {
        self.first + self.series() * self.cells_per_series
    }

    /// The position of the first cell of the series with these label values, given as indices. An index beyond a
    /// label's values counts as the last value, so a set of values can end with a catch-all.
    #[inline]
    pub(crate) fn cell(&self, labels: &[usize]) -> usize {
        let index = |at: usize| {
            labels
                .get(at)
                .map_or(0, |index| (*index).min(self.values[at] - 1))
        };
        self.first + (index(0) * self.values[1] + index(1)) * self.cells_per_series
    }
}

/// The names of the families of topics, which become known while the broker runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct FamilyNames(Arc<RwLock<Vec<Box<str>>>>);

impl FamilyNames {
    /// Sets the names in the order of the families' numbers.
    pub(crate) fn set(&self, names: Vec<Box<str>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    fn get(&self) -> RwLockReadGuard<'_, Vec<Box<str>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One metric, as the exporter sees it.
#[derive(Debug)]
pub(crate) struct Family {
    definition: &'static Definition,
    desc: Desc,
    series: Vec<Vec<proto::LabelPair>>,
    layout: Layout,
    cells: Arc<[AtomicU64]>,
    /// The names in place of the values of its label, if these are families of topics.
    names: Option<FamilyNames>,
}

impl Family {
    /// The family of `definition`. `values` has one set of label values per label, none of them empty.
    pub(crate) fn new(
        definition: &'static Definition,
        values: &[Vec<String>],
        layout: Layout,
        cells: &Arc<[AtomicU64]>,
    ) -> Result<Self, prometheus::Error> {
        let names = definition.labels.iter().map(|label| label.name().to_owned());
        let desc = Desc::new(
            definition.name.to_owned(),
            definition.help.to_owned(),
            names.collect(),
            HashMap::new(),
        )?;
        let mut series = vec![Vec::new()];
        for (label, values) in definition.labels.iter().zip(values) {
            let with = |pairs: &Vec<proto::LabelPair>, value: &String| {
                [pairs.as_slice(), &[pair(label.name(), value)]].concat()
            };
            series = series
                .iter()
                .flat_map(|pairs| values.iter().map(|value| with(pairs, value)))
                .collect();
        }
        Ok(Self {
            definition,
            desc,
            series,
            layout,
            cells: Arc::clone(cells),
            names: None,
        })
    }

    /// The same, with these names if its label is that of families of topics.
    pub(crate) fn with_names(self, names: &FamilyNames) -> Self {
        let is_by_family = self.definition.labels == [Label::Family];
        Self {
            names: is_by_family.then(|| names.clone()),
            ..self
        }
    }

    fn sample(&self, labels: &[proto::LabelPair], first: usize) -> Option<proto::Metric> {
        let mut sample = proto::Metric::from_label(labels.to_vec());
        let value = |at: usize| self.cells[first + at].load(Ordering::Relaxed);
        let in_unit = |raw: f64| match self.definition.unit {
            Unit::Seconds => raw / 1e6,
            Unit::One | Unit::Bytes => raw,
        };
        match self.definition.kind {
            MetricType::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value(0) as f64);
                sample.set_counter(counter);
            }
            MetricType::Gauge if value(0) == NOTHING => return None,
            MetricType::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(in_unit(value(0).cast_signed() as f64));
                sample.set_gauge(gauge);
            }
            MetricType::Histogram => {
                let mut cumulative = 0_u64;
                let mut buckets = Vec::with_capacity(BUCKETS_MICROS.len());
                for (at, &bound) in BUCKETS_MICROS.iter().enumerate() {
                    cumulative = cumulative.wrapping_add(value(at));
                    let mut bucket = proto::Bucket::default();
                    bucket.set_upper_bound(in_unit(bound as f64));
                    bucket.set_cumulative_count(cumulative);
                    buckets.push(bucket);
                }
                let mut histogram = proto::Histogram::default();
                histogram.set_bucket(buckets);
                histogram.set_sample_count(cumulative.wrapping_add(value(BUCKETS - 1)));
                histogram.set_sample_sum(in_unit(value(BUCKETS) as f64));
                sample.set_histogram(histogram);
            }
        }
        Some(sample)
    }
}

impl Collector for Family {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.definition.name.to_owned());
        family.set_help(self.definition.help.to_owned());
        family.set_field_type(match self.definition.kind {
            MetricType::Counter => proto::MetricType::COUNTER,
            MetricType::Gauge => proto::MetricType::GAUGE,
            MetricType::Histogram => proto::MetricType::HISTOGRAM,
        });
        let firsts = (self.layout.first..).step_by(self.layout.cells_per_series);
        let samples = self.series.iter().zip(firsts);
        let sample = |(labels, first): (&Vec<_>, _)| self.sample(labels, first);
        let samples = match &self.names {
            None => samples.filter_map(sample).collect(),
            Some(names) => {
                let names = names.get();
                let named = names.iter().zip(samples);
                let named = named
                    .filter_map(|(name, (_, first))| self.sample(&[pair(Label::Family.name(), name)], first));
                named.collect()
            }
        };
        family.set_metric(samples);
        vec![family]
    }
}

fn pair(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
