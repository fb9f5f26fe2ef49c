//! `cargo xtask dist`: the packages for those who run the broker: a `.deb`, and archives with the program for any Linux.
//!
//! The same source and compiler give the same bytes: paths of the machine are left out, and every time is that of
//! `SOURCE_DATE_EPOCH`, or else that of the last commit. `--check` builds everything again elsewhere and compares. What a
//! package must hold is checked each time; `--install` also installs the `.deb` in a chroot, runs it, and takes it away again.

mod build;
mod check;
mod deb;
mod licences;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::build::{Built, MUSL};
use self::tree::Tree;
use crate::programs::{find, said_by, succeeds};
use crate::workspace::{Workspace, make};
use crate::{sbom, workspace};

#[derive(Debug, Args)]
pub(crate) struct DistArgs {
    /// Build everything twice, in different folders, and compare the bytes
    #[arg(long)]
    check: bool,
    /// Install the .deb in a chroot, run the broker in it, and remove the package again; needs root and mmdebstrap
    #[arg(long)]
    install: bool,
}

/// What all packages have in common.
#[derive(Debug)]
struct Release {
    version: String,
    /// The time of all files, in seconds since 1970.
    epoch: u64,
}

/// Builds the packages. Returns true if they are in order.
pub(crate) fn run(workspace: &Workspace, args: &DistArgs) -> Result<bool> {
    for program in ["tar", "gzip"] {
        ensure!(find(program).is_some(), "{program} is not installed");
    }
    let release = Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: epoch(workspace)?,
    };
    ensure!(sbom::run(workspace)?, "the bill of materials is not complete");
    let folder = workspace.below_target("dist")?;
    let packages = packages(workspace, &release, &folder)?;
    if args.check {
        println!("building everything again, to compare");
        let again = workspace.below_target("dist/again")?;
        let others = self::packages(workspace, &release, &again)?;
        for (one, other) in packages.iter().zip(&others) {
            check::is_same(one, other)?;
        }
        println!(
            "{} packages are the same bytes when they are built again",
            packages.len()
        );
    }
    if args.install {
        let deb = packages
            .iter()
            .find(|path| path.extension().is_some_and(|end| end == "deb"));
        check::install(workspace, deb.context("there is no .deb to install")?)?;
    }
    for package in &packages {
        println!("{}", package.display());
    }
    Ok(true)
}

/// Makes all packages in a folder.
fn packages(workspace: &Workspace, release: &Release, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    let host = build::host(workspace)?;
    let program = build::program(workspace, release, folder, None)?;
    packages.push(archive(workspace, release, folder, &program, &host)?);
    if find("dpkg-deb").is_some() {
        packages.push(deb::make_deb(workspace, release, folder, &program)?);
    } else {
        println!("left out: the .deb, since dpkg-deb is not installed");
    }
    match build::lacks_for_static(workspace) {
        Some(lacks) => println!("left out: the static binary, since {lacks}"),
        None => {
            let program = build::program(workspace, release, folder, Some(MUSL))?;
            check::is_static(&program.path)?;
            packages.push(archive(workspace, release, folder, &program, MUSL)?);
        }
    }
    Ok(packages)
}

/// An archive with the program and what belongs to it.
fn archive(
    workspace: &Workspace,
    release: &Release,
    folder: &Path,
    program: &Built,
    target: &str,
) -> Result<PathBuf> {
    let name = format!("tickwire-{}-{target}", release.version);
    let tree = Tree::new(folder.join(&name))?;
    tree.fill_archive(workspace, program)?;
    tree.set_times(release.epoch)?;
    let path = folder.join(format!("{name}.tar.gz"));
    let mut tar = workspace.command("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=gnu",
    ]);
    tar.args(["--use-compress-program", "gzip -9n"]);
    tar.arg(format!("--mtime=@{}", release.epoch));
    tar.arg("--file").arg(&path).arg("--create");
    tar.arg("--directory").arg(folder).arg(&name);
    ensure!(succeeds(&mut tar)?, "tar failed");
    check::archive(workspace, &path, &name)?;
    Ok(path)
}

/// The time of all files: `SOURCE_DATE_EPOCH`, or the time of the last commit.
fn epoch(workspace: &Workspace) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => said_by(workspace.command("git").args(["log", "-1", "--format=%ct"]))?,
    };
    let number = text.trim().parse();
    number.with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {text:?}"))
}

/// Copies a file, with this mode.
fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make(to.parent().unwrap_or(Path::new("/")))?;
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    tree::set_mode(to, mode)
}

/// Writes a file, with this mode.
fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    make(path.parent().unwrap_or(Path::new("/")))?;
    workspace::write(path, content)?;
    tree::set_mode(path, mode)
}
