//! The broker in the simulation: a directory and its shards, each with the [`Cycle`] that the server's threads run.
//!
//! [`Link`]s take the place of the server's sockets. Here are the checks of what only the broker's side can see: what waits for a
//! connection is bounded, connections end only for a reason, and connections that have to end do.

use std::rc::Rc;
use std::sync::Arc;

use tickwire_router::cycle::{Budgets, Cycle, Line, Pieces};
use tickwire_router::{
    AccountId, Directory, DirectoryLimits, Drain, EpochRule, Families, KindRule, Kinds, OwnLimits, Rights,
    SessionLimits, Shard, ShardId, ShardQueue, ShardSettings, Transport, UserId,
};
use tickwire_wire::deflate;
use tickwire_wire::frame::Limits;
use tickwire_wire::limits::OUTBOX_REFILL_BYTES;
use tickwire_wire::message::AnnouncedLimits;
use tickwire_wire::{Epoch, Kind, Micros, Pattern};

use crate::archive::SimArchive;
use crate::broken::{Broken, Rule, ensure};
use crate::ledger::Ledger;
use crate::link::Link;
use crate::plan::Setup;
use crate::sockets::Sockets;
use crate::tally::Tally;
use crate::trace::Trace;
use crate::truth::{DEDUPE, Truth};

/// Longest frame of a run in bytes: the longest message with its envelope.
const FRAME_MAX: usize = 21_000;
/// Bytes of all histories together, in a world that has little room for them.
const SQUEEZED_BYTES: usize = 5_000;
/// Topics whose epoch is not that of the others.
const OTHER_EPOCH: [&str; 2] = ["*.A", "chat.>"];

/// Bytes per second that some clients are written.
const PACED_BYTES_PER_S: u32 = 200_000;

/// The compression settings. Messages of a simulated world are short.
const COMPRESSION: deflate::Settings = deflate::Settings {
    level: 1,
    threshold_bytes: 60,
};

/// The broker, from one start to the next.
pub(crate) struct Broker {
    pub(crate) truth: Truth,
    pub(crate) shards: Vec<Shard>,
    cycles: Vec<Cycle>,
    /// The sums of each client.
    pub(crate) ledgers: Vec<Ledger>,
    /// The connection of each client, if it has one.
    pub(crate) links: Vec<Option<Link>>,
    rights: Rc<Rights>,
    /// The rights of clients with a rate of bytes of their own.
    paced: Rc<Rights>,
    pub(crate) setup: Rc<Setup>,
    /// The most bytes that the settings since the start let wait for one connection.
    outbox_bytes: usize,
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
            dedupe: DEDUPE,
            ..DirectoryLimits::default()
        };
        let epoch = Epoch::from_number(1_000_000 + generation);
        let directory = Directory::new(epoch, kinds(setup), limits, queues.collect());
        // No two topics need be of one epoch: patterns match topics of both.
        let other = Epoch::from_number(2_000_000 + generation);
        let others = OTHER_EPOCH.map(|pattern| EpochRule {
            pattern: pattern.parse().expect("a pattern"),
            epoch: other.clone(),
        });
        let families = Arc::new(Families::of(Vec::new()));
        let directory = Arc::new(directory.with_epochs(others.to_vec()).with_families(families));
        let archive = setup.archive.map(|is_lossy| Arc::new(SimArchive::new(is_lossy)));
        if let Some(archive) = &archive {
            directory.set_archive(archive.clone());
        }
        let shard = |shard| {
            Shard::new(ShardId(shard as u8), directory.clone(), settings(setup)).with_compression(COMPRESSION)
        };
        let rights = Rights::open([everything()]);
        let paced = Rights {
            own: OwnLimits {
                bytes_per_s: Some(PACED_BYTES_PER_S),
                ..OwnLimits::default()
            },
            ..rights.clone()
        };
        Self {
            truth: Truth::new(directory.clone(), archive, setup),
            shards: (0..setup.shards).map(shard).collect(),
            cycles: (0..setup.shards).map(|_| Cycle::new(setup.budgets)).collect(),
            ledgers: setup.clients.iter().map(|_| Ledger::default()).collect(),
            links: (0..setup.clients.len()).map(|_| None).collect(),
            rights: Rc::new(rights),
            paced: Rc::new(paced),
            setup: setup.clone(),
            outbox_bytes: setup.outbox_bytes,
            tally: Tally {
                starts: 1,
                ..Tally::default()
            },
        }
    }

    /// The sums of the clients of a shard.
    pub(crate) fn clients_of(&self, shard: usize) -> impl Iterator<Item = &Ledger> {
        let clients = self.ledgers.iter().zip(&self.setup.clients);
        clients
            .filter(move |(_, client)| client.shard == shard)
            .map(|(ledger, _)| ledger)
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
        let mut link = self.open(client, Transport::WebSocket, now);
        link.line = Some(Line::websocket(Limits::default(), Vec::new()));
        self.links[client] = Some(link);
    }

    /// Opens a session for a client.
    pub(crate) fn open(&mut self, client: usize, transport: Transport, now: Micros) -> Link {
        let it = &self.setup.clients[client];
        let rights = if is_paced(client) {
            &self.paced
        } else {
            &self.rights
        };
        let session = self.shards[it.shard].open(it.dialect, transport, rights.clone(), now);
        let number = client as u32;
        self.shards[it.shard].account(session, AccountId(number), UserId(number.into()));
        self.tally.connections += 1;
        let mut link = Link::new(it.shard, it.dialect.codec(), session, it.socket_bytes, now);
        link.drained = self.shards[it.shard].is_draining();
        link
    }

    /// Breaks the connection of a client. The bytes that the socket took are still in `down`.
    pub(crate) fn cut(&mut self, client: usize, now: Micros, trace: &mut Trace) {
        if let Some(link) = &self.links[client]
            && let Some(id) = link.session
        {
            let shard = link.shard;
            let (cycle, it, mut sockets) = self.parts(shard, usize::MAX, now, trace);
            cycle.with(it, &mut sockets).drop_session(id);
        }
    }

    /// Has a shard leave.
    pub(crate) fn drain(&mut self, shard: usize, window_ms: u64, patience_ms: u64, now: Micros) {
        let Some(it) = self.shards.get_mut(shard) else {
            return;
        };
        let drain = Drain {
            window_ms,
            deadline_ms: window_ms + patience_ms,
            patience_ms,
            seed: now.0,
        };
        it.begin_drain(drain, now);
        for link in self.links.iter_mut().flatten().filter(|link| link.shard == shard) {
            link.drained = true;
        }
    }

    /// Takes other settings, until the next start.
    pub(crate) fn reload(&mut self, outbox_bytes: usize, topics_at_once: usize) {
        self.tally.reloads += 1;
        self.outbox_bytes = self.outbox_bytes.max(outbox_bytes);
        for shard in &mut self.shards {
            let settings = ShardSettings {
                outbox_bytes_max: outbox_bytes,
                topics_at_once,
                ..settings(&self.setup)
            };
            shard.reconfigure(settings, COMPRESSION);
        }
    }

    /// When the next round of some shard is due.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        let due = self.cycles.iter().zip(&self.shards);
        due.filter_map(|(cycle, shard)| cycle.next_timeout(shard)).min()
    }

    /// What a round of a shard works on.
    fn parts<'a>(
        &'a mut self,
        shard: usize,
        read: usize,
        now: Micros,
        trace: &'a mut Trace,
    ) -> (&'a mut Cycle, &'a mut Shard, Sockets<'a>) {
        let it = &mut self.shards[shard];
        // If all of the shard's connections lag and nothing is queued, the shard knows the newest messages.
        let knows = it.lagging_count() == it.session_count() && it.queue_depth() == 0;
        let sockets = Sockets {
            shard,
            links: &mut self.links,
            heads: knows.then(|| self.truth.heads()),
            truth: &mut self.truth,
            tally: &mut self.tally,
            trace,
            setup: &self.setup,
            read,
            began: now,
            now,
            offered: Vec::new(),
            pieces: Pieces::default(),
            moved: false,
            broken: None,
        };
        (&mut self.cycles[shard], it, sockets)
    }

    /// Whether the session of a client accepts requests.
    pub(crate) fn is_open(&self, client: usize) -> bool {
        let link = self.links[client].as_ref();
        link.and_then(|link| Some(self.shards[link.shard].is_open(link.session?))) == Some(true)
    }

    /// Runs one cycle of a shard, with at most `budget` deliveries. Of each connection it reads at most `read` bytes at a time.
    /// Returns whether the shard did something or has more to do. `now` is when it ended then.
    pub(crate) fn cycle(
        &mut self,
        shard: usize,
        budget: usize,
        read: usize,
        now: &mut Micros,
        trace: &mut Trace,
    ) -> Result<bool, Broken> {
        for link in self.links.iter_mut().flatten().filter(|link| link.shard == shard) {
            link.was_open = link.session.is_some_and(|id| self.shards[shard].is_open(id));
        }
        let opened = self.go_on_streams(shard, *now, trace);
        let is_asked = self.truth.archive().is_some_and(SimArchive::pass);
        let budgets = Budgets {
            deliveries: budget,
            ..self.setup.budgets
        };
        let (cycle, it, mut sockets) = self.parts(shard, read, *now, trace);
        cycle.set_budgets(budgets);
        let turned = cycle.with(it, &mut sockets).run();
        let (moved, broken) = (sockets.moved, sockets.broken);
        let (is_behind, is_parked) = (cycle.is_behind(), cycle.parked_count() > 0);
        self.tally.behind += u64::from(is_behind);
        self.tally.parked += u64::from(is_parked);
        *now = turned.ended;
        broken.map_or(Ok(()), Err)?;
        let queued = self.shards[shard].queue_depth() > 0;
        if !queued {
            self.mark_full(shard, *now);
        }
        self.mark_stuck(shard, *now);
        self.check(shard, *now)?;
        Ledger::account(&mut self.ledgers, &mut self.shards[shard]);
        Ledger::after_step(&self.shards[shard], self.clients_of(shard))?;
        Ok(opened || moved || turned.more || queued || is_asked)
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
        let full = self.outbox_bytes + OUTBOX_REFILL_BYTES + 2 * FRAME_MAX;
        for (number, (link, client)) in self.links.iter_mut().zip(&self.setup.clients).enumerate() {
            if is_paced(number) {
                continue; // what waits for it may wait for its time
            }
            // The owed bytes are counted uncompressed. Compressed, they may be far fewer.
            let link = link
                .as_mut()
                .filter(|link| client.dialect.window().is_none() && link.shard == shard);
            if let Some(link) = link.filter(|link| link.owed > full) {
                link.full_since.get_or_insert(now);
            }
        }
    }

    /// Records the connections whose sockets take nothing of what waits.
    fn mark_stuck(&mut self, shard: usize, now: Micros) {
        for link in self.links.iter_mut().flatten().filter(|link| link.shard == shard) {
            let outbox = link.session.and_then(|id| self.shards[shard].outbox(id));
            let waits = outbox.is_some_and(|outbox| !outbox.is_empty());
            if waits && link.line.as_ref().is_some_and(|line| line.blocked) {
                link.stuck_since.get_or_insert(now);
            } else {
                link.stuck_since = None;
            }
        }
    }

    /// Checks what only the broker's side can see.
    fn check(&self, shard: usize, now: Micros) -> Result<(), Broken> {
        let setup = &self.setup;
        let room = self.outbox_bytes + OUTBOX_REFILL_BYTES + 3 * FRAME_MAX;
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
            let since = [link.full_since, link.stuck_since];
            let overdue = since
                .into_iter()
                .flatten()
                .any(|since| now.since(since) > patience);
            ensure(
                !overdue || !self.shards[shard].is_open(id),
                Rule::SlowReaders,
                || {
                    let ms = now.since(link.taken_before_close) / 1_000;
                    format!("client {client} took nothing for {ms} ms of what waited, and was not closed")
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
        candles: 0,
    };
    Kinds::with_rules(vec![
        rule("ticker.>", Kind::State, 1),
        rule("candle.>", Kind::State, setup.kept_events),
        rule("bbo.>", Kind::State, 1),
        rule("book.>", Kind::Book, setup.kept_books),
        rule("opt.q", Kind::State, 1),
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
        session_limits: SessionLimits {
            // Plans ask at random for what is refused, more often in a row than a client may.
            refusals_in_a_row: u32::MAX,
            ..SessionLimits::default()
        },
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

/// Whether a client has a rate of bytes of its own.
fn is_paced(client: usize) -> bool {
    client % 3 == 2
}
