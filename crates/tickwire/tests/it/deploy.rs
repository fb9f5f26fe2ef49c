//! The units of systemd, and the files that systemd hands over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::run;
use crate::prometheus::of_the_project;
use crate::support::{Authority, Broker, Script, Socket, Tool, find_in_path, skip};

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

/// What runs in a container beside the units, and writes to a file of the test. `journalctl -f` waits for lines that are yet to come.
const PROBE: &str = r#"
set -e
said() { grep --max-count "$2" "$1" < <(journalctl --follow --lines all --output cat --unit tickwire.service); }
systemctl start tickwire.socket tickwire.service
state() { systemctl show tickwire.service --value --property "$1"; }
echo "state: $(state SubState)"
systemctl reload tickwire.service
echo "reloaded: $(state SubState)"
exec 5<>/dev/tcp/127.0.0.1/7400
printf 'GET /v1/topics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&5
read -r answer <&5
echo "answer: $answer"
kill -STOP "$(state MainPID)"
said 'Watchdog timeout' 1
said 'is ready' 2
echo "starts again: $(state NRestarts)"
systemctl stop tickwire.service tickwire.socket
echo "stopped: $(state SubState) $(state Result)"
journalctl --output cat --unit tickwire.service
"#;
/// The unit that runs it, and then ends the container.
const PROBE_UNIT: &str = "[Unit]\nAfter=dbus.socket\nWants=dbus.socket\nSuccessAction=poweroff-force\nFailureAction=poweroff-force\n\
    [Service]\nType=oneshot\nExecStart=/bin/bash /opt/test/probe.sh\n\
    StandardOutput=file:/opt/said/lines\nStandardError=file:/opt/said/lines\n";

/// The arguments of systemd-nspawn for a container that has this machine's programs and nothing else of it. The machine itself may have no
/// systemd.
const CONTAINER: [&str; 7] = [
    "--quiet",
    "--directory=/",
    "--volatile=yes",
    "--private-network",
    "--console=pipe",
    "--register=no",
    "--keep-unit",
];

/// Whether systemd-nspawn can start a program. Otherwise prints that `test` is skipped.
fn can_contain(nspawn: &Path, test: &str) -> bool {
    let tried = Command::new(nspawn).args(CONTAINER).arg("/bin/true").output();
    let works = tried.is_ok_and(|tried| tried.status.success()).then_some(());
    works
        .or_else(|| skip(test, "systemd-nspawn starts nothing here; it needs root"))
        .is_some()
}

/// Boots a systemd in a container with these units and the probe, and waits for its end. Returns what the probe has said.
fn boot(nspawn: &Path, unit: &str, socket: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let said = tempfile::tempdir().expect("a folder");
    let mut args = CONTAINER.map(str::to_owned).to_vec();
    let mut bind = |outside: &Path, inside: &str| {
        args.push(format!("--bind-ro={}:{inside}", outside.display()));
    };
    bind(Path::new(env!("CARGO_BIN_EXE_tickwire")), "/opt/tickwire");
    for (inside, text) in [
        ("/etc/systemd/system/tickwire.service", unit),
        ("/etc/systemd/system/tickwire.socket", socket),
        ("/etc/systemd/system/probe.service", PROBE_UNIT),
        ("/etc/tickwire/tickwire.toml", "[feed]\nkind = \"none\"\n"),
        ("/opt/test/probe.sh", PROBE),
    ] {
        let file = folder.path().join(inside.replace('/', "_"));
        fs::write(&file, text).expect("a file can be written");
        bind(&file, inside);
    }
    args.push(format!("--bind={}:/opt/said", said.path().display()));
    let boot = [
        "--boot",
        "systemd.unit=probe.service",
        "systemd.unified_cgroup_hierarchy=1",
        // One asks a person, and one waits for a network that the container does not have.
        "systemd.mask=systemd-firstboot.service",
        "systemd.mask=systemd-networkd-wait-online.service",
    ];
    args.extend(boot.map(str::to_owned));
    let container = Script::start(nspawn, &args);
    let ended = container.ends_in_time();
    let said = fs::read_to_string(said.path().join("lines")).unwrap_or_default();
    assert!(ended, "the container does not end:\n{said}");
    said
}

/// The rest of the tests looks at the units; here systemd starts them, with all that they forbid.
#[test]
fn a_real_systemd_starts_reloads_watches_and_stops_the_broker() {
    let test = "a_real_systemd_starts_reloads_watches_and_stops_the_broker";
    let Some(nspawn) = Tool::Nspawn.find(test).filter(|nspawn| can_contain(nspawn, test)) else {
        return;
    };
    let [unit, socket] = units();
    let unit = unit.replace(
        concat!("=", env!("CARGO_BIN_EXE_tickwire"), " "),
        "=/opt/tickwire ",
    );
    let watched = unit.replace("WatchdogSec=30", "WatchdogSec=2");
    assert_ne!(watched, unit);
    let said = boot(&nspawn, &watched, &socket);
    for expected in [
        "state: running",
        "reloaded: running",
        "answer: HTTP/1.1 200 OK",
        "starts again: 1",
        "stopped: dead success",
        "listening on a socket that was passed",
        "the settings were read again and hold",
    ] {
        assert!(said.contains(expected), "no {expected:?}:\n{said}");
    }
    // The unit does not forbid io_uring, if this machine has it.
    let free = Broker::start(&["--feed", "none"]);
    let has_io_uring = free.has_log(r#""egress":"io_uring""#);
    assert_eq!(said.contains(r#"egress="io_uring""#), has_io_uring, "{said}");
    free.stop();
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
