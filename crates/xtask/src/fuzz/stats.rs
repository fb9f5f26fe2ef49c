//! What libFuzzer says of itself, line by line.

use std::fmt;

/// The head of the table that [`Stats::row`] gives a row of.
pub(super) const HEAD: &str = "| target | seconds | executions | a second | coverage | inputs learnt | outcome |\n|---|---|---|---|---|---|---|";

/// A fuzzer's run so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    /// Inputs run.
    executions: u64,
    seconds: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    /// Inputs that reached something new, the seeds among them.
    learnt: u64,
    /// The file with the input that found a fault.
    pub(super) found: Option<String>,
    /// Whether it was stopped before its time, without a fault until then.
    pub(super) interrupted: bool,
    /// Whether it ended without a fault.
    pub(super) in_order: bool,
}

impl Stats {
    /// Takes note of a line. True if it says how far the fuzzer is, every now and then.
    pub(super) fn read(&mut self, line: &str) -> bool {
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.found = Some(path.trim().to_owned());
        }
        self.interrupted |= line.contains("libFuzzer: run interrupted");
        if let Some(rest) = line.strip_prefix("Done ") {
            // `Done 8388608 runs in 61 second(s)`
            let mut numbers = rest.split_whitespace().filter_map(|word| word.parse().ok());
            self.executions = numbers.next().unwrap_or(self.executions);
            self.seconds = numbers.next().unwrap_or(self.seconds);
            return false;
        }
        // `#1048576	pulse  cov: 512 ft: 1200 corp: 80/3000b lim: 4096 exec/s: 20000 rss: 90Mb`
        let Some(rest) = line.strip_prefix('#') else {
            return false;
        };
        let mut words = rest.split_whitespace();
        self.executions = words
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or(self.executions);
        let is_pulse = words.next() == Some("pulse");
        while let (Some(name), Some(value)) = (words.next(), words.clone().next()) {
            let number = value.split('/').next().and_then(|number| number.parse().ok());
            match (name, number) {
                ("cov:", Some(number)) => self.coverage = number,
                ("corp:", Some(number)) => self.learnt = number,
                _ => {}
            }
        }
        is_pulse
    }

    /// A row of the table of results.
    pub(super) fn row(&self, name: &str) -> String {
        format!(
            "| `{name}` | {} | {} | {} | {} | {} | {} |",
            self.seconds,
            self.executions,
            self.executions / self.seconds.max(1),
            self.coverage,
            self.learnt,
            match (self.in_order, self.interrupted) {
                (true, _) => "no fault",
                (false, true) => "interrupted",
                (false, false) => "a fault",
            }
        )
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            executions,
            coverage,
            learnt,
            ..
        } = self;
        write!(
            f,
            "{executions} executions, coverage {coverage}, {learnt} inputs learnt"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says() {
        let mut stats = Stats::default();
        for (line, shown) in [
            ("INFO: Seed: 2697351134", false),
            (
                "#12\tINITED cov: 400 ft: 900 corp: 8/2Kb exec/s: 0 rss: 60Mb",
                false,
            ),
            (
                "#1048576\tpulse  cov: 512 ft: 1200 corp: 80/3000b lim: 4096 exec/s: 20000 rss: 90Mb",
                true,
            ),
            (
                "#1048600\tNEW    cov: 513 ft: 1201 corp: 81/3010b lim: 4096 exec/s: 20000 rss: 90Mb L: 3/9 MS: 1 CopyPart-",
                false,
            ),
            (
                "#1300000\tDONE   cov: 514 ft: 1202 corp: 82/3010b lim: 4096 exec/s: 20000 rss: 90Mb",
                false,
            ),
            ("Done 1300001 runs in 61 second(s)", false),
        ] {
            assert_eq!(stats.read(line), shown, "{line}");
        }
        stats.in_order = true;
        assert_eq!(
            stats.to_string(),
            "1300001 executions, coverage 514, 82 inputs learnt"
        );
        assert_eq!(
            stats.row("frames"),
            "| `frames` | 61 | 1300001 | 21311 | 514 | 82 | no fault |"
        );
        stats.in_order = false;
        assert!(stats.row("frames").ends_with("| a fault |"));
        stats.read("==12== libFuzzer: run interrupted; exiting");
        assert!(stats.row("frames").ends_with("| interrupted |"));
        stats.read("artifact_prefix='a/'; Test unit written to a/crash-1f");
        assert_eq!(stats.found.as_deref(), Some("a/crash-1f"));
    }
}
