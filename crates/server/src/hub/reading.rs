//! The reading half of a cycle: one round over the connections that have something to be read, within a budget of time.
//!
//! The budget is looked at between two requests. What is left of a read then waits in the one read buffer, and no other connection
//! is read before it is done: memory does not grow with the number of clients that send much. A request that is not done at once
//! is [parked]: others are read meanwhile, and it is gone on with behind them, a piece at a time, at least one in each cycle. What
//! its client had sent behind it is kept until it is done. When such requests and what is behind them hold much memory in all,
//! nobody else is read before one is done.
//!
//! [parked]: Parked

use std::io;
use std::ops::Range;

use tickwire_metrics::Metric;
use tickwire_router::{Origin, SessionId};
use tickwire_wire::Micros;

use super::{Connection, Hub, Link, Protocol};
use crate::net::tls::Heard;

/// Reads of one connection in a row before the others get their turn.
const READS_IN_A_ROW: usize = 4;
/// Milliseconds until a shard that has too much to do is looked at again.
const CONGESTED_PAUSE_MS: u64 = 1;
/// Microseconds of a cycle in which requests are read, counted from the first; whoever has not been read by then has its turn
/// in the next one, behind what is to be delivered.
const READ_BUDGET_US: u64 = 250;
/// The part of the time that delivering took in the cycle before which may be spent on reading, if that is more.
const READ_SHARE: u64 = 10;
/// The most of it, in microseconds.
const READ_SHARE_MAX_US: u64 = 5_000;

/// Microseconds of it in which requests that were not done at once are gone on with. They are rare and large, and clients with small
/// ones wait for them.
const PARKED_BUDGET_US: u64 = 100;
/// Bytes that requests which are not done hold, with what their clients have sent behind them, from which on nobody else is read.
const PARKED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a client has sent, and the budget did not suffice for.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) session: SessionId,
    /// In the read buffer.
    rest: Range<usize>,
}

/// A session with a request that is not done.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) session: SessionId,
    /// Bytes that the request holds, and those that came behind it.
    bytes: usize,
}

impl Connection {
    /// Puts bytes back that were read and not looked at.
    fn unread(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.early
                .get_or_insert_default()
                .splice(..0, rest.iter().copied());
        }
    }

    /// Whether it is a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.protocol, Protocol::Sse(_))
    }

    /// Whether nothing that its client sends is read any more.
    fn is_deaf(&self) -> bool {
        matches!(&self.protocol, Protocol::Sse(events) if events.is_deaf())
    }

    /// Reads once: what was not looked at yet, then the stream.
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
    /// Reads the connections that have something to be read, and goes on with requests that are not done.
    pub(super) fn read_waiting(&mut self, now: Micros) {
        // Requests are work that clients choose; what others are owed does not wait for all of it.
        let share_us = (self.delivering_us / READ_SHARE).min(READ_SHARE_MAX_US);
        let until = Micros(self.clock.now().0 + share_us.max(READ_BUDGET_US));
        if self.go_on(now, until) {
            self.read_others(now, until);
        }
        self.go_on_parked(now, until);
    }

    /// Reads the connections that have something to be read; of publishers only while no shard is congested.
    fn read_others(&mut self, now: Micros, until: Micros) {
        let congested = self.is_congested();
        self.resume_at = congested.then(|| now.plus_ms(CONGESTED_PAUSE_MS));
        for _ in 0..self.unread.len() {
            let parked: usize = self.parked.iter().map(|parked| parked.bytes).sum();
            if parked > PARKED_BYTES_MAX {
                break;
            }
            let Some(id) = self.unread.pop_front() else { break };
            if congested && self.shard.publishes(id) {
                self.unread.push_back(id);
            } else if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) {
                socket.unread = false;
                self.read(id, now, until);
                if self.under_way.is_some() || self.clock.now() >= until {
                    break;
                }
            }
        }
    }

    pub(super) fn read_later(&mut self, id: SessionId) {
        if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize)
            && !std::mem::replace(&mut socket.unread, true)
        {
            self.unread.push_back(id);
        }
    }

    /// Whether some shard has more to hand out than it should: then publishers are not read, so that they wait, by the means
    /// of TCP, for what they have published, instead of pushing it out of the histories of those who read it.
    fn is_congested(&self) -> bool {
        let origin = Origin::Client(None);
        self.shard.queue_depth() > origin.queue_high() || self.shard.ingress().is_congested(origin)
    }

    /// Goes on with what is left of an earlier cycle, if there is something. Returns whether others can be read.
    fn go_on(&mut self, now: Micros, until: Micros) -> bool {
        if let Some(UnderWay { session, rest }) = self.under_way.take() {
            let mut scratch = std::mem::take(&mut self.scratch);
            self.handle(session, &mut scratch, rest, now, until);
            self.scratch = scratch;
        }
        self.under_way.is_none()
    }

    /// Does a piece of the requests that are not done, by turns, until it is `until`. At least one is done.
    fn go_on_parked(&mut self, now: Micros, until: Micros) {
        let until = until.min(Micros(self.clock.now().0 + PARKED_BUDGET_US));
        while let Some(parked) = self.parked.pop_front() {
            let id = parked.session;
            self.shard.go_on(id, now);
            if self.shard.unfinished(id).is_some() {
                self.parked.push_back(parked);
            } else {
                self.check_gate();
                self.read_later(id);
            }
            if self.clock.now() >= until {
                break;
            }
        }
    }

    /// Puts a session aside whose request is not done, with what came behind that.
    fn park(&mut self, id: SessionId, rest: &[u8]) {
        if let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) {
            socket.unread(rest);
            let behind = socket.early.as_ref().map_or(0, |early| early.len());
            let bytes = self.shard.unfinished_bytes(id) + behind;
            self.parked.push_back(Parked { session: id, bytes });
        }
    }

    /// Handles the bytes of `range`, which a client sent, and puts away what is left when it is `until`. At least a request is
    /// handled, or begun.
    fn handle(
        &mut self,
        session: SessionId,
        scratch: &mut [u8],
        range: Range<usize>,
        now: Micros,
        until: Micros,
    ) {
        let left = self.received(session, &mut scratch[range.clone()], now, until);
        let rest = range.end - left..range.end;
        if self.shard.unfinished(session).is_some() {
            return self.park(session, &scratch[rest]);
        }
        if left > 0 {
            self.under_way = Some(UnderWay { session, rest });
        }
        self.check_gate();
    }

    fn read(&mut self, id: SessionId, now: Micros, until: Micros) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for turn in 0.. {
            if turn == READS_IN_A_ROW || (turn > 0 && self.clock.now() >= until) {
                self.read_later(id);
                break;
            }
            let Some(Some(Link::Open(socket))) = self.links.get_mut(id.0 as usize) else {
                break;
            };
            if socket.is_deaf() {
                if socket.ended {
                    self.drop_session(id);
                }
                break;
            }
            if self.shard.unfinished(id).is_some() {
                break; // it is read when its request is done
            }
            if self.shard.echo_waits(id) {
                socket.held = true;
                break;
            }
            let reads = u64::from(socket.early.is_none());
            self.metrics.add(Metric::SocketReads, &[], reads);
            match socket.read(&mut scratch) {
                Ok(Heard { count: 0, .. }) => {
                    self.drop_session(id);
                    break;
                }
                Ok(Heard { count, wire, drained }) => {
                    self.metrics.add(Metric::SocketReadBytes, &[], wire as u64);
                    // A short read leaves nothing behind but the end, for which the poller does not call again.
                    let drained = drained && !socket.ended;
                    self.shard.heard(id, now);
                    self.handle(id, &mut scratch, 0..count, now, until);
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
