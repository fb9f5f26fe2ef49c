//! Trial: some of very many readers stop for a while and then read again, several times.
//!
//! It measures whether the others notice (their latency while all read, and while some have stopped) and what a stopped
//! reader costs the broker. It also checks that what a stopped reader reads afterwards is new as soon as the kernel's
//! buffers are empty. It fails when a connection ends, when the broker grows by more than [`GROWTH_BYTES_MAX`] per
//! stopped reader and [`OTHER_GROWTH_BYTES`], when old messages come that were not in the kernel's buffers, or when the
//! broker's counts are not those of its readers.

mod going_on;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tickwire_wire::Mode;

use crate::swarm::{
    Broker, BrokerArgs, FREE_PUBLISHER, Interrupt, Latency, Layout, Memory, Metrics, Outcome, Phase,
    Publisher, Readers, Swarm, byte_change, bytes, grouped, progress,
};

use going_on::GoingOn;

/// Most bytes by which the broker may grow per stopped reader.
const GROWTH_BYTES_MAX: u64 = 64 * 1024;
/// Bytes by which the broker may grow for other reasons.
const OTHER_GROWTH_BYTES: u64 = 4 * 1024 * 1024;
/// One in so many readers stands still.
const ONE_IN: usize = 10;
/// Topics of each reader.
const TOPICS_EACH: usize = 4;
/// How long stopped readers may take for their first new message.
const FRESH_WITHIN: Duration = Duration::from_secs(60);
/// If no message comes for this time, nothing more is on its way.
const QUIET: Duration = Duration::from_millis(500);
/// How long everything on its way may take to arrive.
const QUIET_WITHIN: Duration = Duration::from_secs(30);
/// How long after unmeasured reading latencies do not count.
const SETTLE: Duration = Duration::from_secs(1);

/// Let some of very many readers stand still for a while: the cost for the broker, and for the others
#[derive(Debug, clap::Args)]
pub(crate) struct StallArgs {
    /// Readers; each takes one open file here and one in the broker
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    connections: u32,
    /// How many seconds they stand still, and how many all read before that
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=100))]
    seconds: u64,
    /// How many times they stand still
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Topics, all conflated
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=100_000))]
    topics: u32,
    /// Messages per second on each topic
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate_each: u32,
    /// Bytes of data in a message
    #[arg(long, default_value_t = 1_024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(2..=60_000))]
    data_bytes: u32,
    #[command(flatten)]
    broker: BrokerArgs,
}

impl StallArgs {
    fn layout(&self) -> Layout {
        Layout {
            readers: self.connections as usize,
            topics: (0..self.topics).map(|topic| format!("ticker.S{topic}")).collect(),
            topics_each: TOPICS_EACH,
            apart: 1,
            publishes: true,
            mode: Some(Mode::Conflate),
        }
    }
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the broker does wrong is part of the outcome.
pub(crate) fn run(args: &StallArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let layout = args.layout();
    let mut command = args.broker.command()?;
    command
        .args(["--feed", "none", "--anonymous-publish", "ticker.>"])
        .envs(FREE_PUBLISHER)
        // No stopped reader may be given up: not by the broker for a stall, not for a missing pong, not by the kernel.
        .env("TICKWIRE_LIMITS__STALL_MS", "3600000")
        .env("TICKWIRE_HEARTBEAT__PING_AFTER_MS", "150000")
        .env("TICKWIRE_HEARTBEAT__PONG_TIMEOUT_MS", "150000")
        .env("TICKWIRE_SOCKET__USER_TIMEOUT_MS", "600000");
    let broker = Broker::start(&mut command, interrupt)?;
    let stopped = layout.readers / ONE_IN;
    let watch = GoingOn::new(layout.readers - stopped, layout.readers)?;
    let mut run = Run {
        stopped,
        swarm: broker.readers(layout, watch, interrupt)?,
        broker,
        publisher: Publisher::new(
            args.rate_each * args.topics,
            format!("\"{}\"", "x".repeat(args.data_bytes as usize - 2)),
        ),
    };
    let mut outcome = run.measure(args)?;
    outcome.faults.merge(run.swarm.handler.faults);
    outcome.expect("broker", run.broker.stop());
    Ok(outcome)
}

#[derive(Debug, Serialize)]
struct Round {
    before: Memory,
    stalled: Memory,
    /// The bytes that the kernel held for a stopped connection at both ends: the mean and the most.
    kernel_mean_bytes: u64,
    kernel_max_bytes: u64,
    lagging: f64,
    /// The messages that a stopped reader found in the kernel's buffers: the mean and the most.
    stale_mean_messages: f64,
    stale_max_messages: u64,
    stale_max_bytes: u64,
    /// How many stopped readers got the newest message of a topic in time.
    fresh: usize,
}

struct Run {
    /// How many readers stop: the last ones.
    stopped: usize,
    broker: Broker,
    swarm: Swarm<Readers<GoingOn>>,
    publisher: Publisher,
}

impl Run {
    fn measure(&mut self, args: &StallArgs) -> anyhow::Result<Outcome> {
        let before = self.broker.scrape()?;
        self.swarm.connect()?;
        progress!("{} readers", grouped(u64::from(args.connections)));
        self.publisher.begin();
        let seconds = Duration::from_secs(args.seconds);
        let mut rounds = Vec::new();
        for number in 1..=args.rounds {
            progress!("round {number}: all read");
            self.go_on(SETTLE, Phase::Unmeasured)?;
            self.go_on(seconds, Phase::Calm)?;
            progress!("round {number}: {} stand still", self.stopped);
            rounds.push(self.stall(seconds)?);
        }
        self.be_quiet()?;
        let mut outcome = Outcome::of_broker(&self.broker.description);
        let (all, stopped) = (grouped(u64::from(args.connections)), grouped(self.stopped as u64));
        let (seconds, times) = (args.seconds, args.rounds);
        let text = format!("{all}, of these {stopped} stand still for {seconds} s, {times} times");
        outcome.row("connections", text);
        outcome.figure("connections", args.connections);
        outcome.figure("stopped", self.stopped);
        outcome.count("published", "messages published", self.publisher.count);
        let lateness = &self.swarm.handler.watch.lateness;
        for (key, label, latency) in [
            ("calm", "the others' latency, all read", &lateness.calm_us),
            (
                "stalled",
                "the others' latency, some stopped",
                &lateness.disturbed_us,
            ),
        ] {
            outcome.row(label, shown(latency));
            outcome.figure(key, Latency::of(latency));
        }
        self.tell(&rounds, &mut outcome);
        self.compare_counts(&before, &mut outcome)?;
        self.swarm.finish()?;
        Ok(outcome)
    }

    fn go_on(&mut self, time: Duration, phase: Phase) -> anyhow::Result<()> {
        self.swarm.handler.watch.lateness.phase = phase;
        self.publisher.turn_for(&mut self.swarm, time)?;
        self.swarm.handler.watch.lateness.phase = Phase::Unmeasured;
        Ok(())
    }

    fn stall(&mut self, time: Duration) -> anyhow::Result<Round> {
        let connections = self.swarm.handler.layout.connections();
        let before = self.broker.memory()?;
        self.swarm.stop_reading(connections - self.stopped..connections);
        self.go_on(SETTLE, Phase::Unmeasured)?;
        self.go_on(time, Phase::Disturbed)?;
        let stalled = self.broker.memory()?;
        let lagging = self.broker.scrape()?.sum("tickwire_lagging_sessions", "");
        let held = self.held_by_kernel()?;
        let kernel_max_bytes = held.first().copied().unwrap_or(0);
        let readers = &mut self.swarm.handler;
        readers.watch.go_on(&readers.newest, kernel_max_bytes);
        self.swarm.stop_reading(0..0);
        let until = Instant::now() + FRESH_WITHIN;
        while self.swarm.handler.watch.fresh() < self.stopped && Instant::now() < until {
            self.go_on(Duration::from_millis(50), Phase::Unmeasured)?;
        }
        let readers = &mut self.swarm.handler;
        let fresh = readers.watch.fresh();
        if fresh < self.stopped {
            let text = format_args!(
                "{} readers had nothing new {FRESH_WITHIN:?} after they went on",
                self.stopped - fresh
            );
            readers.faults.add("not caught up", text);
        }
        let readers = &readers.watch.stopped;
        let stale = || readers.iter().map(|reader| reader.stale_messages);
        Ok(Round {
            before,
            stalled,
            kernel_mean_bytes: held.iter().sum::<u64>() / held.len().max(1) as u64,
            kernel_max_bytes,
            lagging,
            stale_mean_messages: stale().sum::<u64>() as f64 / readers.len().max(1) as f64,
            stale_max_messages: stale().max().unwrap_or(0),
            stale_max_bytes: readers.iter().map(|reader| reader.stale_bytes).max().unwrap_or(0),
            fresh,
        })
    }

    /// The bytes that the kernel holds for the connections with the most, as many as there are stopped readers, largest
    /// first. They are what the broker's end has not had acknowledged, and what the reader's end has not read.
    fn held_by_kernel(&self) -> anyhow::Result<Vec<u64>> {
        let port = self.broker.endpoint.address.port();
        let sockets = procfs::net::tcp()?;
        let unread: HashMap<_, _> = sockets
            .iter()
            .filter(|socket| socket.remote_address.port() == port)
            .map(|socket| (socket.local_address, u64::from(socket.rx_queue)))
            .collect();
        let mut held: Vec<u64> = sockets
            .iter()
            .filter(|socket| socket.local_address.port() == port)
            .map(|socket| {
                u64::from(socket.tx_queue) + unread.get(&socket.remote_address).copied().unwrap_or(0)
            })
            .collect();
        held.sort_unstable_by(|one, other| other.cmp(one));
        held.truncate(self.stopped);
        Ok(held)
    }

    fn be_quiet(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + QUIET_WITHIN;
        let (mut updates, mut since) = (self.swarm.handler.counts.updates, Instant::now());
        while since.elapsed() < QUIET && Instant::now() < until {
            self.swarm.turn(QUIET / 10)?;
            let now = self.swarm.handler.counts.updates;
            if now > updates {
                (updates, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Reports the rounds, and checks how much the broker grew.
    fn tell(&self, rounds: &[Round], outcome: &mut Outcome) {
        let each = |round: &Round| {
            let grown = round.stalled.rss_bytes.saturating_sub(round.before.rss_bytes);
            grown / self.stopped as u64
        };
        for (number, round) in (1..).zip(rounds) {
            let (before, stalled, stopped) = (round.before, round.stalled, self.stopped);
            let rss = byte_change(before.rss_bytes, stalled.rss_bytes);
            let anonymous = byte_change(before.anon_bytes, stalled.anon_bytes);
            let [before, each] = [before.rss_bytes, each(round)].map(bytes);
            let text =
                format!("{before} before, {rss} ({each} per stopped connection; anonymous {anonymous})");
            outcome.row(format!("round {number}: broker's RSS"), text);
            let [mean, most] = [round.kernel_mean_bytes, round.kernel_max_bytes].map(bytes);
            let text = format!("{mean} per stopped connection in the mean, at most {most}");
            outcome.row(format!("round {number}: in the kernel"), text);
            let (mean, most) = (round.stale_mean_messages, round.stale_max_messages);
            let (fresh, lagging, stale) = (round.fresh, round.lagging, bytes(round.stale_max_bytes));
            let text = format!(
                "{fresh} of {stopped} have the newest, after {mean:.1} older messages in the mean, at most {most} ({stale}); \
                 {lagging} were lagging"
            );
            outcome.row(format!("round {number}: going on"), text);
        }
        let growth = rounds.iter().map(each).max().unwrap_or(0);
        let allowed = GROWTH_BYTES_MAX + OTHER_GROWTH_BYTES / self.stopped as u64;
        if growth > allowed {
            let text = format_args!("{growth} bytes per stopped connection, {allowed} are allowed");
            outcome.faults.add("broker grew", text);
        }
        let text = format_args!("{} at most", bytes(growth));
        outcome.row("broker's growth per stopped connection", text);
        outcome.figure("rounds", rounds);
    }

    /// Checks the broker's ledger: the messages received must be those that it counts as delivered, the skipped ones
    /// those that it counts as conflated, and its sum must be right.
    fn compare_counts(&self, before: &Metrics, outcome: &mut Outcome) -> anyhow::Result<()> {
        let after = self.broker.scrape()?;
        let grown = |name: &str| after.grown(before, &format!("tickwire_ledger_{name}"), "");
        let counts = self.swarm.handler.counts;
        let [owed, delivered, conflated, gapped, dropped, pending] = [
            "owed_total",
            "delivered_total",
            "conflated_total",
            "gapped_total",
            "dropped_total",
            "pending",
        ]
        .map(grown);
        let sum = delivered + conflated + gapped + dropped + pending;
        if owed != sum {
            let text = format_args!("{owed} owed, {sum} accounted for");
            outcome.faults.add("ledger", text);
        }
        for (what, own, brokers) in [
            ("delivered", counts.updates, delivered),
            ("conflated", counts.conflated, conflated),
        ] {
            if own as f64 != brokers {
                let text = format_args!("{own} {what} here, {brokers} by the broker's count");
                outcome.faults.add("ledger", text);
            }
            let [own, brokers] = [own, brokers as u64].map(grouped);
            outcome.row(what, format_args!("{own} here, {brokers} by the broker's count"));
        }
        outcome.figures(counts);
        let ledger = after.beginning_with("tickwire_ledger_");
        for (name, value) in &ledger {
            outcome.row(*name, value);
        }
        outcome.figure("ledger", ledger);
        Ok(())
    }
}

fn shown(latency: &Histogram<u64>) -> String {
    let latency = Latency::of(latency);
    format!("{latency} of {}", grouped(latency.count))
}
