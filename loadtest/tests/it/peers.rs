//! Each server that Tickwire is compared with delivers what is published: the command `peers`, one server at a time.
//!
//! It installs servers from npm if `TICKWIRE_TEST_INSTALL` is set, as `cargo xtask test` sets it, and nothing else. A
//! server that is not installed is skipped visibly.

use std::process::Command;

use crate::{PROGRAM, skip};

/// Checks that the peer delivers everything, or is skipped because it is not installed.
#[track_caller]
fn check(name: &str) {
    let installs = std::env::var_os("TICKWIRE_TEST_INSTALL").is_some();
    let output = Command::new(PROGRAM)
        .arg("peers")
        .args((!installs).then_some("--no-install"))
        .arg(name)
        .output()
        .expect("the load-test program");
    let said = String::from_utf8(output.stdout).expect("text");
    if let Some(why) = said.strip_prefix("skipped: ") {
        return skip(&format!("skipped: peers::{why}"));
    }
    assert!(
        output.status.success()
            && said.starts_with(&format!("{name}: "))
            && said.ends_with("all messages delivered\n"),
        "{}: {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

macro_rules! deliver {
    ($($test:ident: $peer:literal,)+) => {
        $(#[test]
        fn $test() {
            check($peer);
        })+
    };
}

deliver! {
    tickwire: "tickwire",
    uwebsockets: "uwebsockets",
    nats: "nats",
    ws: "ws",
    socketio: "socketio",
    naive: "naive",
    floor: "floor",
    uwebsockets_with_json: "uwebsockets-json",
    ws_with_json: "ws-json",
    nats_without_websocket: "nats-tcp",
    tickwire_plain: "tickwire-plain",
    tickwire_with_two_shards: "tickwire-2shards",
}
