//! The programs of the clients in JavaScript and Python: their interpreters, with what their tests need.
//!
//! Packages of the JavaScript client go into its folder `node_modules`, which git ignores, because Node.js looks for
//! them there. Python libraries go below the target folder, and the sources of the Python client are on its path.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::packages::{caches, node_modules_in, python_with};
use crate::programs::find;
use crate::workspace::Workspace;

const JS: &str = "clients/js";
const PYTHON: &str = "clients/python";
const REQUIREMENTS: &str = "clients/python/requirements-dev.txt";
/// The variable with the folders of a Python's modules.
pub(super) const PYTHON_PATH: &str = "PYTHONPATH";

/// The interpreter of a client, and the client's folder.
#[derive(Debug)]
pub(super) struct Interpreter {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    /// The folder of the client's modules, if the interpreter must be told it.
    pub(super) modules: Option<PathBuf>,
    variables: Vec<(&'static str, std::ffi::OsString)>,
}

impl Interpreter {
    /// Node.js, with the packages of the JavaScript client.
    ///
    /// # Errors
    /// If there is no Node.js, or the packages cannot be installed.
    pub(super) fn node(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.root.join(JS);
        let program = find("node").context("node is not installed")?;
        node_modules_in(workspace, &folder)?;
        Ok(Self {
            program,
            folder,
            modules: None,
            variables: caches(workspace),
        })
    }

    /// Python, with the libraries that the Python client and its tests use.
    ///
    /// # Errors
    /// If there is no Python, or the libraries cannot be installed.
    pub(super) fn python(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.root.join(PYTHON);
        let program = python_with(workspace, &workspace.target.join("client-venv"), REQUIREMENTS)?;
        Ok(Self {
            program,
            modules: Some(folder.join("src")),
            folder,
            variables: caches(workspace),
        })
    }

    /// The interpreter in the client's folder, with the words of `line` as its arguments.
    pub(super) fn run(&self, workspace: &Workspace, line: &str) -> Command {
        let mut command = workspace.command(&self.program);
        command.args(line.split_whitespace()).current_dir(&self.folder);
        command.envs(self.variables.iter().cloned());
        command.envs(self.modules.iter().map(|modules| (PYTHON_PATH, modules)));
        command
    }
}
