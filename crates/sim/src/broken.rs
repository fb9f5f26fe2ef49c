//! The faults that the simulator can find: which promise was broken, and what showed it.

use std::fmt;

use thiserror::Error;
use tickwire_client::promise::BrokenPromise;

/// The promises that are checked. The first six are those of PROTOCOL.md, "What a client may rely on", with their
/// numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// 1: numbers only increase.
    Order,
    /// 2: `every` has no silent holes, and a gap names exactly what is missing.
    Every,
    /// 3: `conflate` loses nothing that matters.
    Conflate,
    /// 4: books are whole.
    Books,
    /// 5: resuming is all or nothing.
    Resume,
    /// 6: slow readers cost bounded memory, and end.
    SlowReaders,
    /// A message has the data that was published under its number.
    Content,
    /// The bytes are valid frames and messages.
    Framing,
    /// Subscriptions bring the topics that they cover, from their ack to the ack of their end.
    Subscriptions,
    /// The lineage of a topic is told once, before its first update.
    Lineage,
    /// A topic ends once, behind its last message and before its next life, and then nothing of it is held.
    Ends,
    /// A replay from a moment begins with the first message that is stored, and `caught_up` comes once, behind its last one.
    Moments,
    /// The `synced` of a request comes once, after everything that the request brings.
    Synced,
    /// The id of an event names the position from which its stream goes on.
    Ids,
    /// Requests are answered in time.
    Answers,
    /// Answers do not wait behind market data.
    ControlFirst,
    /// Connections end only for a reason.
    Closes,
    /// A batch of writes has each connection once, and nothing is sent twice.
    Batches,
    /// The counters of the shards agree with what happened.
    Ledger,
    /// The broker does not panic.
    Panic,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "1 order",
            Self::Every => "2 every",
            Self::Conflate => "3 conflate",
            Self::Books => "4 books",
            Self::Resume => "5 resume",
            Self::SlowReaders => "6 slow readers",
            Self::Content => "content",
            Self::Framing => "framing",
            Self::Subscriptions => "subscriptions",
            Self::Lineage => "lineage",
            Self::Ends => "ends",
            Self::Moments => "moments",
            Self::Synced => "synced",
            Self::Ids => "ids",
            Self::Answers => "answers",
            Self::ControlFirst => "control first",
            Self::Closes => "closes",
            Self::Batches => "batches",
            Self::Ledger => "ledger",
            Self::Panic => "panic",
        })
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule \"{rule}\" is broken: {what}")]
pub struct Broken {
    /// The promise.
    pub rule: Rule,
    /// What showed that it was broken.
    pub what: String,
}

impl Broken {
    pub(crate) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
        }
    }
}

impl From<BrokenPromise> for Broken {
    fn from(promise: BrokenPromise) -> Self {
        let rule = match &promise {
            BrokenPromise::Duplicate { .. } | BrokenPromise::Backward { .. } => Rule::Order,
            BrokenPromise::Hole { .. }
            | BrokenPromise::GapOverlaps { .. }
            | BrokenPromise::GapLeavesHole { .. }
            | BrokenPromise::GapEmpty { .. } => Rule::Every,
            BrokenPromise::FalseRecovery { .. }
            | BrokenPromise::PartialReplay { .. }
            | BrokenPromise::NoPosition { .. }
            | BrokenPromise::ResumeCount { .. }
            | BrokenPromise::SilentEpoch { .. } => Rule::Resume,
            BrokenPromise::UnknownLineage { .. } | BrokenPromise::JoinedAgain { .. } => Rule::Lineage,
            BrokenPromise::AfterEnd { .. } => Rule::Ends,
            BrokenPromise::UnknownSynced { .. } | BrokenPromise::SyncedEarly { .. } => Rule::Synced,
            BrokenPromise::CaughtUp { .. } => Rule::Moments,
            BrokenPromise::BeforeAck { .. }
            | BrokenPromise::AfterUnsubscribe { .. }
            | BrokenPromise::NeverSubscribed { .. } => Rule::Subscriptions,
            BrokenPromise::Book { .. } => Rule::Books,
            BrokenPromise::Welcome { .. }
            | BrokenPromise::UnknownAnswer { .. }
            | BrokenPromise::PongTimes { .. }
            | BrokenPromise::AckMismatch { .. } => Rule::Answers,
        };
        Self::new(rule, promise.to_string())
    }
}

/// Returns an error with `rule` unless `holds`.
pub(crate) fn ensure(holds: bool, rule: Rule, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(Broken::new(rule, what()))
    }
}
