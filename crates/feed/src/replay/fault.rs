//! What was wrong with a recording: the first faults by name, all of them by number.
//!
//! Bounded: [`FAULTS_MAX`] faults with reasons of at most [`REASON_BYTES_MAX`] bytes are kept, the rest is counted.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most faults that are kept.
pub const FAULTS_MAX: usize = 64;
/// Longest reason of a fault in bytes; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 240;

/// One line of a recording that could not be used, or the place where a file broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named when the replay was opened.
    pub file: Arc<Path>,
    /// The line; the first is 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.reason)
    }
}

/// The faults so far.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    first: Vec<Fault>,
    count: u64,
}

impl FaultLog {
    /// Adds one.
    pub(super) fn add(&mut self, file: &Arc<Path>, line: u64, reason: &dyn fmt::Display) {
        self.count += 1;
        if self.first.len() < FAULTS_MAX {
            let mut reason = reason.to_string();
            if reason.len() > REASON_BYTES_MAX {
                reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - "…".len()));
                reason.push('…');
            }
            self.first.push(Fault {
                file: file.clone(),
                line,
                reason,
            });
        }
    }

    /// The ones that are kept.
    pub(super) fn first(&self) -> &[Fault] {
        &self.first
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_long_faults_stay_few_and_short() {
        let (mut log, file) = (FaultLog::default(), Arc::from(Path::new("a.jsonl")));
        for line in 1..=1_000 {
            log.add(&file, line, &"é".repeat(1_000));
        }
        assert_eq!((log.first().len(), log.count()), (FAULTS_MAX, 1_000));
        assert!(
            log.first()
                .iter()
                .all(|fault| fault.reason.len() <= REASON_BYTES_MAX)
        );
        assert!(log.first()[0].to_string().starts_with("a.jsonl:1: éé"));
        assert!(log.first()[0].reason.ends_with("é…"));
    }
}
