//! `cargo xtask test`: everything that a change must pass, as steps that do not stop each other.
//!
//! A step is one or more results: formatting, Clippy, tidy and documentation are one each, the runs of tests as many as
//! they have tests. The last line of the output is their sum. A step that cannot run at all is a failure; a test that
//! says it did not run is skipped, never passed.

mod process;
mod supply;
mod tally;
mod tools;

use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use self::process::run_and_read;
use self::tally::Tally;
use crate::tidy;
use crate::workspace::Workspace;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Run this step and not the others; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// Install no Debian packages, no cargo-deny and none of the servers that the load test compares with, even where that
    /// would be possible
    #[arg(long)]
    no_install: bool,
}

/// A part of the whole.
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
    /// Unit and integration tests, with cargo nextest where it is installed
    Tests,
    /// The examples in the documentation
    Doctests,
    /// Licences, sources and known vulnerabilities of what is depended on, with cargo-deny
    Supply,
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the steps and prints the sum. True when nothing failed.
pub(crate) fn run(workspace: &Workspace, args: &TestArgs) -> Result<bool> {
    let steps = if args.only.is_empty() {
        Step::value_variants()
    } else {
        &args.only
    };
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
        println!(
            "== {} {outcome}: {tally}, {:.1} s",
            step.name(),
            begun.elapsed().as_secs_f64()
        );
        if tally.failed > 0 {
            failed.push(step);
        }
        sum.add(tally);
    }
    println!();
    for step in &failed {
        println!(
            "failed: {0}; again by itself: cargo xtask test --only {0}",
            step.name()
        );
    }
    println!("{sum}");
    Ok(sum.failed == 0)
}

fn run_step(workspace: &Workspace, step: Step, args: &TestArgs) -> Result<Tally> {
    let mut cargo = workspace.cargo();
    match step {
        Step::Fmt => cargo.args(["fmt", "--all", "--check"]),
        Step::Clippy => cargo.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ]),
        Step::Doc => cargo
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
            ])
            .env("RUSTDOCFLAGS", "--deny warnings"),
        Step::Tidy => return Ok(Tally::of(tidy::run(workspace)?)),
        Step::Tests => return run_tests(workspace, args),
        Step::Supply => return supply::run(workspace, !args.no_install),
        Step::Doctests => {
            cargo.args([
                "test",
                "--doc",
                "--workspace",
                "--locked",
                "--no-fail-fast",
                "--color",
                "never",
            ]);
            let (output, succeeded) = run_and_read(&mut cargo)?;
            return Ok(Tally::of_libtest(&output, succeeded));
        }
    };
    let status = cargo.status().context("cannot run cargo")?;
    Ok(Tally::of(status.success()))
}

fn run_tests(workspace: &Workspace, args: &TestArgs) -> Result<Tally> {
    let folder = workspace.target.join("xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Tests that find something missing say so here: the runners do not show what a passed test prints.
    let skip_log = folder.join("skipped.log");
    std::fs::write(&skip_log, "").with_context(|| format!("cannot write {}", skip_log.display()))?;
    let tools = tools::prepare(workspace, !args.no_install);

    let mut cargo = workspace.cargo();
    cargo.env("TICKWIRE_TEST_SKIP_LOG", &skip_log).envs(tools);
    let has_nextest = workspace
        .cargo()
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut tally = if has_nextest {
        cargo.args([
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--no-tests",
            "pass",
            "--color",
            "never",
        ]);
        let (output, succeeded) = run_and_read(&mut cargo)?;
        Tally::of_nextest(&output, succeeded)
    } else {
        println!("cargo nextest is not installed; using cargo test");
        cargo.args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--locked",
            "--no-fail-fast",
            "--color",
            "never",
        ]);
        let (output, succeeded) = run_and_read(&mut cargo)?;
        Tally::of_libtest(&output, succeeded)
    };
    let skipped =
        std::fs::read_to_string(&skip_log).with_context(|| format!("cannot read {}", skip_log.display()))?;
    for line in skipped.lines().filter(|line| line.starts_with(tally::SKIPPED)) {
        println!("{line}");
        tally.skip_passed();
    }
    Ok(tally)
}
