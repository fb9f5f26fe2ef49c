//! A server's process: bound to its cores, waited for, and stopped again whatever happens.
//!
//! A server is stopped when it is dropped: with SIGTERM, and when it has not ended soon after, with SIGKILL. A server that
//! does not accept connections in time, or ends before, is an error that says so; its own words are on standard error.

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::swarm::report::progress;

/// Time that a server has to accept connections.
const START_WITHIN: Duration = Duration::from_secs(20);
/// Time that a server has to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Time between two looks at a server that starts or stops.
const LOOK_EVERY: Duration = Duration::from_millis(5);

const NO_TASKSET: &str = "taskset is not installed; it comes with the package util-linux";

/// A started server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) process: Child,
    /// The process's number, for `/proc`.
    pub(crate) pid: u32,
    /// The loopback port of its WebSocket endpoint.
    pub(crate) port: u16,
    /// Its version, as it tells it itself.
    pub(crate) version: String,
    /// Where its metrics are, if it has any in Prometheus' format at `/metrics`.
    pub(crate) ops: Option<SocketAddr>,
}

impl Server {
    /// Where its WebSocket endpoint is.
    pub(crate) fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// Starts `command`, which [`pinned`] made.
    pub(super) fn spawn(mut command: Command, port: u16) -> anyhow::Result<Self> {
        command.stdin(Stdio::null());
        // The server inherits it; by default it could not hold more than about a thousand connections.
        rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
        let process = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(NO_TASKSET),
            spawned => spawned.context("cannot start taskset")?,
        };
        Ok(Self {
            pid: process.id(),
            process,
            port,
            version: String::new(),
            ops: None,
        })
    }

    /// Starts `command`, which [`pinned`] made, and which tells its port and version in the first line that it prints:
    /// `{"port":…,"version":"…"}`.
    pub(super) fn spawn_announced(mut command: Command) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Announcement {
            port: u16,
            version: String,
        }
        command.stdout(Stdio::piped());
        let mut server = Self::spawn(command, 0)?;
        let stdout = server
            .process
            .stdout
            .take()
            .context("the server has no standard output")?;
        let (sender, first) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
            let read = stdout.read_line(&mut line).map(|_| line);
            // The receiver is gone when the server was given up, and then nobody wants to know.
            let _ = sender.send(read);
            // What it prints afterwards must not fill the pipe.
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
        let line = server.wait_until(|| Ok(first.try_recv().ok()))??;
        let Announcement { port, version } = serde_json::from_str(&line)
            .with_context(|| format!("the server announces {line:?} and not its port and version"))?;
        server.port = port;
        server.version = version;
        Ok(server)
    }

    /// Waits until `ready` has something to tell.
    pub(super) fn wait_until<T>(
        &mut self,
        mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + START_WITHIN;
        loop {
            if let Some(status) = self.process.try_wait().context("cannot look after the server")? {
                bail!("the server ended at once, with {status}; its own words are above");
            }
            if let Some(found) = ready()? {
                return Ok(found);
            }
            if Instant::now() >= until {
                bail!("the server does not accept connections after {START_WITHIN:?}");
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let until = Instant::now() + STOP_WITHIN;
        while self.process.try_wait()?.is_none() {
            if Instant::now() >= until {
                self.process.kill()?;
                self.process.wait()?;
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            progress(format_args!(
                "the server {} could not be stopped: {error}",
                self.pid
            ));
        }
    }
}

/// Why no server can be started, if none can.
pub(super) fn missing() -> Option<String> {
    installed_program("taskset")
        .is_none()
        .then(|| NO_TASKSET.to_owned())
}

/// The program of this name in the PATH.
pub(super) fn installed_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A command that runs `program` on `cores` only. taskset becomes the program, so that the process is the server's own.
pub(super) fn pinned(cores: &[usize], program: &Path) -> Command {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cores.join(",")).arg(program);
    command
}

/// A port of the loopback that nobody uses. Another program may take it before the server does; it says so then.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(loopback(0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// An address on the loopback.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
