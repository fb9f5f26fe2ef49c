//! `cargo xtask attack`: clients that mean harm beside clients that do not, row by row, written to `docs/reliability/`.
//!
//! Builds for release and runs the load test's `attack`, which leaves a table, its figures and the same as Markdown in a folder
//! named after the day and the machine. A quick run is small, shows that everything works, and goes below the target folder.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::compare::{figures_file, load_test, results_folder};
use crate::workspace::Workspace;

/// What a quick run is like.
const QUICK: [&str; 3] = ["--attackers=100", "--subscribers=100", "--seconds=3"];

/// What to attack with.
#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    /// Only this row of docs/ATTACKS.md; may be repeated
    #[arg(long, value_name = "N")]
    row: Vec<u8>,
    /// Attackers
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    attackers: Option<u32>,
    /// Honest subscribers
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    subscribers: Option<u32>,
    /// How long a row attacks, and how long it is quiet before
    #[arg(long, value_name = "S", conflicts_with = "quick")]
    seconds: Option<u64>,
    /// Small and short, into the target folder: shows that everything works
    #[arg(long)]
    quick: bool,
}

impl AttackArgs {
    /// Its words for the load test.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.row.iter().map(|row| format!("--row={row}")).collect();
        if self.quick {
            words.extend(QUICK.map(str::to_owned));
        }
        let numbers = [
            ("attackers", self.attackers.map(u64::from)),
            ("subscribers", self.subscribers.map(u64::from)),
            ("seconds", self.seconds),
        ];
        let given = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name, number?)));
        words.extend(given.map(|(name, number)| format!("--{name}={number}")));
        words
    }

    /// Whether what it finds is what the project keeps: all rows at full size.
    fn is_full(&self) -> bool {
        self.words().is_empty()
    }
}

/// Builds, runs and writes. True when every row got its answers and nobody honest missed anything.
pub(crate) fn run(workspace: &Workspace, args: &AttackArgs) -> Result<bool> {
    let mut command = load_test(workspace)?;
    let folder = match args.is_full() {
        true => results_folder(workspace, "docs/reliability")?,
        false => workspace.target.join("attack"),
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    command
        .arg("attack")
        .args(args.words())
        .arg("--json")
        .arg(figures_file(workspace, "attack")?)
        .arg("--markdown")
        .arg(folder.join("attack.md"))
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot run the load test")?;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{table}");
    let path = folder.join("attack.txt");
    fs::write(&path, table.trim_start()).with_context(|| format!("cannot write {}", path.display()))?;
    println!("results are in {}", folder.display());
    Ok(output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_run_is_kept() {
        let none = || AttackArgs {
            row: Vec::new(),
            attackers: None,
            subscribers: None,
            seconds: None,
            quick: false,
        };
        assert!(none().is_full());
        for (args, words) in [
            (
                AttackArgs {
                    row: vec![7, 8],
                    ..none()
                },
                "--row=7 --row=8",
            ),
            (
                AttackArgs {
                    attackers: Some(5),
                    seconds: Some(3),
                    ..none()
                },
                "--attackers=5 --seconds=3",
            ),
            (
                AttackArgs {
                    quick: true,
                    ..none()
                },
                "--attackers=100 --subscribers=100 --seconds=3",
            ),
        ] {
            assert_eq!(args.words().join(" "), words);
            assert!(!args.is_full());
        }
    }
}
