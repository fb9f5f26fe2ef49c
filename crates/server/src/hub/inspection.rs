//! What a hub tells operators of its sessions.

use tokio::sync::oneshot;

use super::{Hub, Link};
use crate::net::permit::ConnectionPermit;
use crate::run::command::{Question, ShardSessions, SlowSession};

impl Hub {
    /// Answers a question, if someone still waits for the answer.
    pub(crate) fn answer(&self, question: Question) {
        match question {
            Question::Sessions(top_k, answer) => reply(answer, || self.slowest(top_k)),
            Question::Topics(answer) => reply(answer, || self.shard.handed_out()),
        }
    }

    fn slowest(&self, top_k: usize) -> ShardSessions {
        let slowest = self.shard.sessions_debug(top_k, self.clock.now());
        let with_peer = |lag: tickwire_router::SessionLag| {
            let peer = match self.sockets.links.get(lag.session.0 as usize) {
                Some(Some(Link::Open(socket))) => socket.permit.as_ref().map(ConnectionPermit::client),
                Some(Some(Link::Opening(opening))) => Some(opening.client()),
                _ => None,
            };
            SlowSession { lag, peer }
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
