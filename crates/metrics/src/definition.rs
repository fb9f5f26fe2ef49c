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
    /// A number of bytes.
    Bytes,
    /// A time in seconds.
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

/// What a metric means.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
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
