//! The reading half of a cycle: one round over the connections that have something to be read, within a budget of time.
//!
//! A request that is much work is done piece by piece, one piece a cycle. Until it is done no other is read, so that what its
//! client sent behind it waits in the one read buffer.

use std::io;
use std::ops::Range;

use tickwire_router::SessionId;
use tickwire_wire::Micros;

use super::{Hub, Link, WebSocket};
use crate::tls::Heard;

/// Reads of one connection in a row before the others get their turn.
const READS_IN_A_ROW: usize = 4;
/// Publications that may wait for any shard while publishers are read.
const QUEUE_HIGH: usize = 4_096;
/// Milliseconds until a shard that has too much to do is looked at again.
const CONGESTED_PAUSE_MS: u64 = 1;
/// Microseconds of a cycle in which requests are read, counted from the first; whoever has not been read by then has its turn
/// in the next one, behind what is to be delivered.
const READ_BUDGET_US: u64 = 500;

/// A request that is done piece by piece.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) session: SessionId,
    /// What its client sent behind it, in the read buffer.
    rest: Range<usize>,
}

impl WebSocket {
    /// Reads once: what came behind the handshake, then the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        if self.early.is_empty() {
            return self.stream.read(buffer);
        }
        let count = self.early.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        self.early.shrink_to_fit();
        Ok(Heard {
            count,
            wire: 0,
            drained: false,
        })
    }
}

impl Hub {
    /// Reads the connections that have something to be read; of publishers only while no shard is congested.
    pub(super) fn read_waiting(&mut self, now: Micros) {
        let began = self.clock.now();
        if !self.go_on(now) {
            return;
        }
        let congested = self.is_congested();
        self.resume_at = congested.then(|| now.plus_ms(CONGESTED_PAUSE_MS));
        for _ in 0..self.unread.len() {
            let Some(id) = self.unread.pop_front() else { break };
            if congested && self.shard.publishes(id) {
                self.unread.push_back(id);
            } else if let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize) {
                socket.unread = false;
                self.read(id, now);
                // Requests are work that clients choose; what others are owed does not wait for all of it.
                if self.under_way.is_some() || self.clock.now().since(began) > READ_BUDGET_US {
                    break;
                }
            }
        }
    }

    pub(super) fn read_later(&mut self, id: SessionId) {
        if let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize)
            && !std::mem::replace(&mut socket.unread, true)
        {
            self.unread.push_back(id);
        }
    }

    /// Whether some shard has more to hand out than it should: then publishers are not read, so that they wait, by the means
    /// of TCP, for what they have published, instead of pushing it out of the histories of those who read it.
    fn is_congested(&self) -> bool {
        self.shard.queue_depth() > QUEUE_HIGH || self.shard.directory().queue_depth_max() > QUEUE_HIGH
    }

    /// Goes on with the request that is under way, if one is, and with what came behind it. Returns whether others can be read.
    fn go_on(&mut self, now: Micros) -> bool {
        let Some(UnderWay { session, rest }) = self.under_way.take() else {
            return true;
        };
        self.shard.go_on(session, now);
        let mut scratch = std::mem::take(&mut self.scratch);
        self.handle(session, &mut scratch, rest, now);
        self.scratch = scratch;
        self.under_way.is_none()
    }

    /// Handles the bytes of `range`, which a client sent, as far as its requests are done at once.
    fn handle(&mut self, session: SessionId, scratch: &mut [u8], range: Range<usize>, now: Micros) {
        let left = self.received(session, &mut scratch[range.clone()], now);
        self.check_gate();
        if self.shard.unfinished(session).is_some() {
            let rest = range.end - left..range.end;
            self.under_way = Some(UnderWay { session, rest });
        }
    }

    fn read(&mut self, id: SessionId, now: Micros) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for turn in 0.. {
            if turn == READS_IN_A_ROW {
                self.read_later(id);
                break;
            }
            let Some(Some(Link::WebSocket(socket))) = self.links.get_mut(id.0 as usize) else {
                break;
            };
            if self.shard.echo_waits(id) {
                socket.held = true;
                break;
            }
            self.metrics.socket_reads += u64::from(socket.early.is_empty());
            match socket.read(&mut scratch) {
                Ok(Heard { count: 0, .. }) => {
                    self.drop_session(id);
                    break;
                }
                Ok(Heard { count, wire, drained }) => {
                    self.metrics.socket_read_bytes += wire as u64;
                    // A short read leaves nothing behind but the end, for which the poller does not call again.
                    let drained = drained && !socket.ended;
                    self.shard.heard(id, now);
                    self.handle(id, &mut scratch, 0..count, now);
                    if self.under_way.is_some() {
                        self.read_later(id); // behind it
                        break;
                    }
                    if drained {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(session = id.0, %error, "connection lost");
                    self.drop_session(id);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }
}
