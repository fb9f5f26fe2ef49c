//! The scenarios of bad networks, slow readers and attackers, on a small scale: `chaos`, `stall`, `slowlink`, `attack`.
//!
//! Need the broker beside the load test, and `slowlink` root, `ip` and `tc`; skipped without, plainly. What must hold at any
//! speed is checked, and that there are figures; never how large they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::peers::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tickwire-loadtest");

/// What `scenario` found, or nothing when there is no broker.
fn run(scenario: &str, arguments: &[&str]) -> Option<(Output, Value)> {
    if !Path::new(PROGRAM).with_file_name("tickwire").exists() {
        let why = "there is no broker beside the load test; build it with cargo build -p tickwire";
        skip(&format!("skipped: faults::{scenario}: {why}\n"));
        return None;
    }
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{scenario}.json"));
    // What an earlier run found must not be taken for this one's.
    let _ = std::fs::remove_file(&json);
    let output = Command::new(PROGRAM)
        .arg(scenario)
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the program runs");
    let found = std::fs::read(json).ok();
    let found = found.map(|json| serde_json::from_slice(&json).expect("it is JSON"));
    Some((output, found.unwrap_or_default()))
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stderr) + &text(&output.stdout)
}

#[track_caller]
fn number(found: &Value, name: &str) -> u64 {
    found[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name}: {found}"))
}

#[test]
fn every_message_is_accounted_for_on_a_bad_network() {
    let arguments = [
        "--messages=20000",
        "--clients=12",
        "--rate=1500",
        "--every-bytes=40000",
        "--every-bytes-up=2000",
    ];
    let Some((output, found)) = run("chaos", &arguments) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    assert!(number(&found, "messages") >= 20_000);
    for nothing in ["undeclared", "duplicates", "false_recovered", "wrong_content"] {
        assert_eq!(number(&found, nothing), 0, "{nothing}: {found}");
    }
    for something in ["recovered", "conflated"] {
        assert!(number(&found, something) > 0, "{something}: {found}");
    }
    assert!(
        number(&found, "connections") > 24,
        "connections were lost: {found}"
    );
}

#[test]
fn readers_that_stand_still_cost_little_and_go_on_with_the_newest() {
    let arguments = [
        "--connections=200",
        "--seconds=3",
        "--rounds=1",
        "--topics=20",
        "--rate-each=60",
        "--data-bytes=4000",
    ];
    let Some((output, found)) = run("stall", &arguments) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let round = &found["rounds"][0];
    assert_eq!(number(round, "fresh"), 20, "{found}");
    assert_eq!(round["lagging"], 20.0, "{found}");
    assert!(number(&found, "conflated") > 0, "{found}");
}

#[test]
fn a_slow_link_is_made_and_gone_again() {
    let arguments = ["--seconds=3", "--warmup=1", "--peer=tickwire"];
    let Some((output, found)) = run("slowlink", &arguments) else {
        return;
    };
    let said = said(&output);
    // Without root or the programs it says so in a line.
    if output.status.code() == Some(2) {
        let why = said.strip_prefix("error: ").and_then(|said| said.lines().next());
        return skip(&format!("skipped: faults::slowlink: {}\n", why.unwrap_or(&said)));
    }
    assert!(output.status.success(), "{said}");
    let served = &found["served"][0];
    assert!(number(served, "messages") > 0, "{found}");
    // The bucket lets a burst through besides.
    assert!(number(served, "bytes") < 2 * 3 * 10_000, "{found}");
    assert!(
        number(served, "age_us_p99") > 0 && number(served, "send_queue_max_bytes") > 0,
        "{found}"
    );
    let names = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .expect("ip is there");
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    assert!(!names.contains("tickwire-"), "{names}");
}

#[test]
fn attackers_get_their_answers_and_the_others_notice_nothing() {
    let arguments = [
        "--row=1",
        "--row=7",
        "--row=14",
        "--row=24",
        "--attackers=20",
        "--subscribers=20",
        "--seconds=2",
    ];
    let Some((output, found)) = run("attack", &arguments) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let rows = found["rows"].as_array().expect("there are rows");
    assert_eq!(rows.len(), 5, "row 24 is two: {found}");
    for row in rows {
        assert!(number(row, "attempts") >= 20, "{row}");
        assert_eq!(number(row, "honest_missed"), 0, "{row}");
        assert!(number(&row["attacked_us"], "count") > 0, "{row}");
    }
}
