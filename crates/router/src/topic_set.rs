//! A set of topics by number, with one bit for each.
//!
//! Takes one bit for each topic of the broker, up to the last topic in the set.

use crate::publication::TopicId;

const BITS: usize = u64::BITS as usize;

/// A set of topics.
#[derive(Debug, Default)]
pub(crate) struct TopicSet {
    words: Vec<u64>,
    len: usize,
}

impl TopicSet {
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of topics in the set.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a topic. Returns whether it is new.
    pub(crate) fn insert(&mut self, topic: TopicId) -> bool {
        let (word, bit) = (topic.index() / BITS, 1 << (topic.index() % BITS));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Keeps the topics that `keep` selects.
    pub(crate) fn retain(&mut self, keep: impl Fn(TopicId) -> bool) {
        let mut next = self.next(0);
        while let Some(topic) = next {
            if !keep(topic) {
                self.words[topic.index() / BITS] &= !(1 << (topic.index() % BITS));
                self.len -= 1;
            }
            next = self.next(topic.index() + 1);
        }
    }

    pub(crate) fn has(&self, topic: TopicId) -> bool {
        let word = self.words.get(topic.index() / BITS);
        word.is_some_and(|word| word & 1 << (topic.index() % BITS) != 0)
    }

    /// The bytes of memory that it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// The first topic of the set whose number is at least `from`.
    pub(crate) fn next(&self, from: usize) -> Option<TopicId> {
        let mut at = from / BITS;
        let mut word = self.words.get(at)? & (u64::MAX << (from % BITS));
        while word == 0 {
            at += 1;
            word = *self.words.get(at)?;
        }
        let number = at * BITS + word.trailing_zeros() as usize;
        u32::try_from(number).ok().map(TopicId)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set_in_order(
            numbers in prop::collection::vec(0_u32..300, 0..60),
            removed in prop::collection::vec(0_u32..400, 0..30),
            asked in 0_u32..400,
        ) {
            let (mut set, mut model) = (TopicSet::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(set.insert(TopicId(number)), model.insert(number));
            }
            set.retain(|topic| !removed.contains(&topic.0));
            model.retain(|number| !removed.contains(number));
            prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(set.has(TopicId(asked)), model.contains(&asked));
            let next = model.range(asked..).next().copied();
            prop_assert_eq!(set.next(asked as usize), next.map(TopicId));
        }
    }
}
