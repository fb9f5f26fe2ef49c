//! The workspace that xtask was built from: where it is, what its crates depend on, which files it has.
//!
//! Asks `cargo metadata` and `git`. Never looks at the target folder or at ignored files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// A crate of the workspace and its dependencies, by package name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    /// The package's name.
    pub(crate) name: String,
    /// Its manifest, relative to the workspace.
    pub(crate) manifest: String,
    /// What its manifest names as normal dependencies.
    pub(crate) normal: BTreeSet<String>,
    /// What its manifest names as dependencies of any kind.
    pub(crate) any: BTreeSet<String>,
    /// Everything that normal dependencies bring in, directly or not.
    pub(crate) reached: BTreeSet<String>,
}

/// A tracked text file.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Its path, relative to the workspace, with slashes.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl TextFile {
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
    /// Its root.
    pub(crate) root: PathBuf,
    /// Where builds and tools go.
    pub(crate) target: PathBuf,
    /// Its crates.
    pub(crate) members: Vec<Member>,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn load() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            .other_options(["--locked".to_owned()])
            .exec()
            .context("cannot read the workspace; after a change of dependencies, `cargo update --workspace` brings Cargo.lock in step")?;
        Ok(Self {
            root: metadata.workspace_root.clone().into(),
            target: metadata.target_directory.clone().into(),
            members: members(&metadata)?,
        })
    }

    /// A command that runs in the workspace's root with nothing on its standard input.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// The same cargo that runs xtask.
    pub(crate) fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Every text file that git tracks or would track.
    pub(crate) fn text_files(&self) -> Result<Vec<TextFile>> {
        let output = self
            .command("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()
            .context("cannot run git, which knows the project's files")?;
        if !output.status.success() {
            bail!(
                "git ls-files failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let mut files = Vec::new();
        for path in output
            .stdout
            .split(|&byte| byte == 0)
            .filter(|path| !path.is_empty())
        {
            let path = String::from_utf8(path.to_vec()).context("a path is not UTF-8")?;
            let full = self.root.join(&path);
            // A tracked file that was deleted and not yet committed, or a link.
            if !full.is_file() {
                continue;
            }
            let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TextFile { path, text });
            }
        }
        Ok(files)
    }
}

fn members(metadata: &Metadata) -> Result<Vec<Member>> {
    let reaches = normal_graph(metadata)?;
    let names: BTreeMap<_, _> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.to_string()))
        .collect();
    let member = |package: &cargo_metadata::Package| {
        let named = |kind: Option<DependencyKind>| {
            let dependencies = package.dependencies.iter();
            dependencies
                .filter(|dep| kind.is_none_or(|kind| dep.kind == kind))
                .map(|dep| dep.name.clone())
                .collect()
        };
        let manifest = package
            .manifest_path
            .strip_prefix(&metadata.workspace_root)
            .unwrap_or(&package.manifest_path);
        Member {
            name: package.name.to_string(),
            manifest: manifest.as_str().replace('\\', "/"),
            normal: named(Some(DependencyKind::Normal)),
            any: named(None),
            reached: reached(&reaches, &package.id)
                .into_iter()
                .map(|id| names[id].clone())
                .collect(),
        }
    };
    Ok(metadata.workspace_packages().into_iter().map(member).collect())
}

/// The normal dependencies of each package, on every platform.
fn normal_graph(metadata: &Metadata) -> Result<BTreeMap<&PackageId, Vec<&PackageId>>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo metadata gave no dependency graph")?;
    Ok(resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            });
            (&node.id, normal.map(|dep| &dep.pkg).collect())
        })
        .collect())
}

fn reached<'a>(
    graph: &BTreeMap<&'a PackageId, Vec<&'a PackageId>>,
    from: &PackageId,
) -> BTreeSet<&'a PackageId> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<_> = graph.get(from).into_iter().flatten().copied().collect();
    while let Some(package) = open.pop() {
        if reached.insert(package) {
            open.extend(graph.get(package).into_iter().flatten());
        }
    }
    reached
}
