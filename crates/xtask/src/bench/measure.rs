//! The two measures, and how each measures a case on all sides.

use std::io::ErrorKind;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::side::Side;
use crate::programs::said_by;
use crate::workspace::read;

/// Valgrind only counts instructions: its model of the caches is not that of this machine.
const NO_CACHES: &str = "--callgrind-args=--cache-sim=no";

/// How a case is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Wall time in nanoseconds: the median of a run's samples, and of several turns the best.
    Wall {
        /// How many turns each side has.
        rounds: u32,
    },
    /// The number of instructions of one run. It is nearly the same on any machine, even a busy one.
    Instructions,
}

impl Measure {
    /// The title of the measure's table.
    pub(super) fn title(self) -> String {
        match self {
            Self::Wall { rounds: 1 } => "wall time: median".to_owned(),
            Self::Wall { rounds } => format!("wall time: median, best of {rounds} turns"),
            Self::Instructions => "instructions".to_owned(),
        }
    }

    /// A figure as text.
    pub(super) fn show(self, figure: f64) -> String {
        match self {
            Self::Wall { .. } => match figure {
                ns if ns < 1e3 => format!("{ns:.1} ns"),
                ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
                ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
                ns => format!("{:.2} s", ns / 1e9),
            },
            Self::Instructions => thousands(&format!("{figure:.0}")),
        }
    }

    /// Measures `case` on each side that has it. The sides take turns.
    pub(super) fn take(self, sides: &[Side], case: &str) -> Result<Vec<Option<f64>>> {
        let turns = match self {
            Self::Wall { rounds } => rounds,
            Self::Instructions => 1,
        };
        let mut figures = vec![None; sides.len()];
        for turn in 0..turns {
            let mut order: Vec<usize> = (0..sides.len()).collect();
            if turn % 2 == 1 {
                order.reverse();
            }
            for at in order
                .into_iter()
                .filter(|at| sides[*at].cases.iter().any(|name| name == case))
            {
                let figure = self.take_once(&sides[at], case);
                let figure =
                    figure.with_context(|| format!("cannot measure {case} of {}", sides[at].name))?;
                figures[at] = Some(figures[at].map_or(figure, |best: f64| best.min(figure)));
            }
        }
        Ok(figures)
    }

    fn take_once(self, side: &Side, case: &str) -> Result<f64> {
        match self {
            Self::Wall { .. } => {
                // Each turn replaces this file. The file of an earlier turn must not be taken for this one's.
                let folder = side.results.join("criterion").join(case);
                let estimates = folder.join("latest/estimates.json");
                match std::fs::remove_file(&estimates) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
                let arguments = ["--bench", "--save-baseline", "latest", "--exact", case];
                said_by(side.wall().args(arguments))?;
                median(&read(&estimates).context("criterion left no estimates")?)
            }
            Self::Instructions => {
                let pattern = format!("*::{}", case.replace('/', "::"));
                let mut program = side.instructions();
                let said = said_by(program.args(["--bench", "--output-format=json", NO_CACHES, &pattern]))?;
                instructions(&said)
            }
        }
    }
}

/// The median in criterion's estimates.
fn median(text: &str) -> Result<f64> {
    let estimates: Value = serde_json::from_str(text).context("cannot read criterion's estimates")?;
    let median = estimates
        .pointer("/median/point_estimate")
        .and_then(Value::as_f64);
    median.context("criterion's estimates have no median")
}

/// The number of instructions in gungraun's summary of one case, which is a line of JSON.
fn instructions(text: &str) -> Result<f64> {
    let mut lines = text.lines().filter(|line| line.starts_with('{'));
    let summary = lines.next().context("gungraun counted nothing")?;
    ensure!(lines.next().is_none(), "gungraun counted more than one case");
    let summary: Value = serde_json::from_str(summary).context("cannot read gungraun's summary")?;
    let counted = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new");
    let counted = counted.and_then(Value::as_f64);
    counted.context("gungraun's summary has no number of instructions")
}

/// Digits in groups of three.
fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_text() {
        let wall = Measure::Wall { rounds: 3 };
        for (measure, figure, text) in [
            (wall, 0.52, "0.5 ns"),
            (wall, 999.94, "999.9 ns"),
            (wall, 1_234.5, "1.23 µs"),
            (wall, 1_234_567.0, "1.23 ms"),
            (wall, 12_345_678_901.0, "12.35 s"),
            (Measure::Instructions, 0.0, "0"),
            (Measure::Instructions, 999.0, "999"),
            (Measure::Instructions, 1_000.0, "1,000"),
            (Measure::Instructions, 1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(measure.show(figure), text);
        }
    }

    #[test]
    fn what_criterion_leaves() {
        let text =
            r#"{"mean":{"point_estimate":700.0},"median":{"point_estimate":682.37,"standard_error":4.1}}"#;
        assert_eq!(median(text).unwrap(), 682.37);
        assert!(median(r#"{"mean":{"point_estimate":700.0}}"#).is_err());
    }

    #[test]
    fn what_gungraun_prints() {
        let summary = r#"{"id":"ticker_json","profiles":[{"data":{"total":{"metrics":{"Ir":{"values":{"new":12480,"old":12000}}}}}}]}"#;
        assert_eq!(instructions(&format!("{summary}\n")).unwrap(), 12_480.0);
        for (text, expected) in [
            (String::new(), "counted nothing"),
            (format!("{summary}\n{summary}\n"), "more than one"),
            (summary.replace("\"new\":12480,", ""), "no number"),
            ("{".to_owned(), "cannot read"),
        ] {
            let error = instructions(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
