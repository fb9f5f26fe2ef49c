//! What a shard's thread owns: the pure shard, its sockets, its counters; and the cycle that moves bytes between them.
//!
//! Single-threaded, [shared](shared::SharedHub) by the tasks of the thread. The cycle is the router's; the [sockets](sockets::Sockets)
//! are what it runs over here. Nothing in it waits.

mod accounts;
mod anew;
mod connection;
mod export;
mod inspection;
mod secured;
mod shared;
mod sockets;
mod sse;
mod stream;

use std::io;
use std::sync::Arc;

use tickwire_metrics::{LocalMetrics, Metric, TransportLabel};
use tickwire_router::cycle::{Budgets, Cycle, Line, Pieces, Turn};
use tickwire_router::{SessionId, Shard, Transport};
use tickwire_wire::frame::Limits as FrameLimits;
use tickwire_wire::{Micros, Variant};
use tokio::sync::Notify;

use crate::accounting::Accounting;
use crate::auth::sessions::AuthSessions;
use crate::auth::{Access, Admission};
use crate::config::Config;
use crate::net::egress::Egress;
use crate::net::permit::ConnectionPermit;
use crate::net::poller::Poller;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;
use accounts::ShardBooks;
pub(crate) use anew::Anew;
use connection::{Connection, Link};
pub(crate) use inspection::{BY_OPERATOR, CLOSED_AT_ONCE_MAX};
pub(crate) use shared::SharedHub;
use sockets::Sockets;
pub(crate) use sse::Opening;
pub(crate) use stream::Stream;

/// Microseconds between two flushes of the counters.
const FLUSH_US: u64 = 250_000;

/// A shard and its connections.
pub(crate) struct Hub {
    pub(crate) shard: Shard,
    pub(crate) clock: Clock,
    cycle: Cycle,
    sockets: Sockets,
    /// Whether a cycle ran since the last flush, so that counts may have changed.
    counted: bool,
    flushed: Micros,
    frame_limits: FrameLimits,
    /// Where what is delivered is booked, if it is.
    books: Option<ShardBooks>,
}

/// What a hub is made of.
pub(crate) struct HubParts {
    pub(crate) shard: Shard,
    pub(crate) clock: Clock,
    pub(crate) poller: Poller,
    pub(crate) egress: Box<dyn Egress>,
    pub(crate) metrics: LocalMetrics,
    pub(crate) frame_limits: FrameLimits,
    pub(crate) slow_write_bytes: usize,
    pub(crate) auth: AuthSessions,
    pub(crate) wake: Arc<Notify>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) may_panic: bool,
    pub(crate) accounting: Option<Arc<Accounting>>,
}

impl Hub {
    pub(crate) fn new(parts: HubParts) -> Self {
        Self {
            shard: parts.shard,
            clock: parts.clock,
            cycle: Cycle::new(Budgets::default()),
            sockets: Sockets {
                clock: parts.clock,
                links: Vec::new(),
                poller: parts.poller,
                egress: parts.egress,
                gathered: Vec::new(),
                encrypted: Vec::new(),
                pieces: Pieces::default(),
                metrics: parts.metrics,
                slow_write_bytes: parts.slow_write_bytes,
                auth: parts.auth,
                held: Vec::new(),
                wake: parts.wake,
                lifecycle: parts.lifecycle,
                may_panic: parts.may_panic,
                panics_later: false,
            },
            counted: false,
            flushed: Micros(0),
            frame_limits: parts.frame_limits,
            books: parts
                .accounting
                .map(|accounting| ShardBooks::new(accounting, parts.clock)),
        }
    }

    /// The cycle with what it works on.
    fn turn(&mut self) -> Turn<'_, Sockets> {
        self.cycle.with(&mut self.shard, &mut self.sockets)
    }

    /// Who the clients are, and what they may do.
    pub(crate) fn auth(&self) -> &AuthSessions {
        &self.sockets.auth
    }

    /// Takes other settings: sessions have them at their next check, and new connections in full.
    pub(crate) fn reconfigure(&mut self, config: &Config, access: Arc<Access>) {
        let now = self.clock.now();
        self.sockets.auth.replace(access, &mut self.shard, now);
        self.shard
            .reconfigure(config.shard_settings(), config.compression.settings());
        self.frame_limits = frame_limits(config);
        self.kick();
    }

    /// Takes over an upgraded connection, with the bytes that came behind its handshake.
    ///
    /// # Errors
    /// When the socket cannot be watched; it is closed then.
    pub(crate) fn adopt(
        &mut self,
        stream: Stream,
        permit: ConnectionPermit,
        transport: Transport,
        variant: Variant,
        admission: Admission,
        early: Vec<u8>,
    ) -> io::Result<SessionId> {
        let now = self.clock.now();
        let ip = permit.client().ip();
        let publisher = admission.publisher(ip);
        let auth = &mut self.sockets.auth;
        let id = auth.open(&mut self.shard, variant.into(), transport, (admission, ip), now);
        self.shard.publishes_as(id, publisher);
        let is_early = !early.is_empty();
        self.connect(id, stream, permit, Line::websocket(self.frame_limits, early))?;
        self.sockets.connection_opened(TransportLabel::WebSocket);
        if is_early {
            self.turn().read_later(id);
        }
        self.begin_secured(id);
        self.kick();
        Ok(id)
    }

    /// The state of the broker.
    pub(crate) fn lifecycle(&self) -> Arc<Lifecycle> {
        self.sockets.lifecycle.clone()
    }

    /// Runs the cycle soon: something was put into the shard from outside of it.
    fn kick(&self) {
        self.sockets.wake.notify_one();
    }

    /// One cycle: reads, delivers and writes. Returns whether there is more to do at once.
    pub(crate) fn cycle(&mut self) -> bool {
        let turned = self.turn().run();
        self.sockets.check_gate(&self.shard);
        let metrics = &mut self.sockets.metrics;
        metrics.observe(Metric::ShardCycle, turned.ended.since(turned.began));
        self.counted = true;
        let day_ended = self
            .books
            .as_ref()
            .is_some_and(|books| books.day_ended(turned.ended));
        if turned.ended.since(self.flushed) >= FLUSH_US || day_ended {
            self.flush(turned.ended);
        }
        turned.more
    }

    /// When the next cycle is due if nothing happens before: a deadline, or counters to be flushed.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        let flush = self.counted.then(|| Micros(self.flushed.0 + FLUSH_US));
        let due = self.cycle.next_timeout(&self.shard);
        let day_ends = self.books.as_ref().map(ShardBooks::day_ends);
        due.into_iter().chain(flush).chain(day_ends).min()
    }

    /// Number of sessions, closing ones included.
    pub(crate) fn session_count(&self) -> usize {
        self.shard.session_count()
    }
}

/// What a client's frames may be.
pub(crate) fn frame_limits(config: &Config) -> FrameLimits {
    FrameLimits {
        message_bytes: config.limits.message_bytes,
        fragments: config.limits.fragments,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::IpAddr;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::HeaderMap;
    use tickwire_metrics::Catalogue;
    use tickwire_router::{Directory, DirectoryLimits, Kinds, ShardId, ShardQueue};
    use tickwire_wire::RequestId;
    use tickwire_wire::message::{Subscribe, TopicRequest};
    use tickwire_wire::sse::Framing;

    use super::*;
    use crate::net::egress::PlainEgress;
    use crate::net::permit::SharedPermit;
    use crate::net::proxied::ClientAddr;
    use crate::ops::labels::LABELS;

    /// A hub without sessions.
    pub(crate) fn hub(directory: &Arc<Directory>) -> Hub {
        let (config, clock) = (Config::default(), Clock::start());
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        let access = Arc::new(Access::load(&config).expect("no files"));
        Hub::new(HubParts {
            shard: Shard::new(ShardId(0), directory.clone(), config.shard_settings()),
            clock,
            poller: Poller::new().expect("a poller").0,
            egress: Box::new(PlainEgress::new()),
            metrics: catalogue.local(),
            frame_limits: frame_limits(&config),
            slow_write_bytes: 2_048,
            auth: AuthSessions::new(access, clock, catalogue),
            wake: Arc::default(),
            lifecycle: Arc::new(Lifecycle::new(true)),
            may_panic: false,
            accounting: None,
        })
    }

    /// A stream that a client opens, whose connection counts in `count`.
    pub(crate) fn opening(count: &Arc<AtomicUsize>) -> Rc<Opening> {
        let client = ClientAddr::new(IpAddr::from([127, 0, 0, 1]), None);
        let permit = SharedPermit::new(ConnectionPermit::take(count, client, None));
        Rc::new(Opening::new(client, permit, None))
    }

    /// A directory with so many topics `t.0`, `t.1` and so on that a subscription to all of them is done in pieces.
    pub(crate) fn many_topics() -> Arc<Directory> {
        let queue = Arc::new(ShardQueue::new(1_024, Box::new(|| {})));
        let limits = DirectoryLimits::default();
        let directory = Directory::new("e".into(), Kinds::default(), limits, vec![queue]);
        for number in 0..3_000 {
            let topic = format!("t.{number}").parse().expect("a topic");
            directory.open(&topic).expect("there is room");
        }
        Arc::new(directory)
    }

    /// Begins a stream of these topics.
    pub(crate) fn open_many(hub: &mut Hub, opening: Rc<Opening>) -> SessionId {
        let admission = hub.auth().admit(&HeaderMap::new());
        let admission = admission.expect("anybody may subscribe");
        let subscribe = Subscribe {
            id: RequestId(0),
            topics: vec![TopicRequest::Pattern("t.*".to_owned())],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        };
        hub.open_sse(opening, (admission, None), Framing::Chunked, subscribe)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_that_was_dropped_while_opening_left_subscriptions_without_a_place() {
        let (mut hub, count) = (hub(&many_topics()), Arc::default());
        let opening = opening(&count);
        let id = open_many(&mut hub, opening.clone());
        while hub.go_on_sse(id) {}
        // The client closes its connection, and nothing else knows of it.
        drop(opening);
        hub.end_opening(id);
        assert!(hub.shard.is_parting(id), "so many are not taken out at once");
        assert_eq!(count.load(Ordering::Relaxed), 1);
        while hub.shard.is_parting(id) {
            hub.cycle();
        }
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    /// A connection that broke without a subscription stayed in the gauges until something else happened.
    #[tokio::test(flavor = "current_thread")]
    async fn what_a_cycle_changed_was_exported_only_if_it_had_counted_as_well() {
        let mut hub = hub(&many_topics());
        for _ in 0..2 {
            let before = hub.flushed;
            hub.cycle();
            let is_due = |at| at <= Micros(before.0 + FLUSH_US);
            assert!(hub.flushed > before || hub.next_timeout().is_some_and(is_due));
        }
    }

    /// The number of a session is used again: what opens the stream would give its connection to another client's.
    #[test]
    fn an_opening_stream_ends_with_its_link_whatever_becomes_of_its_session() {
        let opening = opening(&Arc::default());
        drop(Link::Opening(opening.clone()));
        assert!(opening.is_over());
    }
}
