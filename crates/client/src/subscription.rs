//! What to subscribe to, and how.

use tickwire_wire::Mode;
use tickwire_wire::message::{Position, Since, TopicRequest};

use crate::ledger::{self, Wanted};

/// What to subscribe to, and how.
///
/// ```
/// use tickwire_client::Subscription;
/// use tickwire_wire::Mode;
/// let all_trades = Subscription::to(["trade.*"]).mode(Mode::Every).snapshot(false);
/// ```
#[derive(Debug, Clone)]
pub struct Subscription {
    pub(crate) topics: Vec<TopicRequest>,
    pub(crate) wanted: Wanted,
}

impl Subscription {
    /// To `topics` and patterns, each in its kind's default mode, with snapshots.
    pub fn to<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self {
            topics: topics
                .into_iter()
                .map(|topic| TopicRequest::Pattern(topic.into()))
                .collect(),
            wanted: Wanted {
                mode: None,
                conflate_ms: None,
                snapshot: true,
            },
        }
    }

    /// Also to `topic`, resumed after `since`.
    #[must_use]
    pub fn resume(mut self, topic: impl Into<String>, since: Position) -> Self {
        self.topics.push(TopicRequest::Since {
            topic: topic.into(),
            since: Some(since.into()),
        });
        self
    }

    /// Also to `pattern`, whose topics are resumed from where `positions` say. There may be more of them than one message holds.
    #[must_use]
    pub fn resume_each<T: Into<String>>(
        mut self,
        pattern: impl Into<String>,
        positions: impl IntoIterator<Item = (T, Position)>,
    ) -> Self {
        let positions = positions.into_iter().map(|(topic, at)| (topic.into(), at));
        self.topics.push(TopicRequest::Since {
            topic: pattern.into(),
            since: Some(Since::Many(ledger::by_lineage(positions))),
        });
        self
    }

    /// In `mode`.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.wanted.mode = Some(mode);
        self
    }

    /// At least so many milliseconds between two updates of a topic, in `conflate`; 0 means only when behind.
    #[must_use]
    pub fn conflate_ms(mut self, conflate_ms: u32) -> Self {
        self.wanted.conflate_ms = Some(conflate_ms);
        self
    }

    /// Whether a snapshot comes first.
    #[must_use]
    pub fn snapshot(mut self, snapshot: bool) -> Self {
        self.wanted.snapshot = snapshot;
        self
    }
}
