//! `tickwire admin`: the same from the command line.

use std::process::Stdio;

use super::*;
use crate::program::{Outcome, finish, tickwire};

/// Runs `tickwire admin` with these arguments against a broker, as the operator.
fn tool(broker: &Broker, args: &[&str]) -> Outcome {
    let ops = format!("http://{}", broker.ops);
    let mut command = tickwire(&[&["admin"], args, &["--ops", &ops]].concat());
    command.env("TICKWIRE_TOKEN", OPERATOR).stdin(Stdio::null());
    finish(command.spawn().expect("the program starts"))
}

#[test]
fn an_operator_lists_closes_revokes_and_drains() {
    let served = Administered::start(&[]);
    let broker = &served.broker;
    let (mut desk, name) = served.open(DESK);
    let (mut other, other_name) = served.open(OTHER);

    let listed = tool(broker, &["sessions", "--key", "desk"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.stdout.starts_with("session "), "{}", listed.stdout);
    assert!(
        listed.stdout.contains(&name) && listed.stdout.contains("key desk"),
        "{}",
        listed.stdout
    );
    assert_eq!(listed.stdout.lines().count(), 2, "{}", listed.stdout);
    let listed = tool(broker, &["sessions", "--format", "json"]);
    let rows: Vec<Value> = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let none = tool(broker, &["sessions", "--topic", "no.such"]);
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (Some(1), "tickwire: no open session is selected\n")
    );

    let closed = tool(broker, &["close", &other_name, "0-ffff"]);
    assert_eq!(closed.code, Some(1), "one does not exist");
    let said = format!("tickwire: {other_name}: closed\ntickwire: 0-ffff: no such session\n");
    assert_eq!(closed.stderr, said);
    assert_eq!(other.close_frame().0, 1001);

    let revoked = tool(
        broker,
        &["revoke", "--key", "desk", "--until", "2100-01-01T00:00:00Z"],
    );
    assert_eq!(
        (revoked.code, revoked.stderr.as_str()),
        (Some(0), "tickwire: revoked as id 1; closed 1\n")
    );
    assert_eq!(desk.close_frame().0, 4003);
    let listed = tool(broker, &["revocations"]).stdout;
    assert!(
        listed.contains("2100-01-01T00:00:00Z") && listed.contains("night-shift"),
        "{listed}"
    );
    assert!(listed.contains("key desk"), "{listed}");
    let back = tool(broker, &["unrevoke", "1"]);
    assert_eq!(
        (back.code, back.stderr.as_str()),
        (Some(0), "tickwire: 1: taken back\n")
    );
    assert_eq!(tool(broker, &["unrevoke", "1"]).code, Some(1));
    assert_eq!(tool(broker, &["revocations", "--format", "json"]).stdout, "");

    let (mut desk, _) = served.open(DESK);
    let closed = tool(
        broker,
        &["close", "--key", "desk", "--reason", "moved", "--format", "json"],
    );
    assert_eq!(
        (closed.code, closed.stdout.as_str()),
        (Some(0), "{\"closed\":1}\n")
    );
    assert_eq!(desk.close_frame(), (1001, "moved".to_owned()));

    let drained = tool(broker, &["drain"]);
    assert_eq!(
        (drained.code, drained.stderr.as_str()),
        (Some(0), "tickwire: the broker drains\n")
    );
    served.broker.wait_stopped();
}

#[test]
fn what_the_broker_refuses_is_said() {
    let served = Administered::start(&[]);
    let ops = format!("http://{}", served.broker.ops);
    let without = run(&["admin", "sessions", "--ops", &ops], "");
    assert_eq!(without.code, Some(1));
    assert!(
        without.stderr.contains("a token is required"),
        "{}",
        without.stderr
    );
    let unknown = tool(&served.broker, &["revoke", "--key", "nobody"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("key must be the name of a static key"),
        "{}",
        unknown.stderr
    );
    for (args, said) in [
        (&["close"][..], "--key <NAME>"),
        (&["close", "0-1", "--key", "a"], "cannot be used with"),
        (&["revoke"], "--jti <JTI>"),
        (&["revoke", "--key", "a", "--jti", "b"], "cannot be used with"),
        (&["revoke", "--key", "a", "--until", "soon"], "is no moment"),
        (&["unrevoke", "x"], "invalid digit"),
        (&["unrevoke"], "<ID>..."),
    ] {
        let wrong = tool(&served.broker, args);
        assert_eq!(wrong.code, Some(2), "{args:?}: {}", wrong.stderr);
        assert!(wrong.stderr.contains(said), "{args:?}: {}", wrong.stderr);
    }
    served.broker.stop();
    let plain = Broker::start(&["--feed", "none"]);
    let absent = tool(&plain, &["drain"]);
    assert_eq!(absent.code, Some(1));
    assert!(
        absent.stderr.contains("the broker has no admin API"),
        "{}",
        absent.stderr
    );
    plain.stop();
}

#[test]
fn each_command_of_admin_explains_itself_with_examples() {
    for command in ["sessions", "close", "revoke", "revocations", "unrevoke", "drain"] {
        let help = run(&["admin", command, "--help"], "");
        assert_eq!(help.code, Some(0), "{command}: {}", help.stderr);
        let example = format!("tickwire admin {command}");
        assert!(
            help.stdout.contains("Examples:\n  ") && help.stdout.contains(&example),
            "{}",
            help.stdout
        );
        assert!(help.stdout.contains("Exit codes: "), "{command}");
    }
}
