//! The own tests of the clients in JavaScript and Python: the commands that their pages name.
//!
//! The Rust client is a crate of the workspace and is tested with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::programs::Interpreter;
use crate::workspace::Workspace;

/// The tests of one client.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The client's folder in the project.
    pub(crate) name: &'static str,
    /// The commands, each independent of the others' success, except that the first of JavaScript builds the package. An
    /// error if the interpreter or the libraries are missing.
    pub(crate) commands: Result<Vec<Command>>,
}

/// The suites of both clients. Their tests start the broker `program`. What browsers and tools keep for their user goes below
/// the target folder.
pub(crate) fn suites(workspace: &Workspace, program: &Path) -> [Suite; 2] {
    [("clients/js", js as Commands), ("clients/python", python)].map(|(name, commands)| Suite {
        name,
        commands: commands(workspace).and_then(|mut commands| {
            let home = workspace.below_target("client-home")?;
            for command in &mut commands {
                command.env("TICKWIRE_BIN", program);
                command.env("XDG_CONFIG_HOME", &home).env("XDG_CACHE_HOME", &home);
            }
            Ok(commands)
        }),
    })
}

type Commands = fn(&Workspace) -> Result<Vec<Command>>;

fn js(workspace: &Workspace) -> Result<Vec<Command>> {
    let node = Interpreter::node(workspace)?;
    // A file whose clean-up failed ends with its tests, and does not wait for what it left running.
    let mut tests = node.run(workspace, "--test --test-force-exit --test-reporter=spec");
    // Node.js would take every file of the folder for a test.
    let mut files: Vec<PathBuf> = fs::read_dir(node.folder.join("test"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    tests.args(files);
    Ok(vec![node.run(workspace, "check.mjs"), tests])
}

fn python(workspace: &Workspace) -> Result<Vec<Command>> {
    let python = Interpreter::python(workspace)?;
    let lines = [
        "-m ruff check .",
        "-m ruff format --check .",
        "-m mypy",
        "-m pytest",
        "tests/wheel.py",
    ];
    let mut pyright = python.run(workspace, "-m pyright --pythonpath");
    pyright.arg(&python.program);
    let others = lines.map(|line| python.run(workspace, line));
    Ok([pyright].into_iter().chain(others).collect())
}
