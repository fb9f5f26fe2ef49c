//! Tickwire and its peers, measured in the same way: every scenario in rounds that alternate between the servers.
//!
//! Rounds alternate (A B C A B C …), so that other activity of the machine affects all servers. Figures are medians
//! over the rounds; ratios are to uWebSockets where it takes part. The server has one core and the client another. If a
//! server does not survive a round, this is a fault of that server and the run goes on. Only Tickwire's faults fail the
//! run.

mod arrears;
mod bulk;
mod check;
mod crowd;
mod figures;
mod handshakes;
mod measure;
mod outcome;
mod pace;
pub(crate) mod peers;
mod publish;
mod recording;
mod rig;
mod rush;
mod scenario;
mod script;
mod slow;
mod storm;
mod tally;
mod template;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{bail, ensure};

use crate::swarm::{
    Certificates, Interrupt, PAYLOAD_BYTES, allow_files, own_cores, progress, run_on, say, write_file,
    write_json,
};

use crowd::{Crowd, PUBLISHER};
use figures::{Better, Figure, Figures, median};
use measure::{DRAIN_WITHIN, Measured, latencies, measured, micros, of_server, quantiles};
use outcome::{Compared, Comparison, HOW_COMPARED, Round};
use pace::{Schedule, Search, Tempo};
use peers::{Message, NamedBinary, Numbered, Protocol, Selection, Server, peers};
use recording::{Absent, Recording};
use rig::QUIET;
use scenario::{Kind, NAMED, Wording};
use tally::Tally;

pub(crate) use check::{CheckArgs, run as check};
pub(crate) use measure::Setup;
pub(crate) use peers::Peer;
pub(crate) use rig::Rig;
pub(crate) use scenario::Scenario;
pub(crate) use script::Script;

/// Compare servers: each scenario, several rounds, alternating between the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Scenarios: names (see `scenarios`) or TOML files
    #[arg(required = true, value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// A server to measure; may be repeated [default: those that the scenario is meant for and that are installed]
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Another build of Tickwire to measure as `tickwire-NAME`; may be repeated
    #[arg(long = "tickwire-binary", value_name = "NAME=PATH")]
    binaries: Vec<NamedBinary>,
    /// Rounds; each measures every server once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure for this many seconds, not for as long as each scenario says; for many short rounds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: Option<u32>,
    /// Let clients use TLS, with the same cipher suite for all servers; a server that has no TLS takes no part
    #[arg(long)]
    tls: bool,
    /// A small, short run that only shows that everything works
    #[arg(long)]
    quick: bool,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report to this file, in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(crate) fn list() -> anyhow::Result<bool> {
    for (name, _) in NAMED {
        let about = Scenario::load(name, false)?.about;
        say(&format!("{name:20} {about}\n"))?;
    }
    Ok(true)
}

/// Runs all scenarios. Returns whether Tickwire did nothing wrong.
///
/// # Errors
/// When a scenario or server is unknown, nothing could be measured, or the results could not be written.
pub(crate) fn run(args: &RunArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let [server, client, ..] = own_cores()?[..] else {
        bail!("server and client need a core each");
    };
    run_on(&[client])?;
    let mut comparison = Comparison::new(args.quick, args.rounds);
    let plan = plan(args)?;
    let certificates = plan.iter().any(|planned| planned.scenario.tls);
    let certificates = certificates.then(Certificates::new).transpose()?;
    let takes: Duration = plan
        .iter()
        .map(|planned| planned.scenario.takes() * args.rounds * planned.taking_part.len() as u32)
        .sum();
    progress!("about {:.0} min", (takes.as_secs_f64() / 60.0).ceil());
    say(&format!("{HOW_COMPARED}\n"))?;
    for planned in plan {
        let rounds = planned.rounds(args.rounds, certificates.as_ref(), server, interrupt)?;
        let Planned { scenario, script, .. } = planned;
        let payload = (scenario.data_bytes > 0).then(|| script.payload(0).text());
        let compared = Compared::new(scenario, payload, rounds);
        say(&compared.section())?;
        comparison.add(compared);
        // The results so far survive a run that is interrupted.
        if let Some(path) = &args.json {
            write_json(path, &comparison)?;
        }
        if let Some(path) = &args.markdown {
            write_file(path, comparison.markdown())?;
        }
    }
    ensure!(!comparison.is_empty(), "nothing was measured");
    if let Some(growth) = comparison.growth() {
        say(&format!("\n{growth}\n"))?;
    }
    Ok(comparison.tickwire_faults() == 0)
}

/// A scenario that will be measured, with what is published and the servers that take part.
struct Planned {
    scenario: Scenario,
    script: Rc<Script>,
    taking_part: Vec<Peer>,
}

/// The scenarios of `args` that can be measured. Those that cannot are reported.
fn plan(args: &RunArgs) -> anyhow::Result<Vec<Planned>> {
    let mut scenarios = args
        .scenarios
        .iter()
        .map(|name| Scenario::load(name, args.quick))
        .collect::<Result<Vec<_>, _>>()?;
    for scenario in &mut scenarios {
        scenario.seconds = args.seconds.unwrap_or(scenario.seconds);
        scenario.tls |= args.tls;
        allow_files(scenario.connections())?;
    }
    let selection = Selection::new(&args.peers, &args.binaries)?;
    let mut plan = Vec::new();
    for scenario in scenarios {
        let mut taking_part = selection.taking_part(&scenario.peers, &scenario.default_peers)?;
        if scenario.tls {
            leave_out_plain(&scenario.name, &mut taking_part);
        }
        if taking_part.is_empty() {
            let (name, able) = (&scenario.name, scenario.peers.join(", "));
            progress!("{name}: none of these servers can do it, only {able}");
            continue;
        }
        match script(&scenario) {
            Ok(script) => plan.push(Planned {
                scenario,
                script: Rc::new(script),
                taking_part,
            }),
            Err(error) if error.is::<Absent>() => {
                progress!("skipped: {}: {error}", scenario.name);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(plan)
}

impl Planned {
    /// Measures every server once a round, on `core`.
    fn rounds(
        &self,
        count: u32,
        certificates: Option<&Certificates>,
        core: usize,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Vec<Round>> {
        let mut rounds = Vec::new();
        progress!("{}: {}", self.scenario.name, self.scenario.about);
        for number in 1..=count {
            for peer in &self.taking_part {
                let setup = Setup {
                    peer,
                    protocol: match self.scenario.codec {
                        Wording::Json => peer.protocol,
                        Wording::Msgpack => peers::packed(),
                        Wording::Sse => peers::events(),
                    },
                    scenario: &self.scenario,
                    script: &self.script,
                    certificates,
                    core,
                    interrupt,
                };
                let measured = setup.measure();
                interrupt.check()?;
                let round = Round::new(peer.name, number, measured);
                progress!("  round {number} of {count}: {round}");
                rounds.push(round);
            }
        }
        Ok(rounds)
    }
}

fn script(scenario: &Scenario) -> anyhow::Result<Script> {
    Ok(match scenario.kind {
        Kind::Replay => Script::recorded(&Recording::load()?, scenario.topics, scenario.speed),
        Kind::Publish if scenario.objects => Script::objects(scenario.topics, scenario.data_bytes as usize),
        Kind::Publish => Script::market(scenario.topics, scenario.data_bytes as usize),
        _ if scenario.deflate => Script::market(scenario.topics, PAYLOAD_BYTES),
        _ => Script::plain(scenario.topics),
    })
}

/// Leaves out the servers that have no TLS, which is reported.
fn leave_out_plain(scenario: &str, taking_part: &mut Vec<Peer>) {
    taking_part.retain(|peer| {
        if !peer.secures() {
            progress!("{scenario}: {} takes no part: it has no TLS here", peer.name);
        }
        peer.secures()
    });
}
