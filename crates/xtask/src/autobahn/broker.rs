//! A broker with its echo route open, as a process that ends with the run.
//!
//! Its log is kept in a file. One that ends by itself, or not in order when it is told to, fails the run.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::programs::said_by;
use crate::workspace::{Workspace, read};

/// Time that the broker gets until it accepts connections, and the pause between two looks.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A broker that runs; killed when dropped.
#[derive(Debug)]
pub(super) struct EchoBroker {
    child: Child,
    /// The name of the file with its log.
    log: String,
    /// Where it accepts clients.
    pub(super) address: SocketAddr,
}

impl EchoBroker {
    /// Starts `program` with the settings of the file `config` and waits until it is ready.
    pub(super) fn start(
        workspace: &Workspace,
        program: &Path,
        config: &Path,
        egress: &str,
        log: &Path,
    ) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?; // a port that is free
        let mut command = workspace.command(program);
        // Settings of whoever runs this are not those of the run.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TICKWIRE_") {
                command.env_remove(name);
            }
        }
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .args("serve --log-format json --shards 1 --ops 127.0.0.1:0 --listen".split(' '))
            .arg(address.to_string())
            .arg("--config")
            .arg(config)
            .env("TICKWIRE_SOCKET__EGRESS", egress)
            .stderr(file)
            .spawn();
        let mut broker = Self {
            child: child.with_context(|| format!("cannot start {}", program.display()))?,
            log: log.display().to_string(),
            address,
        };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if broker.child.try_wait()?.is_some() {
                bail!("the broker did not start: {}", read(log)?.trim_end());
            }
            let waited = begun.elapsed();
            ensure!(
                waited < READY_WITHIN,
                "the broker was not ready after {waited:?}: {}",
                broker.log
            );
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(broker)
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it has ended by itself, or did not end in order.
    pub(super) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the broker ended during the run ({status}): {}", self.log);
        }
        said_by(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        let log = &self.log;
        ensure!(
            status.success(),
            "the broker did not end in order ({status}): {log}"
        );
        Ok(())
    }
}

impl Drop for EchoBroker {
    fn drop(&mut self) {
        // An error says that it has ended already; waiting for it is right in both cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
