//! Trial: many clients on a bad network, with every message of each client accounted for.
//!
//! This program publishes, so it knows what there is to receive. Clients subscribe to topics of three kinds, in both
//! codecs, by name and by pattern. They are connected through the [proxy](crate::trials::proxy), which stalls, trickles
//! and cuts their connections, and they reconnect and resume by themselves. The trial ends when the requested number of
//! messages was received, the network is good again and every client is at the head of its topics. It fails when a
//! message is missing that nothing named, when a message came twice, when a resume was told to be complete and was not,
//! or when a message is not the one that was published.
//!
//! The clients are this program's own, or programs that a command starts. `clients/conformance/README.md` says what
//! such a program does.

mod account;
mod audit;
mod client;
mod flood;
mod follower;
mod foreign;
mod kills;
mod publisher;
mod topics;

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tickwire_wire::Codec;
use tokio::task::JoinSet;

use crate::swarm::{Broker, BrokerArgs, FREE_PUBLISHER, Interrupt, Outcome, grouped, progress};
use crate::trials::proxy::{Proxy, Rules};

use account::Followed;
pub(crate) use client::{ClientArgs, run as run_client};
use flood::Flood;
use follower::Follower;
use kills::{KillArgs, Killer};
use publisher::Publisher;

/// How long all clients may take to reach the end once the network is good again.
const REACH_END_WITHIN: Duration = Duration::from_secs(60);
/// If no message comes for this time, the run is given up.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// The time between two checks of the progress.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Run clients on a bad network: every message accounted for, over disconnects and resumes
#[derive(Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    /// Messages to receive, over all clients
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Messages to publish, over all topics, in place of those to receive
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(24..), conflicts_with = "messages")]
    publish: Option<u64>,
    /// The command of a client program, which is started for each client, such as "node chaos.mjs" [default: the Rust
    /// client, in this process]
    #[arg(long, value_name = "COMMAND")]
    client: Option<ClientCommand>,
    /// The seed of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients: a third for each kind of topic, half for each codec, every other six by a pattern
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(6..=2_000))]
    clients: u32,
    /// Messages to publish per second, over all topics
    #[arg(long, default_value_t = 2_400, value_name = "N", value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    rate: u32,
    #[command(flatten)]
    kills: KillArgs,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// The command of a client program: a program and its first arguments.
#[derive(Debug, Clone)]
struct ClientCommand {
    program: String,
    arguments: Vec<String>,
}

impl FromStr for ClientCommand {
    type Err = &'static str;

    /// Divides a command at its blanks.
    fn from_str(command: &str) -> Result<Self, Self::Err> {
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = words.next().ok_or("a command has at least one word")?;
        Ok(Self {
            program,
            arguments: words.collect(),
        })
    }
}

/// When publishing ends.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// All clients together have received so many messages.
    Received(u64),
    /// So many messages were published.
    Published(u64),
}

#[derive(Debug)]
struct Shared {
    /// How many messages were published to each topic and acknowledged.
    heads: Vec<AtomicU64>,
    /// Whether `heads` are final.
    published_all: AtomicBool,
    /// How many messages were published, over all topics.
    published: AtomicU64,
    /// How many messages all clients have received.
    messages: AtomicU64,
    /// Whether the run was given up before its goal.
    given_up: AtomicBool,
    /// Whether every topic has a message.
    begun: AtomicBool,
    /// Whether all clients have ended.
    ended: AtomicBool,
    over: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            heads: (0..topics::ALL).map(|_| AtomicU64::new(0)).collect(),
            published_all: AtomicBool::new(false),
            published: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            over: tokio::sync::watch::Sender::new(false),
        })
    }

    /// How many of the goal's messages there are, and how many it wants.
    fn progress(&self, goal: Goal) -> (u64, u64) {
        match goal {
            Goal::Received(wanted) => (self.messages.load(Ordering::Relaxed), wanted),
            Goal::Published(wanted) => (self.published.load(Ordering::Relaxed), wanted),
        }
    }

    /// Whether no more messages are to be published.
    fn is_enough(&self, goal: Goal) -> bool {
        let (count, wanted) = self.progress(goal);
        count >= wanted || self.given_up.load(Ordering::Relaxed)
    }

    /// Waits until clients must end, wherever they are.
    async fn over(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as `self`.
        let _ = over.wait_for(|over| *over).await;
    }
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the broker does wrong is part of the outcome.
pub(crate) fn run(args: &ChaosArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let mut config = tempfile::NamedTempFile::new().context("cannot write the broker's configuration")?;
    config.write_all(topics::SETTINGS.as_bytes())?;
    let mut command = args.broker.command()?;
    command
        .args(["--feed", "none", "--anonymous-publish", ">", "--config"])
        .arg(config.path())
        .envs(FREE_PUBLISHER)
        // Little more than the minimum, so that stalls make clients lag.
        .env("TICKWIRE_LIMITS__OUTBOX_BYTES", "66000")
        // Clients must soon notice that a half-closed connection is dead.
        .env("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "1000");
    let journal = args.kills.journal(&mut command)?;
    let broker = Broker::start(&mut command, interrupt)?;
    let to = broker.endpoint.address;
    let proxy = Proxy::start(([127, 0, 0, 1], 0).into(), to, args.seed, &args.rules)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let (before, began) = (broker.scrape()?, Instant::now());
    let mut outcome = Outcome::of_broker(&broker.description);
    outcome.figure("seed", args.seed);
    outcome.row("seed", args.seed);
    let shared = Shared::new();
    let killer = Killer {
        args: args.kills,
        seed: args.seed,
        shared: &shared,
        interrupt,
    };
    let flood = Flood {
        to,
        rate: args.kills.flood,
        shared: &shared,
    };
    let (broker, killed, flooded, (published, followed)) = std::thread::scope(|scope| {
        let killing = scope.spawn(|| killer.run(broker, &mut command));
        let flooding = (args.kills.flood > 0).then(|| scope.spawn(|| flood.run_or_give_up()));
        let ran = runtime.block_on(chaos(args, to, &proxy, (&shared, interrupt)));
        shared.ended.store(true, Ordering::Relaxed);
        let (broker, killed) = killing
            .join()
            .map_err(|_| anyhow::anyhow!("the killer panicked"))??;
        let flooded = flooding.map(std::thread::ScopedJoinHandle::join);
        let flooded = flooded
            .transpose()
            .map_err(|_| anyhow::anyhow!("the second publisher panicked"))?;
        anyhow::Ok((broker, killed, flooded.transpose()?, ran?))
    })?;
    let text = format_args!("{} for {:.1} s", args.clients, began.elapsed().as_secs_f64());
    outcome.row("clients", text);
    outcome.count("published", "messages published", published);
    let happened = proxy.happened();
    outcome.row("faults of the network", &happened);
    outcome.figure("happened", happened);
    followed.tell(u64::from(args.clients), &mut outcome);
    if args.kills.kills > 0 {
        args.kills.tell(killed, &mut outcome);
        if let Some(flooded) = flooded {
            flooded.check(to, &mut outcome)?;
        }
        outcome.expect("broker", broker.stop());
        drop(journal);
        return Ok(outcome);
    }
    let after = broker.scrape()?;
    let [conflated, gapped] = ["conflated", "gapped"]
        .map(|what| grouped(after.grown(&before, &format!("tickwire_{what}_messages_total"), "") as u64));
    let text = format_args!("{conflated} conflated, {gapped} gapped");
    outcome.row("the broker's counts", text);
    outcome.expect("broker", broker.stop());
    Ok(outcome)
}

/// Returns how many messages were published, and the results of the clients.
async fn chaos(
    args: &ChaosArgs,
    to: std::net::SocketAddr,
    proxy: &Proxy,
    (shared, interrupt): (&Arc<Shared>, &Interrupt),
) -> anyhow::Result<(u64, Followed)> {
    let is_killed = args.kills.kills > 0;
    let publisher = Publisher::start(format!("ws://{to}/v1/ws"), is_killed, shared.clone()).await?;
    shared.begun.store(true, Ordering::Relaxed);
    let mut followers = JoinSet::new();
    for number in 0..args.clients as usize {
        let follower = Follower {
            number,
            url: format!("ws://{}/v1/ws", proxy.address),
            codec: [Codec::Json, Codec::MessagePack][number / topics::WAYS.len() % 2],
            way: topics::WAYS[number % topics::WAYS.len()],
            by_pattern: number / (2 * topics::WAYS.len()) % 2 == 1,
            shared: shared.clone(),
        };
        match &args.client {
            Some(command) => followers.spawn(foreign::run(follower, command.clone())),
            None => followers.spawn(follower.run()),
        };
    }
    let goal = args
        .publish
        .map_or(Goal::Received(args.messages), Goal::Published);
    let publishing = tokio::spawn(publisher.run(args.rate, goal));
    let mut all = Followed::default();
    if !until_reached(goal, shared, &mut followers, &mut all, interrupt).await? {
        all.faults
            .add("stuck", format_args!("no message for {STUCK_AFTER:?}"));
        shared.given_up.store(true, Ordering::Relaxed);
    }
    let published = publishing.await.context("the publisher failed")??;
    proxy.calm_down();
    progress!("the network is good again");
    let ending = async {
        while let Some(followed) = followers.join_next().await {
            all.add(followed?);
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(REACH_END_WITHIN, ending).await;
    shared.over.send_replace(true);
    if let Ok(ended) = in_time {
        ended?;
    }
    while let Some(followed) = followers.join_next().await {
        all.add(followed?);
    }
    Ok((published, all))
}

/// Waits until the goal is reached. Returns false if no client received anything for too long.
async fn until_reached(
    goal: Goal,
    shared: &Shared,
    followers: &mut JoinSet<Followed>,
    all: &mut Followed,
    interrupt: &Interrupt,
) -> anyhow::Result<bool> {
    let began = Instant::now();
    let (mut last, mut since, mut told) = (0, began, began);
    loop {
        interrupt.check()?;
        let (count, wanted) = shared.progress(goal);
        if count >= wanted {
            return Ok(true);
        }
        let messages = shared.messages.load(Ordering::Relaxed);
        if messages > last {
            (last, since) = (messages, Instant::now());
        } else if since.elapsed() > STUCK_AFTER {
            return Ok(false);
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let seconds = began.elapsed().as_secs_f64();
            progress!(
                "{seconds:4.0} s  {} of {} messages",
                grouped(count),
                grouped(wanted)
            );
        }
        // No client should end before the others.
        if let Some(followed) = followers.try_join_next() {
            all.add(followed?);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Followed {
    fn add(&mut self, other: Self) {
        self.sums.add(&other.sums);
        self.connections += other.connections;
        self.connects_failed += other.connects_failed;
        self.faults.merge(other.faults);
        for (kind, count) in [
            ("undeclared gap", other.sums.undeclared),
            ("duplicate", other.sums.duplicates),
            ("false recovered", other.sums.false_recovered),
            ("wrong content", other.sums.wrong_content),
        ] {
            if count > 0 {
                self.faults.add(kind, format_args!("{count} at one client"));
            }
        }
    }

    fn tell(self, clients: u64, outcome: &mut Outcome) {
        outcome.figure("connections", self.connections);
        outcome.row("disconnects", grouped(self.connections.saturating_sub(clients)));
        outcome.count(
            "connects_failed",
            "attempts to connect that failed",
            self.connects_failed,
        );
        for (label, count) in self.sums.rows() {
            outcome.row(label, grouped(count));
        }
        outcome.figures(self.sums);
        outcome.faults.merge(self.faults);
    }
}
