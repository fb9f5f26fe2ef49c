//! What `sub` reports about topics that do not exist yet: most often the name is misspelt.

use std::fmt::Write as _;

use tickwire_client::ClientBuilder;
use tickwire_wire::message::AckResult;
use tickwire_wire::{Pattern, Seq};

use crate::console::say;

/// Most names that are offered in place of a missing one.
const NEAREST_MAX: usize = 3;
/// The least similarity of a name that is offered; 1 means equal.
const ALIKE: f64 = 0.7;

/// The entries of an ack that bring nothing yet: a topic that does not exist or has no message, or a pattern that
/// matches no topic.
pub(crate) fn missing(results: &[AckResult]) -> Vec<String> {
    let is_missing = |result: &&AckResult| {
        result.error.is_none()
            && match result.matched {
                Some(matched) => matched == 0,
                None => {
                    let newest = result.replay.map(|replay| replay.to_seq);
                    newest.or(result.seq) == Some(Seq::ZERO)
                }
            }
    };
    let missing = results.iter().filter(is_missing);
    missing.map(|result| result.topic.clone()).collect()
}

/// Reports that nothing comes from `topics` yet, with the most similar names that exist.
pub(crate) async fn tell(broker: ClientBuilder, topics: Vec<String>) {
    for topic in topics {
        let Ok(pattern) = topic.parse::<Pattern>() else {
            continue;
        };
        if pattern.is_wildcard() {
            say(format_args!("{topic}: no topic matches it yet"));
            continue;
        }
        let mut line = format!("{topic}: no such topic yet, or no message in it");
        match siblings(&pattern) {
            Some(siblings) => match broker.topics(&siblings).await {
                Ok(names) => offer(&topic, &names, &mut line),
                // The client may not be allowed to list topics. The line is true without names.
                Err(error) => tracing::debug!(%error, "the topics cannot be listed"),
            },
            None => tracing::debug!(topic, "has no siblings"),
        }
        say(format_args!("{line}"));
    }
}

/// A pattern for the topics that share the first token of `topic`.
fn siblings(topic: &Pattern) -> Option<Pattern> {
    let first = topic.as_str().split('.').next()?;
    format!("{first}.>").parse().ok()
}

/// Adds to `line` the names that are most similar to `topic`.
fn offer(topic: &str, names: &[String], line: &mut String) {
    let mut alike: Vec<(f64, &str)> = names
        .iter()
        .filter(|name| *name != topic)
        .map(|name| (strsim::normalized_damerau_levenshtein(topic, name), name.as_str()))
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    alike.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    for (index, (_, name)) in alike.iter().take(NEAREST_MAX).enumerate() {
        let before = if index == 0 { "; there is" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(line, "{before} {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(topic: &str, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut line = String::new();
        offer(topic, &names, &mut line);
        line
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let names = [
            "ticker.ETH-USD",
            "ticker.BTC-USD",
            "ticker.BTC-EUR",
            "ticker.DOGE-USD",
        ];
        assert_eq!(
            offered("ticker.BTCUSD", &names),
            "; there is ticker.BTC-USD, ticker.ETH-USD, ticker.BTC-EUR"
        );
        assert_eq!(offered("ticker.x", &names), "");
        assert_eq!(offered("ticker.BTC-USD", &["ticker.BTC-USD"]), "");
    }
}
