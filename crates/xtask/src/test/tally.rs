//! How many tests passed, failed and were skipped, and how to read that from the output of the runners.
//!
//! A runner that fails without naming a failed test counts as one failure: the build failed, or a process died.

use std::fmt;

/// The beginning of the line in which a test says that it did not run.
pub(super) const SKIPPED: &str = "skipped: ";

/// What pytest counts.
const PYTEST: [&str; 10] = [
    "passed",
    "failed",
    "skipped",
    "error",
    "errors",
    "deselected",
    "xfailed",
    "xpassed",
    "warning",
    "warnings",
];

/// A sum of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Tally {
    /// The sum of one result.
    pub(super) fn of(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
            skipped: 0,
        }
    }

    /// Adds another sum to this one.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Moves a result from passed to skipped, for a test that passed only because it did not run.
    pub(super) fn skip_passed(&mut self) {
        self.passed = self.passed.saturating_sub(1);
        self.skipped += 1;
    }

    /// Reads the results from the output of a runner. `cargo test` prints `test result: ok. 3 passed; 0 failed; 1
    /// ignored; …` for each test program. `cargo nextest run` prints `Summary [ 1.2s] 18 tests run: 17 passed (1 slow),
    /// 1 failed, 0 skipped`, pytest `17 passed, 1 failed in 1.23s`, and Node.js a line `ℹ pass 17` for each count.
    pub(super) fn read(output: &str, succeeded: bool) -> Self {
        let mut tally = Self::default();
        let is_summary = |line: &str| line.trim_start().starts_with("Summary [");
        // Nextest also prints what a test that failed printed, which is a result of `cargo test` again.
        let by_nextest = output.lines().any(is_summary);
        for line in output.lines() {
            // If a test wrote text without a line end, that text comes before the words of `cargo test`.
            let counts = match line.split_once("test result: ") {
                Some(_) if by_nextest => None,
                Some((_, result)) => result.split_once(". "),
                None if is_summary(line) => line.split_once(" run: "),
                None => line
                    .rsplit_once(" in ")
                    .filter(|(counts, _)| are_of_pytest(counts))
                    .map(|(counts, _)| ("", counts)),
            };
            tally.add(of_node(line));
            for part in counts.map_or("", |(_, counts)| counts).split([';', ',']) {
                let Some((count, what)) = part.trim().split_once(' ') else {
                    continue;
                };
                let count: u64 = count.parse().unwrap_or_default();
                match what.split(" (").next().unwrap_or(what).trim_end_matches(')') {
                    "passed" => tally.passed += count,
                    "skipped" | "ignored" => tally.skipped += count,
                    "measured" | "filtered out" | "slow" | "flaky" | "leaky" | "deselected" | "warnings"
                    | "warning" => {}
                    // Failed, timed out or failed to start: under any name, the test did not pass.
                    _ => tally.failed += count,
                }
            }
        }
        if !succeeded && tally.failed == 0 {
            tally.failed = 1;
        }
        tally
    }
}

/// Whether these are the counts at the end of a run of pytest.
fn are_of_pytest(counts: &str) -> bool {
    counts.split(", ").all(|part| {
        let count = part.split_once(' ');
        count.is_some_and(|(count, what)| count.parse::<u64>().is_ok() && PYTEST.contains(&what))
    })
}

/// The results in a line at the end of a run of Node.js.
fn of_node(line: &str) -> Tally {
    let mut tally = Tally::default();
    let count = line.strip_prefix("ℹ ").and_then(|line| line.split_once(' '));
    if let Some((what, Ok(count))) = count.map(|(what, count)| (what, count.parse())) {
        match what {
            "pass" => tally.passed = count,
            "fail" | "cancelled" => tally.failed = count,
            "skipped" | "todo" => tally.skipped = count,
            _ => {}
        }
    }
    tally
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runners_print() {
        let printed = "\
18 0 0 |      Summary [   0.074s] 18 tests run: 18 passed, 0 skipped
15 3 4 |   Summary [ 9.0s] 18 tests run: 15 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 4 skipped
6 1 11 |   Summary [ 0.1s] 7/18 tests run: 6 passed, 1 exec failed, 11 skipped
1 0 0 |   Summary [ 0.1s] 1 test run: 1 passed (2 flaky), 0 skipped
3 0 1 | test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
13 2 0 | A test's words. test result: FAILED. 13 passed; 2 failed; 0 ignored; 5 filtered out; finished in 0.0s
17 2 1 | 17 passed, 1 failed, 1 skipped, 1 error in 12.30s
3 0 0 | 3 passed in 61.20s (0:01:01)
4 0 0 | ℹ pass 4
0 2 0 | ℹ fail 2
0 0 1 | ℹ skipped 1
0 0 0 | ℹ tests 4
0 0 0 | 3 things that were found in 1.20s
0 0 0 | nothing";
        let mut all = String::new();
        for (expected, line) in printed.lines().filter_map(|line| line.split_once(" | ")) {
            let output = format!("  PASS x\n------\n{line}\n        FAIL y\n");
            let tally = Tally::read(&output, true);
            let counts = [tally.passed, tally.failed, tally.skipped].map(|count| count.to_string());
            assert_eq!(counts.join(" "), expected, "{line}");
            all += if line.contains("Summary") { "" } else { &output };
        }
        assert_eq!(Tally::read(&all, false).passed, 40, "of all programs");
    }

    #[test]
    fn a_test_that_failed_under_nextest_was_counted_twice() {
        let output = "\
        FAIL [   0.182s] (  2/18) it row
    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 235 filtered out; finished in 0.16s
     Summary [ 9.0s] 18 tests run: 17 passed, 1 failed, 0 skipped";
        let tally = Tally::read(output, false);
        assert_eq!((tally.passed, tally.failed), (17, 1));
    }

    #[test]
    fn a_runner_that_fails_is_never_a_success() {
        for output in [
            "error: could not compile",
            "test result: ok. 3 passed; 0 failed; 0 ignored",
        ] {
            assert_eq!(Tally::read(output, false).failed, 1);
        }
    }

    #[test]
    fn the_last_line() {
        let mut sum = Tally {
            passed: 7,
            failed: 1,
            skipped: 0,
        };
        sum.add(Tally::of(false));
        assert_eq!(sum.to_string(), "7 passed, 2 failed");
        sum.skip_passed();
        assert_eq!(sum.to_string(), "6 passed, 2 failed, 1 skipped");
    }
}
