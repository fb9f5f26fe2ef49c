//! The connections of a shard: its sockets and what watches, writes, counts and admits them. The cycle runs over them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tickwire_metrics::{LocalMetrics, Metric, TransportLabel};
use tickwire_router::cycle::{
    Connections, Line, Offer, Pieces, Protocol, ReadyConnection, Received, Written,
};
use tickwire_router::{Outbox, SessionId, Shard};
use tickwire_wire::codec::DataOp;
use tickwire_wire::frame::Event;
use tickwire_wire::limits::SSE_HEARD_BYTES_MAX;
use tickwire_wire::{CloseCode, Micros};
use tokio::sync::Notify;

use super::{Connection, Link, Opening, Stream};
use crate::auth::sessions::AuthSessions;
use crate::config::test_only;
use crate::net::egress::{BATCH, BYTES_PER_WRITE, Egress, Outgoing};
use crate::net::permit::ConnectionPermit;
use crate::net::poller::Poller;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// Bytes that the pieces and the records of a batch may have before the last one.
const BATCH_BYTES: usize = 1024 * 1024;
/// After a session is dropped, the kernel still sends it what waits. It does so for this time longer than it allows a peer to
/// take nothing.
const LAST_WORDS_KEPT: Duration = Duration::from_secs(30);
/// Bytes by which the send buffer of a session grows that is about to be dropped: a frame begun and the close frame.
const LAST_BYTES: usize = BYTES_PER_WRITE;
/// Most reads of what the client of a stream has sent before its end.
const ENDING_READS: usize = 8;

/// What the cycle of a hub runs over.
pub(super) struct Sockets {
    pub(super) clock: Clock,
    pub(super) links: Vec<Option<Link>>,
    pub(super) poller: Poller,
    pub(super) egress: Box<dyn Egress>,
    /// What is to be encrypted for a session, put together.
    pub(super) gathered: Vec<u8>,
    /// The records of a batch.
    pub(super) encrypted: Vec<u8>,
    /// What is written to streams with positions in a batch.
    pub(super) pieces: Pieces,
    pub(super) metrics: LocalMetrics,
    /// Most bytes that a slow connection is written at a time.
    pub(super) slow_write_bytes: usize,
    pub(super) auth: AuthSessions,
    /// The permits of sessions that have ended and whose subscriptions are being taken out.
    pub(super) held: Vec<HeldPermit>,
    pub(super) wake: Arc<Notify>,
    pub(super) lifecycle: Arc<Lifecycle>,
    /// Whether clients may ask for a panic: `test.panic`.
    pub(super) may_panic: bool,
    pub(super) panics_later: bool,
}

/// The permit of a session that has ended. It is not free before the subscriptions are taken out, so nobody leaves more
/// behind than connections may have.
pub(super) struct HeldPermit {
    session: SessionId,
    _permit: Option<ConnectionPermit>,
    /// If it ended before its stream had a connection.
    _opening: Option<Rc<Opening>>,
}

impl Sockets {
    /// The connection of a session.
    pub(super) fn open_mut(&mut self, id: SessionId) -> Option<&mut Connection> {
        open_of(&mut self.links, id)
    }

    pub(super) fn set_link(&mut self, id: SessionId, link: Link) {
        let index = id.0 as usize;
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        self.links[index] = Some(link);
    }

    /// Lets a feed start that waits for the first subscription, if there is one now.
    pub(super) fn check_gate(&self, shard: &Shard) {
        if !self.lifecycle.is_open() && shard.has_subscriptions() {
            self.lifecycle.open();
        }
    }

    /// Counts a connection that completed its handshake.
    pub(super) fn connection_opened(&mut self, transport: TransportLabel) {
        self.metrics.add(Metric::Connections, &[transport as usize], 1);
        self.metrics
            .add(Metric::ConnectionsOpened, &[transport as usize], 1);
    }

    fn connection_closed(&mut self, transport: TransportLabel) {
        self.metrics.sub(Metric::Connections, &[transport as usize], 1);
    }

    /// Tells the shard that `count` bytes of what a session was offered are taken.
    ///
    /// # Errors
    /// When fewer bytes waited for it: the session cannot go on.
    pub(super) fn settle(
        &mut self,
        shard: &mut Shard,
        id: SessionId,
        count: usize,
        now: Micros,
    ) -> io::Result<()> {
        let Some(socket) = open_of(&mut self.links, id) else {
            return Ok(());
        };
        let (pieces, metrics) = (&self.pieces, &mut self.metrics);
        let wrote = socket.line.took(shard, (id, count), pieces, now, |delivery| {
            if delivery.op() == DataOp::Update {
                metrics.observe(Metric::DeliveryLatency, now.since(delivery.publication().entered));
            }
        });
        wrote.map_err(|overrun| {
            tracing::error!(session = id.0, %overrun, "a fault of the broker: the connection is dropped");
            self.metrics.add(Metric::SessionsFailed, &[], 1);
            io::Error::other(overrun)
        })
    }
}

/// The connection of a session.
pub(super) fn open_of(links: &mut [Option<Link>], id: SessionId) -> Option<&mut Connection> {
    match links.get_mut(id.0 as usize) {
        Some(Some(Link::Open(socket))) => Some(socket),
        _ => None,
    }
}

impl Connections for Sockets {
    fn now(&mut self) -> Micros {
        self.clock.now()
    }

    fn line(&mut self, id: SessionId) -> Option<&mut Line> {
        self.open_mut(id).map(|socket| &mut socket.line)
    }

    fn take_ready(&mut self, ready: &mut Vec<ReadyConnection>) -> bool {
        self.poller.take(ready).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot ask the kernel for ready connections");
            false
        })
    }

    fn read(&mut self, id: SessionId, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(socket) = open_of(&mut self.links, id) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.metrics.add(Metric::SocketReads, &[], 1);
        let heard = socket.stream.read(buffer)?;
        let wire = heard.wire as u64;
        self.metrics.add(Metric::SocketReadBytes, &[], wire);
        Ok(Received {
            count: heard.count,
            drained: heard.drained,
        })
    }

    fn hears(&mut self, _shard: &Shard, _id: SessionId, event: &Event<'_>, _now: Micros) {
        if self.may_panic {
            self.panics_later |= test_only::asks_for_panic(event);
        }
    }

    fn handled(&mut self, shard: &mut Shard, _id: SessionId, now: Micros) {
        self.auth.answer(shard, now);
    }

    fn begin_batch(&mut self) {
        assert!(!self.panics_later, "test.panic: between two halves of a cycle");
        self.pieces.clear();
        self.encrypted.clear();
    }

    fn has_room(&self, count: usize) -> bool {
        count < BATCH && self.pieces.bytes_len() + self.encrypted.len() < BATCH_BYTES
    }

    fn offer(&mut self, shard: &mut Shard, id: SessionId, _now: Micros) -> io::Result<Offer> {
        let slow_write_bytes = self.slow_write_bytes;
        let Some(socket) = self.open_mut(id) else {
            return Ok(Offer::Batched);
        };
        match (&socket.stream, &socket.line.protocol) {
            (Stream::Tls(_), _) => return self.encrypt(shard, id),
            (Stream::Plain(_), Protocol::WebSocket(_)) => {}
            (Stream::Plain(_), Protocol::Sse(_)) => {
                let bytes_max = socket.bytes_max(slow_write_bytes);
                self.put_together(shard, id, bytes_max);
            }
        }
        Ok(Offer::Batched)
    }

    fn write(&mut self, shard: &Shard, batch: &[SessionId], results: &mut Vec<Written>) {
        let ready = batch.iter().filter_map(|id| {
            let Some(Some(Link::Open(socket))) = self.links.get(id.0 as usize) else {
                return None;
            };
            let (instead, bytes_max) = match &socket.stream {
                Stream::Plain(_) => (
                    socket.line.offered(&self.pieces),
                    socket.bytes_max(self.slow_write_bytes),
                ),
                // A record is as long as it may be.
                Stream::Tls(secured) => (Some(secured.record(&self.encrypted)?), usize::MAX),
            };
            shard.outbox(*id).map(|outbox| Outgoing {
                session: *id,
                stream: socket.stream.socket(),
                outbox,
                instead,
                bytes_max,
            })
        });
        let ready: Vec<Outgoing<'_>> = ready.collect();
        let calls = self.egress.write(&ready, results);
        self.metrics.add(Metric::SocketWrites, &[], calls);
    }

    fn end_round(&mut self) {
        self.pieces.clear();
        self.pieces.shrink_to(BATCH_BYTES);
        self.encrypted.clear();
        self.encrypted.shrink_to(BATCH_BYTES);
    }

    fn took(&mut self, shard: &mut Shard, id: SessionId, count: usize, now: Micros) -> io::Result<()> {
        if count > 0 {
            self.metrics.add(Metric::SocketWrittenBytes, &[], count as u64);
        }
        let count = self.taken_of(id, count)?;
        self.settle(shard, id, count, now)
    }

    fn resume(&mut self, shard: &mut Shard, id: SessionId) -> io::Result<bool> {
        self.resume_secured(shard, id)
    }

    fn make_room(&mut self, id: SessionId, again: bool) -> bool {
        let Some(socket) = self.open_mut(id) else {
            return false;
        };
        // Of what TLS has yet to send the close frame may be a part when the session is shut already.
        if socket.line.shut && matches!(socket.stream, Stream::Plain(_)) {
            return false;
        }
        let growth = if again { LAST_BYTES } else { 0 };
        let made = make_room(&SockRef::from(&*socket.stream.socket_mut()), growth);
        if let Err(error) = &made {
            tracing::debug!(session = id.0, %error, "no room for its close frame");
        }
        made.is_ok()
    }

    fn shut(&mut self, id: SessionId) -> io::Result<bool> {
        let Some(socket) = self.open_mut(id) else {
            return Ok(false);
        };
        let flushed = socket.stream.shut()?;
        self.count(flushed);
        Ok(flushed.blocked)
    }

    fn end_stream(&mut self, id: SessionId) {
        if let Some(socket) = self.open_mut(id) {
            // With something unread the kernel would reset the connection, and its end might not arrive (RFC 9112 §9.6).
            // It is not read into the cycle's buffer, in which something of another connection may be under way.
            let mut unread = [0; SSE_HEARD_BYTES_MAX];
            for _ in 0..ENDING_READS {
                match socket.stream.read(&mut unread) {
                    Ok(heard) if heard.count == unread.len() => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::trace!(session = id.0, %error, "nothing was unread");
                        break;
                    }
                }
            }
        }
        self.wake.notify_one(); // a broker that stops waits for the last session
    }

    fn lost(&mut self, id: SessionId, error: &io::Error) {
        tracing::debug!(session = id.0, %error, "connection lost");
    }

    fn remove(&mut self, shard: &mut Shard, id: SessionId) -> bool {
        let Some(mut link) = self.links.get_mut(id.0 as usize).and_then(Option::take) else {
            return false;
        };
        let is_slow = |outbox: &Outbox| outbox.closed() == Some(CloseCode::SLOW);
        if let Link::Open(socket) = &link
            && socket.line.is_stream()
            && shard.outbox(id).is_some_and(is_slow)
        {
            self.metrics.add(Metric::SseDropped, &[], 1);
        }
        shard.remove(id);
        self.auth.forget(id);
        if shard.is_parting(id) {
            let (_permit, _opening) = match &mut link {
                Link::Open(socket) => (socket.permit.take(), None),
                Link::Opening(opening) => (None, Some(opening.clone())),
            };
            self.held.push(HeldPermit {
                session: id,
                _permit,
                _opening,
            });
        }
        if let Link::Open(socket) = &mut link {
            if let Stream::Tls(secured) = &mut socket.stream
                && let Err(error) = secured.answer_end()
            {
                tracing::debug!(session = id.0, %error, "the end of its TLS session was not answered");
            }
            self.egress.remove(id);
            if let Err(error) = self.poller.remove(socket.stream.socket_mut()) {
                tracing::debug!(session = id.0, %error, "the socket was not watched any more");
            }
            self.connection_closed(socket.label());
        }
        true
    }

    fn parted(&mut self, shard: &Shard) {
        self.held.retain(|held| shard.is_parting(held.session));
    }
}

/// Lets a socket hold whatever its send buffer has room for, and for longer; or that be `growth` bytes more.
fn make_room(socket: &SockRef<'_>, growth: usize) -> io::Result<()> {
    if growth == 0 {
        // It counts from when the peer took something last.
        let gives_up = socket.tcp_user_timeout()?.map(|after| after + LAST_WORDS_KEPT);
        socket.set_tcp_user_timeout(gives_up)?;
        return socket.set_tcp_notsent_lowat(u32::MAX);
    }
    // What is asked for is doubled (socket(7)).
    socket.set_send_buffer_size(socket.send_buffer_size()? / 2 + growth)
}
