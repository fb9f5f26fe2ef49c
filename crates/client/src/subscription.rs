//! Topics to subscribe to, and the options of the subscription.

use tickwire_wire::message::{Position, Since, TopicRequest};
use tickwire_wire::{Mode, Moment, ReplaySpeed};

use crate::ledger::{self, Wanted};

/// Topics and patterns to subscribe to, and the options of the subscription.
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
    /// Subscribes to `topics`, which may be patterns, each in the default mode of its kind and with snapshots.
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

    /// Also subscribes to `topic` and resumes it after `since`.
    #[must_use]
    pub fn resume(mut self, topic: impl Into<String>, since: Position) -> Self {
        self.topics.push(TopicRequest::Since {
            topic: topic.into(),
            since: Some(since.into()),
        });
        self
    }

    /// Also subscribes to `pattern` and resumes its topics after `positions`. There may be more positions than one
    /// message holds.
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

    /// Also subscribes to `topic`, in mode `every`, and begins with the stored messages from `moment` on. A `status` with
    /// `caught_up` tells where live messages begin. If the connection is lost before, the client resumes the topic from its
    /// position as any other, and [`Event::Synced`](crate::Event::Synced) tells when all of that has come.
    #[must_use]
    pub fn from_moment(mut self, topic: impl Into<String>, moment: Moment) -> Self {
        self.topics.push(TopicRequest::From {
            topic: topic.into(),
            from: moment,
            speed: None,
        });
        self
    }

    /// Does the same as [`Self::from_moment`]. The stored messages come at `speed`: at `1` as fast as they came then, at `10`
    /// ten times as fast. Behind `caught_up` everything is live.
    #[must_use]
    pub fn from_moment_at(mut self, topic: impl Into<String>, moment: Moment, speed: ReplaySpeed) -> Self {
        self.topics.push(TopicRequest::From {
            topic: topic.into(),
            from: moment,
            speed: Some(speed),
        });
        self
    }

    /// Sets the mode for all topics of the request. Default: that of each topic's kind.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.wanted.mode = Some(mode);
        self
    }

    /// In mode `conflate`, sets the least time between two updates of a topic, in milliseconds. 0 conflates only when
    /// the client is behind.
    #[must_use]
    pub fn conflate_ms(mut self, conflate_ms: u32) -> Self {
        self.wanted.conflate_ms = Some(conflate_ms);
        self
    }

    /// Sets whether each topic begins with a snapshot. Default: yes.
    #[must_use]
    pub fn snapshot(mut self, snapshot: bool) -> Self {
        self.wanted.snapshot = snapshot;
        self
    }
}
