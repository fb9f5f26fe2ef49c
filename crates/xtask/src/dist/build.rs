//! The program for packages: stripped, and without a trace of the machine that it was built on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::Release;
use crate::programs::{find, said_by, succeeds};
use crate::workspace::Workspace;

/// The target whose programs need nothing of the system but the kernel.
pub(super) const MUSL: &str = "x86_64-unknown-linux-musl";

/// The C compiler for it.
const MUSL_GCC: &str = "musl-gcc";

/// A program that was built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) path: PathBuf,
    /// Whether it needs the C library of the system.
    pub(super) is_dynamic: bool,
}

/// The target of this machine.
pub(super) fn host(workspace: &Workspace) -> Result<String> {
    let said = said_by(workspace.command("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// Why a static program cannot be built on this machine, if it cannot.
pub(super) fn lacks_for_static(workspace: &Workspace) -> Option<String> {
    let mut rustc = workspace.command("rustc");
    rustc.args(["--print", "target-libdir", "--target", MUSL]);
    if !said_by(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir()) {
        return Some(format!(
            "the target {MUSL} is not installed (rustup target add {MUSL})"
        ));
    }
    let lacks = find(MUSL_GCC).is_none();
    lacks.then(|| format!("{MUSL_GCC} is not installed (on Debian, the package musl-tools)"))
}

/// Builds the program below `folder`, for this machine or for another target.
pub(super) fn program(
    workspace: &Workspace,
    release: &Release,
    folder: &Path,
    target: Option<&str>,
) -> Result<Built> {
    let build = folder.join("build");
    let mut cargo = workspace.cargo("build --release --locked --package tickwire");
    let mut below = build.clone();
    if let Some(target) = target {
        cargo.args(["--target", target]);
        // A library has parts in C.
        cargo.env(format!("CC_{}", target.replace('-', "_")), MUSL_GCC);
        below.push(target);
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sysroot = said_by(workspace.command("rustc").args(["--print", "sysroot"]))?;
    // The last one that matches counts.
    let mut flags = vec![
        remapped(Path::new(sysroot.trim()), "/usr/lib/rust"),
        remapped(&workspace.root, "/usr/src/tickwire"),
        remapped(&build, "/usr/src/build"),
    ];
    flags.extend(home.iter().map(|home| remapped(home, "/usr/src/cargo")));
    cargo
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    ensure!(succeeds(&mut cargo)?, "the program does not build");
    Ok(Built {
        path: below.join("release/tickwire"),
        is_dynamic: target.is_none(),
    })
}

fn remapped(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}
