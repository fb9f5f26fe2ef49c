//! The connections over which the broker's cycle runs here: [`Link`]s, and a clock that the cycle's own looks move.
//!
//! Like an edge-triggered poller it names a connection once for what came. Here are the checks of what only a socket sees.

use std::io;

use tickwire_router::cycle::{Connections, Line, Offer, Pieces, ReadyConnection, Received, Written, Wrote};
use tickwire_router::{SessionId, Shard};
use tickwire_wire::Micros;
use tickwire_wire::codec::DataOp;
use tickwire_wire::frame::Event;

use crate::broken::{Broken, Rule};
use crate::link::Link;
use crate::plan::Setup;
use crate::request;
use crate::tally::Tally;
use crate::topics::{self, NAMES};
use crate::trace::Trace;
use crate::truth::Truth;

/// Most bytes that one connection writes at a time, as in the server.
const BYTES_PER_WRITE: usize = 64 * 1024;

/// The connections of one shard in one round.
pub(crate) struct Sockets<'a> {
    pub(crate) shard: usize,
    /// The connections of all shards.
    pub(crate) links: &'a mut [Option<Link>],
    pub(crate) truth: &'a mut Truth,
    pub(crate) tally: &'a mut Tally,
    pub(crate) trace: &'a mut Trace,
    pub(crate) setup: &'a Setup,
    /// The newest numbers when the round began, if the shard knew them.
    pub(crate) heads: Option<[u64; NAMES.len()]>,
    /// Most bytes of one read.
    pub(crate) read: usize,
    /// When the round began.
    pub(crate) began: Micros,
    pub(crate) now: Micros,
    /// Who was offered in this batch.
    pub(crate) offered: Vec<SessionId>,
    /// What the streams of this batch are offered.
    pub(crate) pieces: Pieces,
    /// Whether anything was read, written or removed.
    pub(crate) moved: bool,
    /// The first promise that was broken.
    pub(crate) broken: Option<Broken>,
}

impl Sockets<'_> {
    fn find(&self, id: SessionId) -> Option<usize> {
        let owns = |link: &Option<Link>| {
            link.as_ref()
                .is_some_and(|link| link.shard == self.shard && link.session == Some(id))
        };
        self.links.iter().position(owns)
    }

    fn link(&mut self, id: SessionId) -> Option<&mut Link> {
        let client = self.find(id)?;
        self.links[client].as_mut()
    }

    fn breaks(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        self.broken.get_or_insert_with(|| Broken::new(rule, what()));
    }

    /// Checks a connection that has lagged. Where only the newest message counts, it must go on with the one that was
    /// newest when its socket took bytes again.
    fn check_news(&mut self, shard: &Shard, id: SessionId) {
        let (Some(heads), Some(client)) = (self.heads, self.find(id)) else {
            return;
        };
        let Some(link) = self.links[client].as_ref().filter(|link| link.went_on) else {
            return;
        };
        // An answer among the data keeps its place and the data before it. So does a frame that was begun.
        let Some(outbox) = shard.outbox(id).filter(|outbox| outbox.answer_bytes() == 0) else {
            return;
        };
        let mut last = [0; NAMES.len()];
        for delivery in outbox.waiting().skip(1).filter_map(|waiting| waiting.delivery) {
            let publication = delivery.publication();
            if let Some(topic) = topics::find(publication.lineage.topic.as_str())
                && delivery.op() == DataOp::Update
            {
                last[topic] = publication.seq.0;
            }
        }
        let newest_only = link.newest_only;
        for (topic, (last, head)) in last.iter().zip(heads).enumerate() {
            if newest_only >> topic & 1 == 1 && *last > 0 && *last < head {
                let name = topics::name(topic);
                self.breaks(Rule::Conflate, || {
                    format!(
                        "client {client} goes on with {name} {last} after a stall, and {head} is the newest"
                    )
                });
            }
        }
    }

    /// Puts as many waiting bytes into a client's socket as it takes.
    fn put(&mut self, shard: &Shard, id: SessionId) -> Wrote {
        let link = self.find(id).and_then(|client| self.links[client].as_mut());
        let (Some(link), Some(outbox)) = (link, shard.outbox(id)) else {
            return Wrote::All(0);
        };
        let (mut offered, mut room, before) = (bytes_max(link, self.setup), link.room(), link.down.len());
        let own = link.line.as_ref().and_then(|line| line.offered(&self.pieces));
        let waiting = outbox.waiting().map(|waiting| waiting.bytes);
        let mut is_part = false;
        for bytes in own.into_iter().chain(waiting.filter(|_| own.is_none())) {
            let count = bytes.len().min(offered);
            let taken = count.min(room);
            link.down.extend_from_slice(&bytes[..taken]);
            offered -= count;
            room -= taken;
            is_part = taken < count;
            if offered == 0 || is_part {
                break;
            }
        }
        let count = link.down.len() - before;
        self.tally.partial_writes += u64::from(is_part);
        self.moved |= count > 0;
        match is_part {
            true => Wrote::Part(count),
            false => Wrote::All(count),
        }
    }
}

/// The most bytes that a connection is written at a time.
fn bytes_max(link: &Link, setup: &Setup) -> usize {
    match &link.line {
        Some(line) if line.slow => setup.piece_bytes,
        _ => BYTES_PER_WRITE,
    }
}

impl Connections for Sockets<'_> {
    fn now(&mut self) -> Micros {
        let now = self.now;
        // What the cycle does takes time, or else its budgets would never be used up.
        self.now = Micros(now.0 + self.setup.look_us);
        now
    }

    fn line(&mut self, id: SessionId) -> Option<&mut Line> {
        self.link(id)?.line.as_mut()
    }

    fn take_ready(&mut self, ready: &mut Vec<ReadyConnection>) -> bool {
        for link in self.links.iter_mut().flatten() {
            let Some(session) = link.session.filter(|_| link.shard == self.shard) else {
                continue;
            };
            link.went_on = link.goes_on();
            let readable = std::mem::take(&mut link.news);
            if readable || link.went_on {
                ready.push(ReadyConnection {
                    session,
                    readable,
                    writable: link.went_on,
                    ended: readable && link.up_ended,
                });
            }
        }
        false
    }

    fn read(&mut self, id: SessionId, buffer: &mut [u8]) -> io::Result<Received> {
        let (most, began) = (self.read.min(buffer.len()), self.began);
        let Some(link) = self.link(id) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let count = link.up.len().min(most);
        if count == 0 && !link.up_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&link.up[..count]);
        link.up.drain(..count);
        if link.was_open && count > 0 {
            link.heard_before_close = began;
        }
        let drained = link.up.is_empty();
        self.moved = true;
        Ok(Received { count, drained })
    }

    fn hears(&mut self, shard: &Shard, id: SessionId, event: &Event<'_>, now: Micros) {
        if let Some(link) = self.link(id) {
            request::hears(shard, link, id, event, now);
        }
    }

    fn handled(&mut self, shard: &mut Shard, id: SessionId, _now: Micros) {
        self.moved = true;
        if let Some(client) = self.find(id)
            && let Some(link) = &mut self.links[client]
        {
            request::handled(shard, link, self.truth, id);
        }
    }

    fn begin_batch(&mut self) {
        self.offered.clear();
        self.pieces.clear();
    }

    fn has_room(&self, count: usize) -> bool {
        count < self.setup.batch
    }

    fn offer(&mut self, shard: &mut Shard, id: SessionId, _now: Micros) -> io::Result<Offer> {
        if self.offered.contains(&id) {
            self.breaks(Rule::Batches, || format!("session {} is twice in a batch", id.0));
        }
        self.offered.push(id);
        self.check_news(shard, id);
        if let Some(client) = self.find(id)
            && let Some(link) = &mut self.links[client]
        {
            let bytes_max = bytes_max(link, self.setup);
            if let Some(line) = &mut link.line {
                line.put_together(shard, id, bytes_max, &mut self.pieces);
            }
        }
        Ok(Offer::Batched)
    }

    fn write(&mut self, shard: &Shard, batch: &[SessionId], results: &mut Vec<Written>) {
        // The sockets get all bytes before the shard is told what they took.
        results.extend(batch.iter().map(|id| Written {
            session: *id,
            outcome: Ok(self.put(shard, *id)),
        }));
    }

    fn took(&mut self, shard: &mut Shard, id: SessionId, count: usize, now: Micros) -> io::Result<()> {
        let Some(client) = self.find(id) else {
            return Ok(());
        };
        let Some(link) = &mut self.links[client] else {
            return Ok(());
        };
        if count > 0 {
            self.trace.number(client as u64);
            self.trace.bytes(&link.down[link.down.len() - count..]);
            link.sent += count as u64;
            if shard.is_open(id) {
                link.taken_before_close = now;
            }
            link.owed = 0;
            link.full_since = None;
            link.stuck_since = None;
        }
        let Some(line) = &mut link.line else { return Ok(()) };
        let took = line.took(shard, (id, count), &self.pieces, now, |_| {});
        took.map_err(|overrun| {
            self.breaks(Rule::Batches, || format!("client {client}: {overrun}"));
            io::Error::other(overrun)
        })
    }

    fn shut(&mut self, id: SessionId) -> io::Result<bool> {
        if let Some(link) = self.link(id) {
            link.down_ended = true;
        }
        Ok(false)
    }

    fn remove(&mut self, shard: &mut Shard, id: SessionId) -> bool {
        let Some(link) = self.link(id) else {
            return false;
        };
        link.session = None;
        link.down_ended = true;
        shard.remove(id);
        self.moved = true;
        true
    }
}
