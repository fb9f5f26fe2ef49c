//! `cargo xtask fuzz`: runs libFuzzer against every parser of foreign data, each for a while.
//!
//! It builds the programs of `crates/fuzz/libfuzzer` with the nightly compiler and runs them from the seeds of
//! `crates/fuzz`. What they learn stays below the target folder, so that the next run goes on from there; `--keep`
//! keeps it with the project. An input that finds a fault is saved and named. Added to the seeds, it is a test from
//! then on.

mod corpus;
mod stats;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::stats::Stats;
use crate::programs::{succeeds, works};
use crate::workspace::Workspace;

/// The folder of the programs.
const PROGRAMS: &str = "crates/fuzz/libfuzzer";
/// The folder of the seeds, with a folder for each target.
const SEEDS: &str = "crates/fuzz/seeds";
/// The folder of the dictionaries, for targets that have one: words that a fuzzer would hardly find.
const DICTIONARIES: &str = "crates/fuzz/dictionaries";
/// Most seconds that one input may take. Wall time counts, so there is room for a busy machine.
const INPUT_SECONDS_MAX: u32 = 30;

/// The arguments of `fuzz`.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Only this target; may be repeated [default: all]
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// How many targets run at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Don't fuzz: keep what was learnt so far with the project, as the fewest inputs that reach as much
    #[arg(long, conflicts_with_all = ["seconds", "jobs"])]
    keep: bool,
}

/// Builds and runs the fuzzers. Returns true when none found a fault.
pub(crate) fn run(workspace: &Workspace, args: &FuzzArgs) -> Result<bool> {
    ensure_tools(workspace)?;
    let known = corpus::names(&workspace.root.join(SEEDS))?;
    if let Some(unknown) = args.targets.iter().find(|name| !known.contains(name)) {
        bail!("no target {unknown:?}; there are {}", known.join(", "));
    }
    let is_chosen = |name: &&String| args.targets.is_empty() || args.targets.contains(name);
    let chosen: Vec<&String> = known.iter().filter(is_chosen).collect();
    let built = succeeds(&mut cargo_fuzz(workspace, "build"))?;
    ensure!(built, "the fuzzers do not build");
    if args.keep {
        for name in chosen {
            println!("{}", corpus::keep(workspace, name)?);
        }
        return Ok(true);
    }
    let rounds = chosen.len().div_ceil(args.jobs.max(1)) as u64;
    println!("{} targets, about {} s", chosen.len(), rounds * args.seconds);

    let next = AtomicUsize::new(0);
    let work = || {
        let next = || chosen.get(next.fetch_add(1, Ordering::Relaxed));
        let turns = std::iter::from_fn(next).map(|name| (name.as_str(), fuzz(workspace, name, args.seconds)));
        turns.collect::<Vec<_>>()
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        let done = done.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done.flatten().collect::<Vec<_>>()
    });
    done.sort_by_key(|(name, _)| *name);
    println!("\n{}", stats::HEAD);
    let mut in_order = true;
    for (name, outcome) in done {
        let stats = outcome?;
        println!("{}", stats.row(name));
        in_order &= stats.in_order;
    }
    Ok(in_order)
}

/// Fails with one line that names the missing tool.
fn ensure_tools(workspace: &Workspace) -> Result<()> {
    ensure!(
        works(nightly(workspace).arg("--version")),
        "fuzzing needs the nightly compiler: rustup toolchain install nightly"
    );
    ensure!(
        works(nightly(workspace).args(["fuzz", "--version"])),
        "fuzzing needs cargo-fuzz: cargo install cargo-fuzz --version 0.13.2 --locked"
    );
    Ok(())
}

/// The cargo of the nightly toolchain, whichever toolchain runs this.
fn nightly(workspace: &Workspace) -> Command {
    let mut cargo = workspace.command("cargo");
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(variable);
    }
    cargo.arg("+nightly");
    cargo
}

fn cargo_fuzz(workspace: &Workspace, verb: &str) -> Command {
    let mut cargo = nightly(workspace);
    cargo.args(["fuzz", verb, "--fuzz-dir", PROGRAMS]);
    cargo.env("CARGO_TARGET_DIR", workspace.target.join("fuzz"));
    cargo
}

/// Runs the fuzzer of a target and prints its progress.
fn fuzz(workspace: &Workspace, name: &str, seconds: u64) -> Result<Stats> {
    let learnt = corpus::learnt(workspace, name)?;
    let found = workspace.below_target(Path::new("fuzz/artifacts").join(name))?;
    let log = workspace.target.join("fuzz").join(format!("{name}.log"));
    let mut file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut run = cargo_fuzz(workspace, "run");
    let seeds = workspace.root.join(SEEDS).join(name);
    run.arg(name).args([&learnt, &seeds]).arg("--");
    let dictionary = workspace.root.join(DICTIONARIES).join(name);
    if dictionary.exists() {
        run.arg(format!("-dict={}", dictionary.display()));
    }
    run.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1");
    let child = run.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = child.context("cannot start cargo fuzz")?;
    let said = BufReader::new(child.stderr.take().context("a piped standard error is there")?);
    let mut stats = Stats::default();
    for line in said.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
        if stats.read(&line) {
            println!("{name}: {stats}");
        }
    }
    stats.in_order = child.wait()?.success();
    if !stats.in_order && !stats.interrupted {
        let input = stats.found.as_deref().unwrap_or("none was written");
        println!("{name}: a fault: input {input}, log {}", log.display());
        println!("{name}: once mended, keep it in {SEEDS}/{name} under a name that says what it found");
    }
    Ok(stats)
}
