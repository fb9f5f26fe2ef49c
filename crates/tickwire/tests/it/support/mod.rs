//! What the tests share: the broker as a process, clients as processes, bare sockets.
//!
//! Everything here waits for an event, never for a time to pass; what has not happened after [`DEADLINE`] fails the test.
//! What a test starts ends with it.

mod broker;
mod client;
mod http;
mod lines;
mod network;
mod script;
mod socket;
mod tls;

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use broker::{Broker, refused_to_start};
pub(crate) use client::{Client, Codec};
pub(crate) use http::{Answer, get, post};
pub(crate) use network::BadNetwork;
pub(crate) use script::Script;
pub(crate) use socket::{Frame, Opcode, Socket};
pub(crate) use tls::Authority;

/// How long anything may take before a test gives it up. Not a promise of the broker's: only what keeps a run from hanging.
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
    Curl,
}

impl Tool {
    /// The program, or a line that says that `test` is skipped for want of it.
    pub(crate) fn find(self, test: &str) -> Option<PathBuf> {
        let variable = match self {
            Self::Python => "TICKWIRE_TEST_PYTHON",
            Self::Node => "TICKWIRE_TEST_NODE",
            Self::Chromium => "TICKWIRE_TEST_CHROMIUM",
            Self::Prometheus => "TICKWIRE_TEST_PROMETHEUS",
            Self::Promtool => "TICKWIRE_TEST_PROMTOOL",
            Self::Nginx => "TICKWIRE_TEST_NGINX",
            Self::HaProxy => "TICKWIRE_TEST_HAPROXY",
            Self::Curl => return find_in_path("curl").or_else(|| skip(test, "curl is not installed")),
        };
        let found = env::var_os(variable).map(PathBuf::from);
        found.or_else(|| skip(test, &format!("{variable} is not set; cargo xtask test sets it")))
    }
}

impl Tool {
    /// All of these programs, or a line that says that `test` is skipped for want of the first that is missing.
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

/// Says that `test` does not run and why, where people and `cargo xtask test` see it.
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

/// The recording called `name`, or a line that says that `test` is skipped for want of it.
pub(crate) fn recording(test: &str, name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A relative folder is one of the workspace's, wherever the test runs.
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

/// A file of this crate's `tests` folder.
pub(crate) fn test_file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Asks again and again until `ask` gives something.
///
/// For what cannot be waited for because nobody tells: the counters of another process. Between two questions the thread
/// stands aside for a moment.
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
