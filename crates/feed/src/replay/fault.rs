//! The faults of a recording: the first of each kind with their reasons, and the number of all.
//!
//! Bounded: [`FAULTS_MAX`] faults of a kind are kept, with reasons of at most [`REASON_BYTES_MAX`] bytes. Further
//! faults are only counted.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most faults of a kind that are kept.
pub const FAULTS_MAX: usize = 64;
/// Longest reason of a fault in bytes. Longer ones are cut off.
pub const REASON_BYTES_MAX: usize = 240;

/// The kinds of faults in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The line cannot be read, or the file breaks off there.
    Malformed,
    /// The line is of a stream that is not replayed. This is not wrong.
    Unused,
    /// The line's time is before that of an earlier line of its file. The line gets the earlier line's time.
    TimeBack,
    /// A depth event came again, or is older than one that came. It was dropped.
    StaleDepth,
    /// A depth event does not follow the previous one: some are missing.
    DepthHole,
    /// A snapshot is older than the book and could not bring it up to date. It was dropped.
    OldSnapshot,
    /// A trade came again, or is older than one that came. It was dropped.
    RepeatedTrade,
    /// A trade does not follow the previous one: some are missing.
    TradeHole,
    /// A trade came after a candle of its time had been closed. It is in the ticker but not in that candle.
    LateTrade,
    /// A best quote came again, or is older than one that came. It was dropped.
    StaleQuote,
    /// A second kind of stream carries the same trades or the same book. The line was dropped.
    SecondStream,
    /// The broker refused a change of a book, for example one that would give the book too many levels or take too much memory.
    RefusedChange,
    /// A message of a recorded broker came again, or is older than one that came. It was dropped.
    RepeatedMessage,
    /// Messages of a recorded broker are missing, as the recording says.
    MessageGap,
    /// The best bid of a book reached its best ask. Only the check of a recording looks for this.
    CrossedBook,
}

impl FaultKind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Self; 15] = [
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
        Self::RefusedChange,
        Self::RepeatedMessage,
        Self::MessageGap,
        Self::CrossedBook,
    ];

    /// The kinds that a broker meets in lines that it can read: all but the first and the last.
    pub const ANOMALIES: [Self; 13] = {
        let mut kinds = [Self::Unused; 13];
        let mut at = 0;
        while at < kinds.len() {
            kinds[at] = Self::ALL[at + 1];
            at += 1;
        }
        kinds
    };

    /// The name of the kind in metrics and reports.
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
            Self::RefusedChange => "full_book",
            Self::RepeatedMessage => "repeated_message",
            Self::MessageGap => "message_gap",
            Self::CrossedBook => "crossed_book",
        }
    }

    /// Whether the kind means that the recording is wrong.
    #[must_use]
    pub const fn is_wrong(self) -> bool {
        !matches!(self, Self::Unused)
    }
}

/// The number of faults of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts([u64; FaultKind::ALL.len()]);

impl FaultCounts {
    /// The number of faults of `kind`.
    #[must_use]
    pub const fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// Each kind with at least one fault, and their number.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        let counts = FaultKind::ALL.into_iter().zip(self.0);
        counts.filter(|(_, count)| *count > 0)
    }

    /// The number of faults of all kinds.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the faults of another replay.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Adds `more` faults of `kind`.
    pub(crate) fn add(&mut self, kind: FaultKind, more: u64) {
        self.0[kind as usize] += more;
    }
}

/// What is wrong with a line of a recording, or the place where a file broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// The file, with the name that the replay was opened with.
    pub file: Arc<Path>,
    /// The number of the line. The first line is 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for RecordingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.reason)
    }
}

/// A place in a recording.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) file: &'a Arc<Path>,
    pub(crate) line: u64,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    kept: Vec<RecordingFault>,
    counts: FaultCounts,
}

impl FaultLog {
    /// Adds a fault.
    pub(crate) fn add(&mut self, kind: FaultKind, at: Spot<'_>, reason: &dyn fmt::Display) {
        self.counts.add(kind, 1);
        if self.counts.of(kind) <= FAULTS_MAX as u64 {
            let mut reason = reason.to_string();
            if reason.len() > REASON_BYTES_MAX {
                reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - "…".len()));
                reason.push('…');
            }
            self.kept.push(RecordingFault {
                kind,
                file: at.file.clone(),
                line: at.line,
                reason,
            });
        }
    }

    /// The kept faults, in the order in which they were found.
    pub(crate) fn kept(&self) -> &[RecordingFault] {
        &self.kept
    }

    /// The number of faults of each kind.
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
