//! The reading half of a cycle: one round over the connections that have something to be read, within a budget of time.
//!
//! The budget is looked at between two requests. What is left of a read then waits in the one read buffer, and no other connection
//! is read before it is done: memory does not grow with the number of clients that send much. A request that is not done at once
//! is [parked]: others are read meanwhile, and it is gone on with behind them, a piece at a time, at least one in each cycle. What
//! its client had sent behind it is kept until it is done, and read then. When such requests and what is behind them hold much
//! memory in all, nobody else is read.
//!
//! [parked]: super::parked::ParkedSessions

use std::io;
use std::ops::Range;

use tickwire_wire::codec::Incoming;
use tickwire_wire::frame::{Event, Opcode};
use tickwire_wire::{Codec, Micros, Refusal};

use super::{Connections, Protocol, Received, Turn};
use crate::ingress::Origin;
use crate::planted::{Fault, is_planted};
use crate::session::SessionId;
use crate::shard::Shard;

/// Reads of one connection in a row before the others get their turn.
const READS_IN_A_ROW: usize = 4;
/// Bytes of publications between two looks at the clock, which costs a good part of a short publication. They are done in a
/// tenth of the budget.
const BYTES_PER_LOOK: usize = 4 * 1024;
/// Milliseconds until a shard that has too much to do is looked at again.
const CONGESTED_PAUSE_MS: u64 = 1;
/// The part of the time that delivering took in the cycle before which may be spent on reading, if that is more than the budget.
const READ_SHARE: u64 = 10;

/// What a client has sent, and the budget did not suffice for.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) session: SessionId,
    /// In the read buffer.
    rest: Range<usize>,
}

impl<C: Connections> Turn<'_, C> {
    /// Reads the connections that have something to be read, and goes on with requests that are not done.
    pub(super) fn read_waiting(&mut self, now: Micros) {
        // Requests are work that clients choose; what others are owed does not wait for all of it.
        let budgets = &self.cycle.budgets;
        let share_us = (self.cycle.delivering_us / READ_SHARE).min(budgets.read_share_us_max);
        let budget_us = share_us.max(budgets.read_us);
        let until = Micros(self.connections.now().0 + budget_us);
        if self.go_on_reading(now, until) {
            self.read_others(now, until);
        }
        self.go_on_parked(now, until);
    }

    /// Reads the connections that have something to be read; of publishers only while no shard is congested.
    fn read_others(&mut self, now: Micros, until: Micros) {
        let congested = self.is_congested();
        self.cycle.resume_at = congested.then(|| now.plus_ms(CONGESTED_PAUSE_MS));
        for turn in 0..self.cycle.unread.len() + self.cycle.parked.done_len() {
            let Some(id) = self.next_unread(turn) else {
                break;
            };
            if congested && self.shard.publishes(id) {
                self.queue_unread(id);
            } else if let Some(line) = self.connections.line(id) {
                line.unread = false;
                self.read(id, now, until);
            }
            if self.cycle.under_way.is_some() || self.connections.now() >= until {
                break;
            }
        }
    }

    /// Takes the connection that is read next: by turns one of all, and one with bytes behind a request that is done. While such
    /// bytes and requests that are not done hold too much, it is one of the latter.
    fn next_unread(&mut self, turn: usize) -> Option<SessionId> {
        let cycle = &mut *self.cycle;
        let is_full = cycle.parked.bytes() > cycle.budgets.parked_bytes_max;
        if is_full {
            return cycle.parked.pop_done();
        }
        let done = if turn.is_multiple_of(2) {
            cycle.parked.pop_done()
        } else {
            None
        };
        done.or_else(|| cycle.unread.pop_front())
            .or_else(|| cycle.parked.pop_done())
    }

    /// Puts a connection in the queue of those that are to be read.
    fn queue_unread(&mut self, id: SessionId) {
        match self.connections.line(id).map_or(0, |line| line.early_bytes()) {
            0 => self.cycle.unread.push_back(id),
            bytes => self.cycle.parked.push_done(id, bytes),
        }
    }

    /// Reads a connection in its turn.
    pub fn read_later(&mut self, id: SessionId) {
        if let Some(line) = self.connections.line(id)
            && !std::mem::replace(&mut line.unread, true)
        {
            self.queue_unread(id);
        }
    }

    /// Whether some shard has more to hand out than it should: then publishers are not read, so that they wait, by the means
    /// of TCP, for what they have published, instead of pushing it out of the histories of those who read it.
    fn is_congested(&self) -> bool {
        let origin = Origin::Client(None);
        self.shard.queue_depth() > origin.queue_high() || self.shard.ingress().is_congested(origin)
    }

    /// Goes on with what is left of an earlier cycle, if there is something. Returns whether others can be read.
    fn go_on_reading(&mut self, now: Micros, until: Micros) -> bool {
        if let Some(UnderWay { session, rest }) = self.cycle.under_way.take() {
            let mut scratch = std::mem::take(&mut self.cycle.scratch);
            self.handle(session, &mut scratch, rest, now, until);
            self.cycle.scratch = scratch;
        }
        self.cycle.under_way.is_none()
    }

    /// Does a piece of the requests that are not done, by turns, until it is `until`. At least one is done, unless all wait for
    /// files.
    fn go_on_parked(&mut self, now: Micros, until: Micros) {
        let parked_us = self.cycle.budgets.parked_us;
        let until = until.min(Micros(self.connections.now().0 + parked_us));
        let mut waiting = 0;
        while waiting < self.cycle.parked.len()
            && let Some(id) = self.cycle.parked.pop()
        {
            if self.shard.waits_for_files(id) {
                self.park(id, &[]);
                waiting += 1;
                continue;
            }
            waiting = 0;
            self.shard.go_on(id, now);
            self.connections.handled(self.shard, id, now);
            if self.shard.unfinished(id).is_none() {
                self.read_later(id);
            } else if !is_planted(Fault::ParkedForgotten) {
                self.park(id, &[]);
            }
            if self.connections.now() >= until {
                break;
            }
        }
    }

    /// Puts a session aside whose request is not done, with what came behind that.
    fn park(&mut self, id: SessionId, rest: &[u8]) {
        if let Some(line) = self.connections.line(id) {
            line.put_back(rest);
            let bytes = self.shard.unfinished_bytes(id) + line.early_bytes();
            self.cycle.parked.push(id, bytes);
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
        if left > 0 && !is_planted(Fault::RestForgotten) {
            self.cycle.under_way = Some(UnderWay { session, rest });
        }
    }

    /// Handles bytes that a client sent. Returns how many are left when it is `until`, or when there is a request among them that is
    /// not done at once.
    fn received(&mut self, id: SessionId, bytes: &mut [u8], now: Micros, until: Micros) -> usize {
        let (Some(dialect), Some(line)) = (self.shard.dialect(id), self.connections.line(id)) else {
            return 0;
        };
        // What it says borrows from the parser, which is therefore not left with the connections.
        let Some(mut parser) = line.hear(bytes.len()) else {
            return 0;
        };
        let (codec, deflates) = (dialect.codec(), dialect.window().is_some());
        let mut published_bytes = 0;
        let mut input = bytes;
        let left = loop {
            // Who agreed on compression may send compressed messages, too.
            let inflater = deflates.then_some(&mut self.cycle.inflater);
            match parser.next_with(&mut input, inflater) {
                Ok(None) => break 0,
                Ok(Some(event)) => {
                    self.connections.hears(self.shard, id, &event, now);
                    let published = handle_event(self.shard, id, codec, event, now);
                    self.connections.handled(self.shard, id, now);
                    published_bytes += published.unwrap_or(BYTES_PER_LOOK);
                    if published_bytes < BYTES_PER_LOOK {
                        continue;
                    }
                    published_bytes = 0;
                    if self.shard.unfinished(id).is_some() || self.connections.now() >= until {
                        break input.len();
                    }
                }
                Err(violation) => {
                    let (code, reason) = (violation.close_code(), violation.to_string());
                    self.shard.close(id, code, &reason, now);
                    break 0;
                }
            }
        };
        if let Some(line) = self.connections.line(id) {
            line.protocol = Protocol::WebSocket(parser);
        }
        left
    }

    fn read(&mut self, id: SessionId, now: Micros, until: Micros) {
        let mut scratch = std::mem::take(&mut self.cycle.scratch);
        for turn in 0.. {
            if turn == READS_IN_A_ROW || (turn > 0 && self.connections.now() >= until) {
                if !is_planted(Fault::TurnLost) {
                    self.read_later(id);
                }
                break;
            }
            let Some(line) = self.connections.line(id) else {
                break;
            };
            if line.is_deaf() {
                if line.ended {
                    self.drop_session(id);
                }
                break;
            }
            if self.shard.unfinished(id).is_some() {
                break; // it is read when its request is done
            }
            if self.shard.echo_waits(id) {
                line.held = true;
                break;
            }
            let ended = line.ended;
            let heard = match line.take_early(&mut scratch) {
                Some(count) => Ok(Received {
                    count,
                    drained: false,
                }),
                None => self.connections.read(id, &mut scratch),
            };
            match heard {
                Ok(Received { count: 0, .. }) => {
                    self.drop_session(id);
                    break;
                }
                Ok(Received { count, drained }) => {
                    self.shard.heard(id, now);
                    self.handle(id, &mut scratch, 0..count, now, until);
                    if self.cycle.under_way.is_some() {
                        self.read_later(id); // behind it
                        break;
                    }
                    // A short read leaves nothing behind but the end, for which the poller does not call again.
                    if drained && !ended {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.lose(id, &error);
                    break;
                }
            }
        }
        self.cycle.scratch = scratch;
    }
}

/// Handles one frame or message of a client. Returns its bytes, without compression, if it is a publication of the usual
/// form.
fn handle_event(
    shard: &mut Shard,
    id: SessionId,
    codec: Codec,
    event: Event<'_>,
    now: Micros,
) -> Option<usize> {
    match event {
        Event::Message { opcode, payload } if shard.echoes(id) => shard.echo(id, opcode, payload),
        Event::Message { opcode, payload } if opcode == codec.opcode() => match codec.receive(payload) {
            Incoming::Publish(publish) => {
                shard.publish(id, publish, now);
                return Some(payload.len());
            }
            Incoming::PackedPublish(publish) => {
                shard.publish_packed(id, publish, now);
                return Some(payload.len());
            }
            Incoming::Other(request) => shard.request(id, request, now),
        },
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
    None
}
