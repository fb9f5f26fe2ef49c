//! `tickwire-sim`: runs seeds on all cores, replays one, and shortens failing ones. `cargo xtask sim` starts it.
//!
//! Exit codes: 0 when every promise was kept; 1 when one was broken or a result could not be written; 2 for a wrong
//! argument.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's output is what it is for"
)]

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
#[cfg(planted)]
use tickwire_router::planted::{Fault, plant};
use tickwire_sim::{Broken, Plan, Tally, catch_panics, run, shrink};

/// How many seeds a thread takes at a time.
const CHUNK: u64 = 16;
/// How many failures end a run.
const FAILURES_MAX: usize = 10;
/// How many seeds must pass when no fault is planted.
#[cfg(planted)]
const SOUND_SEEDS: u64 = 1_000;

/// Simulate the broker's core, its clients and the network between them under seeds.
#[derive(Debug, Parser)]
#[command(name = "tickwire-sim", version)]
struct Args {
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
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// Write a summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plant each fault and report how many seeds it takes to find it
    #[cfg(planted)]
    #[arg(long)]
    mutations: bool,
    /// With --mutations: only faults whose name contains this text
    #[cfg(planted)]
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// The results of all runs together.
#[derive(Debug, Default)]
struct Summary {
    seeds: u64,
    tally: Tally,
    /// The combined hash of all runs, independent of their order.
    hash: u64,
    failures: Vec<(u64, Broken)>,
}

impl Summary {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.tally.add(&other.tally);
        self.hash = self.hash.wrapping_add(other.hash);
        self.failures.extend(other.failures);
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    catch_panics();
    if let Some(seed) = args.replay {
        return replay(seed);
    }
    let jobs = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1)
        .max(1);
    #[cfg(planted)]
    if args.mutations {
        return mutations(&args, jobs);
    }
    let begun = Instant::now();
    let end = args.from.saturating_add(args.seeds);
    let summary = run_all(args.from..end, FAILURES_MAX, jobs);
    let seconds = begun.elapsed().as_secs_f64();
    for (seed, broken) in &summary.failures {
        println!("seed {seed}: {broken}");
        println!("  again: cargo xtask sim --replay {seed}");
    }
    if let Some((seed, broken)) = summary.failures.first() {
        println!("\nseed {seed}, shortened:");
        show(&shrink(&Plan::from_seed(*seed), broken.rule));
    }
    println!("\n{}", table(&summary, jobs, seconds));
    let written = write(&args, &to_json(&args, &summary, jobs, seconds));
    if summary.failures.is_empty() && written {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Writes `summary` to the file of `--json`, if there is one. Returns false if that fails.
fn write(args: &Args, summary: &serde_json::Value) -> bool {
    args.json.as_ref().is_none_or(|path| {
        std::fs::write(path, format!("{summary:#}\n"))
            .inspect_err(|error| eprintln!("cannot write {}: {error}", path.display()))
            .is_ok()
    })
}

/// Plants each fault by itself and prints the seed that found it. A simulator is worth what it finds.
#[cfg(planted)]
fn mutations(args: &Args, jobs: usize) -> ExitCode {
    let wanted = |fault: &Fault| args.only.as_ref().is_none_or(|only| fault.name().contains(only));
    let faults: Vec<Fault> = Fault::ALL.iter().copied().filter(wanted).collect();
    if faults.is_empty() {
        eprintln!("no planted fault has that in its name");
        return ExitCode::FAILURE;
    }
    if !run_all(0..SOUND_SEEDS, 1, jobs).failures.is_empty() {
        eprintln!("the simulator fails without any planted fault; `cargo xtask sim` shows how");
        return ExitCode::FAILURE;
    }
    let mut rows = vec![("none", None)];
    for fault in faults {
        plant(fault);
        let found = run_all(0..fault.seeds(), 1, jobs).failures.into_iter().next();
        match &found {
            Some((seed, broken)) => println!("{}: seed {seed} {}", fault.name(), broken.rule),
            None => println!("{}: not found in {} seeds", fault.name(), fault.seeds()),
        }
        rows.push((
            fault.name(),
            found.map(|(seed, broken)| (seed, broken.rule.to_string())),
        ));
    }
    println!("\n| planted | found at seed | by |\n|---|---:|---|");
    for (name, found) in &rows {
        let (seed, by) = found
            .as_ref()
            .map_or(("–".to_owned(), ""), |(seed, by)| (seed.to_string(), by));
        println!("| {name} | {seed} | {by} |");
    }
    let missed = rows[1..].iter().filter(|(_, found)| found.is_none()).count();
    println!("\n{} planted, {missed} not found", rows.len() - 1);
    let rows = rows.iter().map(|(name, found)| {
        let (seed, by) = found.as_ref().map_or((None, ""), |(seed, by)| (Some(seed), by));
        json!({ "planted": name, "seed": seed, "by": by })
    });
    let written = write(args, &rows.collect::<Vec<_>>().into());
    if missed == 0 && written {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs `seeds` on `jobs` threads until there are `failures_max` failures. Reports the progress.
fn run_all(seeds: Range<u64>, failures_max: usize, jobs: usize) -> Summary {
    let begun = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, next, stop, end) = (sender.clone(), &next, &stop, seeds.end);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(CHUNK, Ordering::Relaxed);
                    let chunk = first..end.min(first + CHUNK);
                    if chunk.is_empty() || sender.send(run_chunk(chunk)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut said = Instant::now();
        loop {
            match results.recv_timeout(Duration::from_secs(1)) {
                Ok(part) => summary.add(part),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if summary.failures.len() >= failures_max {
                stop.store(true, Ordering::Relaxed);
            }
            if said.elapsed() >= Duration::from_secs(2) {
                said = Instant::now();
                progress(&summary, seeds.end - seeds.start, begun);
            }
        }
    });
    summary.failures.sort_by_key(|(seed, _)| *seed);
    summary
}

fn run_chunk(seeds: Range<u64>) -> Summary {
    let mut summary = Summary::default();
    for seed in seeds {
        let outcome = run(&Plan::from_seed(seed), false);
        summary.seeds += 1;
        summary.tally.add(&outcome.tally);
        summary.hash = summary.hash.wrapping_add(outcome.hash ^ seed);
        summary
            .failures
            .extend(outcome.broken.map(|broken| (seed, broken)));
    }
    summary
}

fn progress(summary: &Summary, seeds: u64, begun: Instant) {
    let rate = summary.seeds as f64 / begun.elapsed().as_secs_f64();
    let left = (seeds - summary.seeds.min(seeds)) as f64 / rate.max(1e-9);
    eprintln!(
        "{} of {seeds} seeds, {rate:.0}/s, {left:.0} s left, {} failed",
        summary.seeds,
        summary.failures.len()
    );
}

/// Runs a seed twice and shows the second run.
fn replay(seed: u64) -> ExitCode {
    let plan = Plan::from_seed(seed);
    let (first, second) = (run(&plan, false), show(&plan));
    if first.hash != second {
        println!(
            "the same seed gave two different runs: {:#x} and {second:#x}",
            first.hash
        );
        return ExitCode::FAILURE;
    }
    println!("run {second:#018x}, {} operations", plan.ops.len());
    let Some(broken) = first.broken else {
        return ExitCode::SUCCESS;
    };
    let short = shrink(&plan, broken.rule);
    println!("\nshortened to {} operations:", short.ops.len());
    show(&short);
    ExitCode::FAILURE
}

/// Runs `plan` and prints what happens. Returns the run's hash.
fn show(plan: &Plan) -> u64 {
    println!("{:?}", plan.setup);
    let outcome = run(plan, true);
    for line in outcome.lines {
        println!("{line}");
    }
    if let Some(broken) = outcome.broken {
        println!("{broken}");
    }
    outcome.hash
}

/// The summary as a Markdown table.
fn table(summary: &Summary, jobs: usize, seconds: f64) -> String {
    let rate = summary.seeds as f64 / seconds;
    let mut text = format!(
        "| what | how much |\n|---|---:|\n| seeds | {} |\n| broken promises | {} |\n",
        summary.seeds,
        summary.failures.len()
    );
    for (name, sum) in summary.tally.named() {
        text += &format!("| {name} | {sum} |\n");
    }
    text += &format!("| seconds | {seconds:.1} |\n| seeds per second on {jobs} threads | {rate:.0} |\n");
    text += &format!("| all runs | {:#018x} |", summary.hash);
    text
}

fn to_json(args: &Args, summary: &Summary, jobs: usize, seconds: f64) -> serde_json::Value {
    let failures = summary
        .failures
        .iter()
        .map(|(seed, broken)| json!({ "seed": seed, "rule": broken.rule.to_string(), "what": broken.what }));
    json!({
        "from": args.from,
        "seeds": summary.seeds,
        "jobs": jobs,
        "seconds": seconds,
        "seeds_per_s": summary.seeds as f64 / seconds,
        "hash": format!("{:#018x}", summary.hash),
        "happened": summary.tally.to_json(),
        "failures": failures.collect::<Vec<_>>(),
    })
}
