//! One client program of the run, in whatever language: it is started, its lines are read, and their messages are
//! audited.
//!
//! A thread reads the lines into a bounded queue, so a program that writes faster than its messages are audited has to
//! wait. A line that cannot be read is a fault, and so is a program that ends before it is told to. A program is told
//! to end when its standard input is closed. It is killed if it does not end then, or if this run ends before it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tickwire_wire::message::{AckResult, GapReason};
use tickwire_wire::{Epoch, Seq};
use tokio::sync::mpsc;

use super::ClientCommand;
use super::account::{Account, Followed};
use super::follower::Follower;

/// Most lines that wait to be audited.
const LINES_MAX: usize = 4_096;
/// The time between two looks at whether everything has come, while no line comes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a program may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A line of a client program.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Connected,
    Ack {
        topic: String,
        epoch: Option<Epoch>,
        seq: Option<Seq>,
        matched: Option<usize>,
        error: Option<String>,
    },
    Recovered {
        topic: String,
        resumed: usize,
        not_resumed: usize,
    },
    Update {
        topic: String,
        seq: u64,
        n: Option<u64>,
    },
    Snapshot {
        topic: String,
        seq: u64,
        n: Option<u64>,
    },
    Gap {
        topic: String,
        from: u64,
        to: u64,
        reason: GapReason,
    },
    Joined {
        topic: String,
        seq: u64,
    },
    Unresumed {
        topic: String,
    },
    Disconnected {
        retry: String,
        #[serde(default)]
        why: String,
    },
    ConnectFailed {
        retry: String,
        #[serde(default)]
        why: String,
    },
    Violation {
        violation: String,
        #[serde(default)]
        why: String,
    },
    Error {
        why: String,
    },
}

/// A running program, which is killed when this is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Program {
    /// Tells it to end. Returns what is wrong with its end.
    async fn end(&mut self) -> Result<(), String> {
        drop(self.0.stdin.take());
        let until = Instant::now() + END_WITHIN;
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(status.to_string()),
                Ok(None) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
                Ok(None) => return Err(format!("it goes on {END_WITHIN:?} after the end of its input")),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// Follows by a program that `command` starts, until the run is over and nothing more is to come.
pub(super) async fn run(follower: Follower, command: ClientCommand) -> Followed {
    let mut account = Account::new(follower.number, follower.way, follower.shared.clone());
    match start(&follower, &command) {
        Ok((mut program, lines)) => {
            follow(&follower, lines, &mut account).await;
            if let Err(why) = program.end().await {
                account.fault("client did not end well", why);
            }
        }
        Err(error) => account.fault("client not started", error),
    }
    account.finish()
}

fn start(follower: &Follower, command: &ClientCommand) -> std::io::Result<(Program, mpsc::Receiver<String>)> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .args(["--url", &follower.url, "--codec", codec_name(follower), "--mode"])
        .arg(follower.mode().as_str())
        .args(follower.names())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || read(output, &sender));
    Ok((Program(child), lines))
}

fn codec_name(follower: &Follower) -> &'static str {
    match follower.codec {
        tickwire_wire::Codec::Json => "json",
        tickwire_wire::Codec::MessagePack => "msgpack",
    }
}

/// Reads lines until the program closes its output or nobody takes them.
fn read(output: ChildStdout, sender: &mpsc::Sender<String>) {
    for line in BufReader::new(output).lines() {
        let line = line.unwrap_or_else(|error| format!("not readable: {error}"));
        if sender.blocking_send(line).is_err() {
            return;
        }
    }
}

async fn follow(follower: &Follower, mut lines: mpsc::Receiver<String>, account: &mut Account) {
    while !account.is_done() {
        let line = tokio::select! {
            // No line comes while everything has come and publishing goes on: look again.
            line = tokio::time::timeout(LOOK_EVERY, lines.recv()) => line,
            () = follower.shared.over() => return,
        };
        match line {
            Ok(Some(line)) => match serde_json::from_str::<Line>(&line) {
                Ok(line) => take(line, account),
                Err(error) => account.fault("not a line of this format", format_args!("{error}: {line}")),
            },
            Ok(None) => return account.fault("client stopped", "its output ended"),
            Err(_elapsed) => {}
        }
    }
}

fn take(line: Line, account: &mut Account) {
    match line {
        Line::Connected => account.connected(),
        Line::Ack {
            topic,
            error: Some(code),
            ..
        } => account.fault("refused", format_args!("{topic}: {code}")),
        Line::Ack { matched: Some(_), .. } => account.acked_by_pattern(),
        Line::Ack {
            topic, epoch, seq, ..
        } => account.acked(&AckResult {
            topic,
            epoch,
            seq,
            ..AckResult::default()
        }),
        Line::Recovered { topic, .. } if topic.contains('*') => account.acked_by_pattern(),
        Line::Recovered {
            topic,
            resumed,
            not_resumed,
        } => account.recovered(&topic, (resumed + not_resumed > 0).then_some(resumed > 0)),
        Line::Update { topic, seq, n } => account.update(&topic, seq, n == Some(seq)),
        Line::Snapshot { topic, seq, n } => account.snapshot(&topic, seq, n == Some(seq)),
        Line::Gap {
            topic,
            from,
            to,
            reason,
        } => account.gap(&topic, from, to, reason),
        Line::Joined { topic, seq } => account.joined(&topic, seq),
        Line::Unresumed { topic } => account.unresumed(&topic),
        Line::Disconnected { retry, why } => {
            account.disconnected();
            stopped(&retry, &why, account);
        }
        Line::ConnectFailed { retry, why } => {
            account.connect_failed();
            stopped(&retry, &why, account);
        }
        Line::Violation { violation, why } => {
            account.fault("broken promise", format_args!("{violation}: {why}"));
        }
        Line::Error { why } => account.fault("error", why),
    }
}

fn stopped(retry: &str, why: &str, account: &mut Account) {
    if retry == "never" {
        account.fault("client stopped", why);
    }
}
