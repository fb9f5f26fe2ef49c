//! Scenario: a part of very many readers stands still for a while and then goes on, again and again.
//!
//! What is measured: whether the others notice (their latency, between times in which all read and times in which some
//! stand still), what a stopped reader costs the broker, and that what it reads when it goes on is new as soon as the
//! kernel's buffers are through. Fails when a connection ends, when the broker grows by more than [`GROWTH_BYTES_MAX`] per
//! stopped reader (and a little for reasons of its own), when old messages come that were not in the kernel's buffers, or when the broker's counts are not
//! those of its readers.

mod outcome;
mod readers;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::swarm::broker::{Broker, BrokerArgs};
use crate::swarm::connections::Swarm;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::latency::Latency;
use crate::swarm::proc;
use crate::swarm::report::{grouped, progress};
use crate::swarm::scrape::Metrics;
use crate::swarm::sockets;

use outcome::Round;
pub(crate) use outcome::StallOutcome;
use readers::{Layout, PUBLISHER, Phase, Readers, topic_name};

/// Most by which the broker may grow per stopped reader.
const GROWTH_BYTES_MAX: u64 = 64 * 1024;
/// By how much the broker may grow besides, for reasons of its own.
const OTHER_GROWTH_BYTES: u64 = 4 * 1024 * 1024;
/// Files that the process has open besides its connections.
const OTHER_FILES: u64 = 64;
/// Connections that are on their way at a time.
const CONNECTING: usize = 256;
/// Time that all connections get to subscribe.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);
/// Time that stopped readers get for their first new message.
const FRESH_WITHIN: Duration = Duration::from_secs(60);
/// Time that all connections get to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// Time without a message after which nothing more is on its way.
const QUIET: Duration = Duration::from_millis(500);
/// Time that everything on its way gets to arrive.
const QUIET_WITHIN: Duration = Duration::from_secs(30);
/// Longest turn of the connections while something is to be published.
const TURN: Duration = Duration::from_millis(2);
/// Time after an unmeasured reading before latencies count again.
const SETTLE: Duration = Duration::from_secs(1);

/// Very many readers of which some stand still for a while: what it costs the broker, and the others
#[derive(Debug, clap::Args)]
pub(crate) struct StallArgs {
    /// Readers; each takes an open file here and one in the broker
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    connections: u32,
    /// How many of a hundred stand still
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=90))]
    percent: u32,
    /// How long they stand still, and how long all read before
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=100))]
    seconds: u64,
    /// How often
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Topics; all conflated
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,
    /// Topics of each reader
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    topics_each: u32,
    /// Messages per second on each topic
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate_each: u32,
    /// Bytes of data in a message
    #[arg(long, default_value_t = 1_024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(2..=60_000))]
    data_bytes: u32,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl StallArgs {
    fn layout(&self) -> anyhow::Result<Layout> {
        ensure!(
            self.topics_each <= self.topics,
            "--topics-each {} is more than --topics {}",
            self.topics_each,
            self.topics
        );
        let readers = self.connections as usize;
        Ok(Layout {
            readers,
            stopped: (readers * self.percent as usize / 100).max(1),
            topics: self.topics as usize,
            topics_each: self.topics_each as usize,
        })
    }
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end; what the broker does wrong is in the outcome.
pub(crate) fn run(args: &StallArgs, interrupt: &Interrupt) -> anyhow::Result<StallOutcome> {
    let layout = args.layout()?;
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        layout.readers as u64 + OTHER_FILES <= limit,
        "{} connections need {} open files, the limit is {limit}: raise it (ulimit -Hn) or ask for fewer",
        layout.readers,
        layout.readers as u64 + OTHER_FILES
    );
    let flags = [
        ("--feed", "none".to_owned()),
        ("--anonymous-publish", "ticker.>".to_owned()),
    ];
    // Nobody who stands still is to be given up: not by the broker, not for a pong, not by the kernel.
    let settings = [
        ("TICKWIRE_LIMITS__STALL_MS", "3600000"),
        ("TICKWIRE_LIMITS__OPS_PER_S", "1000000"),
        ("TICKWIRE_LIMITS__OPS_BURST", "1000000"),
        ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "1000000"),
        ("TICKWIRE_LIMITS__PUBLISHES_BURST", "1000000"),
        ("TICKWIRE_HEARTBEAT__PING_AFTER_MS", "150000"),
        ("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", "150000"),
        ("TICKWIRE_SOCKET__USER_TIMEOUT_MS", "600000"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let broker = Broker::open(&args.broker, &flags, &settings, interrupt)?;
    let swarm = Swarm::new(
        broker.endpoint(),
        layout.readers + 1,
        CONNECTING,
        interrupt.clone(),
        Readers::new(layout)?,
    )?;
    let mut run = Run {
        publisher: Publisher::new(args, layout),
        layout,
        broker,
        swarm,
    };
    let mut outcome = run.measure(args)?;
    let Run { broker, swarm, .. } = run;
    outcome.faults = swarm.handler.faults;
    let allowed = GROWTH_BYTES_MAX + OTHER_GROWTH_BYTES / layout.stopped as u64;
    if outcome.growth_bytes() > allowed {
        let text = format_args!(
            "{} bytes per stopped connection, {allowed} are allowed",
            outcome.growth_bytes()
        );
        outcome.faults.add("broker grew", text);
    }
    if let Err(error) = broker.stop() {
        outcome.faults.add("broker", format_args!("{error:#}"));
    }
    Ok(outcome)
}

/// What is published, and when it is due.
struct Publisher {
    topics: usize,
    every: Duration,
    data: String,
    count: u64,
    due: Instant,
}

impl Publisher {
    fn new(args: &StallArgs, layout: Layout) -> Self {
        let per_second = args.rate_each * args.topics;
        Self {
            topics: layout.topics,
            every: Duration::from_secs(1) / per_second,
            data: "x".repeat(args.data_bytes as usize - 2),
            count: 0,
            due: Instant::now(),
        }
    }

    /// Publishes what is due.
    fn publish(&mut self, swarm: &mut Swarm<Readers>) {
        let now = Instant::now();
        if self.due > now {
            return;
        }
        swarm.send_all(PUBLISHER, |reply| {
            while self.due <= now {
                let topic = topic_name((self.count % self.topics as u64) as usize);
                self.count += 1;
                let (id, data) = (self.count, &self.data);
                let publish = format!(r#"{{"op":"publish","id":{id},"topic":"{topic}","data":"{data}"}}"#);
                reply.text(publish.as_bytes());
                self.due += self.every;
            }
        });
    }
}

/// The parts of a run.
struct Run {
    layout: Layout,
    broker: Broker,
    swarm: Swarm<Readers>,
    publisher: Publisher,
}

impl Run {
    fn measure(&mut self, args: &StallArgs) -> anyhow::Result<StallOutcome> {
        let before = self.broker.scrape()?;
        if !self
            .swarm
            .turn_until(Instant::now() + CONNECT_WITHIN, |swarm| swarm.is_settled())?
        {
            let text = format_args!("{} connections are settled", self.swarm.settled());
            self.swarm.handler.faults.add("connecting is stuck", text);
        }
        progress(format_args!("{} readers", grouped(self.layout.readers as u64)));
        self.publisher.due = Instant::now();
        let seconds = Duration::from_secs(args.seconds);
        let mut rounds = Vec::new();
        for number in 1..=args.rounds {
            progress(format_args!("round {number}: all read"));
            self.go_on(SETTLE, Phase::Unmeasured)?;
            self.go_on(seconds, Phase::Calm)?;
            progress(format_args!(
                "round {number}: {} stand still",
                self.layout.stopped
            ));
            rounds.push(self.stall(seconds)?);
        }
        self.be_quiet()?;
        let mut outcome = StallOutcome {
            scenario: "stall",
            broker: self.broker.description().to_owned(),
            connections: self.layout.readers,
            stopped: self.layout.stopped,
            seconds: args.seconds,
            published: self.publisher.count,
            calm: Latency::of(&self.swarm.handler.calm_us),
            stalled: Latency::of(&self.swarm.handler.stalled_us),
            rounds,
            ..StallOutcome::default()
        };
        self.compare_counts(&before, &mut outcome)?;
        if self.swarm.finish(CLOSE_WITHIN)? > 0 {
            let text = format_args!("within {CLOSE_WITHIN:?}");
            self.swarm.handler.faults.add("close not answered", text);
        }
        Ok(outcome)
    }

    /// Publishes and reads for so long.
    fn go_on(&mut self, time: Duration, phase: Phase) -> anyhow::Result<()> {
        self.swarm.handler.phase = phase;
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.publisher.publish(&mut self.swarm);
            self.swarm.turn(TURN)?;
        }
        self.swarm.handler.phase = Phase::Unmeasured;
        Ok(())
    }

    fn stall(&mut self, time: Duration) -> anyhow::Result<Round> {
        let first = self.layout.first_stopped();
        let (memory, kernel) = (self.broker.memory()?, proc::kernel_memory()?);
        self.swarm.stop_reading(first..first + self.layout.stopped);
        self.go_on(SETTLE, Phase::Unmeasured)?;
        self.go_on(time, Phase::Stalled)?;
        let (memory_stalled, kernel_stalled) = (self.broker.memory()?, proc::kernel_memory()?);
        let lagging = self.broker.scrape()?.sum("tickwire_lagging_sessions", "");
        let held = self.held_by_kernel()?;
        let kernel_max_bytes = held.first().copied().unwrap_or(0);
        self.swarm.handler.resume(kernel_max_bytes);
        self.swarm.stop_reading(0..0);
        let until = Instant::now() + FRESH_WITHIN;
        let fresh = |swarm: &Swarm<Readers>| {
            let readers = swarm.handler.catching_up();
            readers.iter().filter(|reader| reader.fresh).count()
        };
        while fresh(&self.swarm) < self.layout.stopped && Instant::now() < until {
            self.go_on(Duration::from_millis(50), Phase::Unmeasured)?;
        }
        let fresh = fresh(&self.swarm);
        if fresh < self.layout.stopped {
            let text = format_args!(
                "{} readers had nothing new {FRESH_WITHIN:?} after they went on",
                self.layout.stopped - fresh
            );
            self.swarm.handler.faults.add("not caught up", text);
        }
        let readers = self.swarm.handler.catching_up();
        let stale = || readers.iter().map(|reader| reader.stale_messages);
        Ok(Round {
            rss_before_bytes: memory.rss_bytes,
            rss_stalled_bytes: memory_stalled.rss_bytes,
            anon_before_bytes: memory.anon_bytes,
            anon_stalled_bytes: memory_stalled.anon_bytes,
            kernel_mean_bytes: held.iter().sum::<u64>() / held.len().max(1) as u64,
            kernel_max_bytes,
            tcp_before_bytes: kernel.tcp_bytes,
            tcp_stalled_bytes: kernel_stalled.tcp_bytes,
            lagging,
            stale_mean_messages: stale().sum::<u64>() as f64 / readers.len().max(1) as f64,
            stale_max_messages: stale().max().unwrap_or(0),
            stale_max_bytes: readers.iter().map(|reader| reader.stale_bytes).max().unwrap_or(0),
            fresh,
        })
    }

    /// What the kernel holds for the connections for which it holds most, as many as stand still, the most first: what the
    /// broker's end has not had acknowledged, and what the reader's end has not read.
    fn held_by_kernel(&self) -> anyhow::Result<Vec<u64>> {
        let port = self.broker.endpoint().address.port();
        let sockets = sockets::all()?;
        let unread: HashMap<_, _> = sockets
            .iter()
            .filter(|socket| socket.remote.port() == port)
            .map(|socket| (socket.local, socket.unread_bytes))
            .collect();
        let mut held: Vec<u64> = sockets
            .iter()
            .filter(|socket| socket.local.port() == port)
            .map(|socket| socket.unacked_bytes + unread.get(&socket.remote).copied().unwrap_or(0))
            .collect();
        held.sort_unstable_by(|one, other| other.cmp(one));
        held.truncate(self.layout.stopped);
        Ok(held)
    }

    /// Reads until nothing more comes.
    fn be_quiet(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + QUIET_WITHIN;
        let (mut updates, mut since) = (self.swarm.handler.updates, Instant::now());
        while since.elapsed() < QUIET && Instant::now() < until {
            self.swarm.turn(QUIET / 10)?;
            let now = self.swarm.handler.updates;
            if now > updates {
                (updates, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// What was received must be what the broker says that it delivered, and what was skipped what it says it conflated;
    /// by its ledger, whose sum must be right too, or where it keeps none by what it put on the way.
    fn compare_counts(&mut self, before: &Metrics, outcome: &mut StallOutcome) -> anyhow::Result<()> {
        let after = self.broker.scrape()?;
        let readers = &mut self.swarm.handler;
        outcome.updates = readers.updates;
        outcome.skipped = readers.skipped;
        outcome.ledger = after.beginning_with("tickwire_ledger_");
        let grown = |name: &str| after.grown(before, &format!("tickwire_ledger_{name}"), "");
        if outcome.ledger.is_empty() {
            outcome.broker_updates = after.grown(before, "tickwire_deliveries_total", "op=\"update\"");
            outcome.broker_conflated = after.grown(before, "tickwire_conflated_messages_total", "");
        } else {
            outcome.broker_updates = grown("delivered_total");
            outcome.broker_conflated = grown("conflated_total");
            let owed = grown("owed_total");
            let parts = ["gapped_total", "dropped_total", "pending"].map(grown);
            let sum = outcome.broker_updates + outcome.broker_conflated + parts.iter().sum::<f64>();
            if owed != sum {
                let text = format_args!("{owed} owed, {sum} accounted for");
                readers.faults.add("ledger", text);
            }
        }
        for (what, own, brokers) in [
            ("delivered", readers.updates, outcome.broker_updates),
            ("conflated", readers.skipped, outcome.broker_conflated),
        ] {
            if own as f64 != brokers {
                let text = format_args!("{own} {what} here, {brokers} by the broker's count");
                readers.faults.add("ledger", text);
            }
        }
        Ok(())
    }
}
