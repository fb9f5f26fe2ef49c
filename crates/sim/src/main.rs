//! `tickwire-sim`: runs seeds on all cores, replays one, shortens what fails. Started by `cargo xtask sim`.
//!
//! Exit codes: 0 when every promise was kept, 1 when one was broken or a result could not be written, 2 for a wrong
//! argument.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's output is what it is for"
)]

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

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 16;
/// Failures after which a run ends.
const FAILURES_MAX: usize = 10;

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
    /// Threads [default: the cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run this seed alone, twice, and show what happened
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// Stop at the first failure and do not shorten it
    #[arg(long)]
    first: bool,
    /// Write a summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the faults that can be planted, each with the seeds within which it must be found
    #[cfg(planted)]
    #[arg(long)]
    faults: bool,
    /// Plant this fault into the broker's core
    #[cfg(planted)]
    #[arg(long, value_name = "NAME", value_parser = fault)]
    plant: Option<Fault>,
}

/// Reads the name of a fault.
#[cfg(planted)]
fn fault(name: &str) -> Result<Fault, String> {
    let fault = Fault::ALL.iter().find(|fault| fault.name() == name);
    fault
        .copied()
        .ok_or_else(|| "no such fault; --faults prints them".to_owned())
}

/// What all runs came to.
#[derive(Debug, Default)]
struct Summary {
    seeds: u64,
    tally: Tally,
    /// The hashes of all runs together, whatever their order.
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
    #[cfg(planted)]
    {
        if args.faults {
            for fault in Fault::ALL {
                println!("{} {}", fault.seeds(), fault.name());
            }
            return ExitCode::SUCCESS;
        }
        if let Some(fault) = args.plant {
            plant(fault);
        }
    }
    if let Some(seed) = args.replay {
        return replay(seed);
    }
    let jobs = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1)
        .max(1);
    let begun = Instant::now();
    let mut summary = run_all(&args, jobs, begun);
    summary.failures.sort_by_key(|(seed, _)| *seed);
    let seconds = begun.elapsed().as_secs_f64();
    for (seed, broken) in &summary.failures {
        println!("seed {seed}: {broken}");
        println!("  again: cargo xtask sim --replay {seed}");
    }
    if let Some((seed, broken)) = summary.failures.first().filter(|_| !args.first) {
        println!("\nseed {seed}, shortened:");
        show(&shrink(&Plan::from_seed(*seed), broken.rule));
    }
    println!("\n{}", table(&summary, jobs, seconds));
    let written = args.json.as_ref().is_none_or(|path| {
        let text = format!("{:#}\n", to_json(&args, &summary, jobs, seconds));
        std::fs::write(path, text)
            .inspect_err(|error| eprintln!("cannot write {}: {error}", path.display()))
            .is_ok()
    });
    if summary.failures.is_empty() && written {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all seeds on `jobs` threads and says how far it is.
fn run_all(args: &Args, jobs: usize, begun: Instant) -> Summary {
    let end = args.from.saturating_add(args.seeds);
    let failures_max = if args.first { 1 } else { FAILURES_MAX };
    let next = AtomicU64::new(args.from);
    let stop = AtomicBool::new(false);
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if first >= end || sender.send(run_chunk(first..end.min(first + CHUNK))).is_err() {
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
                progress(&summary, args.seeds, begun);
            }
        }
    });
    summary
}

fn run_chunk(seeds: std::ops::Range<u64>) -> Summary {
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

/// Runs `plan` and prints it. Returns the run's hash.
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

/// The summary as a table in Markdown.
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
