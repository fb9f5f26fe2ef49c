//! Writing to connections that speak TLS.
//!
//! The connections of a batch share one buffer, in which each has one record. The shard's egress writes these records, and
//! not the bytes in the outboxes. A connection gets its next record when its socket has taken all of the last one. So at
//! most one encrypted record waits for a full socket. It can no longer be replaced, and counts as taken, like the bytes
//! that the kernel holds. Everything else stays in the outbox, where something newer can replace it.

use std::io;

use tickwire_metrics::Metric;
use tickwire_router::cycle::Offer;
use tickwire_router::{SessionId, Shard};

use super::sockets::{Sockets, open_of};
use super::{Connection, Hub, Link, Stream};
use crate::net::egress::{gather, single};
use crate::net::tls::{Flushed, RECORD_BYTES, Secured};

impl Hub {
    /// Looks after a new session, which may hold bytes of which its socket knows nothing, both ways.
    pub(super) fn begin_secured(&mut self, id: SessionId) {
        if secured_of(&mut self.sockets.links, id).is_some() {
            let mut turn = self.turn();
            turn.resume(id);
            turn.read_later(id);
        }
    }
}

impl Sockets {
    /// Goes on with what waited for the socket of a session, which takes bytes again. Returns whether it is full.
    pub(super) fn resume_secured(&mut self, shard: &mut Shard, id: SessionId) -> io::Result<bool> {
        let Some((secured, shut)) = secured_of(&mut self.links, id) else {
            return Ok(false);
        };
        let flushed = secured.flush()?;
        if shut && !flushed.blocked {
            // What was to be said is out, now or since reading wrote the rest of it.
            secured.shut()?;
        }
        self.count(flushed);
        if flushed.wire > 0 {
            shard.progressed(id);
        }
        Ok(flushed.blocked)
    }

    /// Encrypts the first bytes of a session's outbox, at most one record. The record is written with the batch.
    pub(super) fn encrypt(&mut self, shard: &Shard, id: SessionId) -> io::Result<Offer> {
        let Some((secured, shut)) = secured_of(&mut self.links, id) else {
            return Ok(Offer::Batched);
        };
        let before = secured.flush()?;
        self.count(before);
        if before.blocked || shut {
            return Ok(Offer::Full);
        }
        let bytes_max = match open_of(&mut self.links, id) {
            Some(socket) => socket.bytes_max(self.slow_write_bytes),
            None => return Ok(Offer::Batched),
        };
        let record_bytes = bytes_max.min(RECORD_BYTES);
        self.put_together(shard, id, record_bytes);
        let Some(Connection { stream, line, .. }) = open_of(&mut self.links, id) else {
            return Ok(Offer::Batched);
        };
        let (Stream::Tls(secured), Some(outbox)) = (stream, shard.outbox(id)) else {
            return Ok(Offer::Batched);
        };
        let piece = match line.offered(&self.pieces) {
            Some(offered) => &offered[..offered.len().min(record_bytes)],
            None => match single(outbox, record_bytes) {
                Some(frame) => frame,
                None => {
                    self.gathered.clear();
                    gather(outbox, record_bytes, &mut self.gathered);
                    &self.gathered
                }
            },
        };
        secured.encrypt(piece, &mut self.encrypted)?;
        Ok(Offer::Batched)
    }

    /// The socket of a session took `count` bytes of a batch. Returns how many bytes that makes of what the session was
    /// offered.
    pub(super) fn taken_of(&mut self, id: SessionId, count: usize) -> io::Result<usize> {
        let Some(Connection { stream, line, .. }) = open_of(&mut self.links, id) else {
            return Ok(count);
        };
        let Stream::Tls(secured) = stream else {
            return Ok(count);
        };
        let plain = secured.took(count, &self.encrypted);
        // The egress was interrupted. There may be nothing in the outbox that would bring the session its next turn.
        if !line.blocked && secured.wants_write() {
            let rest = secured.flush()?;
            line.blocked = rest.blocked;
            line.slow |= rest.blocked;
            self.count(rest);
        }
        Ok(plain)
    }

    pub(super) fn count(&mut self, flushed: Flushed) {
        if flushed.calls > 0 {
            self.metrics.add(Metric::SocketWrites, &[], flushed.calls);
            self.metrics
                .add(Metric::SocketWrittenBytes, &[], flushed.wire as u64);
        }
    }
}

/// The stream of a session that speaks TLS, and whether its sending side is to be shut.
fn secured_of(links: &mut [Option<Link>], id: SessionId) -> Option<(&mut Secured, bool)> {
    match open_of(links, id)? {
        Connection {
            stream: Stream::Tls(secured),
            line,
            ..
        } => Some((secured, line.shut)),
        _ => None,
    }
}
