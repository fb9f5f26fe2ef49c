//! A broker with its echo route open, as a process that ends with the run.
//!
//! Its log goes to a file. If the broker ends by itself, or not with success when it is told to, the run fails.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::programs::said_by;
use crate::workspace::{Workspace, read};

/// How long the broker may take until it accepts connections, and the pause between two checks.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running broker. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct EchoBroker {
    child: Child,
    /// The name of the file with its log.
    log: String,
    /// The address for clients.
    pub(super) address: SocketAddr,
}

impl EchoBroker {
    /// Starts `program` with the settings in the file `config`. Waits until it is ready.
    pub(super) fn start(
        workspace: &Workspace,
        program: &Path,
        config: &Path,
        egress: &str,
        log: &Path,
    ) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?; // a free port
        let mut command = workspace.command(program);
        // Settings of the user who runs this must not reach the broker.
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

    /// Stops the broker as an operator would.
    ///
    /// # Errors
    /// When the broker has ended by itself, or did not end with success.
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
        // An error means that the process has ended already. The wait is right in both cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
