//! Runs the load-test program on a small scale: it must succeed and report its results.
//!
//! The tests need the broker beside their own program, where a build of the whole workspace puts it, and two cores.
//! Those of other servers need these installed. If something is missing, a test says so in one line and tests nothing.

mod compare;
mod faults;
mod peers;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tickwire-loadtest");

/// A run of the program that has ended.
struct Ran {
    status: Option<i32>,
    /// Its standard output and standard error.
    said: String,
    /// Its results; null if it wrote none.
    found: Value,
}

/// The path of a file that a run writes.
fn file(name: &str, end: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{end}"))
}

/// Runs the program with `arguments`; `None`, after saying so, if it cannot be run.
fn run(name: &str, arguments: &[&str]) -> Option<Ran> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let why = match Path::new(PROGRAM).with_file_name("tickwire").exists() {
        true if cores >= 2 => None,
        true => Some("server and client need a core each"),
        false => Some("there is no broker beside the load test; build it with cargo build -p tickwire"),
    };
    if let Some(why) = why {
        skip(&format!("skipped: {name}: {why}\n"));
        return None;
    }
    let json = file(name, "json");
    // The results of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&json);
    let output = Command::new(PROGRAM)
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the program runs");
    let found = fs::read(json).map(|json| serde_json::from_slice(&json).expect("it is JSON"));
    Some(Ran {
        status: output.status.code(),
        said: String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
        found: found.unwrap_or_default(),
    })
}

#[track_caller]
fn number(found: &Value, name: &str) -> u64 {
    found[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name}: {found}"))
}

/// Prints that a test did not run, and adds it to the log of skipped tests if there is one.
#[expect(clippy::print_stdout, reason = "people see it")]
fn skip(line: &str) {
    print!("{line}");
    if let Ok(log) = std::env::var("TICKWIRE_TEST_SKIP_LOG") {
        let log = OpenOptions::new().create(true).append(true).open(log);
        let written = log.and_then(|mut log| log.write_all(line.as_bytes()));
        written.expect("the log of skipped tests");
    }
}
