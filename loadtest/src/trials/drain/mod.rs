//! Trial: a broker is told to stop while very many clients read. All come back to a broker that is started after it.
//!
//! These must hold: Every client is told, and closed with code 4000. The closes are spread over the window. What each
//! client got up to its close has no hole. The broker ends well before its deadline. At the new broker, whose numbers
//! are another lineage, each resumed subscription is told exactly that: nothing is lost silently.

mod closes;
mod coming_back;

use std::time::{Duration, Instant};

use crate::swarm::{Broker, BrokerArgs, Interrupt, Layout, Outcome, Readers, Swarm, grouped, progress};

use closes::{Closes, Told};
use coming_back::ComingBack;

/// How much time a broker has after the window, in seconds.
const AFTER_WINDOW_S: u64 = 30;
/// How long it may take to tell resumed subscriptions.
const DECLARE_WITHIN: Duration = Duration::from_secs(30);
/// How long all connections may take to end with the broker.
const END_WITHIN: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_millis(20);
const TOPICS: usize = 50;
const TOPICS_EACH: usize = 2;
/// How long all clients read before the broker is told to stop.
const READ_FOR: Duration = Duration::from_secs(5);

/// Stop a broker while very many clients read: all are told and closed, evenly, and no message is lost silently
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// Clients; each takes one open file here and one in the broker
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Seconds over which the broker spreads its closes; a few clients are closed faster, with 100 ms for each
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    window_s: u64,
    #[command(flatten)]
    broker: BrokerArgs,
}

impl DrainArgs {
    fn start_broker(&self, interrupt: &Interrupt) -> anyhow::Result<Broker> {
        let deadline_ms = (self.window_s + AFTER_WINDOW_S) * 1_000;
        let mut command = self.broker.command()?;
        command
            .args(["--feed", "sim", "--rate", "500"])
            .args(["--symbols", &TOPICS.to_string()])
            .env("TICKWIRE_DRAIN__WINDOW_MS", (self.window_s * 1_000).to_string())
            .env("TICKWIRE_DRAIN__DEADLINE_MS", deadline_ms.to_string());
        Broker::start(&mut command, interrupt)
    }
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the broker does wrong is part of the outcome.
pub(crate) fn run(args: &DrainArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let count = args.connections as usize;
    let broker = args.start_broker(interrupt)?;
    let layout = Layout {
        readers: count,
        topics: topics(&broker, interrupt)?,
        topics_each: TOPICS_EACH,
        apart: 1,
        ..Layout::default()
    };
    let mut swarm = broker.readers(layout, Told::new(count), interrupt)?;
    swarm.connect()?;
    progress!("{} clients", grouped(count as u64));
    swarm.turn_for(READ_FOR)?;

    let mut outcome = Outcome::of_broker(&broker.description);
    outcome.count("connections", "connections", count as u64);
    stop(args, broker, &mut swarm, &mut outcome)?;
    let readers = swarm.handler;
    let again = ComingBack::of(&readers);
    outcome.faults.merge(readers.faults);
    come_back(args, readers.layout, again, interrupt, &mut outcome)?;
    Ok(outcome)
}

/// The topics where every message counts, once all of them exist.
fn topics(broker: &Broker, interrupt: &Interrupt) -> anyhow::Result<Vec<String>> {
    broker.topics("trade.*", TOPICS, interrupt)
}

/// Tells the broker to stop. Reads until the broker and every connection have ended.
fn stop(
    args: &DrainArgs,
    mut broker: Broker,
    swarm: &mut Swarm<Readers<Told>>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    progress!("the broker is told to stop");
    let signalled = Instant::now();
    broker.terminate()?;
    let until = signalled + Duration::from_secs(args.window_s + AFTER_WINDOW_S);
    let mut status = None;
    while status.is_none() && Instant::now() < until {
        swarm.turn(TURN)?;
        status = broker.exited()?;
    }
    let (after_s, exit) = (
        signalled.elapsed().as_secs_f64(),
        status.map_or("still running".to_owned(), |status| status.to_string()),
    );
    if !status.is_some_and(|status| status.success()) {
        outcome.faults.add("broker's end", &exit);
    }
    // The kernel may still hold the broker's last bytes.
    swarm.turn_until(Instant::now() + END_WITHIN, |swarm| swarm.open() == 0)?;
    let readers = &swarm.handler;
    let window_s = args.window_s.min(readers.layout.readers.div_ceil(10) as u64);
    let closes = Closes::spread(&readers.watch.closes, signalled, window_s);
    readers.watch.judge(&closes, &mut outcome.faults);
    let text = format_args!("{}, {}", grouped(readers.watch.told()), grouped(closes.count));
    outcome.row("told, then closed with 4000", text);
    outcome.row("closes in a second", &closes);
    let updates = grouped(readers.counts.updates);
    let text = format!("{updates}, each client's without a hole");
    outcome.row("messages up to the closes", text);
    outcome.row("broker's end", format_args!("{exit} after {after_s:.1} s"));
    outcome.figure("told", readers.watch.told());
    outcome.figures(readers.counts);
    outcome.figure("closes", closes);
    outcome.figure("stopped_after_s", after_s);
    outcome.figure("exit", exit);
    Ok(())
}

/// Starts the next broker and resumes everything there.
fn come_back(
    args: &DrainArgs,
    layout: Layout,
    again: ComingBack,
    interrupt: &Interrupt,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let broker = args.start_broker(interrupt)?;
    topics(&broker, interrupt)?;
    let resumed = (layout.readers * TOPICS_EACH) as u64;
    let mut swarm = broker.readers(layout, again, interrupt)?;
    swarm.connect()?;
    let open = swarm.open();
    swarm.turn_until(Instant::now() + DECLARE_WITHIN, |swarm| {
        swarm.handler.watch.declared >= resumed
    })?;
    let declared = swarm.handler.watch.declared;
    if declared != resumed {
        let text = format_args!("{declared} of {resumed}");
        outcome.faults.add("resume not declared", text);
    }
    swarm.finish()?;
    let [clients, all, told] = [open as u64, resumed, declared].map(grouped);
    let text = format!("{clients} clients; of {all} subscriptions resumed {told} were told exactly");
    outcome.row("came back", text);
    outcome.figure("reconnected", open);
    outcome.figure("resumed", resumed);
    outcome.figure("declared", declared);
    outcome.faults.merge(swarm.handler.faults);
    outcome.expect("broker", broker.stop());
    Ok(())
}
