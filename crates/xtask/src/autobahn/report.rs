//! The results of the suite: read from its index, judged case by case, shown as a table.
//!
//! A case passes if both its behaviour and its close are `OK`. The suite's weaker verdicts do not pass: `NON-STRICT`
//! means that a fault was found later than possible, `UNIMPLEMENTED` that nothing was tested. A close with another code
//! or by the wrong side is a fault. A case that should have run and has no result is missing, never passed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use crate::workspace::read;

const OK: &str = "OK";
const INFORMATIONAL: &str = "INFORMATIONAL";
/// Cases that the suite itself does not call tests. They show what an implementation does where RFC 6455 leaves it
/// free.
const MAY_BE_INFORMATIONAL: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

/// The milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600_000;

/// The counts for a group of cases: all, those that are OK, those that are informational, and their milliseconds.
type Counts = [u64; 4];

/// The outcome of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    groups: BTreeMap<u32, Counts>,
    /// A line for each case that did not pass.
    faults: Vec<String>,
}

impl Report {
    /// Reads the results for `agent` that a run left in `folder`.
    ///
    /// # Errors
    /// When there is no report, or it cannot be read.
    pub(super) fn read(folder: &Path, agent: &str) -> Result<Self> {
        let index: Value = serde_json::from_str(&read(&folder.join("index.json"))?)
            .context("the suite's index is not JSON")?;
        let results = index.get(agent).and_then(Value::as_object).cloned();
        Ok(Self::of(
            &read(&folder.join("cases.txt"))?,
            &results.unwrap_or_default(),
        ))
    }

    /// Judges the cases in the list `wanted` by their results.
    fn of(wanted: &str, results: &Map<String, Value>) -> Self {
        let mut report = Self::default();
        for case in wanted.split_whitespace() {
            let number = case.split('.').next().and_then(|group| group.parse().ok());
            let group = report.groups.entry(number.unwrap_or_default()).or_default();
            group[0] += 1;
            let Some(result) = results.get(case) else {
                report.faults.push(format!("{case} did not run"));
                continue;
            };
            let text = |field: &str| result.get(field).and_then(Value::as_str).unwrap_or("none");
            // The suite gives no sensible time for a case whose connection broke off.
            let ms = result.get("duration").and_then(Value::as_u64).unwrap_or_default();
            group[3] += if ms > DAY_MS { 0 } else { ms };
            let (behaviour, close) = (text("behavior"), text("behaviorClose"));
            let free = MAY_BE_INFORMATIONAL.contains(&case);
            match (behaviour, close) {
                (OK, OK) => group[1] += 1,
                (OK | INFORMATIONAL, OK | INFORMATIONAL) if free => group[2] += 1,
                _ => report.faults.push(format!(
                    "{case} is not in order: behaviour {behaviour}, close {close}; {}",
                    text("reportfile")
                )),
            }
        }
        report
    }

    /// The number of cases that should have run.
    pub(super) fn cases(&self) -> u64 {
        self.groups.values().map(|group| group[0]).sum()
    }

    /// Whether every case passed.
    pub(super) fn is_in_order(&self) -> bool {
        self.faults.is_empty() && self.cases() > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| group | cases | OK | informational | wrong | seconds |\n|---|---|---|---|---|---|\n")?;
        let all = |at: usize| self.groups.values().map(|group| group[at]).sum();
        let all = [all(0), all(1), all(2), all(3)];
        let groups = self
            .groups
            .iter()
            .map(|(number, group)| (number.to_string(), group));
        for (name, &[cases, ok, informational, ms]) in groups.chain([("all".to_owned(), &all)]) {
            let (wrong, seconds) = (cases - ok - informational, ms as f64 / 1_000.0);
            writeln!(
                f,
                "| {name} | {cases} | {ok} | {informational} | {wrong} | {seconds:.1} |"
            )?;
        }
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
        for (case, in_order) in [
            ("1.1.1 OK/OK", true),
            ("6.4.1 NON-STRICT/OK", false),
            ("12.1.1 UNIMPLEMENTED/OK", false),
            ("1.1.1 FAILED/OK", false),
            ("1.1.1 OK/WRONG CODE", false),
            ("1.1.1 OK/UNCLEAN", false),
            ("1.1.1 OK/FAILED BY CLIENT", false),
            ("1.1.1 INFORMATIONAL/OK", false),
            ("7.1.6 INFORMATIONAL/OK", true),
            ("7.13.1 INFORMATIONAL/INFORMATIONAL", true),
            ("7.13.1 INFORMATIONAL/UNCLEAN", false),
            ("7.1.6 FAILED/OK", false),
        ] {
            let (number, words) = case.split_once(' ').expect("a number");
            let (behaviour, close) = words.split_once('/').expect("two words");
            let report = report(&[(number, behaviour, close)], number);
            assert_eq!(report.is_in_order(), in_order, "{case}");
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
        let (_, rows) = shown.split_once("---|\n").expect("a head");
        assert_eq!(
            rows,
            "| 2 | 1 | 0 | 0 | 1 | 0.5 |\n| 7 | 1 | 0 | 1 | 0 | 0.5 |\n| 10 | 1 | 1 | 0 | 0 | 0.5 |\n\
             | all | 3 | 1 | 1 | 1 | 1.5 |\n2.1 is not in order: behaviour OK, close FAILED; r\n"
        );
    }
}
