//! The catalogue: all metrics of one broker, made once and shared by its threads.
//!
//! Making it fails when a label set is unusable; afterwards nothing about it can fail but a scrape, and that only if
//! the exporter itself is at fault.

use std::collections::HashSet;
use std::sync::Arc;

use prometheus::{Registry, TextEncoder};
use thiserror::Error;

use crate::family::Family;
use crate::feed::FeedMetrics;
use crate::http::HttpMetrics;
use crate::labels::{
    AuthFailure, DeliveryOp, EncodeOp, Label, LabelSets, Reload, StatusClass, Transport, TurnedAway,
};
use crate::process::ProcessCollector;
use crate::shard::ShardMetrics;
use crate::table::{Id, TABLE};
use crate::tls::TlsMetrics;

/// Content type of [`Catalogue::render`]: the text exposition format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a catalogue cannot be made.
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

/// A scrape that could not be written.
#[derive(Debug, Error)]
#[error("metrics cannot be written: {0}")]
pub struct RenderError(#[from] prometheus::Error);

/// All metrics of one broker.
#[derive(Debug)]
pub struct Catalogue {
    families: Box<[Family]>,
    registry: Registry,
    shards: usize,
    codecs: usize,
}

impl Catalogue {
    /// The catalogue of a broker of this `version` with this many `shards`, its labels ranging over `sets`.
    ///
    /// # Errors
    /// When there are no shards, or when a set is empty or names a value twice.
    pub fn new(shards: usize, version: &str, sets: &LabelSets) -> Result<Arc<Self>, CatalogueError> {
        let registry = Registry::new();
        let mut families = Vec::with_capacity(TABLE.len());
        for metric in TABLE {
            let mut values = Vec::with_capacity(metric.labels.len());
            for &label in metric.labels {
                let set = label_values(label, shards, version, sets);
                check(metric.name, label, &set)?;
                values.push(set);
            }
            let family = Family::new(metric, &values)?;
            registry.register(Box::new(family.clone()))?;
            families.push(family);
        }
        registry.register(Box::new(ProcessCollector::new()?))?;
        let catalogue = Self {
            families: families.into(),
            registry,
            shards,
            codecs: sets.codecs.len(),
        };
        catalogue.family(Id::BuildInfo).set(0, 1);
        catalogue.family(Id::TlsNotAfter).set_nothing(0);
        Ok(Arc::new(catalogue))
    }

    /// One counting struct per shard, in the order of the shards.
    #[must_use]
    pub fn shard_metrics(self: &Arc<Self>) -> Vec<ShardMetrics> {
        (0..self.shards)
            .map(|shard| ShardMetrics::new(self, shard))
            .collect()
    }

    /// A counting struct for a thread that runs the built-in feed.
    #[must_use]
    pub fn feed_metrics(self: &Arc<Self>) -> FeedMetrics {
        FeedMetrics::new(self)
    }

    /// A handle for the HTTP side; cloning it is cheap.
    #[must_use]
    pub fn http_metrics(self: &Arc<Self>) -> HttpMetrics {
        HttpMetrics::new(self)
    }

    /// A handle for those who shake hands by TLS; cloning it is cheap.
    #[must_use]
    pub fn tls_metrics(self: &Arc<Self>) -> TlsMetrics {
        TlsMetrics::new(self)
    }

    /// Sets the number of topics that exist.
    pub fn set_topics(&self, topics: u64) {
        self.family(Id::Topics).set(0, topics);
    }

    /// Sets the bytes that the histories of all topics hold.
    pub fn set_history_bytes(&self, bytes: u64) {
        self.family(Id::HistoryBytes).set(0, bytes);
    }

    /// Sets the bytes that the newest messages of all topics and their books hold.
    pub fn set_value_bytes(&self, bytes: u64) {
        self.family(Id::ValueBytes).set(0, bytes);
    }

    /// Sets the bytes of messages that promised replays keep.
    pub fn set_replay_bytes(&self, bytes: u64) {
        self.family(Id::ReplayBytes).set(0, bytes);
    }

    /// Sets the microseconds by which the system's clock is ahead of the broker's.
    pub fn set_clock_offset(&self, offset_us: i64) {
        self.family(Id::ClockOffset).set(0, offset_us.cast_unsigned());
    }

    /// Sets the number of topics that are stale, and how often one became so or ceased to be, ever.
    pub fn set_stale_topics(&self, topics: u64, changes: u64) {
        self.family(Id::StaleTopics).set(0, topics);
        self.family(Id::StaleChanges).set(0, changes);
    }

    /// Sets how often a book became crossed, ever.
    pub fn set_crossed_books(&self, times: u64) {
        self.family(Id::CrossedBooks).set(0, times);
    }

    /// Sets the number of addresses that something is counted of.
    pub fn set_addresses(&self, addresses: u64) {
        self.family(Id::Addresses).set(0, addresses);
    }

    /// Sets how many lines of the log were lost, ever.
    pub fn set_log_lines_lost(&self, lines: u64) {
        self.family(Id::LogLost).set(0, lines);
    }

    /// Counts that the configuration was read again.
    pub fn reloaded(&self, result: Reload) {
        self.family(Id::ConfigReloads).add(result as usize, 1);
    }

    /// Sets when a configuration was last read that holds, in seconds since 1970.
    pub fn set_config_loaded(&self, at_s: u64) {
        self.family(Id::ConfigLoaded)
            .set(0, at_s.saturating_mul(1_000_000));
    }

    /// Number of series that the broker has, the process's own not counted; it never changes. Each is exported while it has
    /// something to tell.
    #[must_use]
    pub fn series(&self) -> usize {
        self.families.iter().map(Family::len).sum()
    }

    /// Everything in the text exposition format, version 0.0.4, metrics in alphabetical order.
    ///
    /// # Errors
    /// Only when the exporter itself is at fault.
    pub fn render(&self) -> Result<String, RenderError> {
        let mut text = String::with_capacity(16 * 1024);
        TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    pub(crate) fn family(&self, id: Id) -> &Family {
        &self.families[id as usize]
    }

    pub(crate) fn codecs(&self) -> usize {
        self.codecs
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
        Label::Transport => Transport::NAMES,
        Label::Status => sets.refused_statuses,
        Label::Route => sets.routes,
        Label::StatusClass => StatusClass::NAMES,
        Label::AuthFailure => AuthFailure::NAMES,
        Label::TurnedAway => TurnedAway::NAMES,
        Label::Reload => Reload::NAMES,
        Label::Anomaly => sets.anomalies,
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
