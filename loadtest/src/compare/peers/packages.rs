//! The peers' folder under `target/`, and the packages that npm installs there: ws, Socket.IO and Bun.
//!
//! The lock file in this program pins the versions. `npm ci` installs exactly those, at first use and again when the
//! lock file changes, without running any package's scripts. A lock on the folder keeps two programs from installing at
//! once. If npm or Node is missing, or the registry cannot be reached, the error says so. An installation is never used
//! half done: the mark of a finished one is written last.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::server::Server;
use crate::swarm::{Certificates, installed_program, progress, write_file};

const PACKAGES: &str = include_str!("../../../peers/package.json");
const LOCK: &str = include_str!("../../../peers/package-lock.json");
const SCRIPTS: [(&str, &str); 3] = [
    ("uwebsockets.mjs", include_str!("../../../peers/uwebsockets.mjs")),
    ("ws.mjs", include_str!("../../../peers/ws.mjs")),
    ("socketio.mjs", include_str!("../../../peers/socketio.mjs")),
];
/// The name of the file that holds the lock file of a finished installation.
const INSTALLED: &str = "installed-lock.json";
/// The path of Bun in its npm packages, within `node_modules`.
const BUN: &str = if cfg!(target_arch = "aarch64") {
    "@oven/bun-linux-aarch64/bin/bun"
} else {
    "@oven/bun-linux-x64/bin/bun"
};

const NO_NPM: &str = "npm is not installed; uWebSockets (in Bun), ws and Socket.IO come from it";

#[derive(Debug, Clone, Copy)]
pub(super) struct Script {
    file: &'static str,
    /// Whether it runs on Bun and not on Node.
    on_bun: bool,
    deflates: bool,
}

/// uWebSockets, as part of Bun.
pub(super) const UWEBSOCKETS: Script = Script::on_node("uwebsockets.mjs").on_bun();
pub(super) const WS: Script = Script::on_node("ws.mjs");
pub(super) const SOCKET_IO: Script = Script::on_node("socketio.mjs");

impl Script {
    const fn on_node(file: &'static str) -> Self {
        Self {
            file,
            on_bun: false,
            deflates: false,
        }
    }

    const fn on_bun(mut self) -> Self {
        self.on_bun = true;
        self
    }

    /// The same, with compression.
    pub(super) const fn deflating(mut self) -> Self {
        self.deflates = true;
        self
    }

    pub(super) fn launch(self, certificates: Option<&Certificates>) -> anyhow::Result<Server> {
        let folder = install()?;
        let runtime = match self.on_bun {
            true => folder.join("node_modules").join(BUN),
            false => node()?,
        };
        ensure!(runtime.exists(), "npm has no Bun for this machine");
        let mut command = Command::new(runtime);
        command
            .arg(folder.join(self.file))
            .env("NODE_ENV", "production")
            .env_remove("PEER_DEFLATE")
            .envs(self.deflates.then_some(("PEER_DEFLATE", "1")));
        Server::announced(command, certificates)
    }

    /// What the script needs and is not installed; `None` if nothing is missing.
    pub(super) fn missing(self, installs: bool) -> Option<String> {
        if let (false, Err(error)) = (self.on_bun, node()) {
            return Some(error.to_string());
        }
        match folder().and_then(|folder| is_installed(&folder)) {
            Ok(true) => None,
            Ok(false) if !installs => {
                Some("its npm packages are not installed; `tickwire-loadtest peers` installs them".to_owned())
            }
            Ok(false) => installed_program("npm").is_none().then(|| NO_NPM.to_owned()),
            Err(error) => Some(format!("{error:#}")),
        }
    }
}

/// The path of Node, which runs the scripts that do not need Bun.
fn node() -> anyhow::Result<PathBuf> {
    installed_program("node").context("Node.js is not installed; ws and Socket.IO need version 20 or later")
}

/// The folder of the peers, `peers` in cargo's target folder. It is made if it does not exist.
fn folder() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program's own folder")?;
    // Cargo marks its target folder with this file. A program that was copied elsewhere has its peers beside it.
    let target = own
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    let folder = target.or(own.parent()).unwrap_or(Path::new(".")).join("peers");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn is_installed(folder: &Path) -> anyhow::Result<bool> {
    Ok(read(&folder.join(INSTALLED))?.as_deref() == Some(LOCK))
}

/// The folder with the scripts and their packages, which are installed if they are missing.
fn install() -> anyhow::Result<PathBuf> {
    let folder = folder()?;
    let lock = File::create(folder.join("lock")).context("cannot make the peers' lock")?;
    lock.lock().context("cannot take the peers' lock")?;
    for (name, text) in SCRIPTS {
        write(&folder.join(name), text)?;
    }
    if is_installed(&folder)? {
        return Ok(folder);
    }
    write(&folder.join("package.json"), PACKAGES)?;
    write(&folder.join("package-lock.json"), LOCK)?;
    progress!(
        "installing ws, Socket.IO and Bun with npm in {}",
        folder.display()
    );
    let npm = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel",
            "error",
        ])
        .current_dir(&folder)
        .output();
    let output = match npm {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(NO_NPM),
        ran => ran.context("cannot run npm")?,
    };
    ensure!(
        output.status.success(),
        "npm ci in {} failed: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    write(&folder.join(INSTALLED), LOCK)?;
    Ok(folder)
}

/// Writes `text` unless the file has it already: another program may be reading it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if read(path)?.as_deref() == Some(text) {
        return Ok(());
    }
    write_file(path, text)
}

/// The text of a file, if it exists.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text
            .map(Some)
            .with_context(|| format!("cannot read {}", path.display())),
    }
}
