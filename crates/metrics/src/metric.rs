//! What a metric is: its name, the meaning and unit of its values, its labels, and a sentence for operators.

use crate::labels::Label;

/// What a metric's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only ever grows while the broker runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations counted in buckets, with their sum.
    Histogram,
}

impl MetricType {
    /// The type as the exposition format has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A number of things.
    One,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The unit as the documentation has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// One row: a metric and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in the exposition format.
    pub name: &'static str,
    /// What its values mean.
    pub kind: MetricType,
    /// Unit of its values.
    pub unit: Unit,
    /// Its labels. One series exists for each combination of their values.
    pub labels: &'static [Label],
    /// What it tells an operator, in one sentence.
    pub help: &'static str,
}

/// A row of a counter.
pub(crate) const fn counter(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    row(MetricType::Counter, name, unit, labels, help)
}

/// A row of a gauge.
pub(crate) const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    row(MetricType::Gauge, name, unit, labels, help)
}

/// A row of a histogram of seconds, without labels.
pub(crate) const fn seconds(name: &'static str, help: &'static str) -> Metric {
    row(MetricType::Histogram, name, Unit::Seconds, &[], help)
}

const fn row(
    kind: MetricType,
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        unit,
        labels,
        help,
    }
}
