//! What the tests share: the broker as a process, clients as processes, plain sockets.
//!
//! Everything here waits for an event, never for a time to pass. What has not happened after [`DEADLINE`] fails the
//! test. What a test starts ends with the test.

mod broker;
mod client;
mod container;
mod http;
mod lines;
mod nats;
mod network;
mod script;
mod socket;
mod tls;

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use broker::{Broker, refused_to_start, refused_to_start_passed};
pub(crate) use client::{Client, Codec};
pub(crate) use container::{Container, open_to_all};
pub(crate) use http::{Answer, get, post};
pub(crate) use nats::Nats;
pub(crate) use network::BadNetwork;
pub(crate) use script::Script;
pub(crate) use socket::{Frame, Opcode, Socket};
pub(crate) use tls::Authority;

/// How long a test waits for anything before it fails. This is not a promise of the broker: it only keeps a run from
/// hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A program that is not part of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Python,
    Node,
    Chromium,
    Prometheus,
    Promtool,
    Nginx,
    HaProxy,
    Compose,
    Nspawn,
    Curl,
}

impl Tool {
    /// The path of the program. Without it, prints that `test` is skipped.
    pub(crate) fn find(self, test: &str) -> Option<PathBuf> {
        let variable = match self {
            Self::Python => "TICKWIRE_TEST_PYTHON",
            Self::Node => "TICKWIRE_TEST_NODE",
            Self::Chromium => "TICKWIRE_TEST_CHROMIUM",
            Self::Prometheus => "TICKWIRE_TEST_PROMETHEUS",
            Self::Promtool => "TICKWIRE_TEST_PROMTOOL",
            Self::Nginx => "TICKWIRE_TEST_NGINX",
            Self::HaProxy => "TICKWIRE_TEST_HAPROXY",
            Self::Compose => "TICKWIRE_TEST_COMPOSE",
            Self::Nspawn => "TICKWIRE_TEST_NSPAWN",
            Self::Curl => return find_in_path("curl").or_else(|| skip(test, "curl is not installed")),
        };
        let found = env::var_os(variable).map(PathBuf::from);
        found.or_else(|| skip(test, &format!("{variable} is not set; cargo xtask test sets it")))
    }
}

impl Tool {
    /// The paths of all these programs. If one is missing, prints that `test` is skipped.
    pub(crate) fn find_all<const N: usize>(tools: [Self; N], test: &str) -> Option<[PathBuf; N]> {
        let found: Option<Vec<_>> = tools.into_iter().map(|tool| tool.find(test)).collect();
        found.and_then(|found| found.try_into().ok())
    }
}

pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Prints that `test` does not run and why, and logs it for `cargo xtask test`.
#[allow(clippy::print_stdout, reason = "a test that did not run says so")]
pub(crate) fn skip<T>(test: &str, why: &str) -> Option<T> {
    let line = format!("skipped: {test}: {why}\n");
    print!("{line}");
    if let Some(log) = env::var_os("TICKWIRE_TEST_SKIP_LOG") {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(log);
        opened
            .and_then(|mut log| log.write_all(line.as_bytes()))
            .expect("the list of skipped tests can be written");
    }
    None
}

/// The path of the recording `name`. Without it, prints that `test` is skipped.
pub(crate) fn recording(test: &str, name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A relative folder is one of the workspace, wherever the test runs.
    let folder = root.join(env::var("TICKWIRE_RECORDINGS").unwrap_or_else(|_| "../shared/data".to_owned()));
    let path = folder.join(name);
    if path.is_file() {
        return Some(path.display().to_string());
    }
    skip(
        test,
        &format!("the recording {name} is not there; TICKWIRE_RECORDINGS names its folder"),
    )
}

/// The path of a file in this crate's `tests` folder.
pub(crate) fn test_file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Calls `ask` again and again until it returns something.
///
/// This is for events that nobody reports, such as another process's counters. Between two calls the thread gives way
/// for a moment.
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
