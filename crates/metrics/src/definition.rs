//! The definition of a metric: its name, the meaning and unit of its values, its labels, and a sentence for operators.

use crate::labels::Label;

/// What a metric's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// A number that only grows while the broker runs.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A number of observations in buckets, with the sum of the observations.
    Histogram,
}

impl MetricType {
    /// The name of the type in the exposition format.
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
    /// A number of bytes.
    Bytes,
    /// A time in seconds.
    Seconds,
}

impl Unit {
    /// The name of the unit in the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// The definition of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The metric's name in the exposition format.
    pub name: &'static str,
    /// The meaning of its values.
    pub kind: MetricType,
    /// The unit of its values.
    pub unit: Unit,
    /// The metric's labels. There is one series for each combination of their values.
    pub labels: &'static [Label],
    /// What the metric tells an operator, in one sentence.
    pub help: &'static str,
}
