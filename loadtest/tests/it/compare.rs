//! `run --quick` with every server that is installed.
//!
//! One test also needs recordings of a market, and is skipped visibly without them. The tests check which figures there
//! are and that nothing is lost, never how large the figures are.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{PROGRAM, Ran, file, run, skip};

/// Runs these scenarios in their short form.
fn quick(name: &str, arguments: &[&str]) -> Option<Ran> {
    let markdown = file(name, "md").display().to_string();
    let quick = ["--quick", "--rounds", "1", "--markdown", &markdown];
    run(name, &[&["run"], arguments, &quick].concat())
}

/// The medians of Tickwire in each scenario, by name.
fn tickwire(results: &Value) -> Vec<(&str, &Value)> {
    let compared = results["compared"].as_array().expect("a list");
    compared
        .iter()
        .map(|compared| {
            let medians = compared["medians"].as_array().expect("a list");
            let of_tickwire = medians.iter().find(|median| median["peer"] == "tickwire");
            let figures = &of_tickwire.expect("Tickwire took part")["median"];
            (compared["scenario"]["name"].as_str().expect("a name"), figures)
        })
        .collect()
}

#[test]
fn tickwire_goes_through_every_scenario_without_loss() {
    let scenarios = [
        ("hot-1k", "server_cpu_us_per_delivery"),
        ("hot-open", "latency_p99_us"),
        ("market-150k", "delivered_per_s"),
        ("market-max", "offered_per_s"),
        ("hot-19k", "server_cpu_us_per_delivery"),
        ("slow", "latency_p99_growth"),
        ("slow-link", "caught_up_us"),
        ("storm", "recovered"),
        ("wildcards", "latency_p50_us"),
        ("codec-json", "latency_p50_us"),
        ("codec-msgpack", "latency_p50_us"),
        ("idle", "rss_bytes_per_connection"),
        ("handshakes", "full_handshakes_per_cpu_s"),
        ("rush", "latency_p99_growth"),
        ("publish-128", "messages_per_cpu_s"),
        ("publish-512-of-100", "messages_per_cpu_s"),
        ("publish-bulk-128", "messages_per_cpu_s"),
    ];
    let mut arguments = vec!["--peer", "tickwire"];
    arguments.extend(scenarios.map(|(name, _)| name));
    let Some(ran) = quick("every-scenario", &arguments) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let report = fs::read_to_string(file("every-scenario", "md")).expect("a report was written");
    let results = ran.found;
    let found = tickwire(&results);
    assert_eq!(found.len(), scenarios.len());
    for ((name, figures), (expected, figure)) in found.into_iter().zip(scenarios) {
        assert_eq!(name, expected);
        assert!(figures[figure].is_number(), "{name} has no {figure}: {figures}");
        // The search for the highest rate goes beyond it.
        if name != "market-max" {
            let missed = &figures["missed"];
            assert!(missed.is_null() || *missed == 0.0, "{name}: {missed} missed");
        }
        if name.starts_with("slow") || name == "storm" {
            assert_eq!(figures["lost_silently"], 0.0, "{name}: {figures}");
        }
    }
    assert!(results["growth"]["tickwire"].is_number(), "{}", results["growth"]);
    assert!(report.contains("growth hot-1k → hot-19k: tickwire "), "{report}");
    let highest = round_of(&results, "market-max")["notes"].to_string();
    let said = [
        "the limit is between ",
        "no rate held",
        " per second held, and none higher",
    ];
    assert!(said.iter().any(|said| highest.contains(said)), "{highest}");
    for (name, _) in scenarios {
        assert!(report.contains(&format!("\n## {name}\n")), "{name}: {report}");
    }
}

/// The first round of a scenario.
fn round_of<'r>(results: &'r Value, name: &str) -> &'r Value {
    let compared = results["compared"].as_array().expect("a list");
    let of_name = compared
        .iter()
        .find(|compared| compared["scenario"]["name"] == name);
    &of_name.unwrap_or_else(|| panic!("no {name}"))["rounds"][0]
}

/// Tickwire delivers the whole recorded market: every message, in its full size, to every subscriber.
#[test]
fn the_recorded_market_is_replayed() {
    let arguments = ["replay", "--peer", "tickwire", "--seconds", "1"];
    let Some(ran) = quick("replay", &arguments) else {
        return;
    };
    if let Some(line) = ran
        .said
        .lines()
        .find(|line| line.starts_with("skipped: replay: "))
    {
        // Nothing was measured in that case, and the program reports that too.
        assert_eq!(ran.status, Some(2), "{}", ran.said);
        skip(&format!("{line}\n"));
        return;
    }
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let results = ran.found;
    let round = round_of(&results, "replay");
    assert_eq!(round["faults"], serde_json::json!({}));
    assert_eq!(round["figures"]["missed"], 0.0);
    assert_eq!(results["compared"][0]["scenario"]["seconds"], 1);
}

#[test]
fn other_builds_of_tickwire_take_part() {
    let broker = Path::new(PROGRAM).with_file_name("tickwire");
    let binary = format!("other={}", broker.display());
    let arguments = [
        "two-shards-hot",
        "--peer=tickwire",
        "--peer=tickwire-plain",
        "--peer=tickwire-2shards",
        "--tickwire-binary",
        &binary,
    ];
    let Some(ran) = quick("other-builds", &arguments) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    let results = ran.found;
    let rounds = results["compared"][0]["rounds"].as_array().expect("a list");
    let peers: Vec<&str> = rounds.iter().filter_map(|round| round["peer"].as_str()).collect();
    assert_eq!(
        peers,
        ["tickwire", "tickwire-plain", "tickwire-2shards", "tickwire-other"]
    );
    for round in rounds {
        assert_eq!(round["faults"], serde_json::json!({}), "{}", round["peer"]);
    }
}

#[test]
fn every_server_that_is_installed_is_compared() {
    let Some(ran) = quick("every-server", &["hot-1k", "market-150k"]) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    check_rounds(&ran.found, |round| {
        assert!(round["version"].is_string(), "{round}");
    });
}

/// Every server that has TLS agrees on the same with its clients, and all of them take what is published.
#[test]
fn servers_that_are_installed_are_compared_over_tls_and_as_they_are_published_to() {
    let Some(ran) = quick("over-tls", &["hot-1k", "market-1m", "idle-8k", "--tls"]) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    check_rounds(&ran.found, |round| {
        let tls = "TLSv1_3, TLS13_AES_128_GCM_SHA256, X25519";
        assert_eq!(round["tls"], tls, "{}", round["peer"]);
    });
    let Some(ran) = quick("published", &["publish-128", "publish-bulk-512"]) else {
        return;
    };
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    check_rounds(&ran.found, |round| {
        assert!(round["figures"]["messages_taken"].as_f64() > Some(0.0), "{round}");
    });
}

/// Checks every round of every scenario. None has a fault.
fn check_rounds(results: &Value, check: impl Fn(&Value)) {
    for compared in results["compared"].as_array().expect("a list") {
        for round in compared["rounds"].as_array().expect("a list") {
            assert_eq!(round["faults"], serde_json::json!({}), "{}", round["peer"]);
            check(round);
        }
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (argument, named) in [
        ("no-such", "\"no-such\" is neither a scenario (hot-1k, "),
        ("--peer=no-such", "there is no peer \"no-such\", only tickwire"),
    ] {
        let output = Command::new(PROGRAM).args(["run", "hot-1k", argument]).output();
        let output = output.expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(named), "{said}");
    }
}
