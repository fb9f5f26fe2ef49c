//! A broker with its echo route open, as a process that ends with the run.
//!
//! Listens on a port that the system chooses and says which in its log, which is kept in a file. One that ends by itself, or not
//! in order when it is told to, fails the run.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// Time that the broker gets to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A broker that runs; killed when dropped.
#[derive(Debug)]
pub(super) struct EchoBroker {
    child: Child,
    log: Option<JoinHandle<()>>,
    log_file: PathBuf,
    /// Its echo route.
    pub(super) url: String,
}

impl EchoBroker {
    /// Starts `program` with the settings of the file `config` and waits until it is ready.
    pub(super) fn start(
        workspace: &Workspace,
        program: &Path,
        config: &Path,
        egress: &str,
        log_file: &Path,
    ) -> Result<Self> {
        let mut command = workspace.command(program);
        // Settings of whoever runs this are not those of the run.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TICKWIRE_"))
        {
            command.env_remove(name);
        }
        command
            .args(["serve", "--log-format", "json", "--shards", "1"])
            .args(["--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"])
            .arg("--config")
            .arg(config)
            .env("TICKWIRE_SOCKET__EGRESS", egress)
            .stderr(Stdio::piped());
        let mut file =
            File::create(log_file).with_context(|| format!("cannot write {}", log_file.display()))?;
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = child.stderr.take().context("a piped standard error is there")?;
        let (found, ready) = mpsc::channel();
        let log = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(url) = url_in(&line) {
                    found.send(url).unwrap_or_default(); // nobody waits for a second one
                }
                if writeln!(file, "{line}").is_err() {
                    break;
                }
            }
        });
        let mut broker = Self {
            child,
            log: Some(log),
            log_file: log_file.to_owned(),
            url: String::new(),
        };
        match ready.recv_timeout(READY_WITHIN) {
            Ok(url) => broker.url = url,
            Err(RecvTimeoutError::Timeout) => bail!(
                "the broker was not ready after {} s: {}",
                READY_WITHIN.as_secs(),
                broker.log_file.display()
            ),
            Err(RecvTimeoutError::Disconnected) => {
                let said = std::fs::read_to_string(log_file).unwrap_or_default();
                bail!("the broker did not start: {}", said.trim_end());
            }
        }
        Ok(broker)
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it has ended by itself, or did not end in order.
    pub(super) fn stop(mut self) -> Result<()> {
        let log = self.log_file.display().to_string();
        if let Some(status) = self.child.try_wait()? {
            bail!("the broker ended during the run ({status}): {log}");
        }
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .context("cannot run kill")?;
        ensure!(told.success(), "the broker could not be told to stop");
        let status = self.child.wait()?;
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
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

/// The echo route's address, in the line that says that the broker is ready.
fn url_in(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let url = line.get("url")?.as_str()?.strip_suffix("/v1/ws")?;
    Some(format!("{url}/v1/echo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_names_the_address() {
        for (line, url) in [
            (
                r#"{"level":"INFO","url":"wss://127.0.0.1:40123/v1/ws"}"#,
                Some("wss://127.0.0.1:40123/v1/echo"),
            ),
            (r#"{"level":"INFO","message":"url"}"#, None),
            ("panicked at", None),
        ] {
            assert_eq!(url_in(line).as_deref(), url, "{line}");
        }
    }
}
