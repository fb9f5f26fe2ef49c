//! The systemd unit, and the files that systemd hands over.

use std::fs;
use std::process::Command;

use crate::program::run;
use crate::support::{Authority, Broker, Socket, find_in_path, skip};

/// Checks the unit as it is, and with the credentials that its comments show.
#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let Some(program) = find_in_path("systemd-analyze").or_else(|| {
        skip(
            "systemd_finds_nothing_wrong_with_the_unit",
            "systemd-analyze is not installed",
        )
    }) else {
        return;
    };
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tickwire.service");
    let unit = fs::read_to_string(unit).expect("the unit is there");
    // The path of the program on this machine.
    let unit = unit.replace(
        "=/usr/local/bin/tickwire ",
        &format!("={} ", env!("CARGO_BIN_EXE_tickwire")),
    );
    let shown = unit.replace("#LoadCredential=", "LoadCredential=");
    assert_ne!(shown, unit, "it shows credentials");
    let more = "[Service]\nEnvironment=TICKWIRE_TLS__KEY_FILE=%d/key.pem\n";
    for text in [&unit, &shown, &format!("{shown}\n{more}")] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tickwire.service");
        fs::write(&file, text).expect("a file can be written");
        let output = Command::new(&program).arg("verify").arg(&file).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("tickwire.service"),
            "{said}\n{text}"
        );
    }
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
