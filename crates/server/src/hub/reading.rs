//! The reading half of a cycle: one round over the connections that have something to be read, within a budget of time.
//!
//! A request that is much work is done piece by piece, a few pieces a cycle. Until it is done no other connection is read, so that
//! what its client sent behind it waits in the one read buffer: memory does not grow with the number of such clients, and what
//! others ask for takes as long as it would if such a request were done at once.

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
/// Microseconds of a cycle after which no further piece of a request is begun.
const PIECES_BUDGET_US: u64 = 200;
/// The part of a cycle that reading may take where the cycle before was so long that this is more than the budgets are.
const READ_SHARE: u64 = 10;

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
        let Some(mut early) = self.early.take() else {
            return self.stream.read(buffer);
        };
        let count = early.len().min(buffer.len());
        buffer[..count].copy_from_slice(&early[..count]);
        if count < early.len() {
            early.drain(..count);
            self.early = Some(early);
        }
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
        let share_us = self.cycle_us / READ_SHARE;
        if !self.go_on(now, Micros(began.0 + share_us.max(PIECES_BUDGET_US))) {
            return;
        }
        let budget_us = share_us.max(READ_BUDGET_US);
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
                if self.under_way.is_some() || self.clock.now().since(began) > budget_us {
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

    /// Goes on with the request that is under way, if one is, and with what came behind it, as long as a piece is begun before
    /// `until`. Returns whether others can be read.
    fn go_on(&mut self, now: Micros, until: Micros) -> bool {
        while let Some(UnderWay { session, rest }) = self.under_way.take() {
            self.shard.go_on(session, now);
            let mut scratch = std::mem::take(&mut self.scratch);
            self.handle(session, &mut scratch, rest, now);
            self.scratch = scratch;
            if self.clock.now() >= until {
                break;
            }
        }
        self.under_way.is_none()
    }

    /// Handles the bytes of `range`, which a client sent, as far as its requests are done at once.
    fn handle(&mut self, session: SessionId, scratch: &mut [u8], range: Range<usize>, now: Micros) {
        let left = self.received(session, &mut scratch[range.clone()], now);
        if self.shard.unfinished(session).is_some() {
            let rest = range.end - left..range.end;
            self.under_way = Some(UnderWay { session, rest });
        } else {
            self.check_gate();
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
            self.metrics.socket_reads += u64::from(socket.early.is_none());
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
