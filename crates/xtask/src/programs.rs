//! The programs of this machine: which there are, and the ways to run one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// The full path of a program in the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let said = said_by(Command::new("sh").args(["-c", "command -v \"$0\"", program])).ok()?;
    Some(PathBuf::from(said.trim_end())).filter(|path| path.is_absolute())
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    said_by(Command::new("id").arg("-u")).is_ok_and(|said| said == "0\n")
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Runs `command` with its output visible. Returns true if it succeeds.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", name(command)));
    Ok(status?.success())
}

/// Whether `command` exists and succeeds. Its output is not shown.
pub(crate) fn works(command: &mut Command) -> bool {
    said_by(command).is_ok()
}

/// The output of `command`, if it succeeds.
pub(crate) fn said_by(command: &mut Command) -> Result<String> {
    let program = name(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("what {program} printed is not UTF-8"))
}

/// How long a program may print nothing before it is taken for one that hangs. The slowest crate compiles in less.
const SILENCE: Duration = Duration::from_mins(10);

/// Runs `command` and passes on its output line by line. Returns the output and whether the command succeeded.
///
/// A program that prints nothing for ten minutes hangs: it is killed and has not succeeded.
pub(crate) fn run_and_read(command: Command) -> Result<(String, bool)> {
    run_and_read_within(command, SILENCE)
}

/// The same, with another time for which the program may print nothing.
fn run_and_read_within(mut command: Command, silence: Duration) -> Result<(String, bool)> {
    let program = name(&command);
    let (pipe, end) = std::io::pipe()?;
    command.stdout(end.try_clone()?).stderr(end);
    let child = command.spawn();
    let mut child = child.with_context(|| format!("cannot run {program}"))?;
    // The pipe ends when the program does, since dropping `command` closes this side's ends of it.
    drop(command);
    let (said, lines) = mpsc::sync_channel(1_024);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            if said.send(line).is_err() {
                return; // the program was killed; one that it started has the pipe still
            }
        }
    });
    let mut kept = String::new();
    loop {
        match lines.recv_timeout(silence) {
            Ok(line) => {
                let mut line = line?;
                line.push(b'\n');
                std::io::stdout().write_all(&line)?;
                kept.push_str(&String::from_utf8_lossy(&line));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((kept, child.wait()?.success())),
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                println!(
                    "{program} printed nothing for {} s and was killed",
                    silence.as_secs()
                );
                return Ok((kept, false));
            }
        }
    }
}

/// Runs `command` without showing its output, for at most `limit`.
///
/// # Errors
/// When the command cannot be started, fails or takes longer. The error ends with the last line of its standard error.
pub(crate) fn run_quietly(command: &mut Command, limit: Duration) -> Result<()> {
    let program = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut pipe = child.stderr.take().context("a piped standard error is there")?;
    let (done, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = pipe.read_to_end(&mut said).map(|_| said);
        done.send(read).unwrap_or_default(); // nobody waits for output that comes too late
    });
    let Ok(said) = said.recv_timeout(limit) else {
        child.kill()?;
        child.wait()?;
        bail!("{program} was not done after {} s", limit.as_secs());
    };
    let said = String::from_utf8_lossy(&said?).into_owned();
    let why = said.trim().lines().last().unwrap_or("it did not say why");
    ensure!(child.wait()?.success(), "{program} failed: {why}");
    Ok(())
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
    fn programs_are_found_where_they_are() {
        assert!(find("sh").is_some_and(|path| path.is_file()));
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn both_outputs_are_kept() {
        let (output, succeeded) = run_and_read(shell("echo out; echo err >&2; exit 3")).unwrap();
        assert!(output == "out\nerr\n" && !succeeded, "{output}");
        let (output, succeeded) = run_and_read(shell("printf end")).unwrap();
        assert!(output == "end\n" && succeeded, "{output}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_has_not_succeeded() {
        // The program that it starts holds the pipe after it was killed.
        let hangs = shell("sleep 60 & wait");
        let (output, succeeded) = run_and_read_within(hangs, Duration::ZERO).unwrap();
        assert!(output.is_empty() && !succeeded, "{output}");
    }

    #[test]
    fn failures_say_why() {
        let quietly = |script: &str, limit| run_quietly(&mut shell(script), Duration::from_secs(limit));
        assert!(quietly("echo no", 60).is_ok());
        let failed = quietly("echo first >&2; echo no room >&2; exit 1", 60);
        let endless = quietly("while :; do read x < /dev/zero; done", 0);
        let missing = run_quietly(&mut Command::new("no-such-program"), Duration::ZERO);
        let unread = said_by(&mut shell("echo a >&2; exit 3")).map(drop);
        for (result, expected) in [
            (failed, "sh failed: no room"),
            (endless, "sh was not done after 0 s"),
            (missing, "cannot run no-such-program"),
            (unread, "sh failed (exit status: 3): a"),
        ] {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
    }
}
