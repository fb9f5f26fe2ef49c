//! Parses the output of libFuzzer, line by line.

use std::fmt;

/// The head of the table with a [`Stats::row`] for each target.
pub(super) const HEAD: &str = "| target | seconds | executions | a second | coverage | inputs learnt | outcome |\n|---|---|---|---|---|---|---|";

/// The state of a fuzzer's run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    /// How many inputs were run.
    executions: u64,
    seconds: u64,
    /// How many edges of the program were reached.
    coverage: u64,
    /// How many inputs reached something new, including the seeds.
    learnt: u64,
    /// The file with the input that found a fault, if there is one.
    pub(super) found: Option<String>,
    /// Whether the fuzzer was stopped before its time and had found no fault.
    pub(super) interrupted: bool,
    /// Whether the fuzzer ended without a fault.
    pub(super) in_order: bool,
}

impl Stats {
    /// Reads a line. Returns true if the line should be shown as progress.
    pub(super) fn read(&mut self, line: &str) -> bool {
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.found = Some(path.trim().to_owned());
        }
        self.interrupted |= line.contains("libFuzzer: run interrupted");
        let number_after = |word: &str| {
            let digits = line
                .split_once(word)?
                .1
                .split(|char: char| !char.is_ascii_digit())
                .next()?;
            digits.parse::<u64>().ok()
        };
        // The lines are `#1048576 pulse  cov: 512 ft: 1200 corp: 80/3000b lim: 4096 exec/s: 20000 rss: 90Mb` and, at
        // the end, `Done 8388608 runs in 61 second(s)`.
        let executions = if line.starts_with('#') { "#" } else { "Done " };
        for (word, figure) in [
            (executions, &mut self.executions),
            ("cov: ", &mut self.coverage),
            ("corp: ", &mut self.learnt),
            (" runs in ", &mut self.seconds),
        ] {
            *figure = number_after(word).unwrap_or(*figure);
        }
        line.starts_with('#') && line.contains("pulse")
    }

    /// The row of a target in the table of results.
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
        write!(f, "{} executions, coverage {}, ", self.executions, self.coverage)?;
        write!(f, "{} inputs learnt", self.learnt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says() {
        let mut stats = Stats::default();
        let said = "INFO: Seed: 2697351134
#12\tINITED cov: 400 ft: 900 corp: 8/2Kb exec/s: 0 rss: 60Mb
#1048576\tpulse  cov: 512 ft: 1200 corp: 80/3000b lim: 4096 exec/s: 20000 rss: 90Mb
#1048600\tNEW    cov: 513 ft: 1201 corp: 81/3010b lim: 4096 exec/s: 20000 rss: 90Mb L: 3/9 MS: 1 CopyPart-
#1300000\tDONE   cov: 514 ft: 1202 corp: 82/3010b lim: 4096 exec/s: 20000 rss: 90Mb
Done 1300001 runs in 61 second(s)";
        let pulses: Vec<&str> = said.lines().filter(|line| stats.read(line)).collect();
        assert!(pulses.len() == 1 && pulses[0].contains("pulse"), "{pulses:?}");
        stats.in_order = true;
        let shown = "1300001 executions, coverage 514, 82 inputs learnt";
        assert_eq!(stats.to_string(), shown);
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
