//! How the subscriptions of a session that has ended are taken out: a few at once, or many a piece at a time.
//!
//! Meanwhile the session keeps its number, and nothing is delivered to it or joins it. The messages that its
//! subscriptions are owed meanwhile are dropped with them.

use std::vec;

use super::Shard;
use crate::outbox::Outbox;
use crate::publication::TopicId;
use crate::session::{Patterns, Phase, SessionId, SubscribedTopics};

/// The subscriptions of a session that are still to be taken out.
#[derive(Debug)]
pub(super) struct Parting {
    session: SessionId,
    patterns: Patterns,
    topics: vec::IntoIter<TopicId>,
}

impl Shard {
    /// Removes a session whose connection has ended. Does nothing if there is no such session: a shard that begins anew
    /// has none.
    pub fn remove(&mut self, id: SessionId) {
        self.clear_expiry(id);
        self.unsubscribe_all(id);
        self.answered.remove(&id);
        let session = self.sessions.get_mut(id);
        let Some(session) = session.filter(|session| session.phase != Phase::Gone) else {
            return;
        };
        let outbox = Outbox::counted(session.dialect, self.waiting_bytes.clone());
        let outbox = std::mem::replace(&mut session.outbox, outbox);
        self.counts.ledger.dropped += outbox.stands_for();
        let counted = session.counted.as_mut();
        self.accounts
            .left(counted.and_then(|counted| counted.account.take()));
        if session.subscriptions.parting {
            session.phase = Phase::Gone;
            self.removed += 1;
        } else {
            self.sessions.remove(id);
        }
    }

    /// Whether the session has ended and some of its subscriptions are still to be taken out.
    #[must_use]
    pub fn is_parting(&self, id: SessionId) -> bool {
        self.sessions
            .get(id)
            .is_some_and(|session| session.subscriptions.parting)
    }

    /// Takes out a piece of the subscriptions of sessions that have ended. Returns whether more are left.
    pub fn part(&mut self) -> bool {
        let most = self.subscriptions_at_once();
        let Some(mut parting) = self.partings.pop_front() else {
            return false;
        };
        if self.take_out_some(&mut parting, most) {
            self.partings.push_front(parting);
        } else if let Some(session) = self.sessions.get_mut(parting.session) {
            session.subscriptions.parting = false;
            if session.phase == Phase::Gone {
                self.removed -= 1;
                self.sessions.remove(parting.session);
            }
        }
        !self.partings.is_empty()
    }

    /// Ends every subscription of a session that has ended.
    pub(super) fn unsubscribe_all(&mut self, id: SessionId) {
        let at_once = self.subscriptions_at_once();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.reader.close();
        self.lagging.remove(&id);
        let patterns = session.subscriptions.end_all();
        let unfinished = session.unfinished.take();
        if session.subscriptions.parting {
            return;
        }
        let topics: Vec<TopicId> = session
            .subscriptions
            .topics
            .iter()
            .map(|(topic, _)| topic)
            .collect();
        session.subscriptions.parting = patterns.len() + topics.len() > at_once;
        let mut parting = Parting {
            session: id,
            patterns,
            topics: topics.into_iter(),
        };
        if session.subscriptions.parting {
            self.partings.push_back(parting);
        } else {
            self.take_out_some(&mut parting, usize::MAX);
        }
        if let Some(wide) = unfinished.as_ref().and_then(|unfinished| unfinished.wide()) {
            self.abandon_wide(wide);
        }
    }

    /// Takes out up to `most` subscriptions. Returns whether more are left.
    fn take_out_some(&mut self, parting: &mut Parting, most: usize) -> bool {
        let id = parting.session;
        let mut done = 0;
        while done < most
            && let Some((pattern, sub)) = parting.patterns.pop()
        {
            done += 1;
            if sub.indexed {
                self.unexpect(id, &pattern);
            }
        }
        while done < most
            && let Some(topic) = parting.topics.next()
        {
            done += 1;
            let session = self.sessions.get_mut(id);
            if let Some(subscription) = session.and_then(|session| session.subscriptions.topics.remove(topic))
            {
                self.forget(topic, subscription.place);
            }
        }
        if parting.patterns.len() + parting.topics.len() > 0 {
            return true;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscriptions.topics = SubscribedTopics::default();
        }
        false
    }
}
