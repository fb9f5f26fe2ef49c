//! `cargo xtask compare`, `reliability` and `attack`: run the load test, built for release with the broker beside it,
//! and keep the results.
//!
//! Tables and reports go to a folder below `docs/` that is named after the day and the machine. So results stand beside
//! each other, and none replaces another. A quick run only shows that everything works; its results go below the target
//! folder, as all figures do. A run that finds a fault does not stop the others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::programs::{said_by, succeeds};
use crate::workspace::{Workspace, make, read, write};

/// The scenarios that are measured if none is named: those with a goal. With three rounds and all servers installed
/// they take about forty minutes. The load test tells the time before it begins.
const SCENARIOS: &str = "hot-1k hot-10k hot-19k market market-150k market-max slow storm wildcards replay codec-json \
                         codec-msgpack two-shards-hot two-shards-market idle-19k handshakes rush publish-128 \
                         publish-512";

const QUICK_STALL: &str = "--connections=500 --seconds=5 --rounds=1 --rate-each=40 --topics=20";
/// The parts that test promises, and their arguments in a quick run.
const RELIABILITY: &[(&str, &str)] = &[
    ("chaos", "--messages=20000 --clients=12 --rate=1500"),
    ("stall", QUICK_STALL),
    ("slowlink", "--seconds=5 --warmup=2"),
];

/// The arguments of a quick attack.
const QUICK_ATTACK: &str = "--attackers=100 --subscribers=100 --seconds=3";

/// The arguments of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A small, short run with results in the target folder, to see that everything works
    #[arg(long)]
    quick: bool,
    /// Let clients use TLS; servers that have none take no part
    #[arg(long)]
    tls: bool,
    /// Rounds of each scenario
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// A server to measure; may be repeated [default: those that each scenario is meant for and that are installed]
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Another build of Tickwire to measure as `tickwire-NAME`; may be repeated
    #[arg(long = "tickwire-binary", value_name = "NAME=PATH")]
    binaries: Vec<String>,
    /// Scenarios, by name or file [default: those with a goal]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
}

/// The arguments of `reliability`.
#[derive(Debug, Args)]
pub(crate) struct ReliabilityArgs {
    /// A small, short run with results in the target folder, to see that everything works
    #[arg(long)]
    quick: bool,
    /// The seed of the faults in `chaos`
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The arguments of `attack`.
#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    /// Only this row of docs/ATTACKS.md; may be repeated
    #[arg(long, value_name = "N")]
    row: Vec<u8>,
    /// The number of attackers
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    attackers: Option<u32>,
    /// The number of honest subscribers
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    subscribers: Option<u32>,
    /// How many seconds a row attacks, and how many it is quiet before that
    #[arg(long, value_name = "S", conflicts_with = "quick")]
    seconds: Option<u64>,
    /// A small, short run with results in the target folder, to see that everything works
    #[arg(long)]
    quick: bool,
}

impl AttackArgs {
    /// The arguments for the load test. They are empty for a full attack with all rows, whose results the project
    /// keeps.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.row.iter().map(|row| format!("--row={row}")).collect();
        if self.quick {
            words.extend(QUICK_ATTACK.split(' ').map(str::to_owned));
        }
        for (name, number) in [
            ("attackers", self.attackers.map(u64::from)),
            ("subscribers", self.subscribers.map(u64::from)),
            ("seconds", self.seconds),
        ] {
            words.extend(number.map(|number| format!("--{name}={number}")));
        }
        words
    }
}

/// Measures and writes the results. Returns true when Tickwire did nothing wrong.
pub(crate) fn compare(workspace: &Workspace, args: &CompareArgs) -> Result<bool> {
    let run = Run::build(workspace, args.quick.then_some("compare-quick"), "docs/perf")?;
    let mut measure = workspace.command(&run.program);
    measure.arg("run").args(&args.scenarios);
    if args.scenarios.is_empty() {
        measure.args(SCENARIOS.split_whitespace());
    }
    for peer in &args.peers {
        measure.args(["--peer", peer]);
    }
    for binary in &args.binaries {
        measure.args(["--tickwire-binary", binary]);
    }
    if args.tls {
        measure.arg("--tls");
    }
    if args.quick {
        measure.arg("--quick");
    }
    measure.args(["--rounds", &args.rounds.to_string()]);
    let figures = run.figures("compare")?;
    measure.arg("--json").arg(&figures);
    measure.arg("--markdown").arg(run.folder.join("report.md"));
    let done_nothing_wrong = succeeds(&mut measure)?;
    let (folder, figures) = (run.folder.display(), figures.display());
    println!("\nthe report is in {folder}, each round's figures in {figures}");
    Ok(done_nothing_wrong)
}

/// Runs `chaos`, `stall` and `slowlink` and writes their tables. Returns true when no promise was broken.
pub(crate) fn reliability(workspace: &Workspace, args: &ReliabilityArgs) -> Result<bool> {
    let passing = args.quick.then_some("reliability-quick");
    let run = Run::build(workspace, passing, "docs/reliability")?;
    let mut all_kept = true;
    for (name, quick) in RELIABILITY {
        println!("{name}");
        let mut words = Vec::new();
        if *name == "chaos" {
            words.push(format!("--seed={}", args.seed));
        }
        if args.quick {
            words.extend(quick.split(' ').map(str::to_owned));
        }
        all_kept &= run.keep_table(name, &words)?;
    }
    println!("\nresults are in {}", run.folder.display());
    Ok(all_kept)
}

/// Attacks and writes the results. Returns true when every row got its answers and no honest client missed anything.
pub(crate) fn attack(workspace: &Workspace, args: &AttackArgs) -> Result<bool> {
    let mut words = args.words();
    let passing = (!words.is_empty()).then_some("attack");
    let run = Run::build(workspace, passing, "docs/reliability")?;
    words.push(format!("--markdown={}", run.folder.join("attack.md").display()));
    let in_order = run.keep_table("attack", &words)?;
    println!("\nresults are in {}", run.folder.display());
    Ok(in_order)
}

/// The load test, and the folder for its results.
struct Run<'w> {
    workspace: &'w Workspace,
    program: PathBuf,
    folder: PathBuf,
}

impl<'w> Run<'w> {
    /// Builds the load test. Results go to the folder `passing` below the target folder if it is given, otherwise to a
    /// folder below `kept` that is named after today and this machine.
    fn build(workspace: &'w Workspace, passing: Option<&str>, kept: &str) -> Result<Self> {
        let mut build = workspace.cargo("build --release --locked -p tickwire -p tickwire-loadtest");
        ensure!(succeeds(&mut build)?, "the release build failed");
        let folder = match passing {
            Some(passing) => workspace.target.join(passing),
            None => {
                let day = said_by(Command::new("date").args(["-u", "+%F"]))?;
                let machine = machine(&read(Path::new("/proc/cpuinfo"))?);
                let kept = workspace.root.join(kept);
                kept.join(format!("{}-{machine}", day.trim()))
            }
        };
        make(&folder)?;
        Ok(Self {
            workspace,
            program: workspace.target.join("release/tickwire-loadtest"),
            folder,
        })
    }

    /// The JSON file for the figures of the part `name`.
    fn figures(&self, name: &str) -> Result<PathBuf> {
        let folder = self.workspace.below_target("figures")?;
        Ok(folder.join(format!("{name}.json")))
    }

    /// Runs the part `name`, prints its table and keeps it. Returns true if the part succeeds.
    fn keep_table(&self, name: &str, words: &[String]) -> Result<bool> {
        let mut command = self.workspace.command(&self.program);
        command.arg(name).args(words).stderr(Stdio::inherit());
        let output = command.arg("--json").arg(self.figures(name)?).output();
        let output = output.context("cannot run the load test")?;
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{table}");
        write(&self.folder.join(format!("{name}.txt")), table.trim_start())?;
        Ok(output.status.success())
    }
}

/// The machine's name from its CPU and the number of its cores, such as `amd-epyc-2c`.
fn machine(cpuinfo: &str) -> String {
    let lines = |name: &'static str| cpuinfo.lines().filter(move |line| line.starts_with(name));
    let model = lines("model name").next().and_then(|line| line.split_once(':'));
    // Trademarks and clock rates are not part of the name.
    let words = model.map_or("cpu", |(_, name)| name).split_whitespace();
    let words = words.filter(|word| !word.ends_with("GHz")).map(|word| {
        let word = word.replace("(R)", "").replace("(TM)", "");
        word.replace(|char: char| !char.is_ascii_alphanumeric() && char != '-', "")
    });
    let mut name: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    name.push(format!("{}c", lines("processor").count()));
    name.join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Attack {
        #[command(flatten)]
        args: AttackArgs,
    }

    #[test]
    fn only_a_full_attack_is_kept() {
        for (line, words) in [
            ("attack", ""),
            ("attack --row 7 --row 8", "--row=7 --row=8"),
            ("attack --seconds 3 --attackers 5", "--attackers=5 --seconds=3"),
            ("attack --quick", QUICK_ATTACK),
        ] {
            let attack = Attack::try_parse_from(line.split(' ')).expect(line);
            assert_eq!(attack.args.words().join(" "), words);
        }
    }

    #[test]
    fn machines_have_plain_names() {
        let two = "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
        let intel = "processor: 0\nmodel name: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\n";
        for (cpuinfo, name) in [
            (two, "amd-epyc-2c"),
            (intel, "intel-xeon-cpu-e5-2680-v4-1c"),
            ("", "cpu-0c"),
        ] {
            assert_eq!(machine(cpuinfo), name);
        }
    }
}
