//! The metrics of the process itself, one row each.

use crate::metric::{Metric, Unit, counter, gauge};

/// What the process itself adds, under the names that every Prometheus client uses.
pub const PROCESS_TABLE: &[Metric] = &[
    counter(
        "process_cpu_seconds_total",
        Unit::Seconds,
        &[],
        "Total user and system CPU time spent in seconds.",
    ),
    gauge(
        "process_open_fds",
        Unit::One,
        &[],
        "Number of open file descriptors.",
    ),
    gauge(
        "process_max_fds",
        Unit::One,
        &[],
        "Maximum number of open file descriptors.",
    ),
    gauge(
        "process_virtual_memory_bytes",
        Unit::Bytes,
        &[],
        "Virtual memory size in bytes.",
    ),
    gauge(
        "process_resident_memory_bytes",
        Unit::Bytes,
        &[],
        "Resident memory size in bytes.",
    ),
    gauge(
        "process_start_time_seconds",
        Unit::Seconds,
        &[],
        "Start time of the process since unix epoch in seconds.",
    ),
    gauge(
        "process_threads",
        Unit::One,
        &[],
        "Number of OS threads in the process.",
    ),
];
