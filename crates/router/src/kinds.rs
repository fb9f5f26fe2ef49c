//! Which kind a topic is of, and how much history it keeps: rules by pattern, the first match wins.

use tickwire_wire::limits::{BOOK_HISTORY_MAX, EVENT_HISTORY_MAX};
use tickwire_wire::{Kind, Pattern};

/// Topics of `pattern` are of `kind` and keep `history` messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindRule {
    /// Which topics.
    pub pattern: Pattern,
    /// Their kind.
    pub kind: Kind,
    /// Messages of history that each keeps, at least 1.
    pub history: usize,
}

/// An ordered list of rules that ends with the defaults of PROTOCOL.md ("Topics").
#[derive(Debug, Clone)]
pub struct Kinds(Vec<KindRule>);

impl Kinds {
    /// The rules `first`, then the defaults.
    ///
    /// # Panics
    /// Never: the default patterns are valid.
    #[must_use]
    pub fn with_rules(first: Vec<KindRule>) -> Self {
        let mut rules = first;
        for (pattern, kind, history) in [
            ("ticker.>", Kind::State, 1),
            ("bbo.>", Kind::State, 1),
            ("candle.>", Kind::State, 1),
            ("book.>", Kind::Book, BOOK_HISTORY_MAX),
            (">", Kind::Event, EVENT_HISTORY_MAX),
        ] {
            rules.push(KindRule {
                pattern: pattern.parse().expect("a valid pattern"),
                kind,
                history,
            });
        }
        Self(rules)
    }

    /// The kind of `topic` and its messages of history.
    #[must_use]
    pub fn of(&self, topic: &str) -> (Kind, usize) {
        self.0
            .iter()
            .find(|rule| rule.pattern.matches(topic))
            .map_or((Kind::Event, EVENT_HISTORY_MAX), |rule| {
                (rule.kind, rule.history.max(1))
            })
    }

    /// The kinds that topics which `pattern` matches can be of.
    pub fn of_pattern(&self, pattern: &Pattern) -> impl Iterator<Item = Kind> {
        let tokens: Vec<_> = pattern.tokens().collect();
        let mut decided = false;
        self.0.iter().filter_map(move |rule| {
            let of_rule: Vec<_> = rule.pattern.tokens().collect();
            if decided || !overlap(&of_rule, &tokens) {
                return None;
            }
            decided = covers(&of_rule, &tokens); // later rules decide nothing any more
            Some(rule.kind)
        })
    }
}

/// Whether some topic matches both patterns, given as their tokens.
fn overlap(one: &[&str], other: &[&str]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([">"], [_, ..]) | ([_, ..], [">"]) => true,
        ([a, one @ ..], [b, other @ ..]) => (a == b || *a == "*" || *b == "*") && overlap(one, other),
        _ => false,
    }
}

/// Whether every topic that matches `narrow` matches `wide`.
fn covers(wide: &[&str], narrow: &[&str]) -> bool {
    match (wide, narrow) {
        ([], []) | ([">"], [_, ..]) => true,
        ([a, wide @ ..], [b, narrow @ ..]) => (a == b || *a == "*") && *b != ">" && covers(wide, narrow),
        _ => false,
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self::with_rules(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_match_wins_and_defaults_follow() {
        let rule = KindRule {
            pattern: "chat.state.*".parse().expect("valid"),
            kind: Kind::State,
            history: 1,
        };
        let kinds = Kinds::with_rules(vec![rule]);
        for (topic, kind) in [
            ("ticker.BTC-USD", Kind::State),
            ("candle.1m.BTC-USD", Kind::State),
            ("book.BTC-USD", Kind::Book),
            ("book", Kind::Event),
            ("trade.BTC-USD", Kind::Event),
            ("chat.state.a", Kind::State),
            ("chat.other", Kind::Event),
        ] {
            assert_eq!(kinds.of(topic).0, kind, "{topic}");
        }
    }
}
