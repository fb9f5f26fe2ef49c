//! The tools that the tests use beyond Rust: a Python with client libraries, the tools of the specifications, mdBook,
//! nats-server and k6, Node.js with `ws`, the parser of AsyncAPI and the packages of the console, Bun and Deno, Chromium,
//! Prometheus, nginx, HAProxy, systemd in a container, and Compose, which reads a file here and starts nothing.
//!
//! The tests find each tool in an environment variable that is set only if the tool is there. Without it, its tests
//! skip themselves. A tool that cannot be set up costs one line of output and never the run: a machine with only Rust
//! passes.
//!
//! Everything goes below the target folder, including caches. Debian packages are installed only for root, and each is
//! named first.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::packages::{INSTALL_LIMIT, caches, node_modules_in, python_with};
use crate::programs::{find, is_root, run_quietly};
use crate::workspace::{Workspace, read, write};

const REQUIREMENTS: &str = "crates/tickwire/tests/python/requirements.txt";
const NODE_FOLDER: &str = "crates/tickwire/tests/node";
const CONSOLE_FOLDER: &str = "clients/console";
const RUNTIMES_FOLDER: &str = "clients/js/test/runtimes";
/// Stops packages from starting their services (Debian's `invoke-rc.d` and `deb-systemd-invoke` ask it).
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

const CHROMIUMS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// Programs of Debian packages: the variable, the names of the program, and the package.
const PACKAGED: &[(&str, &[&str], &str)] = &[
    ("TICKWIRE_TEST_CHROMIUM", CHROMIUMS, "chromium"),
    ("TICKWIRE_TEST_PROMETHEUS", &["prometheus"], "prometheus"),
    ("TICKWIRE_TEST_PROMTOOL", &["promtool"], "prometheus"),
    ("TICKWIRE_TEST_NGINX", &["nginx"], "nginx-light"),
    ("TICKWIRE_TEST_HAPROXY", &["haproxy"], "haproxy"),
    ("TICKWIRE_TEST_COMPOSE", &["docker-compose"], "docker-compose"),
    ("TICKWIRE_TEST_NSPAWN", &["systemd-nspawn"], "systemd-container"),
];

/// Chromium, if it is there.
pub(super) fn chromium() -> Option<PathBuf> {
    CHROMIUMS.iter().find_map(|program| find(program))
}

/// Bun and Deno from npm: the variables by which the tests of the JavaScript client find them.
pub(super) fn runtimes(workspace: &Workspace) -> Vec<(&'static str, OsString)> {
    match packages(workspace, RUNTIMES_FOLDER, "runtimes") {
        Ok(modules) => {
            let (bun, deno) = match env::consts::ARCH {
                "aarch64" => ("@oven/bun-linux-aarch64", "@deno/linux-arm64-glibc"),
                _ => ("@oven/bun-linux-x64", "@deno/linux-x64-glibc"),
            };
            let (bun, deno) = (modules.join(bun).join("bin/bun"), modules.join(deno).join("deno"));
            let programs = [("BUN_BIN", bun), ("DENO_BIN", deno)].into_iter();
            // Other systems get no package, and use what they have in the PATH.
            let programs = programs.filter(|(_, program)| program.is_file());
            programs
                .map(|(variable, program)| (variable, program.into()))
                .collect()
        }
        Err(error) => {
            println!("no Bun and no Deno for the tests, those that need them are skipped: {error:#}");
            Vec::new()
        }
    }
}

/// Sets up what can be set up. Returns the variables of all tools that are there.
pub(super) fn prepare(workspace: &Workspace, may_install: bool) -> Vec<(&'static str, OsString)> {
    let mut variables = caches(workspace);
    if may_install && find("npm").is_some() {
        println!(
            "the load test's tests install ws, Socket.IO and Bun with npm in target/peers, if they are not there"
        );
        variables.push(("TICKWIRE_TEST_INSTALL", "1".into()));
    }
    match python(workspace) {
        Ok(python) => {
            variables.extend(path_with(python.parent()));
            variables.push(("TICKWIRE_TEST_PYTHON", python.into()));
        }
        Err(error) => println!("no Python for the tests, those that need it are skipped: {error:#}"),
    }
    match node_modules(workspace) {
        Ok((node, modules)) => {
            variables.push(("TICKWIRE_TEST_NODE", node.into()));
            variables.push(("TICKWIRE_TEST_NODE_MODULES", modules.into()));
        }
        Err(error) => println!("no Node.js for the tests, those that need it are skipped: {error:#}"),
    }
    match packages(workspace, CONSOLE_FOLDER, "console") {
        Ok(modules) => variables.push(("TICKWIRE_TEST_CONSOLE_MODULES", modules.into())),
        Err(error) => println!("no packages of the console, its tests are skipped: {error:#}"),
    }
    if may_install {
        install_missing_packages();
    }
    for (variable, programs, package) in PACKAGED {
        match programs.iter().find_map(|program| find(program)) {
            Some(path) => variables.push((variable, path.into())),
            None => println!(
                "no {} for the tests, those that need it are skipped: install the Debian package `{package}`",
                programs[0]
            ),
        }
    }
    variables
}

/// `PATH` with `folder` behind all others, where the load test finds nats-server and k6.
fn path_with(folder: Option<&Path>) -> Option<(&'static str, OsString)> {
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).chain(folder.map(Path::to_owned));
    Some(("PATH", env::join_paths(folders).ok()?))
}

/// The project's own Python below the target folder, with the pinned libraries.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    python_with(workspace, &workspace.target.join("venv"), REQUIREMENTS)
}

/// Node.js, and the folder of the pinned packages of the tests' clients.
fn node_modules(workspace: &Workspace) -> Result<(PathBuf, PathBuf)> {
    let node = find("node").context("node is not installed")?;
    let modules = packages(workspace, NODE_FOLDER, "node")?;
    Ok((node, modules))
}

/// The pinned packages of `source`, installed in the folder `name` below the target folder.
fn packages(workspace: &Workspace, source: &str, name: &str) -> Result<PathBuf> {
    let folder = workspace.below_target(name)?;
    for file in ["package.json", "package-lock.json"] {
        write(&folder.join(file), read(&workspace.root.join(source).join(file))?)?;
    }
    node_modules_in(workspace, &folder)
}

/// Installs the Debian packages of missing programs, if this is root with `apt-get`.
fn install_missing_packages() {
    let missing = PACKAGED
        .iter()
        .filter(|(_, programs, _)| programs.iter().all(|program| find(program).is_none()));
    let mut packages: Vec<_> = missing.map(|(_, _, package)| package).collect();
    packages.dedup();
    let Some(apt) = find("apt-get").filter(|_| is_root()) else {
        return;
    };
    for package in packages {
        println!("installing the Debian package {package}");
        if let Err(error) = install(&apt, package) {
            println!("cannot install the Debian package {package}: {error:#}");
        }
    }
}

fn install(apt: &Path, package: &str) -> Result<()> {
    let _policy = ServicePolicy::forbid_starts()?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(apt);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run_quietly(command.args(["--quiet", "--yes"]).args(arguments), INSTALL_LIMIT)
    };
    let install = ["install", "--no-install-recommends", package];
    // The lists of packages may be missing or old.
    run(&install).or_else(|_| run(&["update"]).and_then(|()| run(&install)))
}

/// While this exists, newly installed packages do not start their services.
struct ServicePolicy {
    is_ours: bool,
}

impl ServicePolicy {
    fn forbid_starts() -> Result<Self> {
        let path = Path::new(SERVICE_POLICY);
        if path.exists() {
            // The machine has a policy. Exit code 101 means "not allowed".
            let asked = Command::new(path).args(["prometheus", "start"]).status();
            if asked.is_ok_and(|status| status.code() == Some(101)) {
                return Ok(Self { is_ours: false });
            }
            bail!("{SERVICE_POLICY} exists and would let the service start; install the package by hand");
        }
        write(path, "#!/bin/sh\nexit 101\n")?;
        let policy = Self { is_ours: true };
        run_quietly(Command::new("chmod").arg("755").arg(path), INSTALL_LIMIT)?;
        Ok(policy)
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_file(SERVICE_POLICY)
        {
            println!("cannot remove {SERVICE_POLICY}, remove it by hand: {error}");
        }
    }
}
