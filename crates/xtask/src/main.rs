//! The project's own habits as commands: `cargo xtask tidy`, `test`, `bench`, `compare`, `reliability`, `sim`, `autobahn`,
//! `fuzz` and `sbom`.
//!
//! Works from any folder of the repository, reads nothing from standard input and writes only below the target folder,
//! into `node_modules` of the test scripts, below `docs/perf` for a comparison, below
//! `docs/reliability` for what is promised, and where it is told to. The exit code is 0
//! only when everything passed.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's output is what it is for"
)]

mod autobahn;
mod bench;
mod compare;
mod programs;
mod reliability;
mod sim;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::autobahn::AutobahnArgs;
use crate::bench::BenchArgs;
use crate::compare::CompareArgs;
use crate::reliability::ReliabilityArgs;
use crate::sim::SimArgs;
use crate::test::TestArgs;
use crate::workspace::Workspace;

/// The project's own habits as commands.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    arg_required_else_help = true
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the habits that neither the compiler nor Clippy knows
    ///
    /// Which crate may use which, the head of each file, the size of files and functions, leftovers, sleeping tests,
    /// unsafe code, machine paths, manifests and links. Faults are printed as `file:line: what to do`.
    ///
    /// Files and functions over the limits are listed in crates/xtask/tidy-ratchet.toml with their size, which may
    /// only shrink.
    Tidy,
    /// Run everything that a change must pass
    ///
    /// Formatting, Clippy, tidy, documentation, tests, documentation tests. A failed step does not stop the others.
    /// The last line of the output is `N passed, N failed`, with `, N skipped` where something could not run.
    ///
    /// Tests that need a Python, Node.js, Chromium or Prometheus are skipped, visibly, where there is none. Running as
    /// root on Debian, missing packages are installed, their services not started.
    Test(TestArgs),
    /// Measure what the hot paths cost, now or against another revision
    ///
    /// Each case is measured as wall time (criterion) and as a number of instructions (gungraun under valgrind, which must
    /// be installed). A case takes about 2 s per turn and side in wall time; keep the machine quiet meanwhile. Instructions
    /// do not mind a busy machine.
    ///
    /// With `--against REV` that revision is checked out and built below the target folder, with its own benches; both sides
    /// take turns, and each line gives before, after and their ratio (below 1 is better).
    ///
    /// Exit codes: 0 when everything was measured, 1 when something could not be, 2 for a wrong argument.
    #[command(
        after_help = "Examples:\n  cargo xtask bench encode --wall\n  cargo xtask bench --against main --instructions\n  cargo xtask bench --save docs/perf/2026-11-21-8-cores/benches.txt"
    )]
    Bench(BenchArgs),
    /// Measure Tickwire and the servers that it is compared with, and keep the results
    ///
    /// Builds for release, runs the load test's scenarios and writes `results.json` and `report.html` to
    /// `docs/perf/DAY-MACHINE`. Takes about half an hour, says how much is left, and wants two cores that nobody else uses.
    #[command(
        after_help = "Examples:\n  cargo xtask compare --quick\n  cargo xtask compare hot-1k hot-19k --peer tickwire --peer floor\n  cargo xtask compare market --peer tickwire --tickwire-binary mimalloc=target/mimalloc/release/tickwire"
    )]
    Compare(CompareArgs),
    /// Put what the broker promises to the test at full size, and keep the results
    ///
    /// Builds for release and runs the load test's `chaos`, `stall` and `slowlink`; writes their tables and figures to
    /// `docs/reliability/DAY-MACHINE`. Takes about ten minutes; `slowlink` needs root.
    Reliability(ReliabilityArgs),
    /// Simulate the broker's core, its clients and the network between them under seeds
    ///
    /// A seed stands for a world and everything that happens in it: publishers, subscriptions that come and go, sockets that
    /// take a byte at a time, readers that stall, connections that break, restarts. Clients read real bytes and check every
    /// promise of docs/PROTOCOL.md. The same seed always gives the same run.
    ///
    /// A seed that fails is printed with the promise that was broken, the command that replays it, and a shortened run.
    ///
    /// With `--mutations` faults are planted into a copy of the sources, to see that the simulator finds them. Takes about
    /// half a minute for each.
    ///
    /// Exit codes: 0 when every promise was kept (or every planted fault found), 1 when not, 2 for a wrong argument.
    #[command(
        after_help = "Examples:\n  cargo xtask sim --seeds 100000\n  cargo xtask sim --replay 1628\n  cargo xtask sim --mutations"
    )]
    Sim(SimArgs),
    /// Have the broker's WebSocket judged by the Autobahn test suite
    ///
    /// Builds for release, starts the broker with its echo route open and runs the suite's 517 cases, through plain writes and
    /// through `io_uring`. Every case must be in order in behaviour and close; that it is nearly so, or was not tested, fails.
    ///
    /// TICKWIRE_AUTOBAHN names the folder with the suite's scripts setup.sh and run.sh, which need a Python 3.11. Its reports
    /// go to target/autobahn.
    #[command(
        after_help = "Examples:\n  cargo xtask autobahn\n  cargo xtask autobahn --egress plain 6.4.1 \"9.*\"\n  cargo xtask autobahn \"-12.*\" \"-13.*\"\n  cargo xtask autobahn --tls"
    )]
    Autobahn(AutobahnArgs),
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let workspace = Workspace::load()?;
    let passed = match args.command {
        Command::Tidy => tidy::run(&workspace)?,
        Command::Test(args) => test::run(&workspace, &args)?,
        Command::Bench(args) => bench::run(&workspace, &args)?,
        Command::Compare(args) => compare::run(&workspace, &args)?,
        Command::Reliability(args) => reliability::run(&workspace, &args)?,
        Command::Sim(args) => sim::run(&workspace, &args)?,
        Command::Autobahn(args) => autobahn::run(&workspace, &args)?,
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
