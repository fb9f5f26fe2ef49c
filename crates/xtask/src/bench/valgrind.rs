//! What counting instructions needs: valgrind, and the runner of gungraun in the version of the library.
//!
//! Valgrind is never installed from here; the runner is, below the target folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use toml::Table;

use crate::programs::{find, is_root};
use crate::workspace::Workspace;

/// Fails, with what to do, where there is no valgrind.
pub(super) fn check() -> Result<()> {
    if find("valgrind").is_some() {
        return Ok(());
    }
    let what_to_do = match (find("apt-get").is_some(), is_root()) {
        (true, true) => "`apt-get install valgrind` installs it",
        (true, false) => "`sudo apt-get install valgrind` installs it",
        (false, _) => "it is at https://valgrind.org and in most package managers",
    };
    bail!("valgrind, which counts instructions, is not installed: {what_to_do}; `--wall` does without");
}

/// The version of gungraun in a lock file.
pub(super) fn locked_version(lock: &str) -> Result<String> {
    let lock: Table = lock.parse().context("cannot read Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let gungraun = packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some("gungraun"));
    let version = gungraun.and_then(|package| package.get("version")?.as_str());
    Ok(version
        .context("Cargo.lock does not name gungraun: these benches cannot count instructions")?
        .to_owned())
}

/// The folder with the runner of this `version`, installed if it is not there.
pub(super) fn runner(workspace: &Workspace, version: &str) -> Result<PathBuf> {
    let root = workspace.target.join("tools").join(format!("gungraun-{version}"));
    let folder = root.join("bin");
    let runner = folder.join("gungraun-runner");
    let works = Command::new(&runner)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if works {
        return Ok(folder);
    }
    eprintln!("installing gungraun-runner {version}");
    let status = workspace
        .cargo()
        .args(["install", "gungraun-runner", "--locked", "--force"])
        .args(["--version", version])
        .arg("--root")
        .arg(&root)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cannot install gungraun-runner {version}");
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_locked() {
        let lock = "version = 4\n[[package]]\nname = \"gungraun-macros\"\nversion = \"0.1.0\"\n\
                    [[package]]\nname = \"gungraun\"\nversion = \"0.20.0\"\n";
        assert_eq!(locked_version(lock).unwrap(), "0.20.0");
        for without in [
            "version = 4\n",
            "[[package]]\nname = \"gungraun-runner\"\nversion = \"1.0.0\"\n",
        ] {
            let error = locked_version(without).unwrap_err();
            assert!(error.to_string().contains("does not name gungraun"), "{error}");
        }
        assert!(locked_version("[[").is_err());
    }
}
