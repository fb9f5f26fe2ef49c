//! `tickwire completions`: the script with which a shell completes the command line.
//!
//! The script calls this program with a variable of its own, and the program knows its own arguments. Names of topics come from the
//! broker that the command line or the environment names, if it answers at once. Without it there are none: a shell that
//! waits is worse than one that does not complete.

use std::env;
use std::ffi::OsStr;
use std::time::Duration;

use anyhow::anyhow;
use clap_complete::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use serde::Deserialize;
use tickwire_client::{Client, ClientBuilder};
use tokio::time::timeout;

use crate::cli::{self, CompletionsArgs};
use crate::console;
use crate::failure::Failure;
use crate::token;

/// The variable in which a shell says that it wants completions.
const VARIABLE: &str = "_TICKWIRE_COMPLETE";
/// Time for the broker's answer.
const WITHIN: Duration = Duration::from_millis(500);
/// Most names that are asked for.
const NAMES_MAX: usize = 1_000;

/// Answers a shell that completes a command line, and ends the process. Returns if no shell asks.
pub(crate) fn answer() {
    CompleteEnv::with_factory(cli::command).var(VARIABLE).complete();
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let name = args.shell.to_string();
    let shell = shells
        .completer(&name)
        .ok_or_else(|| anyhow!("{name} is not known"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "tickwire", "tickwire", "tickwire", &mut script)?;
    console::print(&script)?;
    Ok(())
}

/// The topics whose names begin with `current`.
pub(crate) fn topics(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = current.to_str().and_then(|current| names(current).ok());
    names
        .unwrap_or_default()
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}

#[derive(Deserialize)]
struct Listing {
    topics: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    topic: String,
}

fn names(begin: &str) -> Result<Vec<String>, anyhow::Error> {
    let words: Vec<String> = env::args().collect();
    let flag = |name: &str| value_of(&words, name);
    let url = flag("--url").or_else(|| env::var(cli::URL_VARIABLE).ok());
    let mut urls = url.as_deref().unwrap_or(cli::URL).split(',');
    let broker = Client::builder(urls.next().unwrap_or(cli::URL));
    let broker = urls.fold(broker, ClientBuilder::or_url);
    let broker = match (flag("--token-file"), token::of_environment()) {
        (Some(file), _) => broker.token_file(file),
        (None, Some(token)) => broker.token(token),
        (None, None) => broker,
    };
    let broker = match flag("--ca") {
        Some(file) => broker.ca_file(file),
        None => broker,
    };
    // The tokens that are complete narrow the list.
    let pattern = match begin.rsplit_once('.') {
        Some((complete, _)) => format!("{complete}.%3E"),
        None => "%3E".to_owned(),
    };
    let target = format!("/v1/topics?limit={NAMES_MAX}&match={pattern}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let body = runtime.block_on(async { timeout(WITHIN, broker.get(&target)).await })??;
    let listing: Listing = serde_json::from_slice(&body)?;
    let names = listing.topics.into_iter().map(|listed| listed.topic);
    Ok(names.filter(|name| name.starts_with(begin)).collect())
}

/// The value of the flag `name` among the words of a command line, which may be incomplete. Bash makes words of their own of `=` and
/// `:`.
fn value_of(words: &[String], name: &str) -> Option<String> {
    let at = words
        .iter()
        .position(|word| word.split('=').next() == Some(name))?;
    let mut value = match words[at].split_once('=') {
        Some((_, value)) => value.to_owned(),
        None => String::new(),
    };
    let mut rest = words[at + 1..].iter().map(String::as_str).peekable();
    if value.is_empty() {
        rest.next_if_eq(&"=");
        value.push_str(rest.next()?);
    }
    while rest.next_if_eq(&":").is_some() {
        value.push(':');
        value.push_str(rest.next().unwrap_or_default());
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_incomplete_command_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (line, url) in [
            ("tickwire -- tickwire sub --url ws://a tick", Some("ws://a")),
            ("tickwire -- tickwire sub --url=ws://b", Some("ws://b")),
            ("tickwire -- tickwire sub --url", None),
            ("tickwire -- tickwire sub --urls x", None),
            (
                "tickwire -- tickwire sub --url ws : //c : 7400 tick",
                Some("ws://c:7400"),
            ),
            ("tickwire -- tickwire sub --url = ws : //d tick", Some("ws://d")),
        ] {
            assert_eq!(value_of(&words(line), "--url").as_deref(), url, "{line}");
        }
    }
}
