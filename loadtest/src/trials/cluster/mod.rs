//! Trial: the brokers of a cluster and its NATS are killed, stopped and cut off, and every message is accounted for.
//!
//! Publishers hand in messages at all brokers, each with a key that they repeat until they have an answer. Readers follow all
//! topics and go to another broker when their own is gone. What anybody sees, a reader or the answer to a publisher, goes
//! into one account: a message has one content by its topic, epoch and number, and one number in its epoch.
//!
//! The way of a broker to NATS is *cut* by a proxy that carries nothing any more, in both directions or in one, and ends no
//! connection.

mod clients;
mod faults;
mod links;
mod store;
mod truth;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use self::clients::{Reader, Run};
use self::faults::Harm;
use self::links::Way;
use self::store::Nats;
use crate::swarm::{Broker, BrokerArgs, FREE_PUBLISHER, Interrupt, Outcome, grouped, progress};

/// How long readers may take to the end once everything is whole again.
const END_WITHIN: Duration = Duration::from_secs(60);
/// How long no reader may get anything before it counts that all have everything.
const QUIET: Duration = Duration::from_secs(3);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Kill, stop and cut off the brokers of a cluster and its NATS: every message accounted for
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Brokers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=9))]
    brokers: u32,
    /// Readers: half by a pattern and half by names, half for each codec
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: u32,
    /// Messages to publish per second at each broker
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds in which faults happen
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// The seed of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let NATS keep the log in memory, so that it forgets everything when it is killed
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// A broker, its way to NATS, and how it is started again.
struct Node {
    broker: Broker,
    command: Command,
    way: Way,
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the cluster does wrong is part of the outcome.
pub(crate) fn run(args: &ClusterArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let nats = Nats::start()?;
    let (ways, carrying, end) = open_ways(args.brokers, nats.address)?;
    let nodes = ways.into_iter().map(|way| start_node(args, way, interrupt));
    let nodes = nodes.collect::<anyhow::Result<Vec<Node>>>()?;
    let mut outcome = Outcome::of_broker(&nodes[0].broker.description);
    outcome.figure("seed", args.seed);
    outcome.row("seed", args.seed);
    let shared = Arc::new(Run::default());
    let mut harm = Harm::new(args.seed, nats, nodes, shared.clone());
    let urls = harm.urls();
    let seconds = args.seconds;
    let began = Instant::now();
    let (harmed, read) = std::thread::scope(|scope| {
        let harming = scope.spawn(|| harm.run(Duration::from_secs(seconds.into()), interrupt));
        let read = runtime.block_on(follow(args, &shared, &urls));
        (harming.join(), read)
    });
    harmed.map_err(|_| anyhow::anyhow!("whoever does harm panicked"))??;
    let faults = read?;
    outcome.faults.merge(faults);
    outcome.faults.merge(shared.truth.take_faults());
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    outcome.row("seconds", format_args!("{:.0}", began.elapsed().as_secs_f64()));
    outcome.count("messages", "messages seen", shared.truth.count());
    outcome.count("acked", "messages with an answer", count(&shared.acked));
    outcome.count(
        "received",
        "messages received by readers",
        count(&shared.received),
    );
    outcome.count(
        "gapped",
        "messages that readers were told not to get",
        count(&shared.gapped),
    );
    outcome.row("epochs", shared.truth.epochs());
    outcome.figure("epochs", shared.truth.epochs());
    harm.tell(&mut outcome);
    drop(harm);
    // The ways end with it.
    drop(end);
    carrying
        .join()
        .map_err(|_| anyhow::anyhow!("the ways panicked"))??;
    Ok(outcome)
}

/// What carries bytes between brokers and NATS, until the sender is dropped.
type Carrying = std::thread::JoinHandle<anyhow::Result<()>>;

/// Opens a way to NATS for each broker. They have a thread of their own: they must go on while brokers are waited for.
fn open_ways(
    count: u32,
    to: SocketAddr,
) -> anyhow::Result<(Vec<Way>, Carrying, tokio::sync::oneshot::Sender<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let (opened, open) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let carrying = std::thread::spawn(move || {
        runtime.block_on(async move {
            for _ in 0..count {
                let sent = opened.send(Way::open(to).await);
                sent.context("nobody waits for the ways")?;
            }
            drop(opened);
            // It ends with the run.
            let _gone = ended.await;
            anyhow::Ok(())
        })
    });
    let ways: anyhow::Result<Vec<Way>> = open.iter().collect();
    Ok((ways?, carrying, end))
}

fn start_node(args: &ClusterArgs, way: Way, interrupt: &Interrupt) -> anyhow::Result<Node> {
    let mut command = args.broker.command()?;
    let storage = if args.memory { "memory" } else { "file" };
    command
        .args(["--feed", "none", "--anonymous-publish", ">", "--cluster"])
        .arg(format!("nats://{}", way.address))
        .env("TICKWIRE_CLUSTER__STORAGE", storage)
        .env("TICKWIRE_CLUSTER__LOG_BYTES", "1073741824")
        .env("TICKWIRE_SHARDS", "1")
        .env("TICKWIRE_PUBLISH__DEDUPE_KEYS", "2000000")
        .envs(FREE_PUBLISHER);
    let broker = Broker::start(&mut command, interrupt)?;
    Ok(Node { broker, command, way })
}

/// Publishes and reads until the faults are over and everybody has everything. Returns what was wrong.
async fn follow(args: &ClusterArgs, run: &Arc<Run>, urls: &[String]) -> anyhow::Result<crate::swarm::Faults> {
    let mut publishers = JoinSet::new();
    for home in 0..urls.len() {
        let workers = (args.rate / 50).clamp(4, 128);
        publishers.spawn(clients::publish(
            run.clone(),
            urls.to_vec(),
            home,
            (args.rate, workers),
        ));
    }
    let mut readers = JoinSet::new();
    for number in 0..args.clients as usize {
        readers.spawn(Reader::read(run.clone(), urls.to_vec(), number));
    }
    let (began, mut told) = (Instant::now(), Instant::now());
    while !run.is_enough.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let (seconds, seen) = (began.elapsed().as_secs(), run.truth.count());
            progress!("{seconds:4} s  {} messages", grouped(seen));
        }
    }
    while let Some(ended) = publishers.join_next().await {
        ended??;
    }
    // All have everything when nobody gets anything any more.
    let (until, mut last) = (Instant::now() + END_WITHIN, (0, Instant::now()));
    while Instant::now() < until && last.1.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let received = run.received.load(Ordering::Relaxed);
        if received != last.0 {
            last = (received, Instant::now());
        }
    }
    run.is_over.store(true, Ordering::Relaxed);
    let mut faults = crate::swarm::Faults::default();
    while let Some(found) = readers.join_next().await {
        faults.merge(found?);
    }
    Ok(faults)
}
