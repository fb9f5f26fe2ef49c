//! What the project depends on: licences, sources and bans of `deny.toml`, and known vulnerabilities where their list can be had.
//!
//! The list is the RustSec database, which cargo-deny fetches from GitHub. Where it cannot be fetched its check is skipped, visibly,
//! and the others are made; the same for all of them without cargo-deny.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::run_quietly;
use super::tally::{SKIPPED, Tally};
use crate::workspace::Workspace;

/// The longest that fetching the database may take.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Runs the checks that can be run.
pub(super) fn run(workspace: &Workspace) -> Result<Tally> {
    let deny = |args: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(["deny", "--locked"]).args(args);
        cargo
    };
    let mut tally = Tally::default();
    let skip = |tally: &mut Tally, line: String| {
        println!("{SKIPPED}{line}");
        tally.skipped += 1;
    };
    let installed = deny(&["--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        let line = "cargo deny: not installed; cargo install cargo-deny --version 0.20.2 --locked";
        skip(&mut tally, line.to_owned());
        return Ok(tally);
    }
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
