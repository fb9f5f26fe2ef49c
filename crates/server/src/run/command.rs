//! The commands and questions that other threads send to a shard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use ipnet::IpNet;
use tickwire_router::{Drain, SessionCard, SessionLag, TopicId, Watched};
use tickwire_wire::{Topic, Variant};
use tokio::sync::oneshot;

use crate::auth::{Access, Admission};
use crate::config::{self, Config, KeyHash};
use crate::net::acceptor::AcceptPlan;
use crate::net::permit::ConnectionPermit;
use crate::net::proxied::ClientAddr;

/// Time in milliseconds that each connection adds to the window: if there are few, it is no use to make the last ones
/// wait.
const MS_PER_CONNECTION: u64 = 100;
/// Longest time in milliseconds that a client gets to take its waiting data.
const PATIENCE_MS_MAX: u64 = 5_000;
/// Time in milliseconds that is kept free for the threads to end, and for the last lines of the log.
const TO_END_MS: u64 = 700;

/// A command for a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept connections, because there is no other shard.
    Accept(Box<AcceptPlan>),
    /// Serve a new connection.
    Serve(std::net::TcpStream, SocketAddr, ConnectionPermit),
    /// Answer a question of an operator.
    Answer(Question),
    /// Show that the shard works.
    GiveSign(SyncSender<()>),
    /// Serve a WebSocket connection that was made at the operators' listener.
    View(Box<Viewer>),
    /// Book what was delivered, and say that this is done.
    Book(oneshot::Sender<()>),
    /// Close the session with this name, and say whether there was one.
    Close(String, oneshot::Sender<bool>),
    /// Close sessions that an operator has selected, as many as are closed at once, and say how many there were.
    CloseAll(Arc<CloseOrder>, oneshot::Sender<usize>),
    /// Apply other settings and access rules from now on.
    Reconfigure(Arc<Config>, Arc<Access>),
    /// Tell every client that the broker stops, close each at its own time, then end.
    Drain(Leave),
}

/// A WebSocket connection of the console, which may subscribe and never publish.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) permit: ConnectionPermit,
    /// The encoding of its messages.
    pub(crate) variant: Variant,
    pub(crate) admission: Admission,
    /// The bytes that came behind the handshake.
    pub(crate) early: Vec<u8>,
}

/// Which sessions an operator wants to be closed, and how.
#[derive(Debug)]
pub(crate) struct CloseOrder {
    pub(crate) filter: SessionFilter,
    pub(crate) how: HowClosed,
}

/// How sessions are closed on an operator's order.
#[derive(Debug)]
pub(crate) enum HowClosed {
    /// With 1001 and this reason. Their clients may connect again.
    GoingAway(String),
    /// With 4003, since what they have shown is revoked.
    Revoked,
}

/// The sessions that an operator means: those that fulfil all conditions that there are.
#[derive(Debug, Default)]
pub(crate) struct SessionFilter {
    /// Their client's address is in this network.
    pub(crate) address: Option<IpNet>,
    /// They are held by the static key with this hash.
    pub(crate) key: Option<KeyHash>,
    /// They are held by this subject, of any issuer.
    pub(crate) subject: Option<String>,
    /// They have shown the token with this `jti` last.
    pub(crate) token_id: Option<String>,
    /// They have a subscription that covers this topic.
    pub(crate) topic: Option<Topic>,
}

/// A page of a shard's open sessions.
#[derive(Debug, Clone)]
pub(crate) struct SessionsWanted {
    pub(crate) filter: Arc<SessionFilter>,
    /// Sessions with numbers above this one; all if it is missing.
    pub(crate) after: Option<u32>,
    pub(crate) count_max: usize,
}

/// A session in a list for operators.
#[derive(Debug)]
pub(crate) struct ListedSession {
    pub(crate) card: SessionCard,
    /// The address of its client. That from a trusted proxy has precedence over that of the socket.
    pub(crate) client: Option<ClientAddr>,
    pub(crate) holder: Option<ListedHolder>,
}

/// The holder of a session as operators see it.
#[derive(Debug)]
pub(crate) enum ListedHolder {
    /// The static key with this name.
    Key(String),
    /// The subject of a JSON Web Token, and the `jti` of that token.
    Subject {
        subject: String,
        token_id: Option<String>,
    },
}

/// A question for a shard.
#[derive(Debug)]
pub(crate) enum Question {
    /// Which sessions are furthest behind? The number is how many of them to return.
    Sessions(usize, Watched, oneshot::Sender<ShardSessions>),
    /// How many live updates of each topic were delivered?
    Topics(oneshot::Sender<Vec<(TopicId, u64)>>),
    /// Which sessions are open?
    Open(SessionsWanted, oneshot::Sender<Vec<ListedSession>>),
}

/// The sessions of a shard.
#[derive(Debug)]
pub(crate) struct ShardSessions {
    /// The number of all sessions, including closing ones.
    pub(crate) count: usize,
    /// The number of lagging sessions.
    pub(crate) lagging: usize,
    /// The sessions that are owed the most messages, the worst first.
    pub(crate) slowest: Vec<SlowSession>,
}

/// A session that is behind.
#[derive(Debug)]
pub(crate) struct SlowSession {
    pub(crate) lag: SessionLag,
    /// The address of its client. That from a trusted proxy has precedence over that of the socket.
    pub(crate) peer: Option<ClientAddr>,
    /// The name of the static key, or the subject of the token, that it showed.
    pub(crate) holder: Option<String>,
}

/// The parameters of a drain for a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// The drain of its sessions.
    pub(crate) drain: Drain,
    /// The time after which the shard ends in any case.
    pub(crate) within: Duration,
}

impl Leave {
    /// The drain of a broker with `connections` connections. `seed` is the seed of their times.
    pub(crate) fn new(settings: config::DrainSettings, connections: usize, seed: u64) -> Self {
        let window_ms = (connections as u64)
            .saturating_mul(MS_PER_CONNECTION)
            .min(settings.window_ms);
        let rest_ms = settings.deadline_ms.saturating_sub(window_ms);
        let within_ms = settings
            .deadline_ms
            .saturating_sub(TO_END_MS)
            .max(settings.deadline_ms / 2);
        Self {
            drain: Drain {
                window_ms,
                deadline_ms: settings.deadline_ms,
                patience_ms: (rest_ms / 4).min(PATIENCE_MS_MAX),
                seed,
            },
            within: Duration::from_millis(within_ms),
        }
    }

    /// The same drain for shard number `index`, whose clients get other times.
    pub(crate) fn of_shard(mut self, index: usize) -> Self {
        self.drain.seed = self.drain.seed.wrapping_add((index as u64) << 32);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(connections: usize, window_ms: u64, deadline_ms: u64) -> Leave {
        let settings = config::DrainSettings {
            delay_ms: 0,
            window_ms,
            deadline_ms,
        };
        Leave::new(settings, connections, 1)
    }

    #[test]
    fn few_connections_are_not_kept_waiting() {
        for (connections, window_ms) in [(0, 0), (1, 100), (299, 29_900), (300, 30_000), (15_000, 30_000)] {
            let drain = leave(connections, 30_000, 60_000).drain;
            assert_eq!(drain.window_ms, window_ms, "{connections} connections");
        }
    }

    #[test]
    fn all_fits_before_the_deadline() {
        for (window_ms, deadline_ms) in [(0, 1_000), (1_000, 2_000), (30_000, 60_000), (30_000, 31_000)] {
            let leave = leave(100_000, window_ms, deadline_ms);
            let within_ms = u64::try_from(leave.within.as_millis()).expect("milliseconds");
            assert!(within_ms < deadline_ms);
            assert!(
                leave.drain.window_ms + leave.drain.patience_ms < within_ms,
                "{leave:?}"
            );
        }
    }

    #[test]
    fn shards_draw_differently() {
        let leave = leave(10, 1_000, 2_000);
        assert_ne!(leave.of_shard(0).drain.seed, leave.of_shard(1).drain.seed);
    }
}
