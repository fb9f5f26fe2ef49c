//! The machine that figures are from, as it describes itself.
//!
//! Whatever it does not tell is "unknown".

use std::fs;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A machine and a day.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Day of the measurement, `2026-01-31`, UTC.
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Processes that wanted to run in the minute before, on average.
    pub(crate) load_before: String,
}

impl Machine {
    /// This machine, today.
    pub(crate) fn here() -> Self {
        let first_word = |text: String| text.split_whitespace().next().unwrap_or_default().to_owned();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            date: date(since.as_secs() / 86_400),
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| cpu(&text))
                .unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            load_before: fs::read_to_string("/proc/loadavg").map_or_else(|_| unknown(), first_word),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn cpu(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The date of a day since 1970 (Howard Hinnant's days_from_civil, backwards).
fn date(days: u64) -> String {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (19_723, "2024-01-01"),
            (20_818, "2026-12-31"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn the_cpu_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: fpu\n";
        assert_eq!(cpu(text).as_deref(), Some("AMD EPYC"));
        assert_eq!(cpu("processor: 0\n"), None);
    }
}
