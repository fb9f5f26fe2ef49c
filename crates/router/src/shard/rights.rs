//! Rights of sessions: what requests are checked against, how a new token changes them, and what ends with an old
//! token.
//!
//! The shard cannot verify a token. It hands each token out once ([`Shard::next_auth`]). Its owner answers with
//! [`Shard::renew`] or a refusal before the session's next request is handled; otherwise the answers would be out of
//! order. When rights are lost, the subscriptions that needed them end, and their waiting messages are dropped. When
//! the token expires, the session ends, and nothing is delivered to it afterwards.

use std::rc::Rc;

use tickwire_wire::{CloseCode, Control, ErrorCode, Micros, Pattern, Refusal, RequestId, Secret};

use super::Shard;
use crate::rights::Rights;
use crate::session::{Phase, Session, SessionId, Transport};
use crate::topic_set::TopicSet;

/// A token that a session showed.
#[derive(Debug)]
pub struct AuthRequest {
    /// The session that showed it.
    pub session: SessionId,
    /// The `auth` request to answer.
    pub request: RequestId,
    /// The token.
    pub token: Secret,
}

impl Shard {
    /// The next token that is to be verified.
    pub fn next_auth(&mut self) -> Option<AuthRequest> {
        self.auths.pop_front()
    }

    pub(super) fn auth_later(&mut self, session: SessionId, request: RequestId, token: Secret) {
        self.auths.push_back(AuthRequest {
            session,
            request,
            token,
        });
    }

    /// Makes a session end with 4003 at the time `at`; `None` takes an earlier time back.
    pub fn set_expiry(&mut self, id: SessionId, at: Option<Micros>) {
        if self.is_open(id) {
            self.replace_expiry(id, at);
        }
    }

    /// Removes the expiry of a session's token, because the session has ended or ends in another way. No entry stays
    /// that a later session with the same number could be taken for.
    pub(super) fn clear_expiry(&mut self, id: SessionId) {
        self.replace_expiry(id, None);
    }

    fn replace_expiry(&mut self, id: SessionId, at: Option<Micros>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if let Some(before) = session.timers.expire_at(at) {
            self.expiries.remove(&(before, id));
        }
        if let Some(at) = at {
            self.expiries.insert((at, id));
        }
    }

    /// Grants `request`: the session has these `rights` from now on, until `expires`. Subscriptions that the rights do
    /// not cover end, each with an `error` behind the `ack`.
    pub fn renew(
        &mut self,
        id: SessionId,
        request: RequestId,
        rights: Rc<Rights>,
        expires: Option<Micros>,
        now: Micros,
    ) {
        self.finish(id, now);
        let Some(session) = self.sessions.known(id).filter(|session| session.is_open()) else {
            return;
        };
        let narrowed = *session.rights != *rights;
        session.rights = rights;
        self.set_expiry(id, expires);
        let lost = if narrowed {
            self.end_forbidden(id)
        } else {
            Vec::new()
        };
        let ack = Control::Ack {
            id: request,
            results: Vec::new(),
        };
        self.send_behind_answers(id, &ack);
        for refusal in lost {
            self.send_behind_answers(id, &Control::error(None, refusal));
        }
        self.send_synced(id);
        self.accepted(id);
        self.close_if_drowning(id, now);
    }

    /// Gives all sessions that share the object `before` the rights `after`, as [`Self::change_rights`] does.
    pub fn replace_rights(&mut self, before: &Rc<Rights>, after: &Rc<Rights>, now: Micros) {
        // Subscriptions of a session that is gone are being taken out already.
        let has = |session: &Session| session.phase != Phase::Gone && Rc::ptr_eq(&session.rights, before);
        let sessions = self.sessions.iter().filter(|session| has(session));
        let theirs: Vec<SessionId> = sessions.map(|session| session.id).collect();
        for id in theirs {
            self.change_rights(id, after.clone(), now);
        }
    }

    /// Gives a session the rights `after`. Subscriptions that these do not cover end, each with an `error`. If the
    /// session is leaving already, the waiting messages of their topics are dropped.
    pub fn change_rights(&mut self, id: SessionId, after: Rc<Rights>, now: Micros) {
        self.finish(id, now);
        let Some(session) = self.sessions.known(id) else {
            return;
        };
        session.rights = after;
        for refusal in self.end_forbidden(id) {
            self.send_behind_answers(id, &Control::error(None, refusal));
        }
        self.send_synced(id);
    }

    /// Ends the subscriptions that a session's rights do not cover, and drops the waiting messages of topics that it
    /// may no longer have. Returns the reasons, by pattern.
    fn end_forbidden(&mut self, id: SessionId) -> Vec<Refusal> {
        let Some(session) = self.sessions.get(id) else {
            return Vec::new();
        };
        let rights = session.rights.clone();
        let forbidden = |pattern: &Pattern| Some((pattern.clone(), rights.check_subscribe(pattern).err()?));
        let mut lost: Vec<(Pattern, Refusal)> = session
            .subscriptions
            .patterns
            .iter()
            .filter_map(|(pattern, _)| forbidden(pattern))
            .collect();
        lost.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut left = TopicSet::default();
        // One-shots belong to no subscription.
        for (topic, shot) in &session.subscriptions.one_shots {
            if !rights.subscribe.has(shot.cell.topic().as_str()) {
                left.insert(*topic);
            }
        }
        for waiting in session.outbox.waiting() {
            if let Some(delivery) = waiting.delivery {
                let lineage = &delivery.publication().lineage;
                if !rights.subscribe.has(lineage.topic.as_str()) {
                    left.insert(lineage.id);
                }
            }
        }
        for (topic, _) in session
            .outbox
            .ended_topics(|name| !rights.subscribe.has(name.as_str()))
        {
            left.insert(topic);
        }
        for (pattern, _) in &lost {
            for topic in self.unsubscribe(id, pattern) {
                left.insert(topic);
            }
        }
        if !left.is_empty() {
            self.drop_waiting(id, &left);
            self.drop_pulls(id, &left);
        }
        let reason = |(pattern, refusal): (Pattern, Refusal)| {
            let reason = format!("{pattern} is no longer subscribed: {}", refusal.reason);
            Refusal::new(refusal.code, reason)
        };
        lost.into_iter().map(reason).collect()
    }

    /// Closes the sessions whose tokens have expired by `now`.
    pub(super) fn expire_tokens(&mut self, now: Micros) {
        while let Some((at, id)) = self.expiries.first().copied()
            && at <= now
        {
            self.expiries.pop_first();
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            session.timers.expire_at(None);
            let reason = "the token has expired";
            if session.transport == Transport::Sse {
                let refusal = Refusal::new(ErrorCode::TokenExpired, reason);
                self.send_control(id, &Control::error(None, refusal));
            }
            self.withdraw(id, reason, now);
        }
    }

    /// Ends a session with 4003 because its token is no longer valid. Of the waiting data only a partly written frame
    /// is sent. A session that is leaving has its close frame and keeps that code, but its data is not waited for any
    /// longer.
    pub fn withdraw(&mut self, id: SessionId, reason: &str, now: Micros) {
        match self.sessions.known(id).map(|session| session.phase) {
            Some(Phase::Open) => self.close(id, CloseCode::TOKEN_EXPIRED, reason, now),
            Some(Phase::Leaving(_)) => self.end_patience(id, now),
            Some(Phase::Closing(_) | Phase::GivenUp | Phase::Gone) | None => {}
        }
    }
}
