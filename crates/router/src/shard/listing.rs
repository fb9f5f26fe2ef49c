//! What an operator may ask of the sessions of a shard one by one: a page of them, and who is subscribed to a topic.
//!
//! A page is in the order in which the sessions were opened, so that no session is on two pages and none is left out that
//! stays. A page holds no more than was asked for. Closing sessions are on no page.

use std::collections::BinaryHeap;

use tickwire_wire::{Codec, Topic};

use super::Shard;
use crate::session::{Phase, Session, SessionId, Transport};

/// What an operator sees of an open session in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCard {
    /// The session.
    pub session: SessionId,
    /// Its name in its `welcome`.
    pub name: String,
    /// The codec of its messages.
    pub codec: Codec,
    /// How it reaches its client.
    pub transport: Transport,
    /// The name of its reader's state, as docs/DELIVERY.md draws them.
    pub state: &'static str,
    /// Topics that it is subscribed to.
    pub subscriptions: usize,
}

impl Shard {
    /// Open sessions that `wanted` selects, at most `count_max`.
    pub fn open_sessions(&self, count_max: usize, wanted: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        let open = self.sessions.iter().filter(|session| session.is_open());
        let selected = open.map(|session| session.id).filter(|id| wanted(*id));
        selected.take(count_max).collect()
    }

    /// The sessions that `wanted` selects of those whose close waits behind data.
    pub fn leaving_sessions(&self, wanted: impl Fn(SessionId) -> bool) -> Vec<SessionId> {
        let leaving = |session: &&Session| matches!(session.phase, Phase::Leaving(_)) && wanted(session.id);
        let sessions = self.sessions.iter().filter(leaving);
        sessions.map(|session| session.id).collect()
    }

    /// The first `count_max` open sessions that `wanted` selects, of those opened after number `after` of this shard, in
    /// the order of their numbers. The number of a session is the part of its name behind the hyphen.
    pub fn sessions_after(
        &self,
        after: Option<u32>,
        count_max: usize,
        wanted: impl Fn(SessionId) -> bool,
    ) -> Vec<SessionCard> {
        let is_next = |session: &&Session| {
            session.is_open() && after.is_none_or(|after| session.generation > after) && wanted(session.id)
        };
        let mut first = BinaryHeap::new();
        for session in self.sessions.iter().filter(is_next) {
            first.push((session.generation, session.id));
            if first.len() > count_max {
                first.pop();
            }
        }
        let first = first.into_sorted_vec().into_iter();
        first.filter_map(|(_, id)| self.card(id)).collect()
    }

    fn card(&self, id: SessionId) -> Option<SessionCard> {
        let session = self.sessions.get(id)?;
        Some(SessionCard {
            session: id,
            name: self.session_name(session.generation),
            codec: session.dialect.codec(),
            transport: session.transport,
            state: session.reader.state(),
            subscriptions: session.subscriptions.topics.len(),
        })
    }

    /// Whether a session has a subscription that covers `topic`, whether or not the topic exists.
    #[must_use]
    pub fn is_subscribed(&self, id: SessionId, topic: &Topic) -> bool {
        self.sessions.get(id).is_some_and(|session| {
            let mut patterns = session.subscriptions.patterns.iter();
            patterns.any(|(pattern, _)| pattern.matches(topic.as_str()))
        })
    }
}
