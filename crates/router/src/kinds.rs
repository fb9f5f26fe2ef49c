//! The kind of each topic and what is kept of it: rules by pattern. The first rule that matches counts.

use tickwire_wire::limits::{BOOK_HISTORY_MAX, CLOSED_CANDLES_MAX, EVENT_HISTORY_MAX};
use tickwire_wire::pattern_sets::{covers, overlap};
use tickwire_wire::{Kind, Pattern};

use crate::view::ViewPrefix;

/// A rule: topics that match `pattern` are of `kind` and keep `history` messages and `candles` closed candles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindRule {
    /// The pattern of the topics.
    pub pattern: Pattern,
    /// Their kind.
    pub kind: Kind,
    /// The number of messages that the history of each topic keeps, at least 1.
    pub history: usize,
    /// The number of closed candles that each topic keeps from before its history.
    pub candles: usize,
}

/// What a topic keeps of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The number of its last messages, at least 1.
    pub(crate) messages: usize,
    /// The number of closed candles from before these.
    pub(crate) candles: usize,
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
        for (pattern, kind, history, candles) in [
            ("ticker.>", Kind::State, 1, 0),
            ("bbo.>", Kind::State, 1, 0),
            ("candle.>", Kind::State, 1, CLOSED_CANDLES_MAX),
            ("book.>", Kind::Book, BOOK_HISTORY_MAX, 0),
            (">", Kind::Event, EVENT_HISTORY_MAX, 0),
        ] {
            rules.push(KindRule {
                pattern: pattern.parse().expect("a valid pattern"),
                kind,
                history,
                candles,
            });
        }
        Self(rules)
    }

    /// The same rules, and copies of views are of the kinds of their sources, unless a rule names them by the view's prefix.
    #[must_use]
    pub fn with_copies<'a>(self, prefixes: impl IntoIterator<Item = &'a ViewPrefix>) -> Self {
        let prefixes: Vec<&ViewPrefix> = prefixes.into_iter().collect();
        let is_of_copies = |rule: &KindRule| {
            let name = rule.pattern.as_str();
            prefixes.iter().any(|prefix| prefix.heads(name))
        };
        let (mut rules, others): (Vec<_>, Vec<_>) = self.0.into_iter().partition(is_of_copies);
        for prefix in &prefixes {
            rules.extend(others.iter().filter_map(|rule| {
                let pattern = prefix.pattern(&rule.pattern)?;
                Some(KindRule {
                    pattern,
                    ..rule.clone()
                })
            }));
        }
        rules.extend(others);
        Self(rules)
    }

    /// The kind of `topic`, and what is kept of it.
    pub(crate) fn of(&self, topic: &str) -> (Kind, Kept) {
        let rule = self.0.iter().find(|rule| rule.pattern.matches(topic));
        let (kind, messages, candles) = rule.map_or((Kind::Event, EVENT_HISTORY_MAX, 0), |rule| {
            (rule.kind, rule.history.max(1), rule.candles)
        });
        (kind, Kept { messages, candles })
    }

    /// The kind of `topic`.
    #[must_use]
    pub fn kind_of(&self, topic: &str) -> Kind {
        self.of(topic).0
    }

    /// The kinds that topics which match `pattern` can have.
    pub fn of_pattern(&self, pattern: &Pattern) -> impl Iterator<Item = Kind> {
        let mut decided = false;
        self.0.iter().filter_map(move |rule| {
            if decided || !overlap(&rule.pattern, pattern) {
                return None;
            }
            decided = covers(std::slice::from_ref(&rule.pattern), pattern); // later rules have no effect
            Some(rule.kind)
        })
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
            candles: 0,
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

    #[test]
    fn copies_are_of_the_kind_of_their_sources_unless_a_rule_names_them() {
        let rule = |pattern: &str, kind, history| KindRule {
            pattern: pattern.parse().expect("valid"),
            kind,
            history,
            candles: 0,
        };
        let rules = vec![
            rule("chat.state.*", Kind::State, 2),
            rule("delayed.trade.>", Kind::Event, 3),
        ];
        let prefixes = ["delayed.", "d15."].map(|prefix| prefix.parse().expect("a prefix"));
        let kinds = Kinds::with_rules(rules).with_copies(&prefixes);
        for (topic, kind, history) in [
            ("ticker.A", Kind::State, 1),
            ("delayed.ticker.A", Kind::State, 1),
            ("d15.book.A", Kind::Book, BOOK_HISTORY_MAX),
            ("d15.chat.state.a", Kind::State, 2),
            ("delayed.trade.A", Kind::Event, 3),
            ("d15.trade.A", Kind::Event, EVENT_HISTORY_MAX),
        ] {
            let (found, kept) = kinds.of(topic);
            assert_eq!((found, kept.messages), (kind, history), "{topic}");
        }
    }

    #[test]
    fn a_pattern_can_be_of_several_kinds() {
        let rule = KindRule {
            pattern: "book.*.state".parse().expect("valid"),
            kind: Kind::State,
            history: 1,
            candles: 0,
        };
        let kinds = Kinds::with_rules(vec![rule]);
        for (pattern, expected) in [
            ("ticker.*", vec![Kind::State]),
            ("trade.>", vec![Kind::Event]),
            ("book.*.state", vec![Kind::State]),
            ("book.*.*", vec![Kind::State, Kind::Book]),
            ("book.*", vec![Kind::Book]),
            ("*", vec![Kind::Event]),
        ] {
            let possible: Vec<_> = kinds.of_pattern(&pattern.parse().expect("valid")).collect();
            assert_eq!(possible, expected, "{pattern}");
        }
    }
}
