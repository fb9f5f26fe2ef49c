//! `cargo xtask conformance` and `chaos-clients`: the same tests for the clients in Rust, JavaScript and Python, with
//! one table. And the clients' own tests, which are a step of `cargo xtask test`.
//!
//! `clients/conformance/README.md` says what a client's runner and its chaos program do. A client whose folder or
//! program is missing fails here. The figures go below the target folder.

mod programs;
mod suites;

pub(crate) use self::suites::suites;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use self::programs::{Interpreter, PYTHON_PATH};
use crate::programs::succeeds;
use crate::workspace::{Workspace, read};

/// The faults that each client can be planted with.
const FAULTS: [&str; 3] = ["resume_from_wrong_seq", "gap_swallowed", "stale_book"];
/// The figures of a chaos run in the table: the title of the column, and the name in the outcome.
const FIGURES: [(&str, &str); 9] = [
    ("published", "published"),
    ("received", "messages"),
    ("connections", "connections"),
    ("resumed", "recovered"),
    ("named in gaps", "gapped"),
    ("undeclared gaps", "undeclared"),
    ("duplicates", "duplicates"),
    ("false recovered", "false_recovered"),
    ("wrong content", "wrong_content"),
];

/// A client of Tickwire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    Rust,
    Js,
    Python,
}

/// The arguments of `conformance`.
#[derive(Debug, Args)]
pub(crate) struct ConformanceArgs {
    /// Only this client; may be repeated
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<Client>,
    /// Also plant each fault into each client, to see that the cases find it
    #[arg(long)]
    planted: bool,
}

/// The arguments of `chaos-clients`.
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// Only this client; may be repeated
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<Client>,
    /// Messages to publish for each client
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    publish: u64,
    /// The number of client programs
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(6..=2_000))]
    programs: u32,
    /// Messages to publish per second
    #[arg(long, value_name = "N", default_value_t = 2_400)]
    rate: u32,
    /// The seed of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
        }
    }

    /// The command that plays the cases.
    fn runner(self, workspace: &Workspace, planted: bool) -> Result<Command> {
        match self {
            Self::Rust => {
                let line = "nextest run --locked -p tickwire-client the_client_does_what_every_case_says";
                let mut command = workspace.cargo(line);
                if planted {
                    // A target folder of its own: each change of these flags would otherwise rebuild everything.
                    let target = workspace.below_target("planted")?;
                    command
                        .env("CARGO_TARGET_DIR", target)
                        .env("RUSTFLAGS", "--cfg planted");
                }
                Ok(command)
            }
            Self::Js => Ok(Interpreter::node(workspace)?.run(workspace, "--test test/conformance.test.mjs")),
            Self::Python => {
                let python = Interpreter::python(workspace)?;
                Ok(python.run(workspace, "-m pytest -q tests/test_conformance.py"))
            }
        }
    }

    /// The interpreter and the script of the chaos program. `None` for the client that the load test has itself.
    fn chaos_program(self, workspace: &Workspace) -> Result<Option<(Interpreter, PathBuf)>> {
        let (interpreter, script) = match self {
            Self::Rust => return Ok(None),
            Self::Js => (Interpreter::node(workspace)?, "test/chaos.mjs"),
            Self::Python => (Interpreter::python(workspace)?, "tests/chaos_client.py"),
        };
        let script = interpreter.folder.join(script);
        ensure!(script.is_file(), "{} is missing", script.display());
        Ok(Some((interpreter, script)))
    }
}

/// The clients that are meant: all, if none is named.
fn meant(named: &[Client]) -> &[Client] {
    if named.is_empty() {
        Client::value_variants()
    } else {
        named
    }
}

/// Plays the cases with each client. Returns true when all passed and, with `--planted`, each planted fault was found.
pub(crate) fn conformance(workspace: &Workspace, args: &ConformanceArgs) -> Result<bool> {
    let mut rows = Vec::new();
    let mut passed = true;
    for client in meant(&args.clients) {
        let found = Played::by(*client, workspace, None)?;
        passed &= found.passed;
        let mut row = vec![client.name().to_owned()];
        row.extend(found.columns());
        if args.planted {
            for fault in FAULTS {
                let planted = Played::by(*client, workspace, Some(fault))?;
                let is_found = !planted.passed && planted.failed > 0;
                passed &= is_found;
                row.push(if is_found {
                    format!("found by {}", planted.failed)
                } else {
                    "NOT FOUND".to_owned()
                });
            }
        }
        rows.push(row);
    }
    let mut titles = vec!["client", "cases", "plays", "not for it", "failed"];
    if args.planted {
        titles.extend(FAULTS);
    }
    println!("\n{}", table(&titles, &rows));
    Ok(passed)
}

/// What a client's runner found.
struct Played {
    passed: bool,
    cases: u64,
    plays: u64,
    /// How many cases need an ability that the client does not have.
    lacking: u64,
    failed: usize,
}

impl Played {
    fn by(client: Client, workspace: &Workspace, fault: Option<&str>) -> Result<Self> {
        println!(
            "\n{}{}",
            client.name(),
            fault.map_or(String::new(), |fault| format!(", planted: {fault}"))
        );
        let report = new_report(workspace, "conformance.json")?;
        let mut command = client.runner(workspace, fault.is_some())?;
        command.env("TICKWIRE_CONFORMANCE_REPORT", &report);
        if let Some(fault) = fault {
            command.env("TICKWIRE_PLANTED", fault);
        }
        let passed = succeeds(&mut command)?;
        let report = json(&report)?;
        let count = |name: &str| {
            report[name]
                .as_u64()
                .with_context(|| format!("the report has no {name:?}"))
        };
        let lacking = report["lacking"].as_object().into_iter().flatten();
        Ok(Self {
            passed,
            cases: count("cases")?,
            plays: count("plays")?,
            lacking: lacking.filter_map(|(_, cases)| cases.as_u64()).sum(),
            failed: report["failed"].as_array().map_or(0, Vec::len),
        })
    }

    fn columns(&self) -> [String; 4] {
        [
            self.cases.to_string(),
            self.plays.to_string(),
            self.lacking.to_string(),
            self.failed.to_string(),
        ]
    }
}

/// Runs each client on a bad network. Returns true when no message was missing without being named.
pub(crate) fn chaos(workspace: &Workspace, args: &ChaosArgs) -> Result<bool> {
    let mut build = workspace.cargo("build --release --locked -p tickwire -p tickwire-loadtest");
    ensure!(succeeds(&mut build)?, "the release build failed");
    let mut rows = Vec::new();
    let mut passed = true;
    for client in meant(&args.clients) {
        println!("\n{}", client.name());
        let figures = new_report(workspace, "chaos-clients.json")?;
        let mut command = workspace.command(workspace.target.join("release/tickwire-loadtest"));
        command.arg("chaos").arg("--json").arg(&figures);
        for (name, number) in [
            ("--publish", args.publish),
            ("--clients", args.programs.into()),
            ("--rate", args.rate.into()),
            ("--seed", args.seed),
        ] {
            command.args([name, &number.to_string()]);
        }
        if let Some((interpreter, script)) = client.chaos_program(workspace)? {
            let program = format!("{} {}", interpreter.program.display(), script.display());
            command.args(["--client", &program]);
            command.envs(interpreter.modules.map(|modules| (PYTHON_PATH, modules)));
        }
        passed &= succeeds(&mut command)?;
        let figures = json(&figures)?;
        let mut row = vec![client.name().to_owned()];
        row.extend(FIGURES.map(|(_, name)| figures[name].to_string()));
        rows.push(row);
    }
    let titles: Vec<&str> = ["client"]
        .into_iter()
        .chain(FIGURES.map(|(title, _)| title))
        .collect();
    println!("\n{}", table(&titles, &rows));
    Ok(passed)
}

/// The path of a report that a program is to write. That of an earlier run is removed, so that it is not read in its place.
fn new_report(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let report = workspace.below_target("figures")?.join(name);
    if report.exists() {
        fs::remove_file(&report).context("cannot remove the last report")?;
    }
    Ok(report)
}

fn json(path: &Path) -> Result<Value> {
    let text = read(path)?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// A table in Markdown.
fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(titles.to_vec());
    text += &format!("|---|{}\n", "---:|".repeat(titles.len().saturating_sub(1)));
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_client() {
        let rows = [vec!["Rust".to_owned(), "3".to_owned()]];
        assert_eq!(
            table(&["client", "cases"], &rows),
            "| client | cases |\n|---|---:|\n| Rust | 3 |\n"
        );
    }

    #[test]
    fn all_clients_are_meant_if_none_is_named() {
        assert_eq!(meant(&[]), [Client::Rust, Client::Js, Client::Python]);
        assert_eq!(meant(&[Client::Js]), [Client::Js]);
    }
}
