//! The broker in the simulation: a directory, its shards, and the cycle of reading, delivering and writing of the
//! server's threads.
//!
//! [`Link`]s take the place of the server's sockets; parser, codecs and order are the same. This file also checks what
//! no client can see: the bytes that wait for a connection are bounded, connections end only for a reason, and
//! connections that have to end do.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_router::{
    Directory, DirectoryLimits, KindRule, Kinds, Rights, SessionId, SessionLimits, Shard, ShardId,
    ShardQueue, ShardSettings, Transport,
};
use tickwire_wire::codec::DataOp;
use tickwire_wire::deflate;
use tickwire_wire::frame::{Limits, Parser};
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::AnnouncedLimits;
use tickwire_wire::{Epoch, Kind, Micros, Pattern};

use crate::broken::{Broken, Rule, ensure};
use crate::ledger::Ledger;
use crate::link::Link;
use crate::plan::Setup;
use crate::request::{self, handle};
use crate::tally::Tally;
use crate::topics::{self, NAMES};
use crate::trace::Trace;
use crate::truth::Truth;

/// Most bytes that one connection writes at a time, as in the server.
const BYTES_PER_WRITE: usize = 64 * 1024;
/// Longest frame of a run in bytes: the longest message with its envelope.
const FRAME_MAX: usize = 21_000;
/// Bytes of all histories together, in a world that has little room for them.
const SQUEEZED_BYTES: usize = 5_000;

/// The compression settings. Messages of a simulated world are short.
const COMPRESSION: deflate::Settings = deflate::Settings {
    level: 1,
    threshold_bytes: 60,
};

/// The broker, from one start to the next.
pub(crate) struct Broker {
    pub(crate) truth: Truth,
    pub(crate) shards: Vec<Shard>,
    pub(crate) ledgers: Vec<Ledger>,
    /// The connection of each client, if it has one.
    pub(crate) links: Vec<Option<Link>>,
    rights: Rc<Rights>,
    setup: Rc<Setup>,
    scratch: Vec<u8>,
    /// What happened since the start, without what the shards count.
    pub(crate) tally: Tally,
}

impl Broker {
    /// Starts the broker for the `generation`th time.
    pub(crate) fn start(setup: &Rc<Setup>, generation: u64) -> Self {
        let queues = (0..setup.shards).map(|_| Arc::new(ShardQueue::new(setup.queue, Box::new(|| {}))));
        let limits = DirectoryLimits {
            topics_max: 1_000,
            topics_per_key_max: 0,
            history_bytes_max: if setup.squeezed { SQUEEZED_BYTES } else { 1 << 30 },
            ..DirectoryLimits::default()
        };
        let epoch = Epoch::from_number(1_000_000 + generation);
        let directory = Directory::new(epoch, kinds(setup), limits, queues.collect());
        let directory = Arc::new(directory);
        let shard = |shard| {
            Shard::new(ShardId(shard as u8), directory.clone(), settings(setup)).with_compression(COMPRESSION)
        };
        let rights = Rights::open([everything()]);
        Self {
            truth: Truth::new(directory.clone(), setup),
            shards: (0..setup.shards).map(shard).collect(),
            ledgers: (0..setup.shards).map(|_| Ledger::default()).collect(),
            links: (0..setup.clients.len()).map(|_| None).collect(),
            rights: Rc::new(rights),
            setup: setup.clone(),
            scratch: Vec::new(),
            tally: Tally {
                starts: 1,
                ..Tally::default()
            },
        }
    }

    /// What happened since the start, including what the shards count.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.tally;
        for shard in &self.shards {
            tally.count(shard.counts());
        }
        tally
    }

    /// Accepts a connection from a client that has none.
    pub(crate) fn accept(&mut self, client: usize, now: Micros) {
        let it = &self.setup.clients[client];
        let session =
            self.shards[it.shard].open(it.variant(), Transport::WebSocket, self.rights.clone(), now);
        self.tally.connections += 1;
        self.links[client] = Some(Link::new(it.shard, it.codec, session, it.socket_bytes, now));
    }

    /// Breaks the connection of a client. The bytes that the socket took are still in `down`.
    pub(crate) fn cut(&mut self, client: usize) {
        if let Some(link) = &mut self.links[client] {
            drop_session(&mut self.shards, link);
        }
    }

    /// Whether the session of a client accepts requests.
    pub(crate) fn is_open(&self, client: usize) -> bool {
        let link = self.links[client].as_ref();
        link.and_then(|link| Some(self.shards[link.shard].is_open(link.session?))) == Some(true)
    }

    /// Runs one cycle of a shard, with at most `budget` deliveries. Of each connection it reads at most `read` bytes.
    /// Returns whether the shard did something or has more to do.
    pub(crate) fn cycle(
        &mut self,
        shard: usize,
        budget: usize,
        read: usize,
        now: Micros,
        trace: &mut Trace,
    ) -> Result<bool, Broken> {
        // If all of the shard's connections lag and nothing is queued, the shard knows the newest messages.
        let it = &self.shards[shard];
        let knows = it.lagging_count() == it.session_count() && it.queue_depth() == 0;
        let heads = knows.then(|| self.truth.heads());
        let heard = self.read_links(shard, read, now)?;
        self.shards[shard].on_timeout(now);
        let more = self.shards[shard].drain(budget, now);
        let wrote = self.write_dirty(shard, heads.as_ref(), now, trace)?;
        while let Some(id) = self.shards[shard].next_gone() {
            if let Some(client) = self.client_of(shard, id) {
                self.cut(client);
            }
        }
        let parts = self.shards[shard].part();
        if !more {
            self.mark_full(shard, now);
        }
        self.check(shard, now)?;
        Ledger::after_step(&self.shards[shard])?;
        Ok(heard
            || more
            || parts
            || wrote
            || self.shards[shard].dirty_count() > 0
            || self.shards[shard].queue_depth() > 0)
    }

    fn client_of(&self, shard: usize, id: SessionId) -> Option<usize> {
        let owns = |link: &Option<Link>| {
            link.as_ref()
                .is_some_and(|link| link.shard == shard && link.session == Some(id))
        };
        self.links.iter().position(owns)
    }

    /// Reads what clients sent, and finds out which sockets take bytes again.
    fn read_links(&mut self, shard: usize, read: usize, now: Micros) -> Result<bool, Broken> {
        let mut heard = false;
        for client in 0..self.links.len() {
            let Some(link) = self.links[client].as_mut().filter(|link| link.shard == shard) else {
                continue;
            };
            let Some(id) = link.session else { continue };
            link.went_on = link.goes_on();
            if link.went_on {
                link.blocked = false;
                self.shards[shard].writable(id);
            }
            if self.shards[shard].unfinished(id).is_some() {
                heard = true;
                request::go_on(&mut self.shards[shard], link, &self.truth, id, now);
            }
            let busy = self.shards[shard].unfinished(id).is_some();
            let count = if busy { 0 } else { link.up.len().min(read) };
            if count > 0 {
                heard = true;
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.clear();
                scratch.extend(link.up.drain(..count));
                self.received(client, id, &mut scratch, now)?;
                self.scratch = scratch;
            } else if link.up_ended && link.up.is_empty() && !busy {
                heard = true;
                drop_session(&mut self.shards, link);
            }
        }
        Ok(heard)
    }

    fn received(
        &mut self,
        client: usize,
        id: SessionId,
        bytes: &mut [u8],
        now: Micros,
    ) -> Result<(), Broken> {
        let Some(link) = &mut self.links[client] else {
            return Ok(());
        };
        let shard = &mut self.shards[link.shard];
        shard.heard(id, now);
        if shard.is_open(id) {
            link.heard_before_close = now;
        }
        let mut parser = std::mem::replace(&mut link.parser, Parser::new(Limits::default()));
        let mut input = bytes;
        loop {
            match parser.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    handle(shard, link, &mut self.truth, id, event, now);
                    if shard.unfinished(id).is_some() {
                        // The bytes after the request are read when it is done.
                        link.up.splice(..0, input.iter().copied());
                        break;
                    }
                }
                Err(violation) => {
                    let what = format!("client {client}'s bytes were taken for a violation: {violation}");
                    return Err(Broken::new(Rule::Framing, what));
                }
            }
        }
        link.parser = parser;
        Ok(())
    }

    /// Writes once to each session that has something waiting, in batches, as the server does.
    fn write_dirty(
        &mut self,
        shard: usize,
        heads: Option<&[u64; NAMES.len()]>,
        now: Micros,
        trace: &mut Trace,
    ) -> Result<bool, Broken> {
        let mut wrote = false;
        let mut goes_on = true;
        while goes_on {
            let mut batch: Vec<(usize, SessionId)> = Vec::new();
            while batch.len() < self.setup.batch {
                let Some(id) = self.shards[shard].next_dirty() else {
                    goes_on = false;
                    break;
                };
                let Some(client) = self.client_of(shard, id) else {
                    continue;
                };
                ensure(!batch.contains(&(client, id)), Rule::Batches, || {
                    format!("client {client} is twice in a batch")
                })?;
                if let Some(heads) = heads {
                    self.check_news(client, id, heads)?;
                }
                if self.links[client].as_ref().is_some_and(|link| !link.blocked) {
                    batch.push((client, id));
                }
            }
            // The sockets get all bytes before the shard is told what they took.
            let taken: Vec<usize> = batch
                .iter()
                .map(|(client, id)| self.offer(*client, *id))
                .collect();
            for ((client, id), count) in batch.into_iter().zip(taken) {
                wrote |= count > 0;
                self.took(client, id, count, now, trace)?;
            }
        }
        Ok(wrote)
    }

    /// Checks a connection that has lagged. Where only the newest message counts, it must go on with the one that was
    /// newest when its socket took bytes again.
    fn check_news(&self, client: usize, id: SessionId, heads: &[u64; NAMES.len()]) -> Result<(), Broken> {
        let Some(link) = self.links[client].as_ref().filter(|link| link.went_on) else {
            return Ok(());
        };
        let outbox = self.shards[link.shard].outbox(id);
        // An answer among the data keeps its place and the data before it. So does a frame that was begun.
        let Some(outbox) = outbox.filter(|outbox| outbox.answer_bytes() == 0) else {
            return Ok(());
        };
        let mut last = [0; NAMES.len()];
        for fanout in outbox.waiting().skip(1).filter_map(|waiting| waiting.fanout) {
            let publication = &fanout.publication;
            if let Some(topic) = topics::find(publication.lineage.topic.as_str())
                && fanout.op == DataOp::Update
            {
                last[topic] = publication.seq.0;
            }
        }
        for (topic, (last, head)) in last.iter().zip(heads).enumerate() {
            let old = link.newest_only >> topic & 1 == 1 && *last > 0 && last < head;
            ensure(!old, Rule::Conflate, || {
                let name = topics::name(topic);
                format!("client {client} goes on with {name} {last} after a stall, and {head} is the newest")
            })?;
        }
        Ok(())
    }

    /// Puts as many waiting bytes into a client's socket as it takes. Returns how many it took.
    fn offer(&mut self, client: usize, id: SessionId) -> usize {
        let Some(link) = &mut self.links[client] else {
            return 0;
        };
        let Some(outbox) = self.shards[link.shard].outbox(id) else {
            return 0;
        };
        let (mut offered, mut room, before) = (BYTES_PER_WRITE, link.room(), link.down.len());
        for waiting in outbox.waiting() {
            let count = waiting.bytes.len().min(offered);
            let taken = count.min(room);
            link.down.extend_from_slice(&waiting.bytes[..taken]);
            offered -= count;
            room -= taken;
            if offered == 0 || taken < count {
                link.blocked = taken < count;
                self.tally.partial_writes += u64::from(taken < count);
                break;
            }
        }
        link.down.len() - before
    }

    /// Tells a shard how many bytes the socket of a client took.
    fn took(
        &mut self,
        client: usize,
        id: SessionId,
        count: usize,
        now: Micros,
        trace: &mut Trace,
    ) -> Result<(), Broken> {
        let Some(link) = &mut self.links[client] else {
            return Ok(());
        };
        let shard = &mut self.shards[link.shard];
        if count > 0 {
            trace.number(client as u64);
            trace.bytes(&link.down[link.down.len() - count..]);
            link.sent += count as u64;
            if shard.is_open(id) {
                link.taken_before_close = now;
            }
            link.owed = 0;
            link.full_since = None;
            shard
                .wrote(id, count, now, |_| {})
                .map_err(|overrun| Broken::new(Rule::Batches, format!("client {client}: {overrun}")))?;
        }
        if shard.is_finished(id) {
            link.down_ended = true;
        } else if !link.blocked && shard.outbox(id).is_some_and(|outbox| !outbox.is_empty()) {
            shard.writable(id);
        }
        Ok(())
    }

    /// Counts `bytes` of a published message that must reach a client.
    pub(crate) fn owes(&mut self, client: usize, bytes: usize) {
        if let Some(link) = &mut self.links[client] {
            link.owed += bytes;
        }
    }

    /// Records the connections for which certainly too much waits.
    fn mark_full(&mut self, shard: usize, now: Micros) {
        if self.setup.queue < 1_000 {
            return; // the shard reads the histories at any time, and they may hold little
        }
        let full = self.setup.outbox_bytes + OUTBOX_REFILL_BYTES + 2 * FRAME_MAX;
        for (link, client) in self.links.iter_mut().zip(&self.setup.clients) {
            // The owed bytes are counted uncompressed. Compressed, they may be far fewer.
            let link = link
                .as_mut()
                .filter(|link| !client.deflate && link.shard == shard);
            if let Some(link) = link.filter(|link| link.owed > full) {
                link.full_since.get_or_insert(now);
            }
        }
    }

    /// Checks what only the broker's side can see.
    fn check(&self, shard: usize, now: Micros) -> Result<(), Broken> {
        let setup = &self.setup;
        let room = setup.outbox_bytes + OUTBOX_REFILL_BYTES + 3 * FRAME_MAX;
        // The timer that detects a stall runs every second, or every quarter of the stall time.
        let patience = Micros(0).plus_ms(2 * setup.stall_ms + 3_000).0;
        for (client, link) in self.links.iter().enumerate() {
            let Some(link) = link.as_ref().filter(|link| link.shard == shard) else {
                continue;
            };
            let Some(id) = link.session else { continue };
            let Some(outbox) = self.shards[shard].outbox(id) else {
                return Err(Broken::new(
                    Rule::Closes,
                    format!("the session of client {client} is gone, untold"),
                ));
            };
            let waiting = outbox.data_bytes() - outbox.answer_bytes();
            ensure(waiting <= room, Rule::SlowReaders, || {
                format!("{waiting} bytes wait for client {client}; {room} is the most that may")
            })?;
            let overdue = link.full_since.filter(|since| now.since(*since) > patience);
            ensure(
                overdue.is_none() || !self.shards[shard].is_open(id),
                Rule::SlowReaders,
                || {
                    let ms = now.since(link.taken_before_close) / 1_000;
                    format!(
                        "client {client} took nothing for {ms} ms while its outbox was full, and was not closed"
                    )
                },
            )?;
        }
        Ok(())
    }
}

fn everything() -> Pattern {
    ">".parse().expect("a valid pattern")
}

fn kinds(setup: &Setup) -> Kinds {
    let rule = |pattern: &str, kind, history| KindRule {
        pattern: pattern.parse().expect("a valid pattern"),
        kind,
        history,
    };
    Kinds::with_rules(vec![
        rule("ticker.>", Kind::State, 1),
        rule("candle.>", Kind::State, setup.kept_events),
        rule("bbo.>", Kind::State, 1),
        rule("book.>", Kind::Book, setup.kept_books),
        rule(">", Kind::Event, setup.kept_events),
    ])
}

fn settings(setup: &Setup) -> ShardSettings {
    ShardSettings {
        server: "sim".to_owned(),
        limits: AnnouncedLimits {
            subscriptions: setup.subscriptions,
            message_bytes: 65_536,
            ops_per_s: setup.ops_per_s,
            ops_burst: setup.ops_per_s * 2,
            publishes_per_s: setup.ops_per_s,
            publishes_burst: setup.ops_per_s * 2,
        },
        session_limits: SessionLimits::default(),
        topics_at_once: setup.topics_at_once,
        outbox_bytes_max: setup.outbox_bytes,
        stall_ms: setup.stall_ms,
        heartbeat_ms: setup.heartbeat_ms,
        ping_after_ms: setup.ping_after_ms,
        pong_timeout_ms: setup.pong_timeout_ms,
        first_request_ms: setup.first_request_ms,
        close_timeout_ms: setup.close_timeout_ms,
    }
}

/// Ends the session of a connection.
fn drop_session(shards: &mut [Shard], link: &mut Link) {
    let Some(id) = link.session.take() else { return };
    let shard = &mut shards[link.shard];
    shard.remove(id);
    link.down_ended = true;
}
