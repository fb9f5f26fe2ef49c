//! Runs the examples of docs/HTTP.md in their order.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{TestBroker, skip};

/// The address in the examples.
const ADDRESS: &str = "127.0.0.1:7400";
/// The epoch in the examples.
const EPOCH: &str = "k3v9";

/// A command and its output.
#[derive(Debug, Default, Clone)]
struct Example {
    command: String,
    output: String,
}

fn examples(page: &str) -> Vec<Example> {
    let blocks = page.split("```console\n").skip(1);
    let mut examples: Vec<Example> = Vec::new();
    for line in blocks.flat_map(|block| block.lines().take_while(|line| *line != "```")) {
        if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example {
                command: command.to_owned(),
                output: String::new(),
            });
        } else if let Some(example) = examples.last_mut() {
            example.output += line;
            example.output += "\n";
        }
    }
    examples
}

/// `text` with masks in place of values that differ each time.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some((name, at)) = ["\"ts\":", "\"session\":", "\"heartbeat_ms\":"]
        .into_iter()
        .filter_map(|name| Some((name, rest.find(name)?)))
        .min_by_key(|(_, at)| *at)
    {
        let (before, after) = rest.split_at(at + name.len());
        masked += before;
        masked += "…";
        rest = after.trim_start_matches(|byte: char| byte != ',');
    }
    masked += rest;
    without_moments(&masked)
}

/// `text` with a mask in place of each number that has as many digits as the microseconds since 1970.
fn without_moments(text: &str) -> String {
    const DIGITS: usize = 16;
    let mut masked = String::new();
    for (number, part) in text.split(|byte: char| !byte.is_ascii_digit()).enumerate() {
        // The separator before the part is one character.
        let at = part.as_ptr() as usize - text.as_ptr() as usize;
        if number > 0 {
            masked.extend(text[..at].chars().next_back());
        }
        masked += if part.len() == DIGITS { "…" } else { part };
    }
    masked
}

#[test]
fn the_examples_are_true() {
    const NAME: &str = "documentation::the_examples_are_true";
    let curl = Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !curl.is_ok_and(|status| status.success()) {
        return skip(NAME, "there is no curl");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/HTTP.md");
    let page = std::fs::read_to_string(path).unwrap();
    let examples = examples(&page);
    assert!(examples.len() > 15, "{}", examples.len());
    // A curl whose reader has gone ends at the next heartbeat.
    let broker = TestBroker::with("", &[("HEARTBEAT__HEARTBEAT_MS", "1000")]);
    let mut epoch = EPOCH.to_owned();
    for Example { command, output } in examples {
        let command_here = command
            .replace(ADDRESS, &broker.address().to_string())
            .replace(EPOCH, &epoch);
        let ran = Command::new("sh").args(["-c", &command_here]).output().unwrap();
        let printed = String::from_utf8(ran.stdout).unwrap();
        if let Some((_, rest)) = printed.split_once("\"epoch\":\"") {
            epoch = rest.split('"').next().unwrap().to_owned();
        }
        let printed = printed.replace(&epoch, EPOCH).replace("\r\n", "\n");
        let printed = if printed.is_empty() || printed.ends_with('\n') {
            printed
        } else {
            printed + "\n"
        };
        assert_eq!(masked(&printed), masked(&output), "$ {command}");
    }
}
