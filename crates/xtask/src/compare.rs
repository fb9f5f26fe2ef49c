//! `cargo xtask compare`: the load test's scenarios with every server that is installed, written to `docs/perf/`.
//!
//! Builds the broker and the load test for release, and hands over to the load test, which measures and writes. The folder
//! is named after the day and the machine, so that results stand beside each other and none replaces another's. A quick
//! run shows that everything works; its figures are not worth keeping and go below the target folder.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::workspace::Workspace;

/// What is measured when nothing is named: everything that a goal is set for. With three rounds and all servers installed it
/// takes about half an hour; the load test says how long before it begins.
const SCENARIOS: &[&str] = &[
    "hot-1k",
    "hot-10k",
    "hot-19k",
    "market",
    "market-150k",
    "market-max",
    "slow",
    "storm",
    "wildcards",
    "replay",
    "codec-json",
    "codec-msgpack",
    "two-shards-hot",
    "two-shards-market",
    "idle-19k",
];

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Small and short, into the target folder: shows that everything works
    #[arg(long)]
    quick: bool,
    /// Rounds of each scenario
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// A server that takes part; may be repeated [default: those that each scenario is meant for and that are installed]
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Another build of Tickwire that takes part as `tickwire-NAME`; may be repeated
    #[arg(long = "tickwire-binary", value_name = "NAME=PATH")]
    binaries: Vec<String>,
    /// Scenarios, by name or file [default: those that a goal is set for]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
}

/// Builds, measures and writes. True when Tickwire did nothing wrong.
pub(crate) fn run(workspace: &Workspace, args: &CompareArgs) -> Result<bool> {
    let mut measure = load_test(workspace)?;
    let folder = match args.quick {
        true => workspace.target.join("compare-quick"),
        false => results_folder(workspace, "docs/perf")?,
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    measure.arg("run");
    if args.scenarios.is_empty() {
        measure.args(SCENARIOS);
    } else {
        measure.args(&args.scenarios);
    }
    for peer in &args.peers {
        measure.args(["--peer", peer]);
    }
    for binary in &args.binaries {
        measure.args(["--tickwire-binary", binary]);
    }
    if args.quick {
        measure.arg("--quick");
    }
    measure.args(["--rounds", &args.rounds.to_string()]);
    let figures = figures_file(workspace, "compare")?;
    measure.arg("--json").arg(&figures);
    measure.arg("--markdown").arg(folder.join("report.md"));
    let status = measure.status().context("cannot run the load test")?;
    println!(
        "\nthe report is in {}, each round's figures in {}",
        folder.display(),
        figures.display()
    );
    Ok(status.success())
}

/// Where the figures of a run go, as JSON: below the target folder, since only tables and reports are kept.
pub(crate) fn figures_file(workspace: &Workspace, run: &str) -> Result<PathBuf> {
    let folder = workspace.target.join("figures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(format!("{run}.json")))
}

/// The load test, built for release with the broker beside it.
pub(crate) fn load_test(workspace: &Workspace) -> Result<Command> {
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "tickwire",
        "-p",
        "tickwire-loadtest",
    ]);
    let built = build.status().context("cannot run cargo")?;
    ensure!(built.success(), "the release build failed");
    Ok(workspace.command(workspace.target.join("release/tickwire-loadtest")))
}

/// Where results of today and this machine go, below `parent`.
pub(crate) fn results_folder(workspace: &Workspace, parent: &str) -> Result<PathBuf> {
    let day = Command::new("date")
        .args(["-u", "+%F"])
        .output()
        .context("cannot run date")?;
    ensure!(day.status.success(), "date failed");
    let day = String::from_utf8_lossy(&day.stdout).trim().to_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    Ok(workspace
        .root
        .join(parent)
        .join(format!("{day}-{}", machine(&cpuinfo))))
}

/// The machine's name: its CPU's and the number of its cores, `amd-epyc-2c`.
fn machine(cpuinfo: &str) -> String {
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("cpu", |(_, name)| name);
    // Trademarks and clock rates are no part of a name.
    let words = model
        .split_whitespace()
        .filter(|word| *word != "@" && !word.ends_with("GHz"));
    let word = |word: &str| -> String {
        let word = word.replace("(R)", "").replace("(TM)", "");
        word.chars()
            .filter(|char| char.is_ascii_alphanumeric() || *char == '-')
            .collect()
    };
    let mut name: Vec<String> = words.map(word).filter(|word| !word.is_empty()).collect();
    name.push(format!("{cores}c"));
    name.join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_plain_names() {
        for (cpuinfo, name) in [
            (
                "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n",
                "amd-epyc-2c",
            ),
            (
                "processor: 0\nmodel name: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\n",
                "intel-xeon-cpu-e5-2680-v4-1c",
            ),
            ("", "cpu-0c"),
        ] {
            assert_eq!(machine(cpuinfo), name);
        }
    }
}
