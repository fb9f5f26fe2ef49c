//! `peers`: starts each server and checks that it delivers a few messages, before it is measured.
//!
//! There are three subscribers of two topics each, and a topic without subscribers. Each message must reach each
//! subscriber of its topic once, and no other client. Nothing is measured. A server that is not installed is reported
//! as skipped, which is not a failure.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::measure::Setup;
use super::peers::{Peer, peers};
use super::scenario::Scenario;
use super::script::Script;
use crate::swarm::{Interrupt, own_cores, say};

const SCENARIO: &str = "about = 'x'\nkind = 'hot'\nseconds = 1\nsubscribers = 3\ntopics = 5\ntopics_each = 2";
const MESSAGES: u64 = 50;
/// How long a server may take to deliver all messages.
const DELIVERED_WITHIN: Duration = Duration::from_secs(10);

/// Check the servers that Tickwire is compared with, and install those that come from npm
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// The servers to check [default: all]
    #[arg(value_name = "PEER", value_parser = clap::builder::PossibleValuesParser::new(peers().iter().map(|peer| peer.name)))]
    only: Vec<String>,
    /// Install nothing, and skip servers that are not installed
    #[arg(long)]
    no_install: bool,
}

/// Checks each peer and prints one line about it. Returns whether all installed peers work.
pub(crate) fn run(args: &CheckArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let core = own_cores()?.first().copied().context("no core may be used")?;
    let mut all_work = true;
    let wanted = |peer: &&Peer| args.only.is_empty() || args.only.iter().any(|name| name == peer.name);
    for peer in peers().iter().filter(wanted) {
        let name = peer.name;
        let checked = match peer.missing(!args.no_install) {
            Some(why) => format!("skipped: {name}: {why}\n"),
            None => match check(peer, core, interrupt) {
                Ok(version) => format!("{name}: {version}: all messages delivered\n"),
                Err(error) => {
                    interrupt.check()?;
                    all_work = false;
                    format!("FAILED {name}: {error:#}\n")
                }
            },
        };
        say(&checked)?;
    }
    Ok(all_work)
}

/// Starts `peer` and sends messages through it. Returns its version.
fn check(peer: &Peer, core: usize, interrupt: &Interrupt) -> anyhow::Result<String> {
    let scenario = Scenario::parse("check", SCENARIO, false)?;
    let setup = Setup {
        peer,
        protocol: peer.protocol,
        scenario: &scenario,
        script: &Rc::new(Script::plain(scenario.topics)),
        certificates: None,
        core,
        interrupt,
    };
    let mut rig = setup.open()?;
    for _ in 0..MESSAGES {
        rig.publish_now();
        rig.turn()?;
    }
    let missed = rig.drain(DELIVERED_WITHIN)?;
    let crowd = &rig.swarm.handler;
    let (delivered, expected) = (crowd.tally.delivered, rig.expected);
    ensure!(
        missed == 0 && delivered == expected && crowd.tally.damaged == 0 && crowd.faults.count() == 0,
        "{delivered} deliveries came of {expected}, {} damaged, faults: {}",
        crowd.tally.damaged,
        crowd.faults
    );
    Ok(rig.version().to_owned())
}
