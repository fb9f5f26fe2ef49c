//! How much one connection may make the broker keep: topics that its patterns match, and tokens in the indexes.
//!
//! A subscription that would go over is refused with `limit_exceeded` and the numbers. A topic that appears later and does
//! not fit is not joined: the connection is told so once, by an `error` that names the topic. From then on no topic joins
//! it, and nothing can be subscribed to in addition, until it has unsubscribed its wildcards; so every pattern of a session
//! covers either all the topics that the session has of it, or the session knows that it does not.

use tickwire_wire::error::ErrorCode;
use tickwire_wire::limits::{
    PATTERN_TOKENS_MAX, RATE_LIMITED_MAX, REFUSALS_IN_A_ROW_MAX, REPLAY_BYTES_PER_CONNECTION_MAX, REPLAY_MS,
    TOPICS_PER_CONNECTION_MAX,
};
use tickwire_wire::{Control, Pattern, Refusal};

use super::Shard;
use crate::cell::TopicCell;
use crate::session::SessionId;

/// What bounds one connection beside what its `welcome` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Requests in a row, each refused whole for what it asks, with which the connection is closed; at least 1.
    pub refusals_in_a_row: u32,
    /// Requests that may be refused with `rate_limited` at once; they are forgiven as fast as requests are allowed.
    pub rate_limited: u32,
    /// Most topics that all its patterns match together.
    pub topics: usize,
    /// Most tokens of its patterns that the indexes hold.
    pub pattern_tokens: usize,
    /// Most bytes of messages that are kept for the replays it was promised.
    pub replay_bytes: usize,
    /// Time in milliseconds that such messages may wait.
    pub replay_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            refusals_in_a_row: REFUSALS_IN_A_ROW_MAX,
            rate_limited: RATE_LIMITED_MAX,
            topics: TOPICS_PER_CONNECTION_MAX,
            pattern_tokens: PATTERN_TOKENS_MAX,
            replay_bytes: REPLAY_BYTES_PER_CONNECTION_MAX,
            replay_ms: REPLAY_MS,
        }
    }
}

impl Shard {
    /// Whether a session may enter one more pattern, as far as can be told without looking for its topics.
    pub(super) fn check_caps(&mut self, id: SessionId, pattern: &Pattern) -> Result<(), Refusal> {
        let limits = self.settings.session_limits;
        let cell = match pattern.is_wildcard() {
            true => None,
            false => self.directory.find(pattern.as_str()),
        };
        let Some(session) = self.open_session(id) else {
            return Ok(());
        };
        if session.topics_full {
            let reason = format!(
                "the connection has its most topics, {}, and its wildcards match more: unsubscribe them first",
                limits.topics
            );
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        if session.patterns.contains_key(pattern) {
            return Ok(());
        }
        if let Some(cell) = cell {
            let new = usize::from(!session.topics.contains_key(&cell.id()));
            return self.check_topics(id, pattern, 1, new);
        }
        let (held, more) = (session.pattern_tokens, pattern.tokens().count());
        if held + more > limits.pattern_tokens {
            let reason = format!(
                "{pattern} has {more} tokens; the wildcards of the connection, and its topics that did not exist \
                 when it subscribed, have {held} and may have {}",
                limits.pattern_tokens
            );
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        Ok(())
    }

    /// Checks whether a session may subscribe to a pattern that matches `found` topics. It is not subscribed to `new` of them yet.
    pub(super) fn check_topics(
        &mut self,
        id: SessionId,
        pattern: &Pattern,
        found: usize,
        new: usize,
    ) -> Result<(), Refusal> {
        let most = self.settings.session_limits.topics;
        let Some(session) = self.open_session(id) else {
            return Ok(());
        };
        if found > most {
            let reason = format!("{pattern} matches more than {most} topics, the most of a connection");
            return Err(Refusal::new(ErrorCode::LimitExceeded, reason));
        }
        let held = session.topics.len();
        if held + new <= most {
            return Ok(());
        }
        let reason = format!(
            "{pattern} matches {new} topics that the connection does not have; it has {held} and may have {most}"
        );
        Err(Refusal::new(ErrorCode::LimitExceeded, reason))
    }

    /// Whether a session may wait for so many snapshots more.
    pub(super) fn check_one_shots(
        &mut self,
        id: SessionId,
        pattern: &Pattern,
        found: usize,
    ) -> Result<(), Refusal> {
        let most = self.settings.session_limits.topics;
        let waiting = self.open_session(id).map_or(0, |session| session.one_shots.len());
        if waiting + found <= most {
            return Ok(());
        }
        let reason = format!(
            "{pattern} matches too many topics: with {waiting} snapshots still to come, and at most {most} at a time"
        );
        Err(Refusal::new(ErrorCode::LimitExceeded, reason))
    }

    /// Whether a topic that has appeared may join a session; if not, the session is told, the first time.
    pub(super) fn takes_topic(&mut self, id: SessionId, cell: &TopicCell) -> bool {
        let most = self.settings.session_limits.topics;
        let session = self.sessions.get_mut(id);
        let Some(session) = session.filter(|session| session.is_open()) else {
            return false;
        };
        if session.topics.contains_key(&cell.id()) {
            return true;
        }
        if !session.topics_full && session.topics.len() + session.reserved < most {
            return true;
        }
        if !std::mem::replace(&mut session.topics_full, true) {
            let topic = cell.topic();
            let reason = format!(
                "{topic} appeared and does not fit: the connection has its most topics, {most}. Neither it nor any \
                 that appears later joins before the connection has unsubscribed its wildcards"
            );
            let refusal = Refusal::new(ErrorCode::LimitExceeded, reason);
            self.counts.refused(refusal.code);
            let error = Control::error(None, refusal);
            match &mut session.unfinished {
                Some(unfinished) => unfinished.tell_later(error),
                None => self.send_answer(id, &error),
            }
        }
        false
    }

    /// The indexes hold a pattern of a session no more.
    pub(super) fn give_back_tokens(&mut self, id: SessionId, pattern: &Pattern) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.pattern_tokens -= pattern.tokens().count();
            session.topics_full &= session.pattern_tokens > 0;
        }
    }
}
