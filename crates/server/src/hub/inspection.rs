//! What a hub tells operators of its sessions.

use tickwire_router::Watched;
use tickwire_wire::CloseCode;
use tokio::sync::oneshot;

use super::{Hub, Link};
use crate::net::permit::ConnectionPermit;
use crate::run::command::{Question, ShardSessions, SlowSession};

impl Hub {
    /// Answers a question, if someone still waits for the answer.
    pub(crate) fn answer(&self, question: Question) {
        match question {
            Question::Sessions(top_k, watched, answer) => reply(answer, || self.slowest(top_k, watched)),
            Question::Topics(answer) => reply(answer, || self.shard.handed_out()),
        }
    }

    /// Closes the session with this name, because an operator asks for it. Returns whether there was one.
    pub(crate) fn close_named(&mut self, name: &str) -> bool {
        let named = self.shard.session_named(name);
        if let Some(id) = named {
            let now = self.clock.now();
            self.shard
                .close(id, CloseCode::GOING_AWAY, "closed by an operator", now);
            self.kick();
        }
        named.is_some()
    }

    fn slowest(&self, top_k: usize, watched: Watched) -> ShardSessions {
        let slowest = self.shard.sessions_debug(top_k, watched, self.clock.now());
        let with_peer = |lag: tickwire_router::SessionLag| {
            let peer = match self.sockets.links.get(lag.session.0 as usize) {
                Some(Some(Link::Open(socket))) => socket.permit.as_ref().map(ConnectionPermit::client),
                Some(Some(Link::Opening(opening))) => Some(opening.client()),
                _ => None,
            };
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
