//! Writing to connections that speak TLS, one by one, whatever the shard's egress.
//!
//! What waits for a connection is encrypted a record at a time, and the next one only when the socket took the one before.
//! So at most a record that was encrypted waits for a full socket: it counts as taken, like what the kernel has, and the
//! rest stays in the outbox, where it can be replaced by something newer.

use std::io;

use tickwire_metrics::Metric;
use tickwire_router::SessionId;

use super::{Connection, Hub, Link, Stream};
use crate::net::egress::{BYTES_PER_WRITE, Wrote, gather, single};
use crate::net::tls::{Flushed, RECORD_BYTES, Secured};

impl Hub {
    /// Writes what waits for a session.
    pub(super) fn write_secured(&mut self, id: SessionId) {
        let outcome = self.encrypt(id).and_then(|wrote| {
            let now = self.clock.now();
            self.wrote(id, wrote, now)
        });
        if let Err(error) = outcome {
            tracing::debug!(session = id.0, %error, "connection lost");
            self.drop_session(id);
        }
    }

    /// Looks after a new session, which may hold bytes of which its socket knows nothing, both ways.
    pub(super) fn begin_secured(&mut self, id: SessionId) {
        if secured_of(&mut self.links, id).is_some() {
            self.resume_secured(id);
            self.read_later(id);
        }
    }

    /// Goes on with what waited for the socket of a session, which takes bytes again. Returns whether it took all.
    pub(super) fn resume_secured(&mut self, id: SessionId) -> bool {
        let Some((secured, ..)) = secured_of(&mut self.links, id) else {
            return true;
        };
        if !secured.wants_write() {
            return true;
        }
        let flushed = match secured.flush() {
            Ok(flushed) => flushed,
            Err(error) => return self.lose(id, &error),
        };
        self.count(flushed);
        if flushed.wire > 0 {
            self.shard.progressed(id);
        }
        let is_stream = self.is_stream(id);
        let Some((secured, blocked, shut)) = secured_of(&mut self.links, id) else {
            return false;
        };
        *blocked = flushed.blocked;
        if shut && !flushed.blocked {
            // What was to be said is out; see `Hub::shut`.
            if let Err(error) = secured.shut() {
                return self.lose(id, &error);
            }
            if is_stream {
                self.end_stream(id);
                return false;
            }
        }
        !flushed.blocked
    }

    fn lose(&mut self, id: SessionId, error: &io::Error) -> bool {
        tracing::debug!(session = id.0, %error, "connection lost");
        self.drop_session(id);
        false
    }

    fn encrypt(&mut self, id: SessionId) -> io::Result<Wrote> {
        // One that was full is written in small pieces, so that little of it waits in the kernel.
        let bytes_max = match self.links.get(id.0 as usize) {
            Some(Some(Link::Open(socket))) if socket.slow => self.piece_bytes,
            _ => BYTES_PER_WRITE,
        };
        let record_bytes = bytes_max.min(RECORD_BYTES);
        let mut taken = 0;
        loop {
            let Some((secured, _, shut)) = secured_of(&mut self.links, id) else {
                return Ok(Wrote::All(0));
            };
            let before = secured.flush()?;
            if before.blocked || shut {
                self.count(before);
                return Ok(Wrote::Part(0));
            }
            // Other sessions have pieces there that are to be written yet.
            let others = self.pieces.len();
            let now = self.clock.now();
            self.put_together(id, now)?;
            let (count, after) = self.encrypt_once(id, record_bytes)?;
            self.count(before);
            self.count(after);
            // Such as the stream has of its own left the outbox before.
            if !self.took_own(id, count) {
                self.took(id, count, now)?;
            }
            self.pieces.truncate(others);
            taken += count;
            if after.blocked {
                return Ok(Wrote::Part(0));
            }
            if self.has_own(id) {
                continue; // the outbox does not know of them, so they would not be asked for
            }
            let is_empty = self
                .shard
                .outbox(id)
                .is_none_or(tickwire_router::Outbox::is_empty);
            // What waits beyond is for the next round.
            if is_empty || taken >= bytes_max {
                return Ok(Wrote::All(0));
            }
        }
    }

    /// Encrypts at most a record of what waits for a session. Returns how much that was, and what became of it.
    fn encrypt_once(&mut self, id: SessionId, record_bytes: usize) -> io::Result<(usize, Flushed)> {
        let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) else {
            return Ok((0, Flushed::default()));
        };
        let Connection { stream, protocol, .. } = socket;
        let (Stream::Tls(secured), Some(outbox)) = (stream, self.shard.outbox(id)) else {
            return Ok((0, Flushed::default()));
        };
        let piece = match protocol.own(&self.pieces) {
            Some(own) => &own[..own.len().min(record_bytes)],
            None => match single(outbox, record_bytes) {
                Some(frame) => frame,
                None => {
                    self.gathered.clear();
                    gather(outbox, record_bytes, &mut self.gathered);
                    &self.gathered
                }
            },
        };
        let count = secured.encrypt(piece)?;
        Ok((count, secured.flush()?))
    }

    fn count(&mut self, flushed: Flushed) {
        self.metrics.add(Metric::SocketWrites, &[], flushed.calls);
        self.metrics
            .add(Metric::SocketWrittenBytes, &[], flushed.wire as u64);
    }
}

/// The stream of a session that speaks TLS, whether it is blocked, and whether its sending side is to be shut.
fn secured_of(links: &mut [Option<Link>], id: SessionId) -> Option<(&mut Secured, &mut bool, bool)> {
    match links.get_mut(id.0 as usize) {
        Some(Some(Link::Open(Connection {
            stream: Stream::Tls(secured),
            blocked,
            shut,
            ..
        }))) => Some((secured, blocked, *shut)),
        _ => None,
    }
}
