//! The topics and patterns of every simulated world, by number, and which pattern matches which topic.
//!
//! Some topics end and are made again. They are apart, with numbers of their own.

use std::sync::LazyLock;

use tickwire_wire::{Kind, Pattern, Topic};

/// Names and kinds. The topics at the end are used late in a run, or never.
pub(crate) const NAMES: [(&str, Kind); 18] = [
    ("ticker.A", Kind::State),
    ("trade.A", Kind::Event),
    ("book.A", Kind::Book),
    ("ticker.B", Kind::State),
    ("trade.B", Kind::Event),
    ("book.B", Kind::Book),
    ("candle.1m.A", Kind::State),
    ("chat.x", Kind::Event),
    ("ticker.C", Kind::State),
    ("chat.y.z", Kind::Event),
    ("x", Kind::Event),
    ("bbo.A", Kind::State),
    ("ticker.late1", Kind::State),
    ("trade.late2", Kind::Event),
    ("book.late3", Kind::Book),
    ("chat.late4", Kind::Event),
    ("bbo.late5", Kind::State),
    ("candle.1m.late6", Kind::State),
];

/// How many topics are used from early on.
pub(crate) const EARLY: usize = 12;

/// The patterns with wildcards. Their numbers follow those of the topics.
const WILDCARDS: [&str; 9] = [
    "ticker.*", "trade.*", "book.*", "candle.>", "chat.>", "*.A", "*.*.*", "bbo.*", ">",
];

/// The number of patterns, including the topics' own names.
pub(crate) const PATTERNS: usize = NAMES.len() + WILDCARDS.len();

/// The topics that end.
pub(crate) const MORTALS: [(&str, Kind); 3] = [
    ("opt.a", Kind::Event),
    ("opt.b", Kind::Event),
    ("opt.q", Kind::State),
];

/// The pattern of all of them. Their own names follow it.
const ALL_MORTALS: &str = "opt.*";

/// The number of patterns, including those of topics that end.
pub(crate) const ALL_PATTERNS: usize = PATTERNS + 1 + MORTALS.len();

struct Parsed {
    topics: Vec<Topic>,
    patterns: Vec<Pattern>,
    /// Bit `t` of entry `p` tells whether pattern `p` matches topic `t`.
    matching: Vec<u32>,
}

static PARSED: LazyLock<Parsed> = LazyLock::new(|| {
    let names = || NAMES.iter().map(|(name, _)| *name);
    let mortals = MORTALS.iter().map(|(name, _)| *name);
    let patterns: Vec<Pattern> = names()
        .chain(WILDCARDS)
        .chain([ALL_MORTALS])
        .chain(mortals)
        .map(|pattern| pattern.parse().expect("a valid pattern"))
        .collect();
    let mask = |pattern: &Pattern| {
        names()
            .enumerate()
            .filter(|(_, name)| pattern.matches(name))
            .fold(0, |mask, (topic, _)| mask | 1 << topic)
    };
    Parsed {
        topics: names().map(|name| name.parse().expect("a valid topic")).collect(),
        matching: patterns.iter().map(mask).collect(),
        patterns,
    }
});

/// The topic with this number.
pub(crate) fn topic(topic: usize) -> &'static Topic {
    &PARSED.topics[topic]
}

/// The name of the topic with this number.
pub(crate) fn name(topic: usize) -> &'static str {
    NAMES[topic].0
}

/// The kind of the topic with this number.
pub(crate) fn kind(topic: usize) -> Kind {
    NAMES[topic].1
}

/// The number of the topic with this name.
pub(crate) fn find(name: &str) -> Option<usize> {
    NAMES.iter().position(|(known, _)| *known == name)
}

/// The text of the pattern with this number.
pub(crate) fn pattern(pattern: usize) -> &'static str {
    PARSED.patterns[pattern].as_str()
}

/// Whether the pattern has wildcards.
pub(crate) fn is_wildcard(pattern: usize) -> bool {
    pattern >= NAMES.len() && mortal_of(pattern).is_none()
}

/// The topic that ends whose name a pattern is.
pub(crate) fn mortal_of(pattern: usize) -> Option<usize> {
    pattern.checked_sub(PATTERNS + 1)
}

/// The number of the topic that ends with this name.
pub(crate) fn find_mortal(name: &str) -> Option<usize> {
    MORTALS.iter().position(|(known, _)| *known == name)
}

/// Whether a pattern matches a topic that ends.
pub(crate) fn matches_mortal(pattern: usize, mortal: usize) -> bool {
    PARSED.patterns[pattern].matches(MORTALS[mortal].0)
}

/// Whether a pattern matches a topic.
pub(crate) fn matches(pattern: usize, topic: usize) -> bool {
    PARSED.matching[pattern] >> topic & 1 == 1
}
