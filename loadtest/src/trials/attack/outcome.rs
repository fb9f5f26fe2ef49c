//! The outcome of each row, as lines of the table, as JSON and as a Markdown table.

use std::collections::BTreeMap;

use serde::Serialize;

use super::row::Tally;
use crate::swarm::{Faults, Latency, Outcome, byte_change, grouped, micros};

/// Most bytes by which the broker may grow during an attack, unless the row allows more.
pub(super) const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most by which the honest clients' 99th percentile may rise, as a factor.
pub(super) const RATIO_MAX: f64 = 2.0;

#[derive(Debug, Default, Serialize)]
pub(super) struct VariantOutcome {
    pub(super) what: String,
    pub(super) expected: Vec<String>,
    #[serde(flatten)]
    pub(super) tally: Tally,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct RowOutcome {
    pub(super) row: u8,
    pub(super) name: &'static str,
    pub(super) broker: String,
    pub(super) attempts: u64,
    pub(super) variants: Vec<VariantOutcome>,
    /// What the broker counted for attackers that cannot see their answers.
    pub(super) by_the_broker: Option<String>,
    pub(super) rss_before_bytes: u64,
    pub(super) rss_most_bytes: u64,
    pub(super) honest_messages: u64,
    pub(super) honest_missed: u64,
    /// The latencies of the honest subscribers, before the attack and during it.
    pub(super) quiet_us: Latency,
    pub(super) attacked_us: Latency,
    /// The share of one core that the broker used during the attack.
    pub(super) broker_cpu: f64,
    pub(super) faults: Faults,
}

impl RowOutcome {
    /// By what factor the honest clients' 99th percentile rose.
    pub(super) fn ratio(&self) -> f64 {
        self.attacked_us.p99 as f64 / self.quiet_us.p99.max(1) as f64
    }

    pub(super) fn growth_bytes(&self) -> u64 {
        self.rss_most_bytes.saturating_sub(self.rss_before_bytes)
    }

    fn answers(&self) -> String {
        let mut all = BTreeMap::<&str, u64>::new();
        for variant in &self.variants {
            for (answer, count) in &variant.tally.answers {
                *all.entry(answer).or_default() += count;
            }
        }
        let mut shown: Vec<String> = all
            .iter()
            .map(|(answer, count)| format!("{answer} × {}", grouped(*count)))
            .collect();
        shown.extend(self.by_the_broker.clone());
        shown.join("; ")
    }

    /// The answers, the growth of the broker's memory, what honest clients missed, and their latency.
    fn found(&self) -> [String; 4] {
        let [quiet, attacked] = [self.quiet_us.p99, self.attacked_us.p99].map(micros);
        [
            self.answers(),
            byte_change(self.rss_before_bytes, self.rss_most_bytes),
            self.honest_missed.to_string(),
            format!("{quiet} → {attacked} ({:.2}×)", self.ratio()),
        ]
    }

    fn verdict(&self) -> &'static str {
        match (self.faults.count(), self.ratio() <= RATIO_MAX) {
            (0, true) => "passed",
            (0, false) => "passed, but the p99",
            _ => "FAILED",
        }
    }
}

/// A Markdown table with a line for each row, below a description of the `load`.
pub(super) fn markdown(load: &str, rows: &[RowOutcome]) -> String {
    let mut text = format!(
        "{load}\n\n\
         | # | attack | answers | broker's memory | missed | p99 of the honest, quiet → attacked | verdict |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let [answers, memory, missed, latency] = row.found();
        let (number, name, verdict) = (row.row, row.name, row.verdict());
        text += &format!("| {number} | {name} | {answers} | {memory} | {missed} | {latency} | {verdict} |\n");
    }
    text
}

pub(super) fn line(row: &RowOutcome) -> String {
    let [answers, memory, missed, latency] = row.found();
    let (attempts, messages) = (grouped(row.attempts), grouped(row.honest_messages));
    format!(
        "{}: {answers} in {attempts} attempts; memory {memory}; missed {missed} of {messages}; p99 {latency}; broker's CPU {:.0} %",
        row.verdict(),
        row.broker_cpu * 100.0
    )
}

/// Adds the rows to the table of the run.
pub(super) fn tell(rows: &[RowOutcome], outcome: &mut Outcome) {
    for row in rows {
        outcome.row(format!("{:2} {}", row.row, row.name), line(row));
        if row.faults.count() > 0 {
            let text = format_args!("{} {}: {}", row.row, row.name, row.faults);
            outcome.faults.add("row failed", text);
        }
    }
    let late = rows.iter().filter(|row| row.ratio() > RATIO_MAX);
    let late: Vec<String> = late.map(|row| row.row.to_string()).collect();
    let late = match late.is_empty() {
        true => "of no row".to_owned(),
        false => format!("of rows {}", late.join(", ")),
    };
    outcome.row(format!("p99 over {RATIO_MAX}×"), late);
    outcome.figure("rows", rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(p99: u64) -> RowOutcome {
        let latency = |p99| Latency {
            p99,
            ..Latency::default()
        };
        RowOutcome {
            row: 7,
            name: "never ends",
            variants: vec![VariantOutcome {
                tally: Tally {
                    answers: [("1009".to_owned(), 1_200)].into(),
                    ..Tally::default()
                },
                ..VariantOutcome::default()
            }],
            rss_before_bytes: 10,
            rss_most_bytes: 12,
            quiet_us: latency(100),
            attacked_us: latency(p99),
            ..RowOutcome::default()
        }
    }

    #[test]
    fn a_row_is_a_line() {
        let mut failed = row(100);
        failed.faults.add("missed", 1);
        let text = markdown("two beside two", &[row(200), row(201), failed]);
        let lines: Vec<&str> = text.lines().skip(4).collect();
        let start = "| 7 | never ends | 1009 × 1,200 | +2 B | 0 | 100 µs → ";
        for (line, end) in lines.iter().zip([
            "200 µs (2.00×) | passed |",
            "201 µs (2.01×) | passed, but the p99 |",
            "100 µs (1.00×) | FAILED |",
        ]) {
            assert_eq!(*line, format!("{start}{end}"));
        }
        assert_eq!(lines.len(), 3);
    }
}
