//! What counting instructions needs: valgrind, and the runner of gungraun in the version of the library.
//!
//! Valgrind is never installed here. The runner is, below the target folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::programs::{find, is_root, succeeds, works};
use crate::workspace::Workspace;

/// Fails if there is no valgrind. The error says how to install it.
pub(super) fn check() -> Result<()> {
    let what_to_do = match (find("apt-get").is_some(), is_root()) {
        (true, true) => "`apt-get install valgrind` installs it",
        (true, false) => "`sudo apt-get install valgrind` installs it",
        (false, _) => "it is at https://valgrind.org and in most package managers",
    };
    ensure!(
        find("valgrind").is_some(),
        "valgrind, which counts instructions, is not installed: {what_to_do}; `--wall` does without"
    );
    Ok(())
}

/// The folder with the runner of this `version`, which is installed if it is not there.
pub(super) fn runner(workspace: &Workspace, version: &str) -> Result<PathBuf> {
    let root = workspace.target.join("tools").join(format!("gungraun-{version}"));
    let folder = root.join("bin");
    let runner = folder.join("gungraun-runner");
    if works(Command::new(&runner).arg("--version")) {
        return Ok(folder);
    }
    eprintln!("installing gungraun-runner {version}");
    let mut install = workspace.cargo("install gungraun-runner --locked --force");
    install.args(["--version", version]).arg("--root").arg(&root);
    let installed = succeeds(&mut install)?;
    ensure!(installed, "cannot install gungraun-runner {version}");
    Ok(folder)
}
