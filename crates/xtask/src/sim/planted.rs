//! Planted faults: the simulator is worth what it finds.
//!
//! The simulator is built with `--cfg planted`, below a target folder of its own. It then has every fault of
//! `crates/router/src/planted.rs` within it, plants the one that it is told, and runs seeds until one fails.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{PROFILE, SimArgs};
use crate::workspace::Workspace;

/// The simulator's program.
const PROGRAM: &str = "tickwire-sim";
/// Seeds that must pass while nothing is planted.
const SOUND_SEEDS: u64 = 1_000;

/// A fault that can be planted.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    name: String,
    /// Seeds within which it must be found.
    seeds: u64,
}

/// What became of a fault.
#[derive(Debug)]
struct Found {
    seed: Option<u64>,
    /// The promise that was broken.
    by: String,
}

/// Plants each fault and prints where it was found. True when all were.
pub(super) fn run(workspace: &Workspace, args: &SimArgs) -> Result<bool> {
    let simulator = Simulator::build(workspace)?;
    let wanted = |fault: &Fault| args.only.as_ref().is_none_or(|only| fault.name.contains(only));
    let faults: Vec<Fault> = simulator.faults()?.into_iter().filter(wanted).collect();
    ensure!(!faults.is_empty(), "no planted fault has that in its name");
    let mut rows = vec![("none".to_owned(), simulator.search(None, SOUND_SEEDS)?)];
    ensure!(
        rows[0].1.seed.is_none(),
        "the simulator fails without any planted fault; `cargo xtask sim` shows how"
    );
    for fault in faults {
        let found = simulator.search(Some(&fault.name), fault.seeds)?;
        match found.seed {
            Some(seed) => println!("{}: seed {seed} {}", fault.name, found.by),
            None => println!("{}: not found in {} seeds", fault.name, fault.seeds),
        }
        rows.push((fault.name, found));
    }
    println!("\n| planted | found at seed | by |\n|---|---:|---|");
    for (name, found) in &rows {
        let seed = found.seed.map_or("–".to_owned(), |seed| seed.to_string());
        println!("| {name} | {seed} | {} |", found.by);
    }
    if let Some(json) = &args.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, found)| serde_json::json!({ "planted": name, "seed": found.seed, "by": found.by }))
            .collect();
        fs::write(json, format!("{:#}\n", Value::from(rows)))
            .with_context(|| format!("cannot write {}", json.display()))?;
    }
    let missed = rows[1..].iter().filter(|(_, found)| found.seed.is_none());
    let missed = missed.count();
    println!("\n{} planted, {missed} not found", rows.len() - 1);
    Ok(missed == 0)
}

/// A simulator that plants faults.
struct Simulator<'w> {
    workspace: &'w Workspace,
    program: PathBuf,
    /// Where it leaves what it found.
    summary: PathBuf,
}

impl<'w> Simulator<'w> {
    fn build(workspace: &'w Workspace) -> Result<Self> {
        // Not where sound programs are: each change of these flags would build everything anew.
        let target = workspace.target.join("planted");
        let mut build = workspace.cargo();
        build
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "--cfg planted")
            .args(["build", "--profile", PROFILE, "--locked", "-p", PROGRAM]);
        let built = build.status().context("cannot run cargo")?;
        ensure!(built.success(), "the simulator does not build with faults in it");
        Ok(Self {
            workspace,
            program: target.join(PROFILE).join(PROGRAM),
            summary: target.join("summary.json"),
        })
    }

    /// The faults that it can plant.
    fn faults(&self) -> Result<Vec<Fault>> {
        let mut sim = self.workspace.command(&self.program);
        let output = sim.arg("--faults").output().context("cannot run the simulator")?;
        ensure!(output.status.success(), "the simulator cannot say its faults");
        let text = String::from_utf8(output.stdout).context("the simulator's faults")?;
        text.lines().map(parse).collect()
    }

    /// Runs up to `seeds` seeds with a fault planted, until one fails.
    fn search(&self, fault: Option<&str>, seeds: u64) -> Result<Found> {
        let mut sim = self.workspace.command(&self.program);
        sim.args(["--first", "--seeds", &seeds.to_string(), "--json"])
            .arg(&self.summary);
        if let Some(name) = fault {
            sim.args(["--plant", name]);
        }
        let output = sim.output().context("cannot run the simulator")?;
        let text = fs::read_to_string(&self.summary).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("the simulator left no summary: {said}")
        })?;
        fs::remove_file(&self.summary)
            .with_context(|| format!("cannot remove {}", self.summary.display()))?;
        let summary: Value = serde_json::from_str(&text).context("the summary is not JSON")?;
        let first = &summary["failures"][0];
        Ok(Found {
            seed: first["seed"].as_u64(),
            by: first["rule"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

/// Reads a line of `--faults`: the seeds, and the name.
fn parse(line: &str) -> Result<Fault> {
    let (seeds, name) = line
        .split_once(' ')
        .with_context(|| format!("{line:?} has no name"))?;
    Ok(Fault {
        name: name.to_owned(),
        seeds: seeds
            .parse()
            .with_context(|| format!("{line:?} has no number of seeds"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_number_of_seeds_and_a_name() {
        let fault = parse("1000 a gap is not sent").expect("a fault");
        assert_eq!((fault.seeds, fault.name.as_str()), (1_000, "a gap is not sent"));
        for line in ["", "1000", "a gap"] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
