//! The cycle of a shard: read, time, hand out, write, let go. The server runs it over sockets, the simulator over links.
//!
//! What is beside the [`Shard`] and the [`Connections`] is here: who is to be read, what is under way, requests that are not done,
//! and the budgets of time. It never reads a clock or opens a socket: both are the connections'. Nothing in it waits. What it keeps
//! is bounded: one read buffer, a place in the queue of reading for each connection, and [`Budgets::parked_bytes_max`].

mod connections;
mod event_stream;
mod line;
mod parked;
mod reading;
mod track;
mod writing;

use std::collections::VecDeque;
use std::io;

use tickwire_wire::Micros;
use tickwire_wire::deflate::Inflater;

use crate::session::SessionId;
use crate::shard::Shard;
pub use connections::{Connections, Offer, ReadyConnection, Received, Written, Wrote};
pub use event_stream::{EventStream, Mark, Pieces};
pub use line::{Line, Protocol};
use parked::ParkedSessions;
use reading::UnderWay;
pub use track::Track;

/// Bytes of a shard's read buffer, shared by all its connections.
const READ_BYTES: usize = 64 * 1024;

/// How much of what is done in one cycle. The defaults are the broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Microseconds of a cycle in which requests are read, counted from the first; whoever has not been read by then has its turn
    /// in the next one, behind what is to be delivered.
    pub read_us: u64,
    /// The most microseconds of it, if a tenth of the time that delivering took in the cycle before is more.
    pub read_share_us_max: u64,
    /// Microseconds of it in which requests that were not done at once are gone on with. They are rare and large, and clients with
    /// small ones wait for them.
    pub parked_us: u64,
    /// Bytes that requests which are not done hold, with what their clients have sent behind them, from which on nobody else is
    /// read.
    pub parked_bytes_max: usize,
    /// Deliveries between two rounds of writing.
    pub deliveries: usize,
    /// Microseconds of a cycle in which connections that have ended are let go, and their subscriptions taken out of as many lists:
    /// what others are owed does not wait for all of them.
    pub farewell_us: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            read_us: 250,
            read_share_us_max: 5_000,
            parked_us: 100,
            parked_bytes_max: 16 * 1024 * 1024,
            deliveries: 64 * 1024,
            farewell_us: 200,
        }
    }
}

/// What a shard's cycles leave to the next one.
#[derive(Debug)]
pub struct Cycle {
    budgets: Budgets,
    /// What a round of writing works on, kept for its memory.
    batch: Vec<SessionId>,
    results: Vec<Written>,
    ready: Vec<ReadyConnection>,
    /// Microseconds of the last cycle after what was read in it.
    delivering_us: u64,
    /// Connections with something to read, but for those that are among `parked`.
    unread: VecDeque<SessionId>,
    /// When to look again whether clients can be read, if a shard has too much to do.
    resume_at: Option<Micros>,
    scratch: Box<[u8]>,
    /// What is left of what one client sent, if the last cycle had no time for all of it.
    under_way: Option<UnderWay>,
    /// Sessions with a request that is not done, or with something to read behind one that is.
    parked: ParkedSessions,
    /// Inflates what clients send compressed.
    inflater: Inflater,
}

/// What one cycle was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// There is more to do at once.
    pub more: bool,
    /// When it began.
    pub began: Micros,
    /// When it ended.
    pub ended: Micros,
}

impl Cycle {
    /// That of a shard without sessions.
    #[must_use]
    pub fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            batch: Vec::new(),
            results: Vec::new(),
            ready: Vec::new(),
            delivering_us: 0,
            unread: VecDeque::new(),
            resume_at: None,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            under_way: None,
            parked: ParkedSessions::default(),
            inflater: Inflater::new(),
        }
    }

    /// Changes the budgets from the next cycle on.
    pub fn set_budgets(&mut self, budgets: Budgets) {
        self.budgets = budgets;
    }

    /// The cycle with what it works on, always the same shard and its connections.
    pub fn with<'a, C: Connections>(
        &'a mut self,
        shard: &'a mut Shard,
        connections: &'a mut C,
    ) -> Turn<'a, C> {
        Turn {
            cycle: self,
            shard,
            connections,
        }
    }

    /// Whether the last cycle had no time for all that it had to read.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.under_way.is_some() || self.has_unread()
    }

    /// Whether a connection has something to be read.
    fn has_unread(&self) -> bool {
        !self.unread.is_empty() || self.parked.done_len() > 0
    }

    /// Number of requests that are not done.
    #[must_use]
    pub fn parked_count(&self) -> usize {
        self.parked.len()
    }

    /// When the next cycle is due if nothing happens before.
    #[must_use]
    pub fn next_timeout(&self, shard: &Shard) -> Option<Micros> {
        let resume = self.resume_at.filter(|_| self.has_unread());
        shard.next_timeout().into_iter().chain(resume).min()
    }
}

/// A [`Cycle`] with its shard and its connections.
#[derive(Debug)]
pub struct Turn<'a, C: Connections> {
    cycle: &'a mut Cycle,
    shard: &'a mut Shard,
    connections: &'a mut C,
}

impl<C: Connections> Turn<'_, C> {
    /// One cycle: reads, delivers and writes.
    pub fn run(&mut self) -> Turned {
        let began = self.connections.now();
        let more_events = self.take_ready();
        self.read_waiting(began);
        let read = self.connections.now();
        self.shard.on_timeout(began);
        let more_queued = self.shard.hand_out(self.cycle.budgets.deliveries, began);
        self.write_dirty();
        let more_gone = self.drop_gone();
        let ended = self.connections.now();
        let cycle = &mut *self.cycle;
        cycle.delivering_us = ended.since(read);
        let more_unread = cycle.under_way.is_some()
            || cycle.has_unread() && cycle.resume_at.is_none()
            || cycle.parked.any(|id| !self.shard.waits_for_files(id));
        let more = more_events || more_queued || more_gone || more_unread || self.shard.dirty_count() > 0;
        Turned { more, began, ended }
    }

    /// Finds out which connections can be read, and goes on with those that take bytes again.
    fn take_ready(&mut self) -> bool {
        let mut ready = std::mem::take(&mut self.cycle.ready);
        let more = self.connections.take_ready(&mut ready);
        for ReadyConnection {
            session,
            readable,
            writable,
            ended,
        } in ready.drain(..)
        {
            if ended && let Some(line) = self.connections.line(session) {
                line.ended = true;
            }
            if writable {
                self.write_on(session);
            }
            if readable {
                self.read_later(session);
            }
        }
        self.cycle.ready = ready;
        more
    }

    /// Ends a session whose far end is gone.
    pub fn drop_session(&mut self, id: SessionId) {
        if self.connections.remove(self.shard, id) {
            self.cycle.under_way.take_if(|it| it.session == id);
            self.cycle.parked.remove(id);
        }
    }

    /// Drops the sessions whose connections can be dropped, and takes out the subscriptions of those that have ended, as far as there
    /// is time. Returns whether some may be left.
    fn drop_gone(&mut self) -> bool {
        let began = self.connections.now();
        loop {
            let more = match self.shard.next_gone() {
                Some(id) => {
                    self.last_words(id);
                    self.drop_session(id);
                    true
                }
                None => self.shard.part(),
            };
            self.connections.parted(self.shard);
            if !more || self.connections.now().since(began) > self.cycle.budgets.farewell_us {
                return more;
            }
        }
    }

    /// Drops a session whose connection broke.
    fn lose(&mut self, id: SessionId, error: &io::Error) {
        self.connections.lost(id, error);
        self.drop_session(id);
    }
}
