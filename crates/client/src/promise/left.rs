//! What a connection left off, for the one that takes its place.

use tickwire_wire::message::Position;

use super::Checker;

/// A topic that was live on the connection before this one, and is not yet again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOff<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Whether every message had to come.
    pub every: bool,
    /// Whether that depended on the topic's kind, which the broker has not told.
    pub may_be_every: bool,
    /// As [`Checker::last`](super::Checker::last) has it.
    pub last: Position,
    /// As [`Checker::position`](super::Checker::position) has it.
    pub position: Option<Position>,
}

impl Checker {
    /// The topics that were live on the connection before this one and are not yet again, in no particular order: those that
    /// are to be resumed.
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

    /// As [`Self::position`], of a topic that is to be resumed.
    #[must_use]
    pub fn position_left(&self, topic: &str) -> Option<Position> {
        let track = self.topics.get(topic)?;
        track.position().filter(|_| track.left_off)
    }

    /// Whether every message of `topic` had to come when it was last covered, or that depended on its kind.
    #[must_use]
    pub fn may_need_every(&self, topic: &str) -> bool {
        let track = self.topics.get(topic);
        track.is_some_and(|track| track.every || track.may_be_every)
    }
}
