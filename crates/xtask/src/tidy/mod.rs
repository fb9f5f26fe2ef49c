//! `cargo xtask tidy`: checks the habits that neither the compiler, nor Clippy, nor cargo-deny checks.
//!
//! Each rule is a pure function from files or manifests to faults. A fault names the place and what to do about it.

mod dashboards;
mod files;
pub(crate) mod links;
mod manifests;
mod names;

use std::fmt;

use anyhow::Result;

use crate::workspace::Workspace;

/// A broken habit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The file, relative to the workspace.
    path: String,
    /// The line, from 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong, and what to do about it.
    what: String,
}

impl Fault {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Prints every fault of the workspace. Returns true if there are none.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let files = workspace.files()?;
    let mut faults = manifests::check(&workspace.members, &files);
    faults.extend(files::check(&files));
    faults.extend(links::check(&files));
    faults.extend(names::check(&files));
    faults.extend(dashboards::check(&files));
    faults.sort();
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        0 => println!("tidy: {} files are in order", files.len()),
        n => println!("tidy: {n} faults"),
    }
    Ok(faults.is_empty())
}
