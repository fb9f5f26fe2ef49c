//! The topics of a lost connection, for the connection that replaces it.

use tickwire_wire::message::Position;

use super::Checker;

/// A topic that was live on the previous connection and is not live again yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOff<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Whether every message of the topic had to come.
    pub every: bool,
    /// Whether the mode depends on the topic's kind, which the broker has not told, and so may be `every`.
    pub may_be_every: bool,
    /// The last message, as [`Checker::last`](super::Checker::last) gives it.
    pub last: Position,
    /// The position to resume from, as [`Checker::position`](super::Checker::position) gives it.
    pub position: Option<Position>,
}

impl Checker {
    /// The topics that were live on the previous connection and are not live again yet, in no particular order. These
    /// are the topics to resume.
    pub fn left_off(&self) -> impl Iterator<Item = LeftOff<'_>> + '_ {
        let left = self.topics.iter().filter(|(_, track)| track.left_off);
        left.filter_map(|(topic, track)| {
            Some(LeftOff {
                topic,
                every: track.every,
                may_be_every: track.may_be_every,
                last: track.last()?,
                position: track.position(),
            })
        })
    }

    /// As [`Self::position`], but only for a topic of [`Self::left_off`].
    #[must_use]
    pub fn position_left(&self, topic: &str) -> Option<Position> {
        let track = self.topics.get(topic)?;
        track.position().filter(|_| track.left_off)
    }

    /// Whether every message of `topic` had to come under its last subscriptions, or may have had to, depending on its
    /// kind.
    #[must_use]
    pub fn may_need_every(&self, topic: &str) -> bool {
        let track = self.topics.get(topic);
        track.is_some_and(|track| track.every || track.may_be_every)
    }
}
