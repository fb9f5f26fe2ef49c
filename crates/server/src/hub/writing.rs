//! The writing half of a cycle: one round over the sessions that have something waiting, in batches.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tickwire_metrics::Metric;
use tickwire_router::SessionId;
use tickwire_wire::Micros;

use super::{Hub, Link, Protocol, READ_BYTES, Stream};
use crate::net::egress::{self, BATCH, BYTES_PER_WRITE, Wrote};

/// Time for which the kernel keeps what a session that was dropped has yet to get, beyond that after which it gives up a peer
/// that takes nothing.
const LAST_WORDS_KEPT: Duration = Duration::from_secs(30);
/// Bytes by which the send buffer of a session grows that is about to be dropped: a frame begun and the close frame.
const LAST_BYTES: usize = BYTES_PER_WRITE;
/// Bytes that streams may have of their own in a batch, but for one piece.
const PIECES_BYTES: usize = 1024 * 1024;

impl Hub {
    /// One round over the sessions that have something waiting.
    pub(super) fn write_dirty(&mut self) {
        let now = self.clock.now();
        let mut batch = std::mem::take(&mut self.batch);
        let mut goes_on = true;
        while goes_on {
            batch.clear();
            self.pieces.clear();
            while batch.len() < BATCH && self.pieces.len() < PIECES_BYTES {
                let Some(id) = self.shard.next_dirty() else {
                    goes_on = false;
                    break;
                };
                match self.links.get(id.0 as usize) {
                    Some(Some(Link::Open(socket))) if !socket.blocked => {
                        match (&socket.stream, &socket.protocol) {
                            (Stream::Tls(_), _) => self.write_secured(id),
                            (Stream::Plain(_), Protocol::WebSocket(_)) => batch.push(id),
                            (Stream::Plain(_), Protocol::Sse(_)) => {
                                if self.put_together(id, now).is_ok() {
                                    batch.push(id);
                                } else {
                                    self.drop_session(id);
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
            self.write_batch(&batch);
        }
        self.batch = batch;
        self.pieces.clear();
        self.pieces.shrink_to(PIECES_BYTES);
    }

    /// The socket of a session takes bytes again.
    pub(super) fn write_on(&mut self, id: SessionId) {
        if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) {
            socket.blocked = false;
            let is_plain = matches!(socket.stream, Stream::Plain(_));
            if !is_plain && !self.resume_secured(id) {
                return;
            }
            // The outbox does not know of a stream's own bytes, so they would not be asked for.
            if self.has_own(id) {
                match is_plain {
                    true => self.write_batch(&[id]),
                    false => self.write_secured(id),
                }
                if self.has_own(id) {
                    return;
                }
            }
        }
        self.shard.writable(id);
    }

    fn write_batch(&mut self, batch: &[SessionId]) {
        let ready = batch.iter().filter_map(|id| {
            let Some(Some(Link::Open(socket))) = self.links.get(id.0 as usize) else {
                return None;
            };
            let Stream::Plain(stream) = &socket.stream else {
                return None;
            };
            let bytes_max = if socket.slow {
                self.piece_bytes
            } else {
                BYTES_PER_WRITE
            };
            self.shard.outbox(*id).map(|outbox| egress::Ready {
                session: *id,
                stream,
                outbox,
                own: socket.protocol.own(&self.pieces),
                bytes_max,
            })
        });
        let ready: Vec<egress::Ready<'_>> = ready.collect();
        let mut results = std::mem::take(&mut self.results);
        let calls = self.egress.write(&ready, &mut results);
        self.metrics.add(Metric::SocketWrites, &[], calls);
        drop(ready);
        let now = self.clock.now();
        for (id, result) in batch.iter().zip(results.drain(..)) {
            let outcome = result.and_then(|wrote| self.wrote(*id, wrote, now));
            if let Err(error) = outcome {
                tracing::debug!(session = id.0, %error, "connection lost");
                self.drop_session(*id);
            }
        }
        self.results = results;
    }

    pub(super) fn wrote(&mut self, id: SessionId, wrote: Wrote, now: Micros) -> io::Result<()> {
        let (Wrote::All(count) | Wrote::Part(count)) = wrote;
        let mut is_stream = false;
        if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) {
            socket.blocked = matches!(wrote, Wrote::Part(_));
            socket.slow |= socket.blocked;
            is_stream = socket.is_stream();
        }
        if count > 0 {
            self.metrics.add(Metric::SocketWrittenBytes, &[], count as u64);
        }
        let is_own = is_stream && self.took_own(id, count);
        if count > 0 && !is_own {
            self.took(id, count, now)?;
        }
        if self.shard.is_finished(id) && !(is_stream && self.has_own(id)) {
            return self.shut(id);
        }
        self.read_on(id);
        if matches!(wrote, Wrote::All(_)) {
            if self.shard.outbox(id).is_some_and(|outbox| !outbox.is_empty()) {
                self.shard.writable(id);
            } else if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) {
                socket.slow = false;
            }
        }
        Ok(())
    }

    /// Reads a session that was held until it had taken what waited for it.
    fn read_on(&mut self, id: SessionId) {
        if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize)
            && socket.held
            && !self.shard.echo_waits(id)
        {
            socket.held = false;
            self.read_later(id);
        }
    }

    /// Hands the kernel what a session has yet to get before it is dropped, beyond what may wait there otherwise. The kernel
    /// sends it should the peer go on reading, which so learns by which code it was closed.
    pub(super) fn last_words(&mut self, id: SessionId) {
        // What may not wait unsent fits, and if the buffer is full, its growth does.
        for growth in [0, LAST_BYTES] {
            let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) else {
                return;
            };
            // Of what TLS has yet to send the close frame may be a part when the session is shut already.
            let is_plain = matches!(socket.stream, Stream::Plain(_));
            if !socket.blocked || socket.ended || socket.is_stream() || socket.shut && is_plain {
                return;
            }
            if let Err(error) = make_room(&SockRef::from(&*socket.stream.socket_mut()), growth) {
                tracing::debug!(session = id.0, %error, "no room for its close frame");
                return;
            }
            socket.slow = false;
            socket.blocked = false;
            if is_plain {
                self.write_batch(&[id]);
            } else if self.resume_secured(id) {
                self.write_secured(id);
            }
        }
    }

    /// The close is out: says so to the peer, which then closes if it speaks WebSocket (RFC 6455 §7.1.1). A stream is over.
    fn shut(&mut self, id: SessionId) -> io::Result<()> {
        let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) else {
            return Ok(());
        };
        if !std::mem::replace(&mut socket.shut, true) {
            socket.blocked = socket.stream.shut()?;
        }
        if !socket.blocked && socket.is_stream() {
            self.end_stream(id);
        }
        Ok(())
    }

    /// Ends a session whose stream has ended properly.
    pub(super) fn end_stream(&mut self, id: SessionId) {
        if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) {
            // With something unread the kernel would reset the connection, and its end might not arrive (RFC 9112 §9.6).
            // The hub's own buffer may hold what another client has sent.
            let mut thrown_away = vec![0; READ_BYTES];
            if let Err(error) = socket.stream.read(&mut thrown_away) {
                tracing::trace!(session = id.0, %error, "nothing was unread");
            }
        }
        self.drop_session(id);
        self.kick(); // a broker that stops waits for the last session
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
