//! The topics that exist, by their tokens: what a pattern with wildcards selects is found without looking at the others.
//!
//! Only grows, as the topics do. Finding visits the branches that the pattern leaves open, no more: a token by its name
//! costs one look-up, `*` all branches of one node, `>` all topics below it.

use std::collections::HashMap;

use tickwire_wire::{Pattern, Topic};

use crate::publication::TopicId;

// The standard hasher: publishers choose the tokens, so they must not be able to choose their hashes.
type Children = HashMap<Box<str>, Node>;

#[derive(Debug, Default)]
struct Node {
    /// Most nodes are a topic's last token and have none.
    children: Option<Box<Children>>,
    topic: Option<TopicId>,
}

/// Topics by token.
#[derive(Debug, Default)]
pub(crate) struct TopicTree {
    root: Node,
}

/// What a pattern selects, and what finding it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The topics, by number.
    pub(crate) topics: Vec<TopicId>,
    /// Nodes that were looked at.
    pub(crate) visited: usize,
}

impl TopicTree {
    /// Adds a topic.
    pub(crate) fn insert(&mut self, topic: &Topic, id: TopicId) {
        let mut node = &mut self.root;
        for token in topic.tokens() {
            node = node
                .children
                .get_or_insert_default()
                .entry(token.into())
                .or_default();
        }
        node.topic = Some(id);
    }

    /// The topics that `pattern` matches. Of more than `most` it finds one more, and stops.
    pub(crate) fn select(&self, pattern: &Pattern, most: usize) -> Selected {
        let tokens: Vec<&str> = pattern.tokens().collect();
        let mut selected = Selected::default();
        self.root.select(&tokens, most, &mut selected);
        // Maps hand out their entries in any order; whoever is served by this must not depend on it.
        selected.topics.sort_unstable();
        selected
    }
}

impl Node {
    fn select(&self, tokens: &[&str], most: usize, selected: &mut Selected) {
        if selected.topics.len() > most {
            return;
        }
        selected.visited += 1;
        let Some((token, later)) = tokens.split_first() else {
            selected.topics.extend(self.topic);
            return;
        };
        let Some(children) = &self.children else { return };
        match *token {
            ">" => children
                .values()
                .for_each(|child| child.select_all(most, selected)),
            "*" => children
                .values()
                .for_each(|child| child.select(later, most, selected)),
            token => children
                .get(token)
                .into_iter()
                .for_each(|child| child.select(later, most, selected)),
        }
    }

    fn select_all(&self, most: usize, selected: &mut Selected) {
        if selected.topics.len() > most {
            return;
        }
        selected.visited += 1;
        selected.topics.extend(self.topic);
        let children = self.children.iter().flat_map(|children| children.values());
        children.for_each(|child| child.select_all(most, selected));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(topics: &[Topic]) -> TopicTree {
        let mut tree = TopicTree::default();
        for (id, topic) in (0..).zip(topics) {
            tree.insert(topic, TopicId(id));
        }
        tree
    }

    #[test]
    fn looks_only_where_the_pattern_leaves_it_open() {
        let symbols = 0..1_000;
        let topics: Vec<Topic> = symbols
            .flat_map(|n| {
                [
                    format!("ticker.S{n}"),
                    format!("candle.1m.S{n}"),
                    format!("candle.1h.S{n}"),
                ]
            })
            .map(|text| text.parse().expect("a topic"))
            .collect();
        let tree = tree(&topics);
        for (pattern, found, visited) in [
            ("ticker.S7", 1, 3),
            ("ticker.none", 0, 2),
            ("ticker.*", 1_000, 1_002),
            ("candle.*.S7", 2, 6),
            ("*.S7", 1, 4),
            ("*.*.S7", 2, 1 + 2 + 1_002 + 2),
            ("candle.>", 2_000, 2 + 2 + 2_000),
            ("*.*.*.*", 0, 1 + 2 + 1_002 + 2_000),
            (">", 3_000, 1 + 2 + 2 + 3_000),
        ] {
            let selected = tree.select(&pattern.parse().expect("a pattern"), usize::MAX);
            assert_eq!(
                (selected.topics.len(), selected.visited),
                (found, visited),
                "{pattern}"
            );
        }
    }

    #[test]
    fn stops_at_one_more_than_enough() {
        let topics: Vec<Topic> = (0..1_000)
            .map(|n| format!("t.S{n}").parse().expect("a topic"))
            .collect();
        let tree = tree(&topics);
        for pattern in ["t.*", "*.*", ">", "t.>"] {
            let selected = tree.select(&pattern.parse().expect("a pattern"), 10);
            assert_eq!(selected.topics.len(), 11, "{pattern}");
            assert!(selected.visited < 20, "{pattern}: {} nodes", selected.visited);
        }
    }

    proptest! {
        #[test]
        fn selects_what_the_pattern_matches(
            topics in prop::collection::hash_set("[ab](\\.[abc]){0,3}", 1..40),
            pattern in "([ab*](\\.[abc*]){0,3}(\\.>)?|>)",
        ) {
            let topics: Vec<Topic> = topics.iter().map(|text| text.parse().expect("a topic")).collect();
            let pattern: Pattern = pattern.parse().expect("a pattern");
            let ids = (0..).map(TopicId);
            let expected: Vec<TopicId> =
                ids.zip(&topics).filter(|(_, topic)| pattern.matches(topic.as_str())).map(|(id, _)| id).collect();
            prop_assert_eq!(tree(&topics).select(&pattern, usize::MAX).topics, expected);
        }
    }
}
