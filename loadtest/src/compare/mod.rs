//! Tickwire and its peers, measured alike: every scenario in rounds that alternate between the servers.
//!
//! Rounds alternate (A B C A B C …) so that what else happens on the machine befalls all of them; figures are medians
//! over the rounds, and ratios are to uWebSockets where it takes part. The server has one core and the client another.
//! A round that a server does not survive is a fault of that server and the run goes on. Only Tickwire's faults fail it.

mod arrears;
mod crowd;
mod figures;
mod growth;
mod html;
mod machine;
mod measure;
mod msgpack;
mod outcome;
mod pace;
pub(crate) mod peers;
mod ratio;
mod recording;
mod remaining;
mod rig;
mod sample;
pub(crate) mod scenario;
mod script;
mod slow;
mod storm;
mod svg;
mod tally;
mod update;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::compare::machine::Machine;
use crate::compare::measure::Setup;
use crate::compare::outcome::{Compared, Comparison, Round};
use crate::compare::peers::{NamedBinary, Peer, Selection};
use crate::compare::recording::{Recording, RecordingError};
use crate::compare::remaining::Remaining;
use crate::compare::scenario::{Kind, MapNames, NAMED, Scenario};
use crate::compare::script::Script;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::report::progress;

/// Files that the process has open besides its connections.
const OTHER_FILES: u64 = 64;

/// Compare servers: each scenario, several rounds, alternating between the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Scenarios: names (see `scenarios`) or TOML files
    #[arg(required = true, value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// A server that takes part; may be repeated [default: those that the scenario is meant for and that are installed]
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Another build of Tickwire that takes part as `tickwire-NAME`; may be repeated
    #[arg(long = "tickwire-binary", value_name = "NAME=PATH")]
    binaries: Vec<NamedBinary>,
    /// Rounds; each measures every server once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure for so many seconds, and not for as long as each scenario says; for many short rounds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: Option<u32>,
    /// Small and short: shows that everything works, and no more than that
    #[arg(long)]
    quick: bool,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with diagrams to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The core that servers are bound to
    #[arg(long, default_value_t = 0, value_name = "N")]
    server_core: usize,
    /// The core that the client is bound to
    #[arg(long, default_value_t = 1, value_name = "N")]
    client_core: usize,
}

/// Prints the project's scenarios.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn list() -> anyhow::Result<bool> {
    let mut text = String::new();
    for name in NAMED.map_names() {
        let scenario = Scenario::load(name, false)?;
        text += &format!("{name:12} {}\n", scenario.about);
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(true)
}

/// Runs all scenarios. Returns whether Tickwire did nothing wrong.
///
/// # Errors
/// When a scenario or server is unknown, nothing could be measured, or the results could not be written.
pub(crate) fn run(args: &RunArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let mut scenarios = args
        .scenarios
        .iter()
        .map(|name| Scenario::load(name, args.quick))
        .collect::<Result<Vec<_>, _>>()?;
    for scenario in &mut scenarios {
        scenario.seconds = args.seconds.unwrap_or(scenario.seconds);
    }
    allow_files(&scenarios)?;
    bind(args)?;
    let selection = Selection::new(&args.peers, &args.binaries)?;
    let mut comparison = Comparison {
        machine: Machine::here(),
        quick: args.quick,
        rounds: args.rounds,
        compared: Vec::new(),
    };
    let mut remaining = Remaining::default();
    let mut plan = Vec::new();
    for scenario in scenarios {
        let taking_part = selection.taking_part(&scenario.peers, &scenario.default_peers)?;
        if taking_part.is_empty() {
            progress(format_args!(
                "{}: none of these servers can do it, only {}",
                scenario.name,
                scenario.peers.join(", ")
            ));
            continue;
        }
        let script = match script(&scenario) {
            Ok(script) => Rc::new(script),
            Err(absent @ RecordingError::Absent(_)) => {
                progress(format_args!("skipped: {}: {absent}", scenario.name));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let names = taking_part.iter().map(|peer| peer.name);
        remaining.add(&scenario, names, args.rounds);
        plan.push((scenario, script, taking_part));
    }
    let count = remaining.measurements();
    progress(format_args!("{count} measurements, {remaining}"));
    for (scenario, script, taking_part) in plan {
        let rounds = rounds(args, &scenario, &script, &taking_part, &mut remaining, interrupt)?;
        let compared = Compared { scenario, rounds };
        std::io::stdout().lock().write_all(compared.table().as_bytes())?;
        comparison.compared.push(compared);
        // What is there already survives a run that is broken off.
        write(args, &comparison)?;
    }
    ensure!(!comparison.is_empty(), "nothing was measured");
    if let Some(growth) = comparison.growth().line() {
        writeln!(std::io::stdout().lock(), "\n{growth}")?;
    }
    Ok(comparison.tickwire_faults() == 0)
}

/// What is published in a scenario.
fn script(scenario: &Scenario) -> Result<Script, RecordingError> {
    Ok(match scenario.kind {
        Kind::Replay => Script::recorded(&Recording::load()?, scenario.topics, scenario.speed),
        _ if scenario.deflate => Script::market(scenario.topics),
        _ => Script::plain(scenario.topics),
    })
}

/// All rounds of a scenario.
fn rounds(
    args: &RunArgs,
    scenario: &Scenario,
    script: &Rc<Script>,
    taking_part: &[Peer],
    remaining: &mut Remaining,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    progress(format_args!("{}: {}", scenario.name, scenario.about));
    for number in 1..=args.rounds {
        for peer in taking_part {
            let setup = Setup {
                peer,
                scenario,
                script,
                core: args.server_core,
                interrupt,
            };
            let began = Instant::now();
            let measured = setup.measure();
            interrupt.check()?;
            let round = match measured {
                Ok(measured) => Round::new(peer.name, number, measured),
                Err(error) => Round::failed(peer.name, number, &error),
            };
            remaining.done(&scenario.name, peer.name, began.elapsed());
            progress(format_args!(
                "  round {number} of {}: {round} ({remaining})",
                args.rounds
            ));
            rounds.push(round);
        }
    }
    Ok(rounds)
}

fn write(args: &RunArgs, comparison: &Comparison) -> anyhow::Result<()> {
    if let Some(path) = &args.json {
        let mut json = serde_json::to_vec_pretty(comparison)?;
        json.push(b'\n');
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.html {
        let page = html::page(comparison);
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Raises the limit of open files, and checks that it suffices.
fn allow_files(scenarios: &[Scenario]) -> anyhow::Result<()> {
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    for scenario in scenarios {
        let needed = u64::from(scenario.subscribers) + OTHER_FILES;
        ensure!(
            needed <= limit,
            "scenario {} needs {needed} open files, the limit is {limit}: raise it (ulimit -Hn)",
            scenario.name
        );
    }
    Ok(())
}

/// Binds this thread to its core.
fn bind(args: &RunArgs) -> anyhow::Result<()> {
    let (server, client) = (args.server_core, args.client_core);
    if server == client {
        bail!("server and client need a core each, both are on core {server}");
    }
    for core in [server, client] {
        ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    }
    let mut only = CpuSet::new();
    only.set(client);
    sched_setaffinity(None, &only).with_context(|| format!("cannot run on core {client}"))?;
    Ok(())
}
