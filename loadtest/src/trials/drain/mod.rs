//! Scenario: a broker is told to stop while very many clients read; all come back to the broker that is started after it.
//!
//! What must hold: every client is told and closed with 4000, the closes are spread over the window, what each client got
//! up to its close has no hole, the broker ends well before its deadline, and each subscription that is resumed at the new
//! broker, whose numbers are another lineage, is told so exactly: nothing is lost in silence.

mod clients;
mod outcome;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::swarm::broker::{Broker, BrokerArgs};
use crate::swarm::connections::Swarm;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::report::{grouped, progress};
use crate::swarm::scrape;

use clients::Clients;
pub(crate) use outcome::DrainOutcome;

/// Files that the process has open besides its connections.
const OTHER_FILES: u64 = 64;
/// Connections that are on their way at a time.
const CONNECTING: usize = 256;
/// Time that all connections get to subscribe.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);
/// Time that the feed gets for the first message of each topic; the rarest is traded once a minute at the default rate.
const TOPICS_WITHIN: Duration = Duration::from_secs(300);
/// Time that a broker has behind the window.
const AFTER_WINDOW_S: u64 = 30;
/// Time that resumed subscriptions get to be told of.
const DECLARE_WITHIN: Duration = Duration::from_secs(30);
/// Time that all connections get to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// Longest turn of the connections.
const TURN: Duration = Duration::from_millis(20);

/// A broker that stops while very many clients read: all told, all closed, evenly, and no message lost in silence
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// Clients; each takes an open file here and one in the broker
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Time over which the broker spreads its closes; few clients are closed in less, 100 ms for each
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    window_s: u64,
    /// How long all read before the broker is told to stop
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Topics; each client reads two of them
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    topics: u32,
    /// Ticks per second of the broker's simulated market
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl DrainArgs {
    fn start_broker(&self, interrupt: &Interrupt) -> anyhow::Result<Broker> {
        let flags = [
            ("--feed", "sim".to_owned()),
            ("--symbols", self.topics.to_string()),
            ("--rate", self.rate.to_string()),
        ];
        let settings = [
            ("TICKWIRE_DRAIN__WINDOW_MS", (self.window_s * 1_000).to_string()),
            (
                "TICKWIRE_DRAIN__DEADLINE_MS",
                ((self.window_s + AFTER_WINDOW_S) * 1_000).to_string(),
            ),
        ];
        Broker::open(&self.broker, &flags, &settings, interrupt)
    }
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end; what the broker does wrong is in the outcome.
pub(crate) fn run(args: &DrainArgs, interrupt: &Interrupt) -> anyhow::Result<DrainOutcome> {
    let count = args.connections as usize;
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        count as u64 + OTHER_FILES <= limit,
        "{count} connections need {} open files, the limit is {limit}: raise it (ulimit -Hn) or ask for fewer",
        count as u64 + OTHER_FILES
    );
    let mut broker = args.start_broker(interrupt)?;
    ensure!(
        broker.is_ours(),
        "this scenario stops its broker, so it starts one itself: no --url"
    );
    let topics = wait_for_topics(&broker, args.topics as usize, interrupt)?;
    let clients = Clients::new(count, topics);
    let mut swarm = Swarm::new(broker.endpoint(), count, CONNECTING, interrupt.clone(), clients)?;
    let settled = swarm.turn_until(Instant::now() + CONNECT_WITHIN, |swarm| swarm.is_settled())?;
    ensure!(settled, "only {} connections could subscribe", swarm.settled());
    progress(format_args!("{} clients", grouped(count as u64)));
    swarm.turn_until(Instant::now() + Duration::from_secs(args.seconds), |_| false)?;

    let mut outcome = DrainOutcome {
        scenario: "drain",
        broker: broker.description().to_owned(),
        connections: count,
        window_s: args.window_s.min(count.div_ceil(10) as u64),
        ..DrainOutcome::default()
    };
    stop(args, &mut broker, &mut swarm, &mut outcome)?;
    let mut clients = swarm.handler;
    outcome.told = clients.told();
    outcome.updates = clients.updates;
    outcome.behind_max = clients.behind_max;
    let again = clients.coming_back();
    outcome.faults = clients.faults;
    come_back(args, again, interrupt, &mut outcome)?;
    outcome.judge();
    Ok(outcome)
}

/// Tells the broker to stop and reads until it has ended and every connection with it.
fn stop(
    args: &DrainArgs,
    broker: &mut Broker,
    swarm: &mut Swarm<Clients>,
    outcome: &mut DrainOutcome,
) -> anyhow::Result<()> {
    progress(format_args!("the broker is told to stop"));
    let signalled = Instant::now();
    broker.terminate()?;
    let until = signalled + Duration::from_secs(args.window_s + AFTER_WINDOW_S);
    let status = loop {
        swarm.turn(TURN)?;
        if let Some(status) = broker.exited()? {
            break Some(status);
        }
        if Instant::now() >= until {
            break None;
        }
    };
    outcome.stopped_after_s = signalled.elapsed().as_secs_f64();
    outcome.exit = status.map_or("still running".to_owned(), |status| status.to_string());
    if !status.is_some_and(|status| status.success()) {
        outcome.faults.add("broker's end", &outcome.exit);
    }
    // What the kernel still holds of its last words.
    swarm.turn_until(Instant::now() + CLOSE_WITHIN, |swarm| swarm.open() == 0)?;
    outcome.spread(&swarm.handler.closes, signalled);
    Ok(())
}

/// Starts the next broker and resumes everything there.
fn come_back(
    args: &DrainArgs,
    clients: Clients,
    interrupt: &Interrupt,
    outcome: &mut DrainOutcome,
) -> anyhow::Result<()> {
    let broker = args.start_broker(interrupt)?;
    wait_for_topics(&broker, args.topics as usize, interrupt)?;
    let count = args.connections as usize;
    let mut swarm = Swarm::new(broker.endpoint(), count, CONNECTING, interrupt.clone(), clients)?;
    swarm.turn_until(Instant::now() + CONNECT_WITHIN, |swarm| swarm.is_settled())?;
    outcome.reconnected = swarm.settled();
    outcome.resumed = swarm.handler.subscriptions();
    let resumed = outcome.resumed;
    swarm.turn_until(Instant::now() + DECLARE_WITHIN, |swarm| {
        swarm.handler.declared >= resumed
    })?;
    outcome.declared = swarm.handler.declared;
    swarm.finish(CLOSE_WITHIN)?;
    outcome.faults.merge(swarm.handler.faults);
    if let Err(error) = broker.stop() {
        outcome.faults.add("broker", format_args!("{error:#}"));
    }
    Ok(())
}

/// What the broker lists.
#[derive(Deserialize)]
struct Listing {
    topics: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    topic: String,
}

/// Waits until there are `count` topics whose every message counts, and returns them.
fn wait_for_topics(broker: &Broker, count: usize, interrupt: &Interrupt) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + TOPICS_WITHIN;
    loop {
        interrupt.check()?;
        let path = format!("/v1/topics?match=trade.*&limit={count}");
        let page = scrape::get(broker.endpoint().address, &path)?;
        let listing: Listing = serde_json::from_str(&page).context("the broker's list of topics")?;
        if listing.topics.len() >= count {
            return Ok(listing.topics.into_iter().map(|listed| listed.topic).collect());
        }
        ensure!(
            Instant::now() < until,
            "the market has {} of {count} topics after {TOPICS_WITHIN:?}; raise --rate or ask for fewer --topics",
            listing.topics.len()
        );
        std::thread::sleep(TURN);
    }
}
