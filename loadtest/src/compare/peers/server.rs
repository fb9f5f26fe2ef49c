//! A running peer: its process, its address and its version.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::Context;
use serde::Deserialize;

use super::Protocol;
use crate::swarm::{Certificates, Endpoint, PEER_FILES, Process, loopback, say};

/// A started server. It is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) version: String,
    /// The address of its metrics, if it has any in Prometheus' format at `/metrics`.
    pub(crate) ops: Option<SocketAddr>,
}

/// The first line that a server prints.
#[derive(Deserialize)]
struct Announcement {
    port: u16,
    version: String,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn endpoint(&self, protocol: &dyn Protocol) -> Endpoint {
        let (path, subprotocol) = protocol.endpoint();
        Endpoint::new(self.address, path, subprotocol)
    }

    /// Starts `command`. The first line that it prints tells its port and version: `{"port":…,"version":"…"}`. It uses TLS if there
    /// are `certificates`.
    pub(super) fn announced(
        mut command: Command,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<Self> {
        for name in PEER_FILES {
            command.env_remove(name);
        }
        command.envs(certificates.into_iter().flat_map(Certificates::environment));
        let mut process = Process::start(command.stdout(Stdio::piped()))?;
        let stdout = process
            .child()
            .stdout
            .take()
            .context("the server has no standard output")?;
        let (sender, first) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
            let read = stdout.read_line(&mut line).map(|_| line);
            // The receiver is gone if the server was given up. Then nobody needs the line.
            let _ = sender.send(read);
            // Later output of the server must not fill the pipe.
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
        let line = process.wait_until(|| Ok(first.try_recv().ok()))??;
        let Announcement { port, version } = serde_json::from_str(&line)
            .with_context(|| format!("the server announces {line:?} and not its port and version"))?;
        Ok(Self {
            process,
            address: loopback(port),
            version,
            ops: None,
        })
    }

    /// Starts this program's own server `server` as a separate process.
    pub(super) fn own(server: &str, certificates: Option<&Certificates>) -> anyhow::Result<Self> {
        let own = env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(own);
        command.arg(server);
        Self::announced(command, certificates)
    }
}

/// Prints the first line of a server of this program.
pub(super) fn announce(address: SocketAddr, version: &str) -> anyhow::Result<()> {
    let announcement = serde_json::json!({ "port": address.port(), "version": version });
    say(&format!("{announcement}\n"))
}
