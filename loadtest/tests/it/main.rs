//! The load-test program, run for real on a small scale: it ends well, and says what it found.
//!
//! Its tests need the broker beside their own program, as a build of the whole workspace puts it, and two cores; those of
//! the other servers need these installed. Where something is absent they say so in a line and test nothing.

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
    /// What it wrote to its standard output and error.
    said: String,
    /// What it found; null if it wrote nothing.
    found: Value,
}

/// Where a run of this name writes a file.
fn file(name: &str, end: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{end}"))
}

/// Runs the program with `arguments`; none, plainly, where it cannot be.
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
    // What an earlier run found must not be taken for this one's.
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

/// Says that a test did not run, here and in the log of skipped tests where there is one.
#[expect(clippy::print_stdout, reason = "people see it")]
fn skip(line: &str) {
    print!("{line}");
    if let Ok(log) = std::env::var("TICKWIRE_TEST_SKIP_LOG") {
        let log = OpenOptions::new().create(true).append(true).open(log);
        let written = log.and_then(|mut log| log.write_all(line.as_bytes()));
        written.expect("the log of skipped tests");
    }
}
