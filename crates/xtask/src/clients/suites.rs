//! The own tests of the clients in JavaScript and Python: the commands that their pages name.
//!
//! The Rust client is a crate of the workspace and is tested with it.

use std::path::Path;
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

/// The suites of both clients. Their tests start the broker `program`.
pub(crate) fn suites(workspace: &Workspace, program: &Path) -> [Suite; 2] {
    let commands = |interpreter: Result<Interpreter>, lines: &[&str]| {
        let interpreter = interpreter?;
        let command = |line: &&str| {
            let mut command = interpreter.run(workspace, line);
            command.env("TICKWIRE_BIN", program);
            command
        };
        Ok(lines.iter().map(command).collect())
    };
    [
        Suite {
            name: "clients/js",
            commands: commands(
                Interpreter::node(workspace),
                &["check.mjs", "--test --test-reporter=spec test/"],
            ),
        },
        Suite {
            name: "clients/python",
            commands: commands(
                Interpreter::python(workspace),
                &[
                    "-m ruff check .",
                    "-m ruff format --check .",
                    "-m mypy",
                    "-m pyright",
                    "-m pytest",
                    "tests/wheel.py",
                ],
            ),
        },
    ]
}
