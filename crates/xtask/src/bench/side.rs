//! A side of a comparison: the work tree, or another revision checked out below the target folder.
//!
//! Each side is built with its own benches, so a case may be missing on one of them. The checkout of a revision is kept
//! for the next time; `git worktree remove` deletes it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use cargo_metadata::Message;

use super::valgrind;
use crate::programs::said_by;
use crate::workspace::Workspace;

/// The package with the benches.
const PACKAGE: &str = "tickwire-benches";

/// One side with its programs, once they are built.
#[derive(Debug)]
pub(super) struct Side {
    /// The name of the side.
    pub(super) name: String,
    root: PathBuf,
    /// The target folder of its build.
    target: PathBuf,
    /// The folder for the output of criterion and gungraun.
    pub(super) results: PathBuf,
    cargo: OsString,
    wall: PathBuf,
    instructions: PathBuf,
    /// The search path, with the right runner of gungraun first.
    search_path: OsString,
    /// The names of its cases.
    pub(super) cases: Vec<String>,
}

impl Side {
    /// The current work tree, including changes that are not committed.
    pub(super) fn of_work_tree(workspace: &Workspace) -> Result<Self> {
        let commit = git(&workspace.root, &["rev-parse", "--short=12", "HEAD"])?;
        let is_changed = !git(&workspace.root, &["status", "--porcelain"])?.is_empty();
        let name = commit + if is_changed { " with changes" } else { "" };
        let (root, target) = (workspace.root.clone(), workspace.target.clone());
        Ok(Self::new(workspace, name, root, target, "work-tree"))
    }

    /// The commit that `revision` names.
    pub(super) fn of_revision(workspace: &Workspace, revision: &str) -> Result<Self> {
        let wanted = format!("{revision}^{{commit}}");
        let asked = ["rev-parse", "--verify", "--short=12", "--end-of-options", &wanted];
        let commit = git(&workspace.root, &asked).with_context(|| format!("{revision} names no commit"))?;
        let manifest = format!("{commit}:benches/Cargo.toml");
        ensure!(
            git(&workspace.root, &["cat-file", "-e", &manifest]).is_ok(),
            "{revision} ({commit}) has no benches: it is older than they are"
        );
        let root = workspace.target.join("bench").join(&commit);
        check_out(workspace, &commit, &root)?;
        let target = root.join("target");
        Ok(Self::new(workspace, commit.clone(), root, target, &commit))
    }

    fn new(workspace: &Workspace, name: String, root: PathBuf, target: PathBuf, results: &str) -> Self {
        Self {
            name,
            root,
            target,
            results: workspace.target.join("bench/results").join(results),
            cargo: workspace.cargo("").get_program().to_owned(),
            wall: PathBuf::new(),
            instructions: PathBuf::new(),
            search_path: OsString::new(),
            cases: Vec::new(),
        }
    }

    /// The command of the program that measures wall time.
    pub(super) fn wall(&self) -> Command {
        let mut command = self.command(&self.wall);
        command.env("CRITERION_HOME", self.results.join("criterion"));
        command
    }

    /// The command of the program that counts instructions.
    pub(super) fn instructions(&self) -> Command {
        let mut command = self.command(&self.instructions);
        command
            .env("GUNGRAUN_HOME", self.results.join("gungraun"))
            .env("GUNGRAUN_WORKSPACE_ROOT", &self.root)
            .env("PATH", &self.search_path);
        command
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .stdin(Stdio::null());
        command
    }

    /// Builds both programs and reads the list of cases.
    pub(super) fn build(&mut self) -> Result<()> {
        let mut cargo = self.command(&self.cargo);
        cargo.args("bench --benches --no-run --locked --message-format=json-render-diagnostics".split(' '));
        cargo.args(["--package", PACKAGE]).stderr(Stdio::inherit());
        let output = cargo.output().context("cannot run cargo")?;
        ensure!(output.status.success(), "{} does not build", self.name);
        (self.wall, self.instructions) = programs(&output.stdout)?;
        let listed = said_by(self.wall().args(["--bench", "--list"]))?;
        self.cases = listed_cases(&listed);
        Ok(())
    }

    /// Prepares the runner of gungraun in the version that this side needs.
    pub(super) fn prepare_runner(&mut self, workspace: &Workspace) -> Result<()> {
        let gungraun = said_by(self.command(&self.cargo).args(["pkgid", "--locked", "gungraun"]));
        let gungraun = gungraun.context("these benches cannot count instructions")?;
        let version = gungraun.trim().rsplit('@').next().unwrap_or_default();
        let runner = valgrind::runner(workspace, version)?;
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let folders = [runner].into_iter().chain(std::env::split_paths(&rest));
        self.search_path = std::env::join_paths(folders).context("a folder of PATH has a colon in it")?;
        Ok(())
    }
}

/// Checks out `commit` at `root`, unless it is there already.
fn check_out(workspace: &Workspace, commit: &str, root: &Path) -> Result<()> {
    if root.join(".git").exists() {
        let at = git(root, &["rev-parse", "--short=12", "HEAD"])?;
        let changes = git(root, &["status", "--porcelain", "--untracked-files=no"])?;
        if at == commit && changes.is_empty() {
            return Ok(());
        }
        bail!(
            "{0} was changed; drop it with `git worktree remove --force {0}` and try again",
            root.display()
        );
    }
    // A checkout that was deleted by hand, with the target folder, is still registered.
    git(&workspace.root, &["worktree", "prune"])?;
    let path = root.to_str().context("the target folder's path is not UTF-8")?;
    let add = ["worktree", "add", "--quiet", "--detach", path, commit];
    git(&workspace.root, &add).map(drop)
}

/// The output of git, without the line end.
fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(arguments);
    said_by(&mut git).map(|said| said.trim_end().to_owned())
}

/// The paths of the two programs in cargo's messages.
fn programs(messages: &[u8]) -> Result<(PathBuf, PathBuf)> {
    let (mut wall, mut instructions) = (None, None);
    for message in Message::parse_stream(messages) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read what cargo said")?
            && artifact.target.is_bench()
        {
            match artifact.target.name.as_str() {
                "wall" => wall = artifact.executable,
                "instructions" => instructions = artifact.executable,
                _ => {}
            }
        }
    }
    let built = wall.zip(instructions);
    let (wall, instructions) = built.context("the benches `wall` and `instructions` were not built")?;
    Ok((wall.into(), instructions.into()))
}

/// The names of the cases in criterion's list.
fn listed_cases(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_suffix(": benchmark"));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_cases() {
        let text = "encode/ticker_json: benchmark\nbook/snapshot_20_levels_json: benchmark\n\n2 benchmarks\n";
        let expected = ["encode/ticker_json", "book/snapshot_20_levels_json"];
        assert_eq!(listed_cases(text), expected);
    }

    #[test]
    fn programs_that_were_not_built() {
        let error = programs(b"{\"reason\":\"build-finished\",\"success\":true}\n").unwrap_err();
        assert!(error.to_string().contains("were not built"), "{error}");
    }
}
