//! What the suite found: read from its index, judged case by case, shown as a table.
//!
//! In order is a case whose behaviour and whose close are both `OK`. The suite's weaker words do not pass: `NON-STRICT` says that a
//! fault was found later than it could be, `UNIMPLEMENTED` that nothing was tested, and a close with another code or by the
//! wrong side is wrong. A case that was to run and has no result is missing, never passed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

const OK: &str = "OK";
const INFORMATIONAL: &str = "INFORMATIONAL";
/// Cases that the suite itself calls no test: they tell what an implementation does where RFC 6455 leaves it free.
const MAY_BE_INFORMATIONAL: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600_000;

/// A group of cases.
#[derive(Debug, Default)]
struct Group {
    cases: usize,
    ok: usize,
    informational: usize,
    ms: u64,
}

/// The outcome of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    groups: BTreeMap<u32, Group>,
    /// A line for each case that is not in order.
    faults: Vec<String>,
}

impl Report {
    /// Reads what a run left in `folder` about `agent`.
    ///
    /// # Errors
    /// When there is no report, or it cannot be read.
    pub(super) fn read(folder: &Path, agent: &str) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let index: Value =
            serde_json::from_str(&read("index.json")?).context("the suite's index is not JSON")?;
        let results = index.get(agent).and_then(Value::as_object).cloned();
        Ok(Self::of(&read("cases.txt")?, &results.unwrap_or_default()))
    }

    /// Judges the cases of the list `wanted` by their results.
    fn of(wanted: &str, results: &Map<String, Value>) -> Self {
        let mut report = Self::default();
        for case in wanted.split_whitespace() {
            let number = case.split('.').next().and_then(|group| group.parse().ok());
            let group = report.groups.entry(number.unwrap_or_default()).or_default();
            group.cases += 1;
            let Some(result) = results.get(case) else {
                report.faults.push(format!("{case} did not run"));
                continue;
            };
            let text = |field: &str| result.get(field).and_then(Value::as_str).unwrap_or("none");
            // The suite has no sensible time for a case whose connection broke off.
            let ms = result.get("duration").and_then(Value::as_u64).unwrap_or_default();
            group.ms += if ms > DAY_MS { 0 } else { ms };
            let (behaviour, close) = (text("behavior"), text("behaviorClose"));
            let free = MAY_BE_INFORMATIONAL.contains(&case);
            match (behaviour, close) {
                (OK, OK) => group.ok += 1,
                (OK | INFORMATIONAL, OK | INFORMATIONAL) if free => group.informational += 1,
                _ => report.faults.push(format!(
                    "{case} is not in order: behaviour {behaviour}, close {close}; {}",
                    text("reportfile")
                )),
            }
        }
        report
    }

    /// How many cases were to run.
    pub(super) fn cases(&self) -> usize {
        self.groups.values().map(|group| group.cases).sum()
    }

    /// Whether every case is in order.
    pub(super) fn is_in_order(&self) -> bool {
        self.faults.is_empty() && self.cases() > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| group | cases | OK | informational | wrong | seconds |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        let mut sum = Group::default();
        let row = |f: &mut fmt::Formatter<'_>, name: &str, group: &Group| {
            writeln!(
                f,
                "| {name} | {} | {} | {} | {} | {:.1} |",
                group.cases,
                group.ok,
                group.informational,
                group.cases - group.ok - group.informational,
                group.ms as f64 / 1_000.0
            )
        };
        for (number, group) in &self.groups {
            row(f, &number.to_string(), group)?;
            sum.cases += group.cases;
            sum.ok += group.ok;
            sum.informational += group.informational;
            sum.ms += group.ms;
        }
        row(f, "all", &sum)?;
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(cases: &[(&str, &str, &str)], wanted: &str) -> Report {
        let results = cases.iter().map(|(case, behaviour, close)| {
            let result =
                json!({"behavior": behaviour, "behaviorClose": close, "duration": 500, "reportfile": "r"});
            ((*case).to_owned(), result)
        });
        Report::of(wanted, &results.collect())
    }

    #[test]
    fn only_both_ok_is_in_order() {
        for (case, behaviour, close, in_order) in [
            ("1.1.1", "OK", "OK", true),
            ("6.4.1", "NON-STRICT", "OK", false),
            ("12.1.1", "UNIMPLEMENTED", "OK", false),
            ("1.1.1", "FAILED", "OK", false),
            ("1.1.1", "OK", "WRONG CODE", false),
            ("1.1.1", "OK", "UNCLEAN", false),
            ("1.1.1", "OK", "FAILED BY CLIENT", false),
            ("1.1.1", "INFORMATIONAL", "OK", false),
            ("7.1.6", "INFORMATIONAL", "OK", true),
            ("7.13.1", "INFORMATIONAL", "INFORMATIONAL", true),
            ("7.13.1", "INFORMATIONAL", "UNCLEAN", false),
            ("7.1.6", "FAILED", "OK", false),
        ] {
            let report = report(&[(case, behaviour, close)], case);
            assert_eq!(report.is_in_order(), in_order, "{case} {behaviour} {close}");
        }
    }

    #[test]
    fn what_did_not_run_has_not_passed() {
        assert!(!report(&[], "").is_in_order(), "nothing ran");
        let one = report(&[("1.1.1", "OK", "OK")], "1.1.1 1.1.2");
        assert_eq!((one.cases(), one.is_in_order()), (2, false));
        assert_eq!(one.faults, ["1.1.2 did not run"]);
    }

    #[test]
    fn a_table_with_a_row_a_group() {
        let cases = [
            ("10.1.1", "OK", "OK"),
            ("2.1", "OK", "FAILED"),
            ("7.1.6", "INFORMATIONAL", "OK"),
        ];
        let shown = report(&cases, "2.1 7.1.6 10.1.1").to_string();
        let lines: Vec<_> = shown.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| 2 | 1 | 0 | 0 | 1 | 0.5 |",
                "| 7 | 1 | 0 | 1 | 0 | 0.5 |",
                "| 10 | 1 | 1 | 0 | 0 | 0.5 |",
                "| all | 3 | 1 | 1 | 1 | 1.5 |",
                "2.1 is not in order: behaviour OK, close FAILED; r",
            ]
        );
    }
}
