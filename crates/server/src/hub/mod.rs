//! What a shard's thread owns: the pure shard, its sockets, its counters; and the cycle that moves bytes between them.
//!
//! Single-threaded, [shared](shared::HubCell) by the tasks of the thread. A cycle reads what is ready, drains the queue within a budget, and writes once to each connection that has something
//! waiting. Nothing in it waits.

mod anew;
mod connection;
mod export;
mod inspection;
mod reading;
mod secured;
mod shared;
mod sse;
mod stream;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tickwire_metrics::{LocalMetrics, Metric, Transport as TransportLabel};
use tickwire_router::{Counts, Outbox, SessionId, Shard, Transport};
use tickwire_wire::codec::DataOp;
use tickwire_wire::deflate::Inflater;
use tickwire_wire::frame::{Event, Limits as FrameLimits, Opcode, Parser};
use tickwire_wire::{CloseCode, Codec, Micros, Refusal, Variant};
use tokio::sync::Notify;

use crate::auth::sessions::AuthSessions;
use crate::auth::{Access, Admission};
use crate::config::{Config, test_only};
use crate::net::egress::{Egress, Wrote};
use crate::net::permit::ConnectionPermit;
use crate::net::poller::{Poller, Ready};
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;
pub(crate) use anew::Anew;
use connection::{Connection, Link, Protocol};
use reading::{Parked, UnderWay};
pub(crate) use shared::{HubCell, SharedHub};
pub(crate) use sse::{EventStream, Opening};
pub(crate) use stream::Stream;

/// Bytes of a shard's read buffer, shared by all its connections.
const READ_BYTES: usize = 64 * 1024;
/// Deliveries between two rounds of writing.
const DRAIN_BUDGET: usize = 64 * 1024;
/// Microseconds of a cycle in which connections that have ended are let go, and their subscriptions taken out of as many lists: what
/// others are owed does not wait for all of them.
const FAREWELL_BUDGET_US: u64 = 200;
/// Microseconds between two flushes of the counters.
const FLUSH_US: u64 = 250_000;

/// A shard and its connections.
pub(crate) struct Hub {
    pub(crate) shard: Shard,
    pub(crate) clock: Clock,
    links: Vec<Option<Link>>,
    poller: Poller,
    egress: Box<dyn Egress>,
    /// What a round of writing works on, kept for its memory.
    batch: Vec<SessionId>,
    results: Vec<io::Result<Wrote>>,
    /// What is to be encrypted, put together.
    gathered: Vec<u8>,
    /// The bytes that streams have of their own in a round of writing.
    pieces: Vec<u8>,
    metrics: LocalMetrics,
    /// What was counted at the last flush.
    exported: Counts,
    flushed: Micros,
    /// Microseconds of the last cycle after what was read in it.
    delivering_us: u64,
    ready: Vec<Ready>,
    /// Connections with something to read.
    unread: VecDeque<SessionId>,
    /// When to look again whether clients can be read, if a shard has too much to do.
    resume_at: Option<Micros>,
    scratch: Box<[u8]>,
    /// What is left of what one client sent, if the last cycle had no time for all of it.
    under_way: Option<UnderWay>,
    /// Sessions with a request that is not done, the next in turn first.
    parked: VecDeque<Parked>,
    /// Inflates what clients send compressed.
    inflater: Inflater,
    frame_limits: FrameLimits,
    /// Most bytes that a slow connection is written at a time.
    piece_bytes: usize,
    pub(crate) auth: AuthSessions,
    /// Connections that have ended and whose subscriptions are being taken out. Their places are not free before: nobody leaves
    /// more behind than connections may have.
    parting: Vec<(SessionId, ConnectionPermit)>,
    wake: Arc<Notify>,
    gate: Arc<Lifecycle>,
    /// Whether clients may ask for a panic: `test.panic`.
    may_panic: bool,
    panics_later: bool,
}

/// What a hub is made of.
pub(crate) struct HubParts {
    pub(crate) shard: Shard,
    pub(crate) clock: Clock,
    pub(crate) poller: Poller,
    pub(crate) egress: Box<dyn Egress>,
    pub(crate) metrics: LocalMetrics,
    pub(crate) frame_limits: FrameLimits,
    pub(crate) piece_bytes: usize,
    pub(crate) auth: AuthSessions,
    pub(crate) wake: Arc<Notify>,
    pub(crate) gate: Arc<Lifecycle>,
    pub(crate) may_panic: bool,
}

impl Hub {
    pub(crate) fn new(parts: HubParts) -> Self {
        Self {
            shard: parts.shard,
            clock: parts.clock,
            links: Vec::new(),
            poller: parts.poller,
            egress: parts.egress,
            batch: Vec::new(),
            results: Vec::new(),
            gathered: Vec::new(),
            pieces: Vec::new(),
            metrics: parts.metrics,
            exported: Counts::default(),
            flushed: Micros(0),
            delivering_us: 0,
            ready: Vec::new(),
            unread: VecDeque::new(),
            resume_at: None,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            under_way: None,
            parked: VecDeque::new(),
            inflater: Inflater::new(),
            frame_limits: parts.frame_limits,
            piece_bytes: parts.piece_bytes,
            auth: parts.auth,
            parting: Vec::new(),
            wake: parts.wake,
            gate: parts.gate,
            may_panic: parts.may_panic,
            panics_later: false,
        }
    }

    /// Takes other settings: sessions have them at their next check, and new connections in full.
    pub(crate) fn reconfigure(&mut self, config: &Config, access: Arc<Access>) {
        let now = self.clock.now();
        self.auth.replace(access, &mut self.shard, now);
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
        let publisher = admission.publisher(permit.client().ip());
        let id = self
            .auth
            .open(&mut self.shard, variant.into(), transport, admission, now);
        self.shard.publishes_as(id, publisher);
        let parser = Parser::new(self.frame_limits);
        self.connect(id, stream, permit, Protocol::WebSocket(parser))?;
        self.connection_opened(TransportLabel::WebSocket);
        if !early.is_empty()
            && let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize)
        {
            socket.early = Some(Box::new(early));
            self.read_later(id);
        }
        self.begin_secured(id);
        self.wake.notify_one();
        Ok(id)
    }

    /// The gate of the feed.
    pub(crate) fn gate(&self) -> Arc<Lifecycle> {
        self.gate.clone()
    }

    /// Runs the cycle soon: something was put into the shard from outside of it.
    fn kick(&self) {
        self.wake.notify_one();
    }

    fn set_link(&mut self, id: SessionId, link: Link) {
        let index = id.0 as usize;
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        self.links[index] = Some(link);
    }

    /// Ends a session whose far end is gone.
    pub(crate) fn drop_session(&mut self, id: SessionId) {
        let Some(mut link) = self.links.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        let is_slow = |outbox: &Outbox| outbox.closed() == Some(CloseCode::SLOW);
        if let Link::Open(socket) = &link
            && socket.protocol.label() == TransportLabel::Sse
            && self.shard.outbox(id).is_some_and(is_slow)
        {
            self.metrics.add(Metric::SseDropped, &[], 1);
        }
        self.shard.remove(id);
        self.auth.forget(id);
        self.under_way.take_if(|it| it.session == id);
        self.parked.retain(|parked| parked.session != id);
        if let Link::Open(socket) = &mut link {
            if self.shard.is_parting(id)
                && let Some(permit) = socket.permit.take()
            {
                self.parting.push((id, permit));
            }
            self.egress.remove(id);
            if let Err(error) = self.poller.remove(socket.stream.socket_mut()) {
                tracing::debug!(session = id.0, %error, "the socket was not watched any more");
            }
            self.connection_closed(socket.protocol.label());
        }
    }

    /// One round of reading, delivering and writing. Returns whether there is more to do at once.
    pub(crate) fn cycle(&mut self) -> bool {
        let began = self.clock.now();
        let more_events = self.read_ready(began);
        let read = self.clock.now();
        self.shard.on_timeout(began);
        let more_queued = self.shard.drain(DRAIN_BUDGET, began);
        assert!(!self.panics_later, "test.panic: between two halves of a cycle");
        self.write_dirty();
        let more_gone = self.drop_gone();
        let now = self.clock.now();
        self.delivering_us = now.since(read);
        self.metrics.observe(Metric::ShardCycle, now.since(began));
        if now.since(self.flushed) >= FLUSH_US {
            self.flush(now);
        }
        let more_unread = self.under_way.is_some() || !self.unread.is_empty() && self.resume_at.is_none();
        let more_unread = more_unread || !self.parked.is_empty();
        more_events || more_queued || more_gone || self.shard.dirty_count() > 0 || more_unread
    }

    /// Drops the sessions whose connections can be dropped, and takes out the subscriptions of those that have ended, as far as there
    /// is time. Returns whether some may be left.
    fn drop_gone(&mut self) -> bool {
        let began = self.clock.now();
        loop {
            let more = match self.shard.next_gone() {
                Some(id) => {
                    self.last_words(id);
                    self.drop_session(id);
                    true
                }
                None => self.shard.part(),
            };
            let shard = &self.shard;
            self.parting.retain(|(id, _)| shard.is_parting(*id));
            if !more || self.clock.now().since(began) > FAREWELL_BUDGET_US {
                return more;
            }
        }
    }

    /// When the next cycle is due if nothing happens before: a deadline, or counters to be flushed.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        let flush = (self.exported != *self.shard.counts()).then(|| Micros(self.flushed.0 + FLUSH_US));
        let resume = self.resume_at.filter(|_| !self.unread.is_empty());
        self.shard
            .next_timeout()
            .into_iter()
            .chain(flush)
            .chain(resume)
            .min()
    }

    fn read_ready(&mut self, now: Micros) -> bool {
        let mut ready = std::mem::take(&mut self.ready);
        let more = self.poller.take(&mut ready).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot ask the kernel for ready connections");
            false
        });
        for Ready {
            session,
            readable,
            writable,
            ended,
        } in ready.drain(..)
        {
            if ended && let Some(Some(Link::Open(socket))) = self.links.get_mut(session.0 as usize) {
                socket.ended = true;
            }
            if writable {
                self.write_on(session);
            }
            if readable {
                self.read_later(session);
            }
        }
        self.ready = ready;
        self.read_waiting(now);
        more
    }

    /// Handles bytes that a client sent. Returns how many are left when it is `until`, or when there is a request among them that is
    /// not done at once.
    fn received(&mut self, id: SessionId, bytes: &mut [u8], now: Micros, until: Micros) -> usize {
        let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) else {
            return 0;
        };
        let Some(dialect) = self.shard.dialect(id) else {
            return 0;
        };
        let parser = match &mut socket.protocol {
            Protocol::WebSocket(parser) => parser,
            Protocol::Sse(events) => {
                events.hear(bytes.len());
                return 0;
            }
        };
        let codec = dialect.codec();
        // Who agreed on compression may send compressed messages, too.
        let mut inflater = dialect.window().map(|_| &mut self.inflater);
        let mut input = bytes;
        loop {
            match parser.next_with(&mut input, inflater.as_deref_mut()) {
                Ok(None) => return 0,
                Ok(Some(event)) => {
                    if self.may_panic {
                        self.panics_later |= test_only::asks_for_panic(&event);
                    }
                    handle_event(&mut self.shard, id, codec, event, now);
                    self.auth.answer(&mut self.shard, now);
                    if self.shard.unfinished(id).is_some() || self.clock.now() >= until {
                        break;
                    }
                }
                Err(violation) => {
                    self.shard
                        .close(id, violation.close_code(), &violation.to_string(), now);
                    return 0;
                }
            }
        }
        input.len()
    }

    /// Opens the gate of a feed that waits for the first subscription, if there is one now.
    fn check_gate(&self) {
        if !self.gate.is_open() && self.shard.has_subscriptions() {
            self.gate.open();
        }
    }

    /// Counts a connection that completed its handshake.
    fn connection_opened(&mut self, transport: TransportLabel) {
        self.metrics.add(Metric::Connections, &[transport as usize], 1);
        self.metrics
            .add(Metric::ConnectionsOpened, &[transport as usize], 1);
    }

    fn connection_closed(&mut self, transport: TransportLabel) {
        self.metrics.sub(Metric::Connections, &[transport as usize], 1);
    }

    /// Takes note that the far end of a session took `count` bytes.
    ///
    /// # Errors
    /// When fewer bytes waited for it: the session cannot go on.
    fn took(&mut self, id: SessionId, count: usize, now: Micros) -> io::Result<()> {
        let metrics = &mut self.metrics;
        let wrote = self.shard.wrote(id, count, now, |fanout| {
            if fanout.op == DataOp::Update {
                metrics.observe(Metric::DeliveryLatency, now.since(fanout.publication.ts));
            }
        });
        wrote.map_err(|overrun| {
            tracing::error!(session = id.0, %overrun, "a fault of the broker: the connection is dropped");
            self.metrics.add(Metric::SessionsFailed, &[], 1);
            io::Error::other(overrun)
        })
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

/// Handles one frame or message of a client.
fn handle_event(shard: &mut Shard, id: SessionId, codec: Codec, event: Event<'_>, now: Micros) {
    match event {
        Event::Message { opcode, payload } if shard.echoes(id) => shard.echo(id, opcode, payload),
        Event::Message { opcode, payload } if opcode == codec.opcode() => {
            shard.request(id, codec.decode_request(payload), now);
        }
        Event::Message { .. } => {
            let wanted = if codec.opcode() == Opcode::Text {
                "text"
            } else {
                "binary"
            };
            let name = codec.subprotocol();
            let refusal =
                Refusal::bad_request(format!("this connection speaks {name}: send {wanted} messages"));
            shard.refuse(id, None, refusal, now);
        }
        Event::Ping(payload) => shard.ping(id, payload, now),
        Event::Pong(_) => shard.pong(id, now),
        Event::Close { code, .. } => shard.close_received(id, code, now),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::rc::Rc;

    use super::*;
    use crate::net::proxied::ClientAddr;

    /// The number of a session is used again: what opens the stream would give its connection to another client's.
    #[test]
    fn an_opening_stream_ends_with_its_link_whatever_becomes_of_its_session() {
        let opening = Rc::new(Opening::new(ClientAddr::new(IpAddr::from([127, 0, 0, 1]), None)));
        drop(Link::Opening(opening.clone()));
        assert!(opening.is_over());
    }
}
