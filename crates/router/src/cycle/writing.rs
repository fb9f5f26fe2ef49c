//! The writing half of a cycle: one round over the sessions that have something waiting, in batches.

use std::io;

use tickwire_wire::Micros;

use super::{Connections, Offer, Turn, Written, Wrote};
use crate::outbox::Outbox;
use crate::session::SessionId;

impl<C: Connections> Turn<'_, C> {
    /// One round over the sessions that have something waiting.
    pub(super) fn write_dirty(&mut self) {
        let now = self.connections.now();
        let mut batch = std::mem::take(&mut self.cycle.batch);
        let mut goes_on = true;
        while goes_on {
            batch.clear();
            self.connections.begin_batch();
            while self.connections.has_room(batch.len()) {
                let Some(id) = self.shard.next_dirty() else {
                    goes_on = false;
                    break;
                };
                if self.offer(id, now) {
                    batch.push(id);
                }
            }
            self.write_batch(&batch);
        }
        self.cycle.batch = batch;
        self.connections.end_round();
    }

    /// The socket of a session takes bytes again.
    pub(super) fn write_on(&mut self, id: SessionId) {
        if let Some(line) = self.connections.line(id) {
            line.blocked = false;
            if !self.resume(id) {
                return;
            }
        }
        self.shard.writable(id);
    }

    /// Goes on with what waited for the socket of a session. Returns whether it took all.
    pub fn resume(&mut self, id: SessionId) -> bool {
        let full = match self.connections.resume(self.shard, id) {
            Ok(full) => full,
            Err(error) => {
                self.lose(id, &error);
                return false;
            }
        };
        let Some(line) = self.connections.line(id) else {
            return false;
        };
        line.blocked = full;
        if line.shut && !full && line.is_stream() {
            // What was to be said is out; see `shut`.
            self.end_stream(id);
            return false;
        }
        !full
    }

    /// Offers a session that is not full what waits for it. Returns whether it is to be written with the batch.
    fn offer(&mut self, id: SessionId, now: Micros) -> bool {
        if self.connections.line(id).is_none_or(|line| line.blocked) {
            return false;
        }
        match self.connections.offer(self.shard, id, now) {
            Ok(Offer::Batched) => true,
            Ok(Offer::Full) => {
                self.finish(id, Ok(Wrote::Part(0)), now);
                false
            }
            Err(error) => {
                self.lose(id, &error);
                false
            }
        }
    }

    fn write_one(&mut self, id: SessionId) {
        let now = self.connections.now();
        self.connections.begin_batch();
        if self.offer(id, now) {
            self.write_batch(&[id]);
        }
    }

    fn write_batch(&mut self, batch: &[SessionId]) {
        let mut results = std::mem::take(&mut self.cycle.results);
        self.connections.write(self.shard, batch, &mut results);
        let now = self.connections.now();
        for Written { session, outcome } in results.drain(..) {
            self.finish(session, outcome, now);
        }
        self.cycle.results = results;
    }

    fn finish(&mut self, id: SessionId, result: io::Result<Wrote>, now: Micros) {
        if let Err(error) = result.and_then(|wrote| self.wrote(id, wrote, now)) {
            self.lose(id, &error);
        }
    }

    fn wrote(&mut self, id: SessionId, wrote: Wrote, now: Micros) -> io::Result<()> {
        let (Wrote::All(count) | Wrote::Part(count)) = wrote;
        if let Some(line) = self.connections.line(id) {
            line.blocked = matches!(wrote, Wrote::Part(_));
            line.slow |= line.blocked;
        }
        self.connections.took(self.shard, id, count, now)?;
        if self.shard.is_finished(id) {
            return self.shut(id);
        }
        self.read_on(id);
        if matches!(wrote, Wrote::All(_)) {
            if self.shard.outbox(id).is_some_and(|outbox| !outbox.is_empty()) {
                self.shard.writable(id);
            } else if let Some(line) = self.connections.line(id) {
                line.slow = false;
            }
        }
        Ok(())
    }

    /// Reads a session that was held until it had taken what waited for it.
    fn read_on(&mut self, id: SessionId) {
        if let Some(line) = self.connections.line(id)
            && line.held
            && !self.shard.echo_waits(id)
        {
            line.held = false;
            self.read_later(id);
        }
    }

    /// Hands the socket what a session has yet to get before it is dropped, beyond what may wait there otherwise. It is sent
    /// should the peer go on reading, which so learns by which code it was closed.
    pub(super) fn last_words(&mut self, id: SessionId) {
        // What may not wait unsent fits, and if the buffer is full, its growth does.
        for again in [false, true] {
            let Some(line) = self.connections.line(id) else {
                return;
            };
            if !line.blocked || line.ended || line.is_stream() || !self.connections.make_room(id, again) {
                return;
            }
            if let Some(line) = self.connections.line(id) {
                line.slow = false;
                line.blocked = false;
            }
            while self.resume(id) {
                self.write_one(id);
                // A batch has no more of a session than a few kibibytes where it is encrypted.
                let goes_on = self
                    .connections
                    .line(id)
                    .is_some_and(|line| !line.blocked && !line.shut);
                if !goes_on || self.shard.outbox(id).is_none_or(Outbox::is_empty) {
                    break;
                }
            }
        }
    }

    /// The close is out: says so to the peer, which then closes if it speaks WebSocket (RFC 6455 §7.1.1). A stream is over.
    fn shut(&mut self, id: SessionId) -> io::Result<()> {
        let Some(line) = self.connections.line(id) else {
            return Ok(());
        };
        if !std::mem::replace(&mut line.shut, true) {
            let waits = self.connections.shut(id)?;
            if let Some(line) = self.connections.line(id) {
                line.blocked = waits;
            }
        }
        if let Some(line) = self.connections.line(id)
            && !line.blocked
            && line.is_stream()
        {
            self.end_stream(id);
        }
        Ok(())
    }

    /// Ends a session whose stream has ended properly.
    fn end_stream(&mut self, id: SessionId) {
        self.connections.end_stream(id);
        self.drop_session(id);
    }
}
