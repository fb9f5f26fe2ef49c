//! An index from topics to the values stored under the patterns that match them: a trie over tokens.
//!
//! Looking up a topic visits one node per token and path. Paths part only where a `*` stands beside the topic's own
//! token. So the number of patterns does not matter, only the number of these forks along the topic. The index is
//! bounded by what is put in; empty branches are removed.

use tickwire_wire::Pattern;

use crate::branches::Branches;

#[derive(Debug)]
struct Node<T> {
    literal: Branches<Node<T>>,
    /// `*`
    any: Option<Box<Node<T>>>,
    /// Most nodes are only on the way to others and have no values.
    values: Option<Box<Values<T>>>,
}

#[derive(Debug)]
struct Values<T> {
    /// The value of a pattern that ends with `>` here.
    rest: Option<T>,
    /// The value of a pattern that ends here.
    here: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literal: Branches::default(),
            any: None,
            values: None,
        }
    }
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self {
            rest: None,
            here: None,
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.values.is_none()
    }

    /// Keeps the values that `keep` selects, and removes branches without one.
    fn retain(&mut self, keep: &mut dyn FnMut(&mut T) -> bool) {
        if let Some(values) = &mut self.values {
            values.rest.take_if(|value| !keep(value));
            values.here.take_if(|value| !keep(value));
            if values.rest.is_none() && values.here.is_none() {
                self.values = None;
            }
        }
        self.any.take_if(|node| {
            node.retain(keep);
            node.is_empty()
        });
        self.literal.retain(|node| {
            node.retain(keep);
            !node.is_empty()
        });
    }

    /// Takes out one of the values. With the last one their memory is freed.
    fn take(&mut self, which: impl Fn(&mut Values<T>) -> &mut Option<T>) -> Option<T> {
        let values = self.values.as_mut()?;
        let taken = which(values).take();
        if values.rest.is_none() && values.here.is_none() {
            self.values = None;
        }
        taken
    }

    /// Returns the number of nodes looked at.
    fn visit<'a>(&'a self, tokens: &[&str], found: &mut impl FnMut(&'a T)) -> usize {
        let Some((token, later)) = tokens.split_first() else {
            self.values
                .iter()
                .filter_map(|values| values.here.as_ref())
                .for_each(found);
            return 1;
        };
        self.values
            .iter()
            .filter_map(|values| values.rest.as_ref())
            .for_each(&mut *found);
        let named = self.literal.get(token).map_or(0, |node| node.visit(later, found));
        let any = self.any.as_ref().map_or(0, |node| node.visit(later, found));
        1 + named + any
    }

    /// Removes the value of the pattern with these tokens.
    fn remove(&mut self, tokens: &[&str]) -> Option<T> {
        let Some((token, later)) = tokens.split_first() else {
            return self.take(|values| &mut values.here);
        };
        match *token {
            ">" => self.take(|values| &mut values.rest),
            "*" => {
                let node = self.any.as_mut()?;
                let value = node.remove(later);
                if node.is_empty() {
                    self.any = None;
                }
                value
            }
            token => {
                let node = self.literal.get_mut(token)?;
                let value = node.remove(later);
                if node.is_empty() {
                    self.literal.remove(token);
                }
                value
            }
        }
    }
}

/// Values stored by pattern and found by topic.
///
/// ```
/// use tickwire_router::PatternIndex;
/// let mut index = PatternIndex::default();
/// *index.entry(&"ticker.*".parse()?) = 7;
/// let mut found = Vec::new();
/// index.matches("ticker.BTC-USD", |value| found.push(*value));
/// assert_eq!(found, [7]);
/// # Ok::<(), tickwire_wire::TopicError>(())
/// ```
#[derive(Debug)]
pub struct PatternIndex<T> {
    root: Node<T>,
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
        }
    }
}

impl<T: Default> PatternIndex<T> {
    /// The value stored under `pattern`. A default value is stored if there was none.
    pub fn entry(&mut self, pattern: &Pattern) -> &mut T {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            match token {
                ">" => return node.values.get_or_insert_default().rest.get_or_insert_default(),
                "*" => node = node.any.get_or_insert_default(),
                token => node = node.literal.entry(token),
            }
        }
        node.values.get_or_insert_default().here.get_or_insert_default()
    }
}

impl<T> PatternIndex<T> {
    /// The value stored under `pattern` itself.
    pub fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut T> {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            match token {
                ">" => return node.values.as_mut()?.rest.as_mut(),
                "*" => node = node.any.as_mut()?,
                token => node = node.literal.get_mut(token)?,
            }
        }
        node.values.as_mut()?.here.as_mut()
    }

    /// Removes and returns the value stored under `pattern` itself.
    pub fn remove(&mut self, pattern: &Pattern) -> Option<T> {
        let tokens: Vec<&str> = pattern.tokens().collect();
        self.root.remove(&tokens)
    }

    /// Keeps the values that `keep` selects. `keep` may also change them.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.root.retain(&mut keep);
    }

    /// Calls `found` with the value of every pattern that matches `topic`. Returns the number of nodes that it looked
    /// at, as a measure of the work.
    pub fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a T)) -> usize {
        let mut tokens = [""; tickwire_wire::limits::TOPIC_TOKENS_MAX];
        let mut count = 0;
        for token in topic.split('.') {
            if count == tokens.len() {
                return 0; // longer than any topic
            }
            tokens[count] = token;
            count += 1;
        }
        self.root.visit(&tokens[..count], &mut found)
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn work_does_not_grow_with_the_patterns() {
        let mut index = PatternIndex::default();
        for n in 0..10_000 {
            *index.entry(&format!("ticker.S{n}").parse().expect("a pattern")) = n;
            *index.entry(&format!("candle.*.S{n}").parse().expect("a pattern")) = n;
        }
        *index.entry(&"*.S7".parse().expect("a pattern")) = -1;
        *index.entry(&"ticker.>".parse().expect("a pattern")) = -2;
        for (topic, values, visited) in [
            ("ticker.S7", vec![-2, 7, -1], 5),
            ("ticker.none", vec![-2], 3),
            ("candle.1m.S9999", vec![9_999], 5),
            ("candle.1m", vec![], 4),
            ("other.S7", vec![-1], 3),
            ("other", vec![], 2),
        ] {
            let mut found = Vec::new();
            let work = index.matches(topic, |value| found.push(*value));
            assert_eq!((found, work), (values, visited), "{topic}");
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Add(String),
        Remove(String),
        Match(String),
    }

    fn op() -> impl Strategy<Value = Op> {
        let pattern = "([ab*](\\.[ab*]){0,3}(\\.>)?|>)";
        prop_oneof![
            3 => pattern.prop_map(Op::Add),
            2 => pattern.prop_map(Op::Remove),
            3 => "[ab](\\.[ab]){0,4}".prop_map(Op::Match),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_patterns(ops in prop::collection::vec(op(), 1..120)) {
            let mut index: PatternIndex<u32> = PatternIndex::default();
            let mut list: Vec<(Pattern, u32)> = Vec::new();
            for op in ops {
                match op {
                    Op::Add(text) => {
                        let pattern: Pattern = text.parse().expect("a pattern");
                        *index.entry(&pattern) += 1;
                        match list.iter_mut().find(|(other, _)| *other == pattern) {
                            Some((_, count)) => *count += 1,
                            None => list.push((pattern, 1)),
                        }
                    }
                    Op::Remove(text) => {
                        let pattern: Pattern = text.parse().expect("a pattern");
                        let at = list.iter().position(|(other, _)| *other == pattern);
                        let expected = at.map(|at| list.swap_remove(at).1);
                        prop_assert_eq!(index.get_mut(&pattern).copied(), expected);
                        prop_assert_eq!(index.remove(&pattern), expected);
                    }
                    Op::Match(topic) => {
                        let mut found = Vec::new();
                        let visited = index.matches(&topic, |count| found.push(*count));
                        let matching = list.iter().filter(|(pattern, _)| pattern.matches(&topic));
                        let mut expected: Vec<u32> = matching.map(|(_, count)| *count).collect();
                        found.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(found, expected);
                        let tokens = topic.split('.').count();
                        prop_assert!(visited < 2 << tokens);
                    }
                }
            }
            index.retain(|count| *count % 2 == 0);
            list.retain(|(_, count)| *count % 2 == 0);
            for (pattern, count) in list {
                prop_assert_eq!(index.remove(&pattern), Some(count));
            }
            prop_assert!(index.is_empty(), "no branch is left");
        }
    }
}
