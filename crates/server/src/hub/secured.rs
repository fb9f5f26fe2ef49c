//! Writing to connections that speak TLS, one by one, whatever the shard's egress.
//!
//! What waits for a connection is encrypted a record at a time, and the next one only when the socket took the one before.
//! So at most a record that was encrypted waits for a full socket: it counts as taken, like what the kernel has, because
//! it can no longer be replaced. The rest stays in the outbox, where it can be replaced by something newer.

use std::io;

use tickwire_metrics::Metric;
use tickwire_router::cycle::Wrote;
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
        if !secured.wants_write() {
            return Ok(false);
        }
        let flushed = secured.flush()?;
        if shut && !flushed.blocked {
            // What was to be said is out.
            secured.shut()?;
        }
        self.count(flushed);
        if flushed.wire > 0 {
            shard.progressed(id);
        }
        Ok(flushed.blocked)
    }

    /// Writes what waits for a session. What the socket took, the shard knows by then.
    pub(super) fn encrypt(&mut self, shard: &mut Shard, id: SessionId) -> io::Result<Wrote> {
        let bytes_max = match open_of(&mut self.links, id) {
            Some(socket) => socket.bytes_max(self.slow_write_bytes),
            None => return Ok(Wrote::All(0)),
        };
        let record_bytes = bytes_max.min(RECORD_BYTES);
        let mut taken = 0;
        loop {
            let Some((secured, shut)) = secured_of(&mut self.links, id) else {
                return Ok(Wrote::All(0));
            };
            let before = secured.flush()?;
            if before.blocked || shut {
                self.count(before);
                return Ok(Wrote::Part(0));
            }
            // Other sessions have pieces there that are to be written yet.
            let others = self.pieces.mark();
            self.put_together(shard, id, record_bytes);
            let (count, after) = self.encrypt_once(shard, id, record_bytes)?;
            self.count(before);
            self.count(after);
            let now = self.clock.now();
            self.settle(shard, id, count, now)?;
            self.pieces.truncate(others);
            taken += count;
            if after.blocked {
                return Ok(Wrote::Part(0));
            }
            let is_empty = shard.outbox(id).is_none_or(tickwire_router::Outbox::is_empty);
            // What waits beyond is for the next round.
            if is_empty || taken >= bytes_max {
                return Ok(Wrote::All(0));
            }
        }
    }

    /// Encrypts at most a record of what waits for a session. Returns how much that was, and what became of it.
    fn encrypt_once(
        &mut self,
        shard: &Shard,
        id: SessionId,
        record_bytes: usize,
    ) -> io::Result<(usize, Flushed)> {
        let Some(Connection { stream, line, .. }) = open_of(&mut self.links, id) else {
            return Ok((0, Flushed::default()));
        };
        let (Stream::Tls(secured), Some(outbox)) = (stream, shard.outbox(id)) else {
            return Ok((0, Flushed::default()));
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
        let count = secured.encrypt(piece)?;
        Ok((count, secured.flush()?))
    }

    pub(super) fn count(&mut self, flushed: Flushed) {
        self.metrics.add(Metric::SocketWrites, &[], flushed.calls);
        self.metrics
            .add(Metric::SocketWrittenBytes, &[], flushed.wire as u64);
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
