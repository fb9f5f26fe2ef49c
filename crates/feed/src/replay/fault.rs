//! What was wrong with a recording: of each kind the first by name, all of them by number.
//!
//! Bounded: [`FAULTS_MAX`] faults of a kind with reasons of at most [`REASON_BYTES_MAX`] bytes are kept, the rest is
//! counted.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most faults of a kind that are kept.
pub const FAULTS_MAX: usize = 64;
/// Longest reason of a fault in bytes; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 240;

/// What kind of thing is wrong with a line of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// It cannot be read, or the file breaks off there.
    Malformed,
    /// It is of a stream that is not replayed. No fault of the recording.
    Unused,
    /// Its time is before that of an earlier line of its file; it was given the earlier line's.
    TimeBack,
    /// A depth event that had come before, or is older than one that had. It was dropped.
    StaleDepth,
    /// A depth event that does not follow on the one before: some are missing.
    DepthHole,
    /// A snapshot that is older than the book and could not bring it up to date. It was dropped.
    OldSnapshot,
    /// A trade that had come before, or is older than one that had. It was dropped.
    RepeatedTrade,
    /// A trade that does not follow on the one before: some are missing.
    TradeHole,
    /// A trade that came after a candle of its own had been closed: it is in the ticker, not in that candle.
    LateTrade,
    /// A best quote that had come before, or is older than one that had. It was dropped.
    StaleQuote,
    /// The same trades or the same book from a second kind of stream. It was dropped.
    SecondStream,
    /// A change that the broker refused, since the book would have too many levels or take up too much.
    FullBook,
    /// The best bid of a book was not below its best ask any more. Only a check of a recording looks for it.
    CrossedBook,
}

impl FaultKind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::Unused,
        Self::TimeBack,
        Self::StaleDepth,
        Self::DepthHole,
        Self::OldSnapshot,
        Self::RepeatedTrade,
        Self::TradeHole,
        Self::LateTrade,
        Self::StaleQuote,
        Self::SecondStream,
        Self::FullBook,
        Self::CrossedBook,
    ];

    /// The kinds of lines that can be read, and that a broker meets: all but the first and the last.
    pub const ANOMALIES: [Self; 11] = {
        let mut kinds = [Self::Unused; 11];
        let mut at = 0;
        while at < kinds.len() {
            kinds[at] = Self::ALL[at + 1];
            at += 1;
        }
        kinds
    };

    /// What the kind is called in metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unused => "unused",
            Self::TimeBack => "time_back",
            Self::StaleDepth => "stale_depth",
            Self::DepthHole => "depth_hole",
            Self::OldSnapshot => "old_snapshot",
            Self::RepeatedTrade => "repeated_trade",
            Self::TradeHole => "trade_hole",
            Self::LateTrade => "late_trade",
            Self::StaleQuote => "stale_quote",
            Self::SecondStream => "second_stream",
            Self::FullBook => "full_book",
            Self::CrossedBook => "crossed_book",
        }
    }

    /// Whether the recording is not as it should be.
    #[must_use]
    pub const fn is_wrong(self) -> bool {
        !matches!(self, Self::Unused)
    }
}

/// How many there were of each kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts([u64; FaultKind::ALL.len()]);

impl FaultCounts {
    /// How many of `kind`.
    #[must_use]
    pub const fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// Each kind of which there were any, and how many.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        let counts = FaultKind::ALL.into_iter().zip(self.0);
        counts.filter(|(_, count)| *count > 0)
    }

    /// How many of all kinds.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts `more` of `kind`.
    pub(crate) fn add(&mut self, kind: FaultKind, more: u64) {
        self.0[kind as usize] += more;
    }
}

/// What is wrong with a line of a recording, or the place where a file broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of thing it is.
    pub kind: FaultKind,
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

/// Where in a recording something is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) file: &'a Arc<Path>,
    pub(crate) line: u64,
}

/// The faults so far.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    kept: Vec<Fault>,
    counts: FaultCounts,
}

impl FaultLog {
    /// Adds one.
    pub(crate) fn add(&mut self, kind: FaultKind, at: Spot<'_>, reason: &dyn fmt::Display) {
        self.counts.add(kind, 1);
        if self.counts.of(kind) <= FAULTS_MAX as u64 {
            let mut reason = reason.to_string();
            if reason.len() > REASON_BYTES_MAX {
                reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - "…".len()));
                reason.push('…');
            }
            self.kept.push(Fault {
                kind,
                file: at.file.clone(),
                line: at.line,
                reason,
            });
        }
    }

    /// The ones that are kept, in the order they were met.
    pub(crate) fn kept(&self) -> &[Fault] {
        &self.kept
    }

    /// How many there were.
    pub(crate) fn counts(&self) -> FaultCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_long_faults_stay_few_and_short_and_hide_no_other_kind() {
        let (mut log, file) = (FaultLog::default(), Arc::from(Path::new("a.jsonl")));
        let spot = |line| Spot { file: &file, line };
        for line in 1..=1_000 {
            log.add(FaultKind::Malformed, spot(line), &"é".repeat(1_000));
        }
        log.add(FaultKind::DepthHole, spot(1_001), &"a hole");
        assert_eq!(log.kept().len(), FAULTS_MAX + 1);
        assert_eq!(log.counts().of(FaultKind::Malformed), 1_000);
        assert_eq!(log.counts().all(), 1_001);
        assert!(
            log.kept()
                .iter()
                .all(|fault| fault.reason.len() <= REASON_BYTES_MAX)
        );
        assert!(log.kept()[0].to_string().starts_with("a.jsonl:1: éé"));
        assert!(log.kept()[0].reason.ends_with("é…"));
        assert_eq!(log.kept()[FAULTS_MAX].to_string(), "a.jsonl:1001: a hole");
    }

    #[test]
    fn kinds_have_their_number_and_a_name_of_their_own() {
        for (at, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            let namesakes = FaultKind::ALL
                .into_iter()
                .filter(|other| other.name() == kind.name());
            assert_eq!(namesakes.count(), 1, "{kind:?}");
        }
    }
}
