//! Which patterns a topic matches, and which topics a pattern selects.

use std::fmt;
use std::sync::Arc;

use tickwire_router::{Directory, PatternIndex, TopicCell, TopicId};
use tickwire_wire::Pattern;

use crate::case::HotPath;
use crate::set_up;

/// The topic that is looked up among patterns.
const TOPIC: &str = "candle.1m.S1";

/// Finding the values stored under the patterns that match a topic, as a shard does at a new topic.
#[derive(Debug)]
pub struct Patterns {
    index: PatternIndex<u64>,
    patterns: Vec<Pattern>,
}

impl Patterns {
    /// Searches `count` patterns, half of them with a wildcard.
    ///
    /// # Panics
    /// Never: the patterns are valid.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let pattern = |at: usize| match at % 4 {
            0 => format!("candle.1m.S{}", at / 4),
            1 => format!("candle.*.S{}", at / 4),
            2 => format!("ticker.S{}", at / 4),
            _ => format!("candle.1m.S{}.>", at / 4),
        };
        let mut patterns: Vec<Pattern> = (0..count - 1)
            .map(|at| pattern(at).parse().expect("a pattern"))
            .collect();
        patterns.push("candle.>".parse().expect("a pattern"));
        let mut index = PatternIndex::default();
        for (value, pattern) in (1..).zip(&patterns) {
            *index.entry(pattern) = value;
        }
        Self { index, patterns }
    }
}

impl HotPath for Patterns {
    /// The sum of the values found.
    type Output = u64;

    fn run(&mut self) -> u64 {
        let mut sum = 0;
        self.index.matches(TOPIC, |value| sum += *value);
        sum
    }

    fn check(&mut self, sum: &u64) {
        let matching = (1..)
            .zip(&self.patterns)
            .filter(|(_, pattern)| pattern.matches(TOPIC));
        let values: Vec<u64> = matching.map(|(value, _)| value).collect();
        assert_eq!(values.len(), 3, "the topic, its symbol, all candles");
        assert_eq!(*sum, values.iter().sum::<u64>());
    }
}

/// Finding the topics that a pattern matches, as a subscription does.
pub struct Wildcard {
    pattern: Pattern,
    directory: Arc<Directory>,
}

impl fmt::Debug for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wildcard({:?}, {:?})", self.pattern, self.directory)
    }
}

impl Wildcard {
    /// Searches `count` topics, five for each symbol, for those that `pattern` matches.
    ///
    /// # Panics
    /// When `pattern` is not a valid pattern.
    #[must_use]
    pub fn new(pattern: &str, count: usize) -> Self {
        let directory = set_up::directory(count);
        for at in 0..count {
            let name = match at % 5 {
                0 => format!("ticker.S{}", at / 5),
                1 => format!("trade.S{}", at / 5),
                2 => format!("candle.1m.S{}", at / 5),
                3 => format!("candle.1h.S{}", at / 5),
                _ => format!("book.S{}", at / 5),
            };
            directory
                .open(&name.parse().expect("a topic"))
                .expect("there is room for it");
        }
        Self {
            pattern: pattern.parse().expect("a pattern"),
            directory,
        }
    }
}

impl HotPath for Wildcard {
    type Output = Vec<Arc<TopicCell>>;

    fn run(&mut self) -> Self::Output {
        self.directory.matching(&self.pattern)
    }

    fn check(&mut self, found: &Self::Output) {
        let mut expected = Vec::new();
        let rest = self.directory.walk(TopicId::default(), usize::MAX, |cell| {
            if self.pattern.matches(cell.topic().as_str()) {
                expected.push(cell.id());
            }
        });
        assert!(rest.is_none() && expected.len() >= 2);
        assert_eq!(found.iter().map(|cell| cell.id()).collect::<Vec<_>>(), expected);
    }
}
