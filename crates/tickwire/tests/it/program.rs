//! Runs the program that was built.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a program may run before it counts as hanging.
const DEADLINE: Duration = Duration::from_secs(30);

/// The program with `args`, without variables of this environment that would change settings.
pub(crate) fn tickwire(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The outcome of a program.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program with `args` to its end; `input` is its standard input.
pub(crate) fn run(args: &[&str], input: &str) -> Outcome {
    let mut child = tickwire(args).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that does not read its input has ended or will end: its outcome tells.
    stdin.write_all(input.as_bytes()).unwrap_or_default();
    drop(stdin);
    finish(child)
}

/// Waits for the end of `child`.
pub(crate) fn finish(child: Child) -> Outcome {
    let id = child.id();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(output) = end.recv_timeout(DEADLINE) else {
        signal(id, "KILL");
        panic!("the program did not end");
    };
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("it can be waited for");
    Outcome {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

/// Sends a signal to the process `id`.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &id.to_string()])
        .status();
    assert!(status.expect("kill exists").success());
}

/// A running broker. It ends with the test.
pub(crate) struct Serve {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Serve {
    /// Starts a broker on free ports with further `args`.
    pub(crate) fn start(args: &[&str]) -> Self {
        let common = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--ops",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ];
        let mut child = tickwire(&[&common, args].concat())
            .spawn()
            .expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (found, url) = mpsc::channel();
        // The thread reads to the end, so that the broker never waits for its log to be read.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).expect("a log line is JSON");
                if let Some(url) = line["url"].as_str() {
                    found.send(url.to_owned()).unwrap_or_default();
                }
            }
        });
        let Ok(url) = url.recv_timeout(DEADLINE) else {
            signal(child.id(), "KILL");
            panic!("the broker does not say where it listens");
        };
        Self { child, url }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // The process may have ended already.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}
