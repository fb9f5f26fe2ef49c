//! Replays from a moment, and the `caught_up` that ends each.

use tickwire_wire::Seq;

use super::track::Track;
use super::{BrokenPromise, Checker};

impl Checker {
    /// Checks a `caught_up`: the client has everything of a topic up to `seq`.
    pub(super) fn caught_up(&mut self, topic: &str, seq: Seq) -> Result<(), BrokenPromise> {
        match self.topics.get_mut(topic) {
            Some(track) if track.live => track.caught_up(topic, seq),
            _ => Err(self.not_covered(topic)),
        }
    }
}

impl Track {
    /// The topic is replayed from a moment, to `last` at least.
    pub(super) fn replays(&mut self, last: Seq) {
        self.replayed_to = Some(last);
    }

    fn caught_up(&mut self, topic: &str, seq: Seq) -> Result<(), BrokenPromise> {
        match self.replayed_to.take() {
            Some(last) if seq >= last && seq == self.seq => Ok(()),
            _ => Err(BrokenPromise::CaughtUp {
                topic: topic.to_owned(),
                last: self.seq,
                seq,
            }),
        }
    }
}
