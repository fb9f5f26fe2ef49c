//! A NATS server with JetStream, and its store.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Tool, poll};

/// A server. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Nats {
    program: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Nats {
    /// Starts a server. Without the program, prints that `test` is skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let python = Tool::Python.find(test)?;
        let program = python
            .parent()
            .expect("a program is in a folder")
            .join("nats-server");
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let mut nats = Self {
            program,
            folder,
            address: free.expect("a free port"),
            child: None,
        };
        nats.begin();
        Some(nats)
    }

    /// The value of `--cluster`.
    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where clients of NATS connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Starts the server again.
    pub(crate) fn begin(&mut self) {
        let child = Command::new(&self.program)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port"])
            .arg(self.address.port().to_string())
            .arg("--store_dir")
            .arg(self.store())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("nats-server starts"));
        poll("nats-server listens", || TcpStream::connect(self.address).ok());
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it was killed");
        }
    }

    /// Keeps a copy of the store. The server must not run.
    pub(crate) fn keep(&self) {
        copy(&self.store(), &self.folder.path().join("kept"));
    }

    /// Puts the copy in the place of the store. The server must not run.
    pub(crate) fn set_back(&self) {
        fs::remove_dir_all(self.store()).expect("there is a store");
        copy(&self.folder.path().join("kept"), &self.store());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("it is there").path();
        let target = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
