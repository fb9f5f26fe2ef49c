//! What subscribers are owed: messages that were published to their topics but neither came nor were named in a gap.
//!
//! This is known only where messages are numbered from 1 per topic, and only for subscribers that were there from the
//! first message on. A hole between two numbers is not owed: it is a fault, see `crowd`. What is missing after the last
//! number is owed.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::compare::{Crowd, Figure, Figures, QUIET, Rig};

impl Crowd {
    /// How many messages a subscriber is owed if `published` holds the number of messages of each topic.
    fn owed(&self, number: u32, published: &[u64]) -> u64 {
        let (each, topics) = (self.scenario.topics_each, self.scenario.topics);
        let at = |slot: u32| (number as usize * each as usize) + slot as usize;
        (0..each)
            .map(|slot| {
                let topic = ((number + slot) % topics) as usize;
                published[topic].saturating_sub(self.seqs[at(slot)])
            })
            .sum()
    }

    /// Whether no subscriber from `first` on is owed any of the `published` messages. Moves `first` to one that is, so
    /// that the next call does not look at the others again.
    pub(super) fn caught_up(&self, first: &mut u32, published: &[u64]) -> bool {
        while *first < self.scenario.subscribers {
            if self.owed(*first, published) > 0 {
                return false;
            }
            *first += 1;
        }
        true
    }
}

impl Rig {
    /// The number of messages published so far to each topic.
    pub(super) fn published(&self) -> Vec<u64> {
        let topics = u64::from(self.scenario.topics);
        // Message n goes to topic n mod topics.
        (0..topics)
            .map(|topic| (self.sent + topics - 1 - topic) / topics)
            .collect()
    }

    /// Reads until these subscribers are owed nothing, for at most `within`. Returns what they are still owed. If
    /// messages are not numbered, reads until nothing comes any more, and returns `None`.
    pub(super) fn catch_up(
        &mut self,
        subscribers: Range<u32>,
        within: Duration,
    ) -> anyhow::Result<Option<u64>> {
        let numbered = self.swarm.handler.is_numbered();
        let published = self.published();
        let (mut first, until) = (subscribers.start, Instant::now() + within);
        let mut quiet_since = Instant::now();
        while Instant::now() < until {
            if numbered && self.swarm.handler.caught_up(&mut first, &published) {
                return Ok(Some(0));
            }
            if self.turn()? {
                quiet_since = Instant::now();
            } else if !numbered && quiet_since.elapsed() > QUIET {
                break;
            }
        }
        let owed = |number| self.swarm.handler.owed(number, &published);
        Ok(numbered.then(|| subscribers.map(owed).sum()))
    }

    /// Records what is still `owed` after all waiting as a fault.
    pub(super) fn lost_silently(&mut self, owed: Option<u64>) {
        let crowd = &mut self.swarm.handler;
        if let Some(owed) = owed {
            crowd.lost_silently = Some(crowd.lost_silently.unwrap_or(0) + owed);
            if owed > 0 {
                let text = format_args!("{owed} messages neither came nor were named in a gap");
                crowd.faults.add("lost without a word", text);
            }
        }
    }

    pub(super) fn losses(&self, figures: &mut Figures) {
        let crowd = &self.swarm.handler;
        if let Some(lost) = crowd.lost_silently {
            figures.set(Figure::Gapped, crowd.gapped as f64);
            figures.set(Figure::LostSilently, lost as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::crowd::tests::crowd_of;

    /// Three subscribers with two of three topics each: 0 and 1, 1 and 2, 2 and 0.
    fn crowd(seqs: [u64; 6]) -> Crowd {
        let mut crowd = crowd_of(3);
        crowd.seqs = seqs.to_vec();
        crowd
    }

    #[test]
    fn owed_is_what_is_missing_after_the_last() {
        let crowd = crowd([10, 20, 18, 30, 0, 10]);
        let owed = |number| crowd.owed(number, &[10, 20, 30]);
        assert_eq!([owed(0), owed(1), owed(2)], [0, 2, 30]);
    }

    #[test]
    fn nobody_is_looked_at_twice() {
        let (mut crowd, mut first) = (crowd([10, 20, 18, 30, 30, 10]), 0);
        let published = [10, 20, 30];
        assert!(!crowd.caught_up(&mut first, &published));
        assert_eq!(first, 1);
        crowd.seqs[2] = 20;
        assert!(crowd.caught_up(&mut first, &published));
        assert_eq!(first, 3);
    }
}
