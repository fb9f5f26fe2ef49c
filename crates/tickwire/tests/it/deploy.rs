//! The units of systemd, and the files that systemd hands over.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::program::run;
use crate::prometheus::of_the_project;
use crate::support::{Authority, Broker, Socket, find_in_path, skip};

/// Most that `systemd-analyze security` may hold against the unit, from 0 (safe) to 10.
const EXPOSURE_MAX: f64 = 1.1;

/// The units, with the path of the program on this machine.
fn units() -> [String; 2] {
    ["deploy/tickwire.service", "deploy/tickwire.socket"].map(|path| {
        let unit = fs::read_to_string(of_the_project(path)).expect("the unit is there");
        unit.replace(
            "=/usr/local/bin/tickwire ",
            &format!("={} ", env!("CARGO_BIN_EXE_tickwire")),
        )
    })
}

/// The program systemd-analyze. Without it, prints that `test` is skipped.
fn systemd_analyze(test: &str) -> Option<PathBuf> {
    find_in_path("systemd-analyze").or_else(|| skip(test, "systemd-analyze is not installed"))
}

/// Checks the unit as it is, and with the credentials that its comments show.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(program) = systemd_analyze("systemd_finds_nothing_wrong_with_the_units") else {
        return;
    };
    let [unit, socket] = units();
    let shown = unit.replace("#LoadCredential=", "LoadCredential=");
    assert_ne!(shown, unit, "it shows credentials");
    let more = "[Service]\nEnvironment=TICKWIRE_TLS__KEY_FILE=%d/key.pem\n";
    for text in [&unit, &shown, &format!("{shown}\n{more}")] {
        let folder = tempfile::tempdir().expect("a folder");
        let files = ["tickwire.service", "tickwire.socket"].map(|name| folder.path().join(name));
        for (file, text) in files.iter().zip([text, &socket]) {
            fs::write(file, text).expect("a file can be written");
        }
        let output = Command::new(&program).arg("verify").args(&files).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("tickwire.s"),
            "{said}\n{text}"
        );
    }
}

#[test]
fn the_unit_may_do_little() {
    let Some(program) = systemd_analyze("the_unit_may_do_little") else {
        return;
    };
    let [unit, _] = units();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.service");
    fs::write(&file, unit).expect("a file can be written");
    let output = Command::new(&program)
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let (_, level) = said.split_once("tickwire.service: ").expect("the overall level");
    let level: f64 = level
        .split(' ')
        .next()
        .and_then(|level| level.parse().ok())
        .expect("a number");
    assert!(level <= EXPOSURE_MAX, "{said}");
}

/// The broker has time to drain before systemd kills it.
#[test]
fn systemd_waits_for_the_drain() {
    let [unit, _] = units();
    let (_, seconds) = unit.split_once("\nTimeoutStopSec=").expect("a limit");
    let seconds: u64 = seconds
        .lines()
        .next()
        .and_then(|line| line.parse().ok())
        .expect("seconds");
    let drain = tickwire_server::Config::default().drain;
    assert!(seconds * 1_000 > drain.delay_ms + drain.deadline_ms);
}

/// In a unit, the user of the broker cannot read the files of root.
#[test]
fn keys_that_were_handed_over_are_read_from_where_the_environment_says() {
    let authority = Authority::new();
    authority.issue("handed");
    let folder = authority.path("");
    let folder = folder.to_str().expect("UTF-8");
    let file = authority.file("unit.toml");
    let text = "[tls]\ncert_file = \"$CREDENTIALS_DIRECTORY/handed.pem\"\nkey_file = \"$CREDENTIALS_DIRECTORY/handed.key\"\n";
    fs::write(&file, text).expect("a file can be written");
    let broker = Broker::start_with(
        &["--feed", "none", "--config", &file],
        &[("CREDENTIALS_DIRECTORY", folder)],
    );
    assert!(Socket::secure(&broker, authority.client()).is_ok());
    broker.stop();
    let outcome = run(&["check-config", &file], "");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let rule = "is a credential, but CREDENTIALS_DIRECTORY is not set";
    assert!(outcome.stderr.contains(rule), "{}", outcome.stderr);
}
