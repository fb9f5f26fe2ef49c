//! The project's habits as commands: `cargo xtask tidy`, `test`, `bench`, `compare`, `reliability`, `attack`, `sim`,
//! `conformance`, `chaos-clients`, `autobahn`, `fuzz`, `book`, `dashboards`, `dist` and `sbom`.
//!
//! They work from any folder of the repository and read nothing from standard input. They write below the target
//! folder, into `node_modules` and `dist` of the JavaScript client, the dashboards of Grafana, below `docs/perf` for a comparison, below
//! `docs/reliability` for promises and attacks, and where they are told to. The exit code is 0 only when everything
//! passed.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's output is what it is for"
)]

mod autobahn;
mod bench;
mod book;
mod clients;
mod dashboards;
mod dist;
mod fuzz;
mod loadtest;
mod packages;
mod programs;
mod sbom;
mod sim;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::autobahn::AutobahnArgs;
use crate::bench::BenchArgs;
use crate::clients::{ChaosArgs, ConformanceArgs};
use crate::dist::DistArgs;
use crate::fuzz::FuzzArgs;
use crate::loadtest::{AttackArgs, CompareArgs, ReliabilityArgs};
use crate::sim::SimArgs;
use crate::test::TestArgs;
use crate::workspace::Workspace;

/// The project's habits as commands.
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
    /// Check the habits that neither the compiler, nor Clippy, nor cargo-deny checks
    ///
    /// These are: which crate uses which, the head and the length of each file, notes to oneself, sleeping tests,
    /// machine paths, manifests, links and dashboards. Faults are printed as `file:line: what to do`.
    Tidy,
    /// Run everything that a change must pass
    ///
    /// Formatting, Clippy, tidy, documentation, the book, tests, documentation tests, dependencies. A failed step does not stop
    /// the others. The last line of the output is `N passed, N failed`, with `, N skipped` where something could not
    /// run.
    ///
    /// Tests that need Python, Node.js, Chromium or Prometheus are skipped, visibly, if it is missing. On Debian, when
    /// run as root, missing packages are installed and their services are not started.
    Test(TestArgs),
    /// Measure what the hot paths cost, now or against another revision
    ///
    /// Each case is measured as wall time (criterion) and as a number of instructions (gungraun under valgrind, which
    /// must be installed). In wall time a case takes about 2 s per turn and side, and the machine should be quiet
    /// meanwhile. Instructions can be counted on a busy machine.
    ///
    /// With `--against REV` that revision is checked out and built below the target folder, with its own benches. Both
    /// sides take turns, and each line gives before, after and their ratio (below 1 is better).
    ///
    /// Exit codes: 0 when everything was measured, 1 when something could not be, 2 for a wrong argument.
    #[command(
        after_help = "Examples:\n  cargo xtask bench encode --wall\n  cargo xtask bench --against main --instructions\n  cargo xtask bench --save docs/perf/2026-11-21-8-cores/benches.txt"
    )]
    Bench(BenchArgs),
    /// Measure Tickwire and the servers that it is compared with, and keep the results
    ///
    /// Builds for release, runs the load test's scenarios and writes `report.md` to `docs/perf/DAY-MACHINE`. The
    /// figures of each round go below the target folder. It takes about forty minutes and shows how much is left. It
    /// needs two cores that nothing else uses.
    #[command(
        after_help = "Examples:\n  cargo xtask compare --quick\n  cargo xtask compare hot-1k hot-19k --peer tickwire --peer floor\n  cargo xtask compare market --peer tickwire --tickwire-binary before=target/before/release/tickwire"
    )]
    Compare(CompareArgs),
    /// Test what the broker promises at full size, and keep the results
    ///
    /// Builds for release and runs the load test's `chaos`, `stall` and `slowlink`. Writes their tables to
    /// `docs/reliability/DAY-MACHINE`. Takes about ten minutes; `slowlink` needs root.
    Reliability(ReliabilityArgs),
    /// Attack a broker in each way of docs/ATTACKS.md, beside subscribers that must notice nothing
    ///
    /// Builds for release and runs the load test's `attack`: a thousand attackers of each row beside a thousand honest
    /// subscribers. It takes about a quarter of an hour; rows about deadlines take as long as these. It needs two cores
    /// that nothing else uses. A run of all rows at full size is kept in `docs/reliability/DAY-MACHINE`, any other
    /// below the target folder.
    ///
    /// Exit codes: 0 when every attacker got its answer, the broker's memory stayed bounded and no honest subscriber
    /// missed anything; 1 otherwise; 2 for a wrong argument. The delays of honest subscribers are reported and fail
    /// nothing.
    #[command(
        after_help = "Examples:\n  cargo xtask attack --quick\n  cargo xtask attack --row 7 --row 9 --seconds 5"
    )]
    Attack(AttackArgs),
    /// Simulate the broker's core, its clients and the network between them under seeds
    ///
    /// A seed stands for a world and everything that happens in it: publishers, subscriptions that come and go, sockets
    /// that take a byte at a time, readers that stall, connections that break, restarts. Clients read real bytes and
    /// check every promise of docs/PROTOCOL.md. The same seed always gives the same run.
    ///
    /// A seed that fails is printed with the promise that was broken, the command that replays it, and a shortened run.
    ///
    /// With `--mutations` each fault of crates/router/src/planted.rs is planted by itself, to see that the simulator
    /// finds it. This takes some minutes.
    ///
    /// Exit codes: 0 when every promise was kept (or every planted fault found), 1 otherwise, 2 for a wrong argument.
    #[command(
        after_help = "Examples:\n  cargo xtask sim --seeds 100000\n  cargo xtask sim --replay 1628\n  cargo xtask sim --mutations"
    )]
    Sim(SimArgs),
    /// Play the cases of clients/conformance with each client: Rust, JavaScript, Python
    ///
    /// Prints one table: how many cases there are, how many plays of them in both codecs, how many need what a client
    /// does not have, and how many failed. With `--planted` each client is also run with each planted fault, and the
    /// cases must find it.
    ///
    /// The JavaScript client needs Node.js and its packages (`npm ci` in clients/js), the Python client its packages in
    /// clients/python/.venv.
    ///
    /// Exit codes: 0 when every client did what every case says, and each planted fault was found; 1 otherwise; 2 for a
    /// wrong argument.
    #[command(
        after_help = "Examples:\n  cargo xtask conformance\n  cargo xtask conformance --client js --planted"
    )]
    Conformance(ConformanceArgs),
    /// Run each client on a bad network: Rust, JavaScript, Python
    ///
    /// Builds for release and runs the load test's `chaos` once for each client, with the same messages and faults.
    /// Prints one table. It takes about three minutes for each client.
    ///
    /// Exit codes: 0 when every message was accounted for, 1 otherwise, 2 for a wrong argument.
    #[command(
        after_help = "Examples:\n  cargo xtask chaos-clients\n  cargo xtask chaos-clients --client python --publish 30000"
    )]
    ChaosClients(ChaosArgs),
    /// Run the Autobahn test suite against the broker's WebSocket
    ///
    /// Builds for release, starts the broker with its echo route open and runs the suite's 517 cases, through plain
    /// writes and through `io_uring`. Every case must pass in behaviour and close. A weaker verdict, or a case that was
    /// not tested, fails.
    ///
    /// TICKWIRE_AUTOBAHN names the folder with the suite's scripts setup.sh and run.sh, which need Python 3.11. The
    /// reports go to target/autobahn.
    #[command(
        after_help = "Examples:\n  cargo xtask autobahn\n  cargo xtask autobahn --egress plain 6.4.1 \"9.*\"\n  cargo xtask autobahn \"-12.*\" \"-13.*\"\n  cargo xtask autobahn --tls"
    )]
    Autobahn(AutobahnArgs),
    /// Run libFuzzer against every parser of foreign data
    ///
    /// These are the parsers of frames, requests in both codecs, topics and patterns, recordings, and the
    /// configuration. Each runs for a minute unless told otherwise. What was learnt stays in target/fuzz, and the next
    /// run goes on from there. Needs the nightly compiler and cargo-fuzz, and names what is missing.
    #[command(
        after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --target frames --seconds 3600\n  cargo xtask fuzz --seconds 300 --jobs 4"
    )]
    Fuzz(FuzzArgs),
    /// Build the documentation as a site with search, and check its links
    ///
    /// The site goes to target/book/html. Needs mdBook, or Python, to install it below the target folder.
    Book,
    /// Make the dashboards for Grafana from deploy/grafana/dashboards.toml
    ///
    /// The files go to deploy/grafana/dashboards. `cargo xtask tidy` checks that they agree with the source.
    Dashboards,
    /// Make the packages: a .deb, and archives with the program
    ///
    /// The program is stripped and has no path of this machine in it. Packages hold completions, manual pages, units for
    /// systemd, licences and the bill of materials; what is in them is checked. They go to target/dist. The static
    /// binary needs the target x86_64-unknown-linux-musl of rustup, the .deb needs dpkg-deb; what cannot be made is named.
    ///
    /// The same source and compiler give the same bytes. Files have the time of SOURCE_DATE_EPOCH, or of the last commit.
    ///
    /// Needs cargo-cyclonedx. Exit codes: 0 when all that can be made is in order, 1 otherwise, 2 for a wrong argument.
    #[command(after_help = "Examples:\n  cargo xtask dist\n  cargo xtask dist --check --install")]
    Dist(DistArgs),
    /// Write the program's bill of materials: CycloneDX JSON in the target folder
    ///
    /// Needs cargo-cyclonedx.
    Sbom,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let workspace = Workspace::load()?;
    let passed = match args.command {
        Command::Tidy => tidy::run(&workspace)?,
        Command::Test(args) => test::run(&workspace, &args)?,
        Command::Bench(args) => bench::run(&workspace, &args)?,
        Command::Compare(args) => loadtest::compare(&workspace, &args)?,
        Command::Reliability(args) => loadtest::reliability(&workspace, &args)?,
        Command::Attack(args) => loadtest::attack(&workspace, &args)?,
        Command::Sim(args) => sim::run(&workspace, &args)?,
        Command::Conformance(args) => clients::conformance(&workspace, &args)?,
        Command::ChaosClients(args) => clients::chaos(&workspace, &args)?,
        Command::Autobahn(args) => autobahn::run(&workspace, &args)?,
        Command::Fuzz(args) => fuzz::run(&workspace, &args)?,
        Command::Book => book::run(&workspace)?,
        Command::Dashboards => dashboards::run(&workspace)?,
        Command::Dist(args) => dist::run(&workspace, &args)?,
        Command::Sbom => sbom::run(&workspace)?,
    };
    Ok(ExitCode::from(u8::from(!passed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_picture_led_nowhere() {
        let files = Workspace::load().unwrap().files().unwrap();
        assert!(
            files
                .iter()
                .any(|file| file.path == "docs/img/console-market.png")
        );
    }

    #[test]
    fn command_lines_in_the_documents_are_understood() {
        let workspace = Workspace::load().unwrap();
        let mut count = 0;
        for file in workspace.files().unwrap().iter().filter(|file| file.is("md")) {
            for line in file.text.lines().filter(|line| line.starts_with("cargo xtask ")) {
                let line = line.split('#').next().unwrap_or(line);
                let words = line.split_whitespace().skip(1);
                if let Err(error) = Args::try_parse_from(words) {
                    panic!("{}: {line}: {error}", file.path);
                }
                count += 1;
            }
        }
        assert!(count >= 15, "only {count} lines were found");
    }
}
