//! The world in which a plan runs: the broker, the clients, and time, which passes only as the plan says.

use std::fmt::Write as _;
use std::rc::Rc;

use tickwire_wire::message::Position;
use tickwire_wire::{Epoch, Micros, Moment, Seq};

use crate::broken::{Broken, Rule, ensure};
use crate::broker::Broker;
use crate::client::{Client, Reading};
use crate::ledger::Ledger;
use crate::op::{Op, Pace, Since};
use crate::oracle::{From, Wanted};
use crate::plan::Setup;
use crate::tally::Tally;
use crate::topics::{self, NAMES};
use crate::trace::Trace;
use crate::truth::Truth;

/// The time at which every world begins.
const START: Micros = Micros(1_700_000_000_000_000);
/// The number of rounds within which everything must have settled. The histories of some plans take 50 bytes a round out.
const ROUNDS_MAX: usize = 200_000;
/// The least size of every socket while the world settles, in bytes.
const SETTLE_SOCKET_BYTES: usize = 64 * 1024;
/// Longer than any `conflate_ms` that a broker grants.
const SETTLE_MS: u64 = 1_500;

/// A broker, its clients and the time.
pub(crate) struct World {
    setup: Rc<Setup>,
    broker: Broker,
    generation: u64,
    /// What happened before the broker's last start.
    before: Tally,
    clients: Vec<Client>,
    now: Micros,
    pub(crate) trace: Trace,
    /// How many operations and rounds of shards there were so far.
    steps: u64,
}

impl World {
    pub(crate) fn new(setup: Setup, with_lines: bool) -> Self {
        let setup = Rc::new(setup);
        let clients = setup.clients.iter().enumerate();
        Self {
            broker: Broker::start(&setup, 0),
            generation: 0,
            before: Tally::default(),
            clients: clients
                .map(|(index, it)| Client::new(index, it.dialect))
                .collect(),
            now: START,
            trace: Trace::new(with_lines),
            steps: 0,
            setup,
        }
    }

    /// What happened so far.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.before;
        tally.add(&self.broker.tally());
        tally.steps = self.steps;
        tally
    }

    /// Does one operation, lets the clients read, and checks what they read.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Broken> {
        self.steps += 1;
        let now = self.now.since(START);
        self.trace.number(now);
        self.trace
            .line(|line| write!(line, "{:>9.3} ms {op}", now as f64 / 1_000.0));
        // Each operation takes some time.
        self.now = Micros(self.now.0 + 7);
        match op {
            Op::Publish {
                topic,
                times,
                level,
                size,
            } => self.publish(*topic, *times, *level, *size)?,
            Op::PublishMortal { mortal, times } => {
                for _ in 0..*times {
                    self.broker.truth.publish_mortal(*mortal, self.now)?;
                }
            }
            Op::End { mortal } => {
                self.broker.tally.ended += 1;
                self.broker.truth.end_mortal(*mortal)?;
            }
            Op::Cycle { shard, budget, read } => {
                self.cycle(*shard, *budget, *read)?;
            }
            Op::Read { client, bytes } => {
                self.read(*client, Some(*bytes))?;
            }
            Op::Pace { client, pace } => self.clients[*client].pace = *pace,
            Op::Mute { client, on } => self.clients[*client].mute = *on,
            Op::Wait { ms } => self.wait(*ms)?,
            Op::Drain {
                shard,
                window_ms,
                patience_ms,
            } => self.broker.drain(*shard, *window_ms, *patience_ms, self.now),
            Op::Reload {
                outbox_bytes,
                topics_at_once,
            } => self.broker.reload(*outbox_bytes, *topics_at_once),
            Op::Restart => self.restart()?,
            Op::Settle => self.settle()?,
            Op::Connect {
                client,
                resume,
                ahead,
            } => self.connect(*client, *resume, *ahead)?,
            Op::Lose { client, drained } => self.lose(*client, *drained)?,
            _ => self.request(op)?,
        }
        self.read_all()?;
        Ok(())
    }

    fn publish(&mut self, topic: usize, times: usize, level: u8, size: usize) -> Result<(), Broken> {
        for n in 0..times {
            let level = level.wrapping_add((n as u8).wrapping_mul(37));
            let bytes = self.broker.truth.publish(topic, level, size, self.now)?;
            for (index, client) in self.clients.iter().enumerate() {
                if client.must_get(topic) {
                    self.broker.owes(index, bytes);
                }
            }
        }
        Ok(())
    }

    fn cycle(&mut self, shard: usize, budget: usize, read: usize) -> Result<bool, Broken> {
        if shard >= self.broker.shards.len() {
            return Ok(false);
        }
        self.steps += 1;
        for (link, client) in self.broker.links.iter_mut().zip(&self.clients) {
            if let Some(link) = link.as_mut().filter(|link| link.goes_on()) {
                link.newest_only = client.oracle.newest_only();
            }
        }
        self.broker
            .cycle(shard, budget, read, &mut self.now, &mut self.trace)
    }

    fn connect(&mut self, client: usize, resume: bool, ahead: bool) -> Result<(), Broken> {
        if self.broker.links[client].is_some() {
            return Ok(());
        }
        if self.clients[client].is_stream() {
            let again = self.clients[client].ask_again(resume);
            return again.map_or(Ok(()), |asked| self.broker.open_stream(client, asked, self.now));
        }
        self.broker.accept(client, self.now);
        if let Some(link) = &mut self.broker.links[client] {
            self.clients[client].connected(resume, ahead, link);
        }
        Ok(())
    }

    fn lose(&mut self, client: usize, drained: bool) -> Result<(), Broken> {
        self.broker.cut(client, self.now, &mut self.trace);
        if drained {
            self.read(client, Some(usize::MAX))?;
        }
        self.forget(client);
        Ok(())
    }

    /// Ends the client's side of a connection.
    fn forget(&mut self, client: usize) {
        let Some(link) = self.broker.links[client].take() else {
            return;
        };
        if !link.down.is_empty() || self.clients[client].has_part() {
            self.broker.ledgers[client].lost();
        }
        self.clients[client].disconnected();
    }

    /// What a client of streams does in place of a request. It can ask for a stream, if it has none.
    fn act(&mut self, client: usize, op: &Op) -> Result<(), Broken> {
        let it = &mut self.clients[client];
        match (op, &mut self.broker.links[client]) {
            (Op::Leave { .. }, Some(link)) => link.end(),
            (Op::Junk { .. }, Some(link)) if !link.up_ended => link.send(b"?"),
            (
                Op::Subscribe {
                    topics,
                    mode,
                    conflate_ms,
                    snapshot,
                    ..
                },
                None,
            ) => {
                let wanted = Wanted {
                    mode: *mode,
                    conflate_ms: *conflate_ms,
                    snapshot: *snapshot,
                };
                let truth = &self.broker.truth;
                // The oracle knows the ids of topics that do not end.
                let topics: Vec<_> = topics
                    .iter()
                    .filter(|(pattern, _)| topics::mortal_of(*pattern).is_none())
                    .collect();
                if topics.is_empty() {
                    return Ok(());
                }
                let resumes = topics.iter().any(|(_, since)| since.is_some());
                let patterns: Vec<usize> = topics.iter().map(|(pattern, _)| *pattern).collect();
                let plain = !patterns.iter().any(|pattern| topics::is_wildcard(*pattern));
                let positions = (resumes && plain).then(|| {
                    let at = |(topic, since): &&(usize, Option<Since>)| {
                        let known = since.and_then(|since| position(truth, it, *topic, since));
                        known.unwrap_or_else(|| Position {
                            epoch: truth.epoch(*topic).clone(),
                            seq: Seq::ZERO,
                        })
                    };
                    topics.iter().map(at).collect()
                });
                let asked = it.ask_stream(patterns, positions, wanted);
                self.broker.open_stream(client, asked, self.now)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends a request of a client, if it is connected.
    fn request(&mut self, op: &Op) -> Result<(), Broken> {
        let (Op::Leave { client }
        | Op::Subscribe { client, .. }
        | Op::Positions { client, .. }
        | Op::Unsubscribe { client, .. }
        | Op::Resync { client, .. }
        | Op::Ping { client, .. }
        | Op::Junk { client }
        | Op::Say { client, .. }) = op
        else {
            return Ok(());
        };
        if self.clients[*client].is_stream() {
            return self.act(*client, op);
        }
        let it = &mut self.clients[*client];
        let Some(link) = self.broker.links[*client]
            .as_mut()
            .filter(|link| !link.up_ended && !it.is_closed())
        else {
            return Ok(());
        };
        match op {
            Op::Leave { .. } => {
                it.leave(link);
                link.end();
            }
            Op::Subscribe {
                topics,
                mode,
                conflate_ms,
                snapshot,
                ..
            } => {
                let wanted = Wanted {
                    mode: *mode,
                    conflate_ms: *conflate_ms,
                    snapshot: *snapshot,
                };
                let truth = &self.broker.truth;
                let topics = topics.iter().map(|(pattern, since)| {
                    let from = since.and_then(|since| from(truth, it, *pattern, since, self.now));
                    (*pattern, from)
                });
                it.subscribe(topics.collect(), wanted, link);
            }
            Op::Positions { topics, .. } => {
                let truth = &self.broker.truth;
                let positions = topics
                    .iter()
                    .filter_map(|(topic, since)| positions_of(truth, it, *topic, *since));
                it.positions(positions.collect(), link);
            }
            Op::Unsubscribe { patterns, .. } => it.unsubscribe(patterns.clone(), link),
            Op::Resync { topic, .. } => it.resync(*topic, link),
            Op::Ping { frame, .. } => it.ping(*frame, link),
            Op::Junk { .. } => it.junk(link),
            Op::Say { topic, size, key, .. } => it.publish(*topic, *size, *key, link),
            _ => {}
        }
        Ok(())
    }

    /// Lets a client read. Returns how many bytes it read.
    fn read(&mut self, client: usize, bytes: Option<usize>) -> Result<usize, Broken> {
        let Some(link) = &mut self.broker.links[client] else {
            return Ok(0);
        };
        let mut reading = Reading {
            link,
            truth: &self.broker.truth,
            setup: &self.setup,
            got: &mut self.broker.ledgers[client].got,
            tally: &mut self.broker.tally,
            trace: &mut self.trace,
            now: self.now,
        };
        let count = self.clients[client].read(&mut reading, bytes)?;
        if link.down.is_empty() && link.down_ended && link.session.is_none() {
            self.forget(client);
        }
        Ok(count)
    }

    fn read_all(&mut self) -> Result<bool, Broken> {
        let mut moved = false;
        for client in 0..self.clients.len() {
            moved |= self.read(client, None)? > 0;
        }
        Ok(moved)
    }

    /// Lets time pass. What becomes due is done at its time.
    fn wait(&mut self, ms: u64) -> Result<(), Broken> {
        let end = self.now.plus_ms(ms);
        loop {
            let due = self.broker.next_timeout();
            self.now = self.now.max(due.unwrap_or(end).min(end));
            for shard in 0..self.broker.shards.len() {
                self.cycle(shard, 65_536, usize::MAX)?;
            }
            self.read_all()?;
            if due.is_none_or(|due| due > end) {
                self.now = self.now.max(end);
                return Ok(());
            }
        }
    }

    fn restart(&mut self) -> Result<(), Broken> {
        for client in 0..self.clients.len() {
            // Clients that read still get what was sent.
            self.read(client, None)?;
            self.forget(client);
        }
        self.generation += 1;
        self.before.add(&self.broker.tally());
        self.broker = Broker::start(&self.setup, self.generation);
        Ok(())
    }

    /// Lets all clients read until nothing moves any more. Then everything must have arrived.
    fn settle(&mut self) -> Result<(), Broken> {
        for client in &mut self.clients {
            client.pace = Pace::Eager;
        }
        for link in self.broker.links.iter_mut().flatten() {
            link.capacity = link.capacity.max(SETTLE_SOCKET_BYTES);
        }
        self.run_out()?;
        self.wait(SETTLE_MS)?;
        self.run_out()?;
        // Who has a rate of bytes gets the rest in its time.
        for _ in 0..ROUNDS_MAX {
            if !self.broker.shards.iter().any(|shard| shard.paused_count() > 0) {
                break;
            }
            self.wait(SETTLE_MS)?;
            self.run_out()?;
        }
        for (index, client) in self.clients.iter().enumerate() {
            if !self.broker.is_open(index) {
                continue;
            }
            let named = |broken: Broken| Broken {
                what: format!("client {index}: {}", broken.what),
                ..broken
            };
            client.oracle.settled(&self.broker.truth).map_err(named)?;
        }
        for (number, shard) in self.broker.shards.iter().enumerate() {
            Ledger::settled(shard, self.broker.clients_of(number))?;
            let (held, there) = (shard.topics_held(), self.broker.truth.topics_there());
            ensure(held <= there, Rule::Ends, || {
                format!("a shard holds {held} topics, and there are {there}")
            })?;
        }
        self.broker.truth.nothing_ended_is_held()?;
        Ok(())
    }

    fn run_out(&mut self) -> Result<(), Broken> {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for shard in 0..self.broker.shards.len() {
                moved |= self.cycle(shard, 65_536, usize::MAX)?;
            }
            moved |= self.read_all()?;
            if !moved {
                return Ok(());
            }
            self.now = Micros(self.now.0 + 3);
        }
        ensure(false, Rule::Answers, || {
            format!("after {ROUNDS_MAX} rounds in which everybody reads, there is still more to do")
        })
    }
}

/// The position or positions from which a topic, or the topics of a pattern, resume; or the moment from which a topic is
/// replayed.
fn from(truth: &Truth, client: &Client, pattern: usize, since: Since, now: Micros) -> Option<From> {
    if let Since::Ago(ms) = since {
        let from = now.0.saturating_sub(1_000 * ms);
        return Some(From::Moment(Moment(Micros(from))));
    }
    if topics::mortal_of(pattern).is_some() {
        return client.position_named(topics::pattern(pattern)).map(From::Topic);
    }
    if !topics::is_wildcard(pattern) {
        return position(truth, client, pattern, since).map(From::Topic);
    }
    let covered = (0..NAMES.len()).filter(|topic| topics::matches(pattern, *topic));
    let positions = covered.filter_map(|topic| {
        // Not all topics have the same distance.
        let since = match since {
            Since::Behind(n) if topic % 3 == 1 => Since::Behind(n / 2),
            since => since,
        };
        positions_of(truth, client, topic, since)
    });
    Some(From::Topics(positions.collect()))
}

/// As [`position`], for a topic of a pattern. A topic without a message has no position in the broker's lineage.
fn positions_of(truth: &Truth, client: &Client, topic: usize, since: Since) -> Option<(usize, Position)> {
    let position = position(truth, client, topic, since)?;
    let is_made_up = truth.head(topic) == 0 && position.epoch == *truth.epoch(topic);
    (!is_made_up).then_some((topic, position))
}

/// The position that `since` means for a client and a topic.
fn position(truth: &Truth, client: &Client, topic: usize, since: Since) -> Option<Position> {
    let head = truth.head(topic);
    let at = |epoch: Epoch, seq| Some(Position { epoch, seq: Seq(seq) });
    match since {
        Since::Behind(n) => at(truth.epoch(topic).clone(), head.saturating_sub(n)),
        Since::Ahead => at(truth.epoch(topic).clone(), head + 1),
        Since::OtherEpoch => at(Epoch::from("other"), head),
        Since::Own => client.position(topic),
        Since::Ago(_) => None, // a stream of events has no moments
    }
}
