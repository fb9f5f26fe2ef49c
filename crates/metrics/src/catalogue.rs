//! The catalogue: all metrics of one broker, created once and shared by its threads.
//!
//! Creating it fails if a label set is unusable. After that only a scrape can fail, and only if the exporter itself is
//! at fault.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Registry, TextEncoder};
use thiserror::Error;

use crate::family::{Family, FamilyNames, Layout, NOTHING};
use crate::histogram::BUCKETS;
use crate::labels::{
    AuthFailure, DeliveryOp, EncodeOp, FAMILIES, Label, LabelSets, Reload, StatusClass, TransportLabel,
    TurnedAwayLabel,
};
use crate::local::LocalMetrics;
use crate::process::ProcessCollector;
use crate::table::{Metric, TABLE};

/// The content type of [`Catalogue::render`]: the text exposition format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a catalogue cannot be created.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// A label set, or the number of shards, is empty.
    #[error("{metric} has no values for its label {label:?}; give at least one")]
    NoLabelValue {
        /// The metric.
        metric: &'static str,
        /// The label.
        label: &'static str,
    },
    /// A label set names a value twice.
    #[error("{metric} has the value {value:?} twice for its label {label:?}; remove one")]
    LabelValueTwice {
        /// The metric.
        metric: &'static str,
        /// The label.
        label: &'static str,
        /// The value.
        value: String,
    },
    /// The table holds something that Prometheus does not accept.
    #[error("the exporter refuses a metric: {0}")]
    Refused(#[from] prometheus::Error),
}

/// Why a scrape could not be written.
#[derive(Debug, Error)]
#[error("metrics cannot be written: {0}")]
pub struct RenderError(#[from] prometheus::Error);

/// All metrics of one broker.
///
/// Its own methods count at once, with an atomic operation. Labels are given as indices of their values, in the order
/// in which the metric's [`Definition`](crate::Definition) names the labels. An index beyond a label's values counts as
/// the last value.
#[derive(Debug)]
pub struct Catalogue {
    layouts: Box<[Layout]>,
    cells: Arc<[AtomicU64]>,
    registry: Registry,
    family_names: FamilyNames,
}

impl Catalogue {
    /// Creates the catalogue of a broker of this `version` with `shards` shards. The values of its labels come from
    /// `sets`.
    ///
    /// # Errors
    /// When there are no shards, or when a label set is empty or names a value twice.
    pub fn new(shards: usize, version: &str, sets: &LabelSets) -> Result<Arc<Self>, CatalogueError> {
        let mut layouts: Vec<Layout> = Vec::with_capacity(TABLE.len());
        let mut values = Vec::with_capacity(TABLE.len());
        for definition in TABLE {
            let sets = definition.labels.iter().map(|&label| {
                let set = label_values(label, shards, version, sets);
                check(definition.name, label, &set)?;
                Ok(set)
            });
            let sets: Vec<_> = sets.collect::<Result<_, CatalogueError>>()?;
            let counts: Vec<_> = sets.iter().map(Vec::len).collect();
            let first = layouts.last().map_or(0, Layout::end);
            layouts.push(Layout::new(definition.kind, first, &counts));
            values.push(sets);
        }
        let cells = layouts.last().map_or(0, Layout::end);
        let cells: Arc<[AtomicU64]> = (0..cells).map(|_| AtomicU64::new(0)).collect();
        let registry = Registry::new();
        let family_names = FamilyNames::default();
        for ((definition, layout), values) in TABLE.iter().zip(&layouts).zip(&values) {
            registry.register(Box::new(
                Family::new(definition, values, *layout, &cells)?.with_names(&family_names),
            ))?;
        }
        registry.register(Box::new(ProcessCollector::new()?))?;
        let catalogue = Self {
            layouts: layouts.into(),
            cells,
            registry,
            family_names,
        };
        catalogue.set(Metric::BuildInfo, &[], 1);
        catalogue.set_nothing(Metric::TlsNotAfter, &[]);
        catalogue.set_nothing(Metric::Accounts, &[]);
        Ok(Arc::new(catalogue))
    }

    /// A thread's own counters, for what is counted too often for atomic operations.
    #[must_use]
    pub fn local(self: &Arc<Self>) -> LocalMetrics {
        LocalMetrics::new(self)
    }

    /// Adds `n` to a counter or a gauge.
    pub fn add(&self, metric: Metric, labels: &[usize], n: u64) {
        self.add_to_cell(self.layout(metric).cell(labels), n);
    }

    /// Subtracts `n` from a gauge. Another thread may have added it.
    pub fn sub(&self, metric: Metric, labels: &[usize], n: u64) {
        self.add(metric, labels, n.wrapping_neg());
    }

    /// Sets a gauge, or a counter that is counted elsewhere. A gauge whose unit is seconds is set in microseconds. A
    /// negative number is given as its two's complement.
    pub fn set(&self, metric: Metric, labels: &[usize], value: u64) {
        let cell = self.layout(metric).cell(labels);
        self.cells[cell].store(value, Ordering::Relaxed);
    }

    /// Names the families of topics, in the order of their numbers. Series of a family without a name are not exported.
    pub fn name_families(&self, names: Vec<Box<str>>) {
        self.family_names.set(names);
    }

    /// Hides a gauge from the scrape until it is set.
    pub fn set_nothing(&self, metric: Metric, labels: &[usize]) {
        self.set(metric, labels, NOTHING);
    }

    /// The sum of all series of a counter or a gauge, in the unit in which it is counted. A gauge with nothing to tell counts as 0.
    /// Each series is as old as its thread's last flush.
    #[must_use]
    pub fn total(&self, metric: Metric) -> u64 {
        let layout = self.layout(metric);
        let cells = &self.cells[layout.first..layout.end()];
        let values = cells.iter().map(|cell| cell.load(Ordering::Relaxed));
        let told = values.filter(|value| *value != NOTHING);
        told.fold(0, u64::wrapping_add)
    }

    /// The number of observations in each bucket of a histogram, in the order of [`BUCKETS_MICROS`](crate::BUCKETS_MICROS); the unbounded
    /// bucket is the last.
    #[must_use]
    pub fn buckets(&self, metric: Metric) -> [u64; BUCKETS] {
        let first = self.layout(metric).first;
        std::array::from_fn(|at| self.cells[first + at].load(Ordering::Relaxed))
    }

    /// The number of the broker's series, without the process's own figures. It never changes. A gauge with nothing to
    /// tell, and a family of topics without a name, have series that are not exported.
    #[must_use]
    pub fn series(&self) -> usize {
        self.layouts.iter().map(Layout::series).sum()
    }

    /// All metrics in the text exposition format, version 0.0.4, in alphabetical order.
    ///
    /// # Errors
    /// Only when the exporter itself is at fault.
    pub fn render(&self) -> Result<String, RenderError> {
        let mut text = String::with_capacity(16 * 1024);
        TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Adds to a cell by its position.
    pub(crate) fn add_to_cell(&self, cell: usize, n: u64) {
        self.cells[cell].fetch_add(n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn layout(&self, metric: Metric) -> Layout {
        self.layouts[metric as usize]
    }

    /// The layout of each metric's cells, in the order of the table.
    pub(crate) fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The number of cells.
    pub(crate) fn cells(&self) -> usize {
        self.cells.len()
    }
}

fn label_values(label: Label, shards: usize, version: &str, sets: &LabelSets) -> Vec<String> {
    let set = match label {
        Label::Shard => return (0..shards).map(|shard| shard.to_string()).collect(),
        Label::Version => return vec![version.to_owned()],
        Label::Kind => sets.kinds,
        Label::DeliveryOp => DeliveryOp::NAMES,
        Label::EncodeOp => EncodeOp::NAMES,
        Label::RequestOp => sets.request_ops,
        Label::Codec => sets.codecs,
        Label::ErrorCode => sets.error_codes,
        Label::CloseCode => sets.close_codes,
        Label::Transport => TransportLabel::NAMES,
        Label::Status => sets.refused_statuses,
        Label::Route => sets.routes,
        Label::StatusClass => StatusClass::NAMES,
        Label::AuthFailure => AuthFailure::NAMES,
        Label::TurnedAway => TurnedAwayLabel::NAMES,
        Label::Reload => Reload::NAMES,
        Label::Anomaly => sets.anomalies,
        Label::EndReason => sets.end_reasons,
        Label::Family => return (0..FAMILIES).map(|family| family.to_string()).collect(),
        Label::LaneState => sets.lane_states,
        Label::EpochReason => sets.epoch_reasons,
    };
    set.iter().map(|&value| value.to_owned()).collect()
}

fn check(metric: &'static str, label: Label, set: &[String]) -> Result<(), CatalogueError> {
    let label = label.name();
    if set.is_empty() {
        return Err(CatalogueError::NoLabelValue { metric, label });
    }
    let mut seen = HashSet::new();
    match set.iter().find(|&value| !seen.insert(value)) {
        None => Ok(()),
        Some(value) => Err(CatalogueError::LabelValueTwice {
            metric,
            label,
            value: value.clone(),
        }),
    }
}
