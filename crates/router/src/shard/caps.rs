//! How much one connection may make the broker keep: topics that its patterns match, and tokens in the indexes.
//!
//! A subscription that would go over a limit is refused with `limit_exceeded` and the numbers. A topic that appears
//! later and does not fit does not join: the session is told once, by an `error` that names the topic. From then on no
//! topic joins it and it cannot subscribe to anything more, until it has unsubscribed its wildcards. So either each
//! pattern of a session covers all topics that it matches, or the session knows that it does not.

use tickwire_wire::error::ErrorCode;
use tickwire_wire::{Control, Pattern, Refusal};

use super::Shard;
use crate::cell::TopicCell;
use crate::publication::TopicId;
use crate::session::{SessionId, Subscriptions};
use crate::settings::SessionLimits;

impl Subscriptions {
    /// Checks whether one more pattern may be entered by a session of at most `most` subscriptions, as far as possible without looking for its topics. If it names a
    /// topic that exists, that is `topic`.
    pub(super) fn check_pattern(
        &self,
        pattern: &Pattern,
        topic: Option<TopicId>,
        (most, limits): (usize, &SessionLimits),
    ) -> Result<(), Refusal> {
        if self.patterns.len() >= most && !self.patterns.has(pattern) {
            return Err(exceeded(format!(
                "the connection has its most subscriptions, {most}"
            )));
        }
        if self.topics_full {
            return Err(exceeded(format!(
                "the connection has its most topics, {}, and its wildcards match more: unsubscribe them first",
                limits.topics
            )));
        }
        if self.patterns.has(pattern) {
            return Ok(());
        }
        if let Some(topic) = topic {
            return self.check_topics(pattern, 1, usize::from(!self.has(topic)), limits);
        }
        let (held, more) = (self.pattern_tokens, pattern.tokens().count());
        if held + more > limits.pattern_tokens {
            return Err(exceeded(format!(
                "{pattern} has {more} tokens; the wildcards of the connection, and its topics that did not exist \
                 when it subscribed, have {held} and may have {}",
                limits.pattern_tokens
            )));
        }
        Ok(())
    }

    /// Checks whether a pattern may be entered that matches `found` topics, of which `new` are new to the session.
    pub(super) fn check_topics(
        &self,
        pattern: &Pattern,
        found: usize,
        new: usize,
        limits: &SessionLimits,
    ) -> Result<(), Refusal> {
        let most = limits.topics;
        if found > most {
            return Err(exceeded(format!(
                "{pattern} matches more than {most} topics, the most of a connection"
            )));
        }
        let held = self.topics.len();
        if held + new <= most {
            return Ok(());
        }
        Err(exceeded(format!(
            "{pattern} matches {new} topics that the connection does not have; it has {held} and may have {most}"
        )))
    }

    /// Checks whether that many snapshots more may be waited for.
    pub(super) fn check_one_shots(
        &self,
        pattern: &Pattern,
        found: usize,
        limits: &SessionLimits,
    ) -> Result<(), Refusal> {
        let (waiting, most) = (self.one_shots.len(), limits.topics);
        if waiting + found <= most {
            return Ok(());
        }
        Err(exceeded(format!(
            "{pattern} matches too many topics: with {waiting} snapshots still to come, and at most {most} at a time"
        )))
    }

    /// Whether a topic that has appeared may join. If it does not fit, no other topic may join from now on.
    fn takes(&mut self, topic: TopicId, limits: &SessionLimits) -> bool {
        if self.has(topic) {
            return true;
        }
        let held = self.topics.len() + self.reserved as usize;
        self.topics_full |= held.saturating_sub(self.ending as usize) >= limits.topics;
        !self.topics_full
    }
}

fn exceeded(reason: String) -> Refusal {
    Refusal::new(ErrorCode::LimitExceeded, reason)
}

impl Shard {
    /// Whether a topic that has appeared may join a session. If not, the session is told the first time.
    pub(super) fn takes_topic(&mut self, id: SessionId, cell: &TopicCell) -> bool {
        let limits = &self.settings.session_limits;
        let Some(session) = self.sessions.open(id) else {
            return false;
        };
        let was_full = session.subscriptions.topics_full;
        let takes = session.subscriptions.takes(cell.id(), limits);
        if !takes && !was_full {
            let (topic, most) = (cell.topic(), limits.topics);
            let refusal = exceeded(format!(
                "{topic} appeared and does not fit: the connection has its most topics, {most}. Neither it nor any \
                 that appears later joins before the connection has unsubscribed its wildcards"
            ));
            self.counts.refused(refusal.code);
            match &mut session.unfinished {
                Some(unfinished) => unfinished.tell_later(refusal),
                None => self.send_answer(id, &Control::error(None, refusal)),
            }
        }
        takes
    }
}
