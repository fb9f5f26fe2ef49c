//! The workspace that xtask was built from: its folder, its crates with their dependencies, and its files.
//!
//! It asks `cargo metadata` and `git`, and never looks at the target folder or at ignored files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::programs::said_by;

/// A crate of the workspace and the dependencies in its manifest, by package name.
#[derive(Debug)]
pub(crate) struct Member {
    /// The package's name.
    pub(crate) name: String,
    /// The path of its manifest, relative to the workspace.
    pub(crate) manifest: String,
    /// Its normal dependencies.
    pub(crate) normal: BTreeSet<String>,
    /// Its dependencies of any kind.
    pub(crate) any: BTreeSet<String>,
}

impl Member {
    fn of(package: &Package, metadata: &Metadata) -> Self {
        let named = |kinds: &[DependencyKind]| {
            let dependencies = package
                .dependencies
                .iter()
                .filter(|dep| kinds.contains(&dep.kind));
            dependencies.map(|dep| dep.name.clone()).collect()
        };
        let manifest = package.manifest_path.strip_prefix(&metadata.workspace_root);
        Self {
            name: package.name.to_string(),
            manifest: manifest
                .unwrap_or(&package.manifest_path)
                .as_str()
                .replace('\\', "/"),
            normal: named(&[DependencyKind::Normal]),
            any: named(&[
                DependencyKind::Normal,
                DependencyKind::Development,
                DependencyKind::Build,
            ]),
        }
    }
}

/// A tracked file.
#[derive(Debug, Clone)]
pub(crate) struct ProjectFile {
    /// The path, relative to the workspace, with slashes.
    pub(crate) path: String,
    /// The content; empty if it is no text.
    pub(crate) text: String,
}

impl ProjectFile {
    /// Whether the path ends with `.` and `extension`.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path
            .rsplit_once('.')
            .is_some_and(|(_, end)| end == extension)
    }
}

/// The workspace on this machine.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The root folder.
    pub(crate) root: PathBuf,
    /// The target folder, for builds and tools.
    pub(crate) target: PathBuf,
    /// The crates of the workspace.
    pub(crate) members: Vec<Member>,
}

impl Workspace {
    /// Loads the workspace that this program was built from.
    pub(crate) fn load() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            .no_deps()
            .other_options(["--locked".to_owned()])
            .exec()
            .context("cannot read the workspace; after a change of dependencies, `cargo update --workspace` brings Cargo.lock in step")?;
        let members = metadata.workspace_packages().into_iter();
        Ok(Self {
            root: metadata.workspace_root.clone().into(),
            target: metadata.target_directory.clone().into(),
            members: members.map(|package| Member::of(package, &metadata)).collect(),
        })
    }

    /// A command that runs in the workspace's root with an empty standard input.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// The cargo that runs xtask, with the words of `line` as its arguments.
    pub(crate) fn cargo(&self, line: &str) -> Command {
        let mut cargo = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(line.split_whitespace());
        cargo
    }

    /// A folder below the target folder. It is made if it does not exist.
    pub(crate) fn below_target(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = self.target.join(path);
        make(&folder)?;
        Ok(folder)
    }

    /// Every file that git tracks or would track.
    pub(crate) fn files(&self) -> Result<Vec<ProjectFile>> {
        let mut git = self.command("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let mut files = Vec::new();
        for path in said_by(&mut git)?.split_terminator('\0') {
            let full = self.root.join(path);
            // A tracked file that was deleted and not yet committed, or a link.
            if !full.is_file() {
                continue;
            }
            let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            files.push(ProjectFile {
                path: path.to_owned(),
                text: String::from_utf8(bytes).unwrap_or_default(),
            });
        }
        Ok(files)
    }
}

/// Makes a folder and its parents.
pub(crate) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
