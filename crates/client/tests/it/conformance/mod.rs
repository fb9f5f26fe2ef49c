//! Plays the cases of `clients/conformance/cases.json` with this client, in each of their codecs.
//!
//! README.md beside the cases defines their format. A case has its own broker on a loopback port, and a program that
//! uses the client. Each wait has a deadline, and no other time is a condition. A case that needs an ability of
//! [`LACKS`] is not played, and the run says how many these are.

mod broker;
mod cases;
mod event;
mod matching;
mod play;
mod program;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tickwire_wire::Codec;
use tokio::task::JoinSet;

/// The abilities that this client does not have, as in the table of README.md.
const LACKS: [&str; 1] = ["sse"];

/// How many cases are played at a time. Most of the time of a case is waiting.
const AT_A_TIME: usize = 8;

/// The results of all cases.
#[derive(Debug, Default)]
struct Run {
    cases: usize,
    plays: usize,
    lacking: BTreeMap<String, usize>,
    failed: Vec<Value>,
}

/// Plays all cases, several at a time.
async fn run() -> Run {
    let cases = cases::read();
    let mut run = Run {
        cases: cases.len(),
        ..Run::default()
    };
    let mut playing = JoinSet::new();
    for case in cases.into_iter().map(Arc::new) {
        if let Some(lacking) = case.needs.iter().find(|need| LACKS.contains(&need.as_str())) {
            *run.lacking.entry(lacking.clone()).or_default() += 1;
            continue;
        }
        for codec in case.codecs() {
            if playing.len() == AT_A_TIME {
                run.failed.extend(ended(&mut playing).await);
            }
            run.plays += 1;
            let case = case.clone();
            playing.spawn(async move {
                let played = play::play(&case, codec).await;
                let why = played.err()?;
                Some(json!({"name": case.name, "codec": name(codec), "why": why}))
            });
        }
    }
    while !playing.is_empty() {
        run.failed.extend(ended(&mut playing).await);
    }
    run
}

/// Waits until a play has ended. Returns how it failed, if it did.
async fn ended(playing: &mut JoinSet<Option<Value>>) -> Option<Value> {
    let ended = playing.join_next().await?;
    ended.expect("no play panics")
}

fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Json => "json",
        Codec::MessagePack => "msgpack",
    }
}

/// Writes the results to the file that the environment names, for `cargo xtask conformance`.
fn report(run: &Run) {
    let Some(path) = std::env::var_os("TICKWIRE_CONFORMANCE_REPORT") else {
        return;
    };
    let report = json!({"client": "rust", "cases": run.cases, "plays": run.plays, "lacking": run.lacking,
        "failed": run.failed});
    std::fs::write(Path::new(&path), report.to_string()).expect("the file can be written");
}

/// Plants the fault that the environment names.
#[cfg(planted)]
fn plant_what_the_environment_names() {
    use tickwire_client::planted::{Fault, plant};
    if let Ok(name) = std::env::var("TICKWIRE_PLANTED") {
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        plant(fault.unwrap_or_else(|| panic!("{name} is no fault that can be planted")));
    }
}

#[tokio::test]
async fn the_client_does_what_every_case_says() {
    #[cfg(planted)]
    plant_what_the_environment_names();
    let run = run().await;
    report(&run);
    let failed: Vec<String> = run.failed.iter().map(|failed| format!("{failed:#}")).collect();
    assert!(
        failed.is_empty(),
        "{} of {} plays failed:\n{}",
        failed.len(),
        run.plays,
        failed.join("\n")
    );
    println!(
        "{} cases, {} plays, not played: {:?}",
        run.cases, run.plays, run.lacking
    );
}
