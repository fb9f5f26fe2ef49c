//! Running programs: with their output passed on and kept, or quietly with a deadline.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Runs `command`, passes on what it prints line by line, and returns that and whether it succeeded.
pub(super) fn run_and_read(command: &mut Command) -> Result<(String, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let kept = Arc::new(Mutex::new(String::new()));
    let readers: Vec<_> = [
        child
            .stdout
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        child
            .stderr
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    ]
    .into_iter()
    .flatten()
    .map(|pipe| {
        let kept = Arc::clone(&kept);
        thread::spawn(move || pass_on(pipe, &kept))
    })
    .collect();
    for reader in readers {
        reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    let status = child.wait()?;
    let output = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((output, status.success()))
}

fn pass_on(pipe: impl Read, kept: &Mutex<String>) -> Result<()> {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line)? > 0 {
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        std::io::stdout().write_all(&line)?;
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

/// Runs `command` without showing its output, for at most `limit`.
///
/// # Errors
/// When it cannot be started, fails or takes longer; the error ends with the last line that it printed as an error.
pub(super) fn run_quietly(command: &mut Command, limit: Duration) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut pipe = child.stderr.take().context("a piped standard error is there")?;
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said)
            .map(|_| String::from_utf8_lossy(&said).trim().to_owned())
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{program} was not done after {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    let said = reader
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    bail!(
        "{program} failed: {}",
        said.lines().last().unwrap_or("it did not say why")
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn both_outputs_are_kept() {
        let (output, succeeded) = run_and_read(&mut shell("echo out; echo err >&2; exit 3")).unwrap();
        assert!(output.contains("out\n") && output.contains("err\n") && !succeeded);
        assert_eq!(
            run_and_read(&mut shell("printf end")).unwrap(),
            ("end\n".to_owned(), true)
        );
    }

    #[test]
    fn quiet_failures_say_why() {
        let limit = Duration::from_secs(60);
        assert!(run_quietly(&mut shell("echo no"), limit).is_ok());
        let error = run_quietly(&mut shell("echo first >&2; echo no room >&2; exit 1"), limit).unwrap_err();
        assert_eq!(error.to_string(), "sh failed: no room");
        let error = run_quietly(&mut Command::new("no-such-program"), limit).unwrap_err();
        assert_eq!(error.to_string(), "cannot start no-such-program");
    }

    #[test]
    fn a_program_that_never_ends_is_ended() {
        let error =
            run_quietly(&mut shell("while :; do read x < /dev/zero; done"), Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "sh was not done after 0 s");
    }
}
