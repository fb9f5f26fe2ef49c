//! What the fuzzers have learnt, kept with the project: an archive for each target, with the fewest inputs that reach
//! what all of them reach.
//!
//! A run starts from the archive and from what earlier runs on this machine learnt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::cargo_fuzz;
use crate::programs::succeeds;
use crate::workspace::{Workspace, make};

/// The folder of the archives.
const ARCHIVES: &str = "crates/fuzz/corpora";

/// The folder of what a target has learnt, on this machine and from its archive.
pub(super) fn learnt(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let learnt = workspace.below_target(Path::new("fuzz/corpus").join(name))?;
    let archive = archive(workspace, name);
    if archive.exists() {
        // The name of an input tells its content.
        let mut unpack = Command::new("tar");
        unpack.args(["-x", "-z", "--skip-old-files", "-f"]).arg(&archive);
        unpack.arg("-C").arg(&learnt);
        ensure!(succeeds(&mut unpack)?, "cannot unpack {}", archive.display());
    }
    Ok(learnt)
}

/// Writes the archive of a target again. Returns a line about its content.
pub(super) fn keep(workspace: &Workspace, name: &str) -> Result<String> {
    let learnt = learnt(workspace, name)?;
    let fewest = workspace.target.join("fuzz/fewest").join(name);
    if fewest.exists() {
        fs::remove_dir_all(&fewest).with_context(|| format!("cannot empty {}", fewest.display()))?;
    }
    make(&fewest)?;
    let mut merge = cargo_fuzz(workspace, "run");
    merge.arg(name).args([&fewest, &learnt]).args(["--", "-merge=1"]);
    let merged = succeeds(merge.stdout(Stdio::null()).stderr(Stdio::null()))?;
    ensure!(merged, "{name}: the fuzzer does not find the fewest inputs");
    let archive = archive(workspace, name);
    make(&workspace.root.join(ARCHIVES))?;
    // The options make the same archive of the same inputs.
    let mut pack = Command::new("tar");
    pack.args(["-c", "--use-compress-program=gzip -9 -n", "-f"])
        .arg(&archive)
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
        .args(["--numeric-owner", "--mode=644", "-C"])
        .arg(&fewest);
    let inputs = names(&fewest)?;
    pack.args(&inputs);
    ensure!(succeeds(&mut pack)?, "cannot write {}", archive.display());
    let bytes = fs::metadata(&archive)?.len();
    let (kept, all) = (inputs.len(), names(&learnt)?.len());
    Ok(format!("{name}: {kept} of {all} inputs kept, {bytes} bytes"))
}

fn archive(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root.join(ARCHIVES).join(format!("{name}.tar.gz"))
}

/// The sorted names in a folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
