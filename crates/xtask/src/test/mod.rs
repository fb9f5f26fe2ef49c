//! `cargo xtask test`: everything that a change must pass, as steps that do not stop each other.
//!
//! A step has one or more results. Formatting, Clippy, tidy, documentation and the book have one each; the runs of tests have as
//! many as tests. The last line of the output is their sum. A step that cannot run at all is a failure. A test that
//! says that it did not run is skipped, never passed.

mod supply;
mod tally;
mod tools;

pub(crate) use self::tools::python;

use std::num::NonZeroUsize;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::tally::{SKIPPED, Tally};
use crate::book;
use crate::clients::suites;
use crate::programs::{run_and_read, succeeds, works};
use crate::tidy;
use crate::workspace::{Workspace, read, write};

/// The arguments of `test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Run this step and not the others; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// Install no Debian packages, no cargo-deny and none of the servers that the load test compares with, even where
    /// that is possible
    #[arg(long)]
    no_install: bool,
}

/// The tests that run at the same time, for each core: most of them wait for timers, clients and brokers.
const TESTS_PER_CORE: usize = 2;

/// A step of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting: cargo fmt --check
    Fmt,
    /// Lints: cargo clippy, warnings are failures
    Clippy,
    /// The project's habits: cargo xtask tidy
    Tidy,
    /// The documentation builds without a warning
    Doc,
    /// The documentation as a site, with mdBook; its links lead somewhere
    Book,
    /// Unit and integration tests, with cargo nextest where it is installed
    Tests,
    /// The own tests of the clients in JavaScript and Python; their packages are installed below the target folder and in
    /// clients/js/node_modules
    Clients,
    /// The examples in the documentation
    Doctests,
    /// Licences, sources and known vulnerabilities of the dependencies, with cargo-deny
    Supply,
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the steps and prints the sum. Returns true when nothing failed.
pub(crate) fn run(workspace: &Workspace, args: &TestArgs) -> Result<bool> {
    let all = args.only.is_empty();
    let steps = if all { Step::value_variants() } else { &args.only };
    let mut sum = Tally::default();
    let mut failed = Vec::new();
    for &step in steps {
        println!("\n== {}", step.name());
        let begun = Instant::now();
        let tally = run_step(workspace, step, args).unwrap_or_else(|error| {
            println!("{error:#}");
            Tally::of(false)
        });
        let outcome = if tally.failed == 0 { "ok" } else { "FAILED" };
        let seconds = begun.elapsed().as_secs_f64();
        println!("== {} {outcome}: {tally}, {seconds:.1} s", step.name());
        if tally.failed > 0 {
            failed.push(step);
        }
        sum.add(tally);
    }
    println!();
    for step in failed.iter().map(|step| step.name()) {
        println!("failed: {step}; again by itself: cargo xtask test --only {step}");
    }
    println!("{sum}");
    Ok(sum.failed == 0)
}

fn run_step(workspace: &Workspace, step: Step, args: &TestArgs) -> Result<Tally> {
    let line = match step {
        Step::Tidy => return Ok(Tally::of(tidy::run(workspace)?)),
        Step::Book => return run_book(workspace),
        Step::Tests => return run_tests(workspace, args),
        Step::Clients => return run_clients(workspace),
        Step::Supply => return supply::run(workspace, !args.no_install),
        Step::Doctests => return read_tests(workspace.cargo("test --doc")),
        Step::Fmt => "fmt --all --check",
        Step::Clippy => "clippy --workspace --all-targets --locked -- --deny warnings",
        Step::Doc => "doc --workspace --no-deps --document-private-items --locked",
    };
    let mut cargo = workspace.cargo(line);
    if step == Step::Doc {
        cargo.env("RUSTDOCFLAGS", "--deny warnings");
    }
    Ok(Tally::of(succeeds(&mut cargo)?))
}

/// Builds the book, if there is an mdBook.
fn run_book(workspace: &Workspace) -> Result<Tally> {
    if let Err(error) = book::program(workspace) {
        println!("{SKIPPED}book: {error:#}");
        return Ok(Tally {
            skipped: 1,
            ..Tally::default()
        });
    }
    Ok(Tally::of(book::run(workspace)?))
}

fn run_tests(workspace: &Workspace, args: &TestArgs) -> Result<Tally> {
    // Tests that miss something write it to this file: the runners do not show the output of a passed test.
    let skip_log = workspace.below_target("xtask")?.join("skipped.log");
    write(&skip_log, "")?;
    let tools = tools::prepare(workspace, !args.no_install);
    let has_nextest = works(&mut workspace.cargo("nextest --version"));
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) * TESTS_PER_CORE;
    let mut cargo = workspace.cargo(&format!("nextest run --no-tests pass --test-threads {threads}"));
    if !has_nextest {
        println!("cargo nextest is not installed; using cargo test");
        cargo = workspace.cargo("test --lib --bins --tests");
    }
    cargo.env("TICKWIRE_TEST_SKIP_LOG", &skip_log).envs(tools);
    let mut tally = read_tests(cargo)?;
    let skipped = read(&skip_log)?;
    for line in skipped.lines().filter(|line| line.starts_with(SKIPPED)) {
        println!("{line}");
        tally.skip_passed();
    }
    Ok(tally)
}

/// Runs the own tests of the clients that are not crates. One whose language is missing is skipped.
fn run_clients(workspace: &Workspace) -> Result<Tally> {
    // As the tests are built: by itself the program would be built of dependencies with fewer features, and these anew.
    if !succeeds(&mut workspace.cargo("test --no-run --workspace --locked"))? {
        return Ok(Tally::of(false));
    }
    let mut tools = tools::runtimes(workspace);
    tools.extend(tools::chromium().map(|program| ("CHROMIUM_BIN", program.into())));
    let mut tally = Tally::default();
    for suite in suites(workspace, &workspace.target.join("debug/tickwire")) {
        match suite.commands {
            Ok(commands) => {
                for mut command in commands {
                    command.envs(tools.iter().map(|(variable, program)| (variable, program)));
                    let (output, succeeded) = run_and_read(command)?;
                    tally.add(match Tally::read(&output, succeeded) {
                        // A check without counts is one result.
                        counts if counts == Tally::default() => Tally::of(succeeded),
                        counts => counts,
                    });
                }
            }
            Err(error) => {
                println!("{SKIPPED}{}: {error:#}", suite.name);
                tally.skipped += 1;
            }
        }
    }
    Ok(tally)
}

/// Runs tests of the workspace and counts their results.
fn read_tests(mut cargo: Command) -> Result<Tally> {
    cargo.args(["--workspace", "--locked", "--no-fail-fast", "--color", "never"]);
    let (output, succeeded) = run_and_read(cargo)?;
    Ok(Tally::read(&output, succeeded))
}
