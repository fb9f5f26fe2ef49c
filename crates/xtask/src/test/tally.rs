//! How many tests passed, failed and were skipped, and how to read that from what the runners print.
//!
//! A runner that fails without naming a failed test counts as one failure: a build that broke, a process that died.

use std::fmt;

/// How a test begins the line that says it did not run.
pub(super) const SKIPPED: &str = "skipped: ";

/// A sum of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Tally {
    /// One result.
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

    /// Counts a test that passed only because it did not run as skipped.
    pub(super) fn skip_passed(&mut self) {
        self.passed = self.passed.saturating_sub(1);
        self.skipped += 1;
    }

    /// The results in the output of `cargo nextest run`: its line `Summary [ 1.2s] 18 tests run: 17 passed (1 slow),
    /// 1 failed, 0 skipped`.
    pub(super) fn of_nextest(output: &str, succeeded: bool) -> Self {
        let mut tally = Self::default();
        let summary = output
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with("Summary ["));
        let counts = summary
            .and_then(|line| line.split_once(" run: "))
            .map_or("", |(_, counts)| counts);
        for (count, what) in counted(counts) {
            match what {
                "passed" => tally.passed += count,
                "skipped" => tally.skipped += count,
                // Failed, timed out, failed to start: whatever it is called, it did not pass.
                _ => tally.failed += count,
            }
        }
        tally.agree_with(succeeded)
    }

    /// The results in the output of `cargo test`: the lines `test result: ok. 3 passed; 0 failed; 1 ignored; …` of its
    /// test programs.
    pub(super) fn of_libtest(output: &str, succeeded: bool) -> Self {
        let mut tally = Self::default();
        // What a test wrote without ending the line stands before the words.
        let results = output
            .lines()
            .filter_map(|line| Some(line.split_once("test result: ")?.1));
        for result in results {
            let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
            for (count, what) in counted(counts) {
                match what {
                    "passed" => tally.passed += count,
                    "failed" => tally.failed += count,
                    "ignored" => tally.skipped += count,
                    _ => {}
                }
            }
        }
        tally.agree_with(succeeded)
    }

    fn agree_with(mut self, succeeded: bool) -> Self {
        if !succeeded && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
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

/// The numbers in `17 passed (1 slow), 1 failed`, each with the word after it; what is in parentheses is left out.
fn counted(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let parts = text.split([';', ',']).filter_map(|part| {
        let (count, what) = part.trim().split_once(' ')?;
        let what = what.split(" (").next().unwrap_or(what);
        Some((count.parse().ok()?, what.trim_end_matches(')')))
    });
    parts.filter(|(_, what)| !matches!(*what, "slow" | "flaky" | "leaky"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn what_nextest_prints() {
        for (summary, expected) in [
            (
                "     Summary [   0.074s] 18 tests run: 18 passed, 0 skipped",
                tally(18, 0, 0),
            ),
            (
                "     Summary [   9.074s] 18 tests run: 15 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 4 skipped",
                tally(15, 3, 4),
            ),
            (
                "     Summary [   0.1s] 7/18 tests run: 6 passed, 1 exec failed, 11 skipped",
                tally(6, 1, 11),
            ),
            (
                "     Summary [   0.1s] 1 test run: 1 passed (2 flaky), 0 skipped",
                tally(1, 0, 0),
            ),
        ] {
            let output = format!("  PASS x\n------\n{summary}\n        FAIL y\n");
            assert_eq!(
                Tally::of_nextest(&output, expected.failed == 0),
                expected,
                "{summary}"
            );
        }
    }

    #[test]
    fn what_cargo_test_prints() {
        let output = "
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
A test's words. test result: FAILED. 13 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s
";
        assert_eq!(Tally::of_libtest(output, false), tally(16, 2, 1));
    }

    #[test]
    fn a_runner_that_fails_is_never_a_success() {
        for output in [
            "error: could not compile",
            "test result: ok. 3 passed; 0 failed; 0 ignored",
        ] {
            assert_eq!(Tally::of_libtest(output, false).failed, 1);
            assert_eq!(Tally::of_nextest(output, false).failed, 1);
        }
        assert_eq!(Tally::of_libtest("", true), tally(0, 0, 0));
    }

    #[test]
    fn the_last_line() {
        assert_eq!(tally(7, 0, 0).to_string(), "7 passed, 0 failed");
        let mut sum = tally(7, 1, 0);
        sum.add(Tally::of(false));
        sum.skip_passed();
        assert_eq!(sum.to_string(), "6 passed, 2 failed, 1 skipped");
    }
}
