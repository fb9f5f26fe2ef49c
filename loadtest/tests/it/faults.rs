//! The trials of bad networks, slow readers and attackers, on a small scale: `chaos`, `stall`, `slowlink`, `attack`, `k6`.
//!
//! `slowlink` needs root, `ip` and `tc`, and `k6` needs k6. They are skipped visibly without them. The tests check what must hold at any
//! speed and that there are figures, never how large the figures are.

use std::process::Command;

use crate::{number, run, skip};

#[test]
fn every_message_is_accounted_for_on_a_bad_network() {
    let rate = ["--messages=20000", "--clients=12", "--rate=1500"];
    let faults = ["--every-bytes=40000", "--every-bytes-up=2000"];
    let Some(ran) = run("chaos", &[&["chaos"], &rate[..], &faults].concat()) else {
        return;
    };
    let (found, said) = (&ran.found, &ran.said);
    assert_eq!(ran.status, Some(0), "{said}");
    assert!(number(found, "messages") >= 20_000);
    for nothing in ["undeclared", "duplicates", "false_recovered", "wrong_content"] {
        assert_eq!(number(found, nothing), 0, "{nothing}: {found}");
    }
    for something in ["recovered", "conflated"] {
        assert!(number(found, something) > 0, "{something}: {found}");
    }
    assert!(
        number(found, "connections") > 24,
        "connections were lost: {found}"
    );
}

#[test]
fn every_message_is_accounted_for_over_kills_of_the_broker() {
    let load = ["--kills=4", "--clients=6", "--rate=1500", "--publish=15000"];
    let Some(ran) = run("chaos", &[&["chaos"], &load[..]].concat()) else {
        return;
    };
    let (found, said) = (&ran.found, &ran.said);
    assert_eq!(ran.status, Some(0), "{said}");
    assert_eq!(number(found, "kills"), 4, "{found}");
    for nothing in ["undeclared", "duplicates", "false_recovered", "wrong_content"] {
        assert_eq!(number(found, nothing), 0, "{nothing}: {found}");
    }
    assert!(number(found, "recovered") > 0, "{found}");
}

/// The arguments of a small run of client programs.
fn programs(command: &str) -> Vec<String> {
    let small = ["chaos", "--publish=12000", "--clients=12", "--rate=1500"];
    let faults = [
        "--every-bytes=40000",
        "--every-bytes-up=2000",
        "--client",
        command,
    ];
    small
        .iter()
        .chain(&faults)
        .map(|word| (*word).to_owned())
        .collect()
}

/// The command of the Rust client as a program.
const CLIENT: &str = concat!(env!("CARGO_BIN_EXE_tickwire-loadtest"), " chaos-client");

#[test]
fn a_client_program_in_any_language_is_audited_as_the_own_client_is() {
    let arguments = programs(CLIENT);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(ran) = run("chaos-program", &arguments) else {
        return;
    };
    let (found, said) = (&ran.found, &ran.said);
    assert_eq!(ran.status, Some(0), "{said}");
    assert_eq!(number(found, "published"), 12_000, "{said}");
    for nothing in ["undeclared", "duplicates", "false_recovered", "wrong_content"] {
        assert_eq!(number(found, nothing), 0, "{nothing}: {found}");
    }
    assert!(
        number(found, "connections") > 24,
        "connections were lost: {found}"
    );
}

#[test]
fn a_client_program_that_swallows_gaps_is_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("client");
    let text = format!("{CLIENT} \"$@\" | grep --line-buffered -v '\"gap\"'\n");
    std::fs::write(&script, text).expect("room on the disk");
    let arguments = programs(&format!("sh {}", script.display()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(ran) = run("chaos-swallowed", &arguments) else {
        return;
    };
    assert_eq!(ran.status, Some(1), "{}", ran.said);
    assert!(number(&ran.found, "undeclared") > 0, "{}", ran.found);
}

#[test]
fn readers_that_stand_still_cost_little_and_go_on_with_the_newest() {
    let readers = ["stall", "--connections=100", "--seconds=3", "--rounds=1"];
    let messages = ["--topics=20", "--rate-each=60", "--data-bytes=4000"];
    let Some(ran) = run("stall", &[&readers[..], &messages].concat()) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let round = &ran.found["rounds"][0];
    assert_eq!(number(round, "fresh"), 10, "{round}");
    assert_eq!(round["lagging"], 10.0, "{round}");
    assert!(number(&ran.found, "conflated") > 0, "{}", ran.found);
}

#[test]
fn a_slow_link_is_made_and_gone_again() {
    let arguments = ["slowlink", "--seconds=3", "--warmup=1", "--peer=tickwire"];
    let Some(ran) = run("slowlink", &arguments) else {
        return;
    };
    // Without root or the programs, the trial says so in one line.
    if ran.status == Some(2) {
        let why = ran
            .said
            .strip_prefix("error: ")
            .and_then(|said| said.lines().next());
        return skip(&format!("skipped: slowlink: {}\n", why.unwrap_or(&ran.said)));
    }
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let served = &ran.found["served"][0];
    // The bucket also lets a burst through.
    assert!(number(served, "bytes") < 2 * 3 * 10_000, "{served}");
    for (of, something) in [
        (&served["age_us"], "count"),
        (&served["age_us"], "p99"),
        (served, "send_queue_max_bytes"),
    ] {
        assert!(number(of, something) > 0, "{served}");
    }
    let names = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .expect("ip is there");
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    assert!(!names.contains("tickwire-"), "{names}");
}

#[test]
fn k6_counts_what_the_own_readers_count() {
    let Some(ran) = run("k6", &["k6", "--clients=20", "--seconds=1"]) else {
        return;
    };
    if let Some(why) = ran.said.strip_prefix("error: k6 is not in PATH") {
        assert_eq!(ran.status, Some(2), "{}", ran.said);
        return skip(&format!(
            "skipped: k6: it is not in PATH{}\n",
            why.lines().next().unwrap_or_default()
        ));
    }
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let due = 20 * number(&ran.found, "published");
    assert!(due > 0, "{}", ran.found);
    for counted in ["own_deliveries", "k6_deliveries"] {
        assert_eq!(number(&ran.found, counted), due, "{}", ran.found);
    }
}

#[test]
fn attackers_get_their_answers_and_the_others_notice_nothing() {
    let rows = ["--row=1", "--row=7", "--row=14", "--row=24"];
    let who = ["attack", "--attackers=20", "--subscribers=20", "--seconds=2"];
    let Some(ran) = run("attack", &[&who[..], &rows].concat()) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let rows = ran.found["rows"].as_array().expect("there are rows");
    assert_eq!(rows.len(), 5, "row 24 is two: {}", ran.found);
    for row in rows {
        assert!(number(row, "attempts") >= 20, "{row}");
        assert_eq!(number(row, "honest_missed"), 0, "{row}");
        assert!(number(&row["attacked_us"], "count") > 0, "{row}");
    }
}
