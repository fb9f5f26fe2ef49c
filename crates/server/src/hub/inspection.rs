//! What a hub tells operators of its sessions, and how it closes those that they select.

use ipnet::IpNet;
use tickwire_metrics::Metric;
use tickwire_router::{SessionCard, SessionId, Watched};
use tickwire_wire::CloseCode;
use tokio::sync::oneshot;

use super::{Hub, Link};
use crate::auth::Holder;
use crate::auth::sessions::REVOKED;
use crate::net::permit::ConnectionPermit;
use crate::net::proxied::ClientAddr;
use crate::run::command::{
    CloseOrder, HowClosed, ListedHolder, ListedSession, Question, SessionFilter, SessionsWanted,
    ShardSessions, SlowSession,
};

/// The close reason for a session that an operator closes without another reason.
pub(crate) const BY_OPERATOR: &str = "closed by an operator";
/// Most sessions that are closed between two cycles, so that the others of the shard do not wait for long.
pub(crate) const CLOSED_AT_ONCE_MAX: usize = 500;

impl Hub {
    /// Answers a question, if someone still waits for the answer.
    pub(crate) fn answer(&self, question: Question) {
        match question {
            Question::Sessions(top_k, watched, answer) => reply(answer, || self.slowest(top_k, watched)),
            Question::Topics(answer) => reply(answer, || self.shard.handed_out()),
            Question::Open(wanted, answer) => reply(answer, || self.open(&wanted)),
        }
    }

    /// Closes the session with this name, because an operator asks for it. Returns whether there was one.
    pub(crate) fn close_named(&mut self, name: &str) -> bool {
        let named = self.shard.session_named(name);
        if let Some(id) = named {
            let now = self.clock.now();
            self.shard.close(id, CloseCode::GOING_AWAY, BY_OPERATOR, now);
            self.count_closed(1);
        }
        named.is_some()
    }

    /// Closes sessions that an operator's order selects, at most [`CLOSED_AT_ONCE_MAX`]. Returns how many.
    pub(crate) fn close_all_of(&mut self, order: &CloseOrder) -> usize {
        let now = self.clock.now();
        let selected = self
            .shard
            .open_sessions(CLOSED_AT_ONCE_MAX, |id| self.selects(id, &order.filter));
        for id in &selected {
            match &order.how {
                HowClosed::GoingAway(reason) => self.shard.close(*id, CloseCode::GOING_AWAY, reason, now),
                HowClosed::Revoked => self.shard.withdraw(*id, REVOKED, now),
            }
        }
        if matches!(order.how, HowClosed::Revoked) {
            // These end already. What waits for them is no longer theirs.
            for id in self.shard.leaving_sessions(|id| self.selects(id, &order.filter)) {
                self.shard.withdraw(id, REVOKED, now);
            }
        }
        self.count_closed(selected.len());
        selected.len()
    }

    /// Counts sessions that an operator has closed, and has their close frames written soon.
    fn count_closed(&mut self, count: usize) {
        self.sockets
            .metrics
            .add(Metric::OperatorCloses, &[], count as u64);
        self.kick();
    }

    fn selects(&self, id: SessionId, filter: &SessionFilter) -> bool {
        let SessionFilter {
            address,
            key,
            subject,
            token_id,
            topic,
        } = filter;
        let has_key = |hash| self.auth().holder_of(id) == Some(&Holder::Key(hash));
        let is_of = |name: &String| matches!(self.auth().holder_of(id), Some(Holder::Subject { subject, .. }) if subject == name);
        let is_in = |network: &IpNet| {
            self.client_of(id)
                .is_some_and(|client| network.contains(&client.ip()))
        };
        key.is_none_or(has_key)
            && subject.as_ref().is_none_or(is_of)
            && token_id
                .as_deref()
                .is_none_or(|wanted| self.auth().token_id_of(id) == Some(wanted))
            && address.as_ref().is_none_or(is_in)
            && topic
                .as_ref()
                .is_none_or(|topic| self.shard.is_subscribed(id, topic))
    }

    /// The address of a session's client.
    fn client_of(&self, id: SessionId) -> Option<ClientAddr> {
        match self.sockets.links.get(id.0 as usize) {
            Some(Some(Link::Open(socket))) => socket.permit.as_ref().map(ConnectionPermit::client),
            Some(Some(Link::Opening(opening))) => Some(opening.client()),
            _ => None,
        }
    }

    fn open(&self, wanted: &SessionsWanted) -> Vec<ListedSession> {
        let selects = |id| self.selects(id, &wanted.filter);
        let cards = self.shard.sessions_after(wanted.after, wanted.count_max, selects);
        let listed = |card: SessionCard| {
            let id = card.session;
            ListedSession {
                client: self.client_of(id),
                holder: self.listed_holder(id),
                card,
            }
        };
        cards.into_iter().map(listed).collect()
    }

    fn listed_holder(&self, id: SessionId) -> Option<ListedHolder> {
        match self.auth().holder_of(id)? {
            Holder::Key(_) => {
                let name = self.auth().name_of(id)?;
                Some(ListedHolder::Key(name.to_owned()))
            }
            Holder::Subject { subject, .. } => Some(ListedHolder::Subject {
                subject: subject.clone(),
                token_id: self.auth().token_id_of(id).map(str::to_owned),
            }),
        }
    }

    fn slowest(&self, top_k: usize, watched: Watched) -> ShardSessions {
        let slowest = self.shard.sessions_debug(top_k, watched, self.clock.now());
        let with_peer = |lag: tickwire_router::SessionLag| {
            let peer = self.client_of(lag.session);
            let holder = self.auth().name_of(lag.session).map(str::to_owned);
            SlowSession { lag, peer, holder }
        };
        ShardSessions {
            count: self.shard.session_count(),
            lagging: self.shard.lagging_count(),
            slowest: slowest.into_iter().map(with_peer).collect(),
        }
    }
}

fn reply<T>(answer: oneshot::Sender<T>, make: impl FnOnce() -> T) {
    if answer.is_closed() || answer.send(make()).is_err() {
        tracing::debug!("an operator did not wait for this shard's answer");
    }
}
