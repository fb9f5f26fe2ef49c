//! `cargo xtask sim`: simulated worlds by the thousand, and whether they find faults that were planted.
//!
//! Builds the simulator optimised, with every check on, and hands over to it. The exit code says whether every promise was
//! kept, or with `--mutations` whether each planted fault was found.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::programs::succeeds;
use crate::workspace::Workspace;

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Threads [default: the cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run this seed alone, twice, and show what happened
    #[arg(long, value_name = "SEED", conflicts_with_all = ["mutations", "json"])]
    replay: Option<u64>,
    /// Plant the faults of crates/router/src/planted.rs, one at a time, and see after how many seeds each is found
    #[arg(long)]
    mutations: bool,
    /// With --mutations: only those whose name has this in it
    #[arg(long, value_name = "TEXT", requires = "mutations")]
    only: Option<String>,
    /// Write a summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds and runs the simulator. True when it found nothing, or every fault that was planted.
pub(crate) fn run(workspace: &Workspace, args: &SimArgs) -> Result<bool> {
    let mut build = workspace.cargo("build --profile sim --locked -p tickwire-sim");
    let mut target = workspace.target.clone();
    if args.mutations {
        // Not where sound programs are: each change of these flags would build everything anew.
        target.push("planted");
        build
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "--cfg planted");
    }
    ensure!(succeeds(&mut build)?, "the simulator does not build");
    let mut sim = workspace.command(target.join("sim/tickwire-sim"));
    if args.mutations {
        sim.arg("--mutations");
    }
    if let Some(only) = &args.only {
        sim.args(["--only", only]);
    }
    if let Some(seed) = args.replay {
        sim.args(["--replay", &seed.to_string()]);
    }
    if let Some(jobs) = args.jobs {
        sim.args(["--jobs", &jobs.to_string()]);
    }
    if let Some(json) = &args.json {
        let json = std::path::absolute(json).with_context(|| format!("cannot use {}", json.display()))?;
        sim.arg("--json").arg(json);
    }
    sim.args([
        "--seeds",
        &args.seeds.to_string(),
        "--from",
        &args.from.to_string(),
    ]);
    succeeds(&mut sim)
}
