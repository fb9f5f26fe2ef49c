//! `cargo xtask tidy`: the habits that neither the compiler nor Clippy knows.
//!
//! Each rule is a pure function from files or manifests to faults, in a file of its own. A fault names the place and
//! what to do about it.

mod code;
mod dependencies;
mod leftovers;
mod links;
mod manifests;
mod outline;
mod ratchet;
mod sizes;
mod unsafety;

use std::fmt;

use anyhow::{Context as _, Result};

use self::ratchet::Ratchet;
use crate::workspace::Workspace;

/// A broken habit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The file, relative to the workspace.
    path: String,
    /// The line, from 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong and what to do.
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

/// Prints every fault of the workspace and whether there are none.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let files = workspace.text_files()?;
    let text = std::fs::read_to_string(workspace.root.join(ratchet::PATH))
        .with_context(|| format!("cannot read {}", ratchet::PATH))?;
    let ratchet = Ratchet::parse(&text).with_context(|| format!("cannot read {}", ratchet::PATH))?;

    let mut faults = dependencies::check(&workspace.members);
    faults.extend(manifests::check(&workspace.members, &files));
    faults.extend(outline::check_heads(&files));
    faults.extend(sizes::check(&files, &ratchet));
    faults.extend(leftovers::check(&files));
    faults.extend(unsafety::check(&files, &ratchet));
    faults.extend(links::check(&files));
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
