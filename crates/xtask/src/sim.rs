//! `cargo xtask sim`: runs thousands of simulated worlds, or checks that they find planted faults.
//!
//! It builds the simulator with optimisations and all checks, and starts it. The exit code tells whether every promise
//! was kept or, with `--mutations`, whether each planted fault was found.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::programs::succeeds;
use crate::workspace::Workspace;

/// The arguments of `sim`.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// The number of threads [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run only this seed, twice, and show what happened
    #[arg(long, value_name = "SEED", conflicts_with_all = ["mutations", "json"])]
    replay: Option<u64>,
    /// Plant the faults of crates/router/src/planted.rs one at a time, and report how many seeds it takes to find each
    #[arg(long)]
    mutations: bool,
    /// With --mutations: only faults whose name contains this text
    #[arg(long, value_name = "TEXT", requires = "mutations")]
    only: Option<String>,
    /// Write a summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds and runs the simulator. Returns true when it found no fault or, with `--mutations`, every planted one.
pub(crate) fn run(workspace: &Workspace, args: &SimArgs) -> Result<bool> {
    let mut build = workspace.cargo("build --profile sim --locked -p tickwire-sim");
    let mut target = workspace.target.clone();
    if args.mutations {
        // A target folder of its own: each change of these flags would otherwise rebuild everything.
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
