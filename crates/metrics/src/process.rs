//! The process's own figures, under the names that every Prometheus client uses.
//!
//! They are read from `/proc` at each scrape. CPU time has hundredths of a second; the collector of the exporter
//! library has only whole ones. Figures that cannot be read are left out of the scrape. On systems other than Linux
//! these are all of them.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::definition::{Definition, MetricType, Unit};

const fn row(kind: MetricType, unit: Unit, name: &'static str, help: &'static str) -> Definition {
    Definition {
        name,
        kind,
        unit,
        labels: &[],
        help,
    }
}

/// The process's own metrics, under the names that every Prometheus client uses.
pub const PROCESS_TABLE: &[Definition] = &[
    row(
        MetricType::Counter,
        Unit::Seconds,
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
    ),
    row(
        MetricType::Gauge,
        Unit::One,
        "process_open_fds",
        "Number of open file descriptors.",
    ),
    row(
        MetricType::Gauge,
        Unit::One,
        "process_max_fds",
        "Maximum number of open file descriptors.",
    ),
    row(
        MetricType::Gauge,
        Unit::Bytes,
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
    ),
    row(
        MetricType::Gauge,
        Unit::Bytes,
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
    ),
    row(
        MetricType::Gauge,
        Unit::Seconds,
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
    ),
    row(
        MetricType::Gauge,
        Unit::One,
        "process_threads",
        "Number of OS threads in the process.",
    ),
];

/// The resident memory of the process in bytes, read from `/proc`; `None` if it cannot be read.
#[cfg(target_os = "linux")]
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let memory = procfs::process::Process::myself().and_then(|process| process.statm());
    memory.ok().map(|memory| memory.resident * procfs::page_size())
}

/// The resident memory of the process in bytes: not known on this system.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    None
}

/// The exporter of [`PROCESS_TABLE`].
#[derive(Debug)]
pub(crate) struct ProcessCollector {
    descs: Vec<Desc>,
}

impl ProcessCollector {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let desc = |metric: &Definition| {
            Desc::new(
                metric.name.to_owned(),
                metric.help.to_owned(),
                Vec::new(),
                HashMap::new(),
            )
        };
        Ok(Self {
            descs: PROCESS_TABLE.iter().map(desc).collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let values = figures();
        let known = PROCESS_TABLE.iter().zip(values);
        known
            .filter_map(|(metric, value)| value.map(|value| family(metric, value)))
            .collect()
    }
}

/// The values of [`PROCESS_TABLE`], in its order; `None` where a value cannot be read.
#[cfg(target_os = "linux")]
fn figures() -> [Option<f64>; PROCESS_TABLE.len()] {
    use procfs::process::{LimitValue, Process};

    let Ok(process) = Process::myself() else {
        return [None; PROCESS_TABLE.len()];
    };
    let stat = process.stat().ok();
    let stat = stat.as_ref();
    let ticks = procfs::ticks_per_second() as f64;
    let max_fds = process
        .limits()
        .ok()
        .and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(max) => Some(max as f64),
            LimitValue::Unlimited => None,
        });
    let booted = procfs::boot_time_secs().ok();
    [
        stat.map(|stat| (stat.utime + stat.stime) as f64 / ticks),
        process.fd_count().ok().map(|fds| fds as f64),
        max_fds,
        stat.map(|stat| stat.vsize as f64),
        stat.map(|stat| (stat.rss * procfs::page_size()) as f64),
        stat.zip(booted)
            .map(|(stat, booted)| booted as f64 + stat.starttime as f64 / ticks),
        stat.map(|stat| stat.num_threads as f64),
    ]
}

#[cfg(not(target_os = "linux"))]
fn figures() -> [Option<f64>; PROCESS_TABLE.len()] {
    [None; PROCESS_TABLE.len()]
}

fn family(metric: &Definition, value: f64) -> proto::MetricFamily {
    let mut sample = proto::Metric::default();
    let mut family = proto::MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    if metric.kind == MetricType::Counter {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        sample.set_counter(counter);
        family.set_field_type(proto::MetricType::COUNTER);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        sample.set_gauge(gauge);
        family.set_field_type(proto::MetricType::GAUGE);
    }
    family.set_metric(vec![sample]);
    family
}
