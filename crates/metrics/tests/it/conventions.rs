//! The table, checked by the naming conventions of Prometheus, and a scrape, checked by `promtool`.

use std::collections::HashSet;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use tickwire_metrics::{Catalogue, Definition, LabelSets, Metric, MetricType, PROCESS_TABLE, TABLE, Unit};

/// Units that are not base units, in full or shortened: `promtool` objects to them in a name.
const FOREIGN_UNITS: &[&str] = &[
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "weeks",
    "ms",
    "us",
    "ns",
    "s",
    "sec",
    "min",
    "b",
    "kb",
    "mb",
    "gb",
    "bits",
    "kilobytes",
    "kibibytes",
    "megabytes",
    "mebibytes",
    "percent",
    "celsius",
];

/// The faults of a row, by the rules of `promtool check metrics` and two of the project: the prefix, and the unit as
/// the last word before `_total`.
fn faults(metric: &Definition) -> Vec<String> {
    let Definition {
        name,
        kind,
        unit,
        labels,
        help,
    } = *metric;
    let mut faults = Vec::new();
    let mut fault = |what: &str| faults.push(format!("{name}: {what}"));
    if !name.starts_with("tickwire_") && !name.starts_with("process_") {
        fault("has no tickwire_ prefix");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    {
        fault("is not in snake case");
    }
    if help.is_empty() || !help.ends_with('.') {
        fault("has no sentence of help");
    }
    if name.ends_with("_total") != (kind == MetricType::Counter) {
        fault("_total is for counters, all of them and nothing else");
    }
    if ["_bucket", "_count", "_sum"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        fault("ends with a suffix of histograms");
    }
    for word in name.split('_') {
        if ["counter", "gauge", "histogram", "summary", "untyped", "metric"].contains(&word) {
            fault("names its type");
        }
        if FOREIGN_UNITS.contains(&word) {
            fault("has a unit that is not a base unit");
        }
    }
    let stem = name.strip_suffix("_total").unwrap_or(name);
    let last = stem.rsplit('_').next();
    if matches!(last, Some("seconds" | "bytes")) != (unit != Unit::One)
        || unit != Unit::One && last != Some(unit.as_str())
    {
        fault("does not end with its unit");
    }
    let names: HashSet<_> = labels.iter().map(|label| label.name()).collect();
    if names.len() != labels.len() || names.contains("le") {
        fault("has an unusable label");
    }
    faults
}

#[test]
fn every_row_follows_the_conventions() {
    let faults: Vec<_> = TABLE.iter().chain(PROCESS_TABLE).flat_map(faults).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let names: HashSet<_> = TABLE
        .iter()
        .chain(PROCESS_TABLE)
        .map(|metric| metric.name)
        .collect();
    assert_eq!(
        names.len(),
        TABLE.len() + PROCESS_TABLE.len(),
        "a name comes twice"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn rows_that_break_a_convention_are_found() {
    let good = TABLE[0];
    for (metric, what) in [
        (
            Definition {
                name: "publications_total",
                ..good
            },
            "prefix",
        ),
        (
            Definition {
                name: "tickwire_publications",
                ..good
            },
            "_total",
        ),
        (
            Definition {
                name: "tickwire_topics_total",
                kind: MetricType::Gauge,
                ..good
            },
            "_total",
        ),
        (
            Definition {
                name: "tickwire_latency_ms_total",
                ..good
            },
            "base unit",
        ),
        (
            Definition {
                name: "tickwire_bytes_sent_total",
                unit: Unit::Bytes,
                ..good
            },
            "end with its unit",
        ),
        (
            Definition {
                name: "tickwire_written_bytes_total",
                ..good
            },
            "end with its unit",
        ),
        (
            Definition {
                name: "tickwire_counter_total",
                ..good
            },
            "type",
        ),
        (
            Definition {
                name: "tickwire_topic_count",
                kind: MetricType::Gauge,
                ..good
            },
            "suffix",
        ),
        (
            Definition {
                name: "tickwire_topicCount_total",
                ..good
            },
            "snake",
        ),
        (Definition { help: "", ..good }, "help"),
    ] {
        let faults = faults(&metric);
        assert!(
            faults.iter().any(|fault| fault.contains(what)),
            "{} {what}: {faults:?}",
            metric.name
        );
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let program = std::env::var("TICKWIRE_TEST_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let catalogue = Catalogue::new(3, "0.1.0", &LabelSets::EXAMPLE).unwrap();
    let mut shard = catalogue.local();
    shard.observe(Metric::DeliveryLatency, 1_234);
    shard.flush();
    let child = Command::new(&program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return skip("promtool is not installed; it comes with the Debian package `prometheus`");
        }
        child => child.unwrap(),
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(catalogue.render().unwrap().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(
        (String::from_utf8_lossy(&said).as_ref(), output.status.code()),
        ("", Some(0))
    );
}

/// Prints that a test did not run, and adds it to the log of skipped tests if there is one.
fn skip(why: &str) {
    let line = format!("skipped: promtool_has_nothing_to_say: {why}");
    println!("{line}");
    if let Ok(log) = std::env::var("TICKWIRE_TEST_SKIP_LOG") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
