//! `cargo xtask reliability`: what the broker promises, put to the test at full size, and written to `docs/reliability/`.
//!
//! Builds for release and runs the load test's `chaos`, `stall` and `slowlink`; each leaves its table in a
//! folder named after the day and the machine, and its figures below the target folder. One that finds a broken promise does not keep the others from running. A quick
//! run is small, shows that everything works, and goes below the target folder.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::compare::{figures_file, load_test, results_folder};
use crate::workspace::Workspace;

/// What is run: a name, and its arguments in a quick run.
const RUNS: &[(&str, &[&str])] = &[
    ("chaos", &["--messages=20000", "--clients=12", "--rate=1500"]),
    (
        "stall",
        &[
            "--connections=500",
            "--seconds=5",
            "--rounds=1",
            "--rate-each=40",
            "--topics=20",
        ],
    ),
    ("slowlink", &["--seconds=5", "--warmup=2"]),
];

/// What to put to the test.
#[derive(Debug, Args)]
pub(crate) struct ReliabilityArgs {
    /// Small and short, into the target folder: shows that everything works
    #[arg(long)]
    quick: bool,
    /// Decides which faults befall which connection in `chaos`
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds, runs and writes. True when no promise was broken and everything could be run.
pub(crate) fn run(workspace: &Workspace, args: &ReliabilityArgs) -> Result<bool> {
    let program = load_test(workspace)?;
    let folder = match args.quick {
        true => workspace.target.join("reliability-quick"),
        false => results_folder(workspace, "docs/reliability")?,
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut all_kept = true;
    for (name, quick) in RUNS {
        println!("{name}");
        let mut command = workspace.command(program.get_program());
        command
            .arg(name)
            .arg("--json")
            .arg(figures_file(workspace, name)?)
            .stderr(Stdio::inherit());
        if *name == "chaos" {
            command.arg(format!("--seed={}", args.seed));
        }
        if args.quick {
            command.args(*quick);
        }
        let output = command.output().context("cannot run the load test")?;
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{table}");
        let path = folder.join(format!("{name}.txt"));
        fs::write(&path, table.trim_start()).with_context(|| format!("cannot write {}", path.display()))?;
        all_kept &= output.status.success();
    }
    println!("\nresults are in {}", folder.display());
    Ok(all_kept)
}
