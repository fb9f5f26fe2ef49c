//! The process of a server: it is started, awaited, and stopped whatever happens.
//!
//! When it is dropped, it gets SIGTERM, and is killed if it has not ended soon after. If it ends before it is ready, or
//! is not ready in time, this is an error. The server's own messages are on standard error.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::swarm::report::progress;

/// How long a server may take until it is ready.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How long a server that is no longer needed may take to end.
const DROP_WITHIN: Duration = Duration::from_secs(2);
/// The time between two looks at a server that starts or stops.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command` with as many open files as the system allows. By default it could only hold about a thousand
    /// connections.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
        let program = command.get_program().to_owned();
        let started = command.stdin(Stdio::null()).spawn();
        Ok(Self(started.with_context(|| {
            format!("cannot start {}", program.display())
        })?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The process as the standard library has it, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(crate) fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.0.try_wait().context("cannot look after the server")
    }

    /// Waits until `ready` returns something.
    ///
    /// # Errors
    /// When the server ends, is not ready in time, or `ready` fails, for example at a signal.
    pub(crate) fn wait_until<T>(
        &mut self,
        mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let until = Instant::now() + START_WITHIN;
        loop {
            if let Some(status) = self.exited()? {
                bail!("the server ended at once, with {status}; its own words are above");
            }
            if let Some(found) = ready()? {
                return Ok(found);
            }
            ensure!(
                Instant::now() < until,
                "the server is not ready after {START_WITHIN:?}"
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.0), signal).context("cannot signal the server")
    }

    /// Sends it SIGTERM and waits until it has ended; `None` if it has not ended in time.
    pub(crate) fn stop(&mut self, within: Duration) -> anyhow::Result<Option<ExitStatus>> {
        if let Some(status) = self.exited()? {
            bail!("the server had ended by itself, with {status}");
        }
        self.terminate()?;
        let until = Instant::now() + within;
        loop {
            let status = self.exited()?;
            if status.is_some() || Instant::now() >= until {
                return Ok(status);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.exited(), Ok(Some(_))) {
            return;
        }
        let killed = match self.stop(DROP_WITHIN) {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => self.0.kill().and_then(|()| self.0.wait().map(drop)),
        };
        if let Err(error) = killed {
            progress!("the server {} could not be stopped: {error}", self.pid());
        }
    }
}

/// The path of the program with this name in PATH.
pub(crate) fn installed_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A loopback address that is free. Another program may take it before the server does; the server then reports it.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(loopback(0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(crate) fn own_cores() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("cannot find out which cores may be used")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect())
}

/// Moves this thread, and what it starts, to these cores.
///
/// # Errors
/// When a core does not exist or may not be used.
pub(crate) fn run_on(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        ensure!(*core < CpuSet::MAX_CPU, "there is no core {core}");
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on the cores {cores:?}"))
}

/// Calls `act` on these cores, and then goes back. A server that is started meanwhile stays there.
///
/// # Errors
/// As [`run_on`], or when `act` fails.
pub(crate) fn on_cores<T>(cores: &[usize], act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let own = own_cores()?;
    run_on(cores)?;
    let done = act();
    run_on(&own)?;
    done
}
