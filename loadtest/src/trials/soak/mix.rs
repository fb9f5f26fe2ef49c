//! Who subscribes to what: a mix drawn from the broker's symbols, the same for the same seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tickwire_wire::Pattern;

/// What the mix is made of.
#[derive(Debug, Clone)]
pub(super) struct Mix {
    pub(super) subscribers: usize,
    /// Symbols of each subscriber, each of them on every channel.
    pub(super) symbols_each: usize,
    pub(super) channels: Vec<String>,
    /// What the first few subscribers have on top.
    pub(super) patterns: Vec<Pattern>,
    /// How many they are.
    pub(super) pattern_subscribers: usize,
    pub(super) seed: u64,
}

/// What one subscriber asks for, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) topics: Vec<String>,
    pub(super) patterns: Vec<Pattern>,
}

impl Mix {
    /// The wishes of all subscribers. Each has as many different symbols as there are, at most.
    pub(super) fn draw(&self, symbols: &[String]) -> Vec<Wish> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        (0..self.subscribers)
            .map(|number| Wish {
                topics: self.topics(symbols, &mut random),
                patterns: match number < self.pattern_subscribers {
                    true => self.patterns.clone(),
                    false => Vec::new(),
                },
            })
            .collect()
    }

    fn topics(&self, symbols: &[String], random: &mut ChaCha8Rng) -> Vec<String> {
        // The first draws of a shuffle (Fisher and Yates).
        let mut order: Vec<usize> = (0..symbols.len()).collect();
        let count = self.symbols_each.min(order.len());
        for at in 0..count {
            let left = (order.len() - at) as u64;
            order.swap(at, at + (random.next_u64() % left) as usize);
        }
        let (mut topics, drawn) = (Vec::new(), &order[..count]);
        for symbol in drawn {
            let of_channel = |channel: &String| format!("{channel}.{}", symbols[*symbol]);
            topics.extend(self.channels.iter().map(of_channel));
        }
        topics
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mix(symbols_each: usize) -> Mix {
        Mix {
            subscribers: 4,
            symbols_each,
            channels: vec!["trade".to_owned(), "book".to_owned()],
            patterns: vec!["trade.*".parse().expect("a pattern")],
            pattern_subscribers: 1,
            seed: 1,
        }
    }

    #[test]
    fn each_has_different_symbols_on_every_channel() {
        let symbols: Vec<String> = (0..50).map(|number| format!("S{number}")).collect();
        let wishes = mix(10).draw(&symbols);
        assert_eq!(wishes, mix(10).draw(&symbols));
        for (number, wish) in wishes.iter().enumerate() {
            let different: BTreeSet<_> = wish.topics.iter().collect();
            assert_eq!((wish.topics.len(), different.len()), (20, 20));
            assert_eq!(
                wish.topics
                    .iter()
                    .filter(|topic| topic.starts_with("book.S"))
                    .count(),
                10
            );
            assert_eq!(wish.patterns.len(), usize::from(number == 0));
        }
        assert_ne!(wishes[0].topics, wishes[1].topics);
    }

    #[test]
    fn there_are_no_more_symbols_than_there_are() {
        let symbols = ["A".to_owned(), "B".to_owned()];
        let wishes = mix(10).draw(&symbols);
        assert!(wishes.iter().all(|wish| wish.topics.len() == 4));
    }
}
