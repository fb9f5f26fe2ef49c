//! The existing topics by their tokens: the topics that a wildcard matches are found without looking at the others.
//!
//! A branch keeps its place as long as a topic is below it, so a search may stop anywhere and continue later. The place
//! of a branch that is gone is given to the next one. So what a search has left out is new, and what it finds may be
//! another topic than it looked for: its caller looks at new topics by itself, and at the name of each that was found.
//! A search visits only the branches that the pattern leaves open: for a token one look-up, for `*` all branches of one
//! node, for `>` all topics below it.

use std::collections::HashMap;

use tickwire_wire::{Pattern, Topic};

use crate::publication::TopicId;

#[derive(Debug, Default)]
struct Node {
    /// Most nodes are the last token of a topic and have no branches.
    children: Option<Box<Children>>,
    topic: Option<TopicId>,
}

/// The branches of a node.
#[derive(Debug, Default)]
struct Children {
    // The standard hasher: publishers choose the tokens, so they must not be able to choose their hashes.
    places: HashMap<Box<str>, u32>,
    /// The branches. One that is gone has left an empty node.
    nodes: Vec<Node>,
    /// The places of the empty nodes.
    free: Vec<u32>,
}

impl Children {
    /// The place of the branch for `token`, which is made if there is none.
    fn place_for(&mut self, token: &str) -> usize {
        if let Some(at) = self.places.get(token) {
            return *at as usize;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            u32::try_from(self.nodes.len() - 1).expect("no more branches than topics")
        });
        self.places.insert(token.into(), place);
        place as usize
    }

    /// Removes the branch for `token`, which is at `place`.
    fn remove(&mut self, token: &str, place: u32) {
        self.places.remove(token);
        self.nodes[place as usize] = Node::default();
        self.free.push(place);
        if self.places.len() < self.places.capacity() / 4 {
            self.places.shrink_to_fit();
        }
    }
}

/// Topics by token.
#[derive(Debug, Default)]
pub(crate) struct TopicTree {
    root: Node,
}

/// Where a search continues.
#[derive(Debug, Default)]
pub(crate) struct TreeCursor {
    /// For each node on the way down from the root, the branch that is looked at next.
    next: Vec<usize>,
    is_done: bool,
}

impl TreeCursor {
    /// Whether the search is complete.
    pub(crate) const fn is_done(&self) -> bool {
        self.is_done
    }
}

/// The topics that a pattern selects, and the work of finding them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The topics, by number.
    pub(crate) topics: Vec<TopicId>,
    /// The number of nodes that were looked at.
    pub(crate) visited: usize,
}

impl TopicTree {
    /// Adds a topic.
    ///
    /// # Panics
    /// If there are 2³² tokens below one, more than there are topics.
    pub(crate) fn insert(&mut self, topic: &Topic, id: TopicId) {
        let mut node = &mut self.root;
        for token in topic.tokens() {
            let children = node.children.get_or_insert_default();
            let at = children.place_for(token);
            node = &mut children.nodes[at];
        }
        node.topic = Some(id);
    }

    /// Removes a topic, and the branches that led to it alone.
    pub(crate) fn remove(&mut self, topic: &Topic) {
        let tokens: Vec<&str> = topic.tokens().collect();
        self.root.remove(&tokens);
    }

    /// The topics that `pattern` matches.
    pub(crate) fn select(&self, pattern: &Pattern) -> Selected {
        let mut selected = Selected::default();
        let Selected { topics, visited } = &mut selected;
        *visited = self.search(pattern, &mut TreeCursor::default(), usize::MAX, |topic| {
            topics.push(topic);
        });
        // Branches are not in the order of topics, and callers must not depend on their order.
        topics.sort_unstable();
        selected
    }

    /// Continues a search for the topics that `pattern` matches, and looks at up to `most` nodes, at least one. The
    /// pattern must be the same in each call with one `cursor`. Returns the number of nodes that it looked at. If topics
    /// were removed since the search began, it may call `found` with topics that do not match.
    pub(crate) fn search(
        &self,
        pattern: &Pattern,
        cursor: &mut TreeCursor,
        most: usize,
        mut found: impl FnMut(TopicId),
    ) -> usize {
        let tokens: Vec<&str> = pattern.tokens().collect();
        let mut visited = usize::from(cursor.next.is_empty());
        if cursor.next.is_empty() {
            cursor.next.push(0);
        }
        let mut way = vec![&self.root];
        for next in &cursor.next[..cursor.next.len() - 1] {
            let below = way.last().and_then(|node| node.child(next.checked_sub(1)?));
            way.extend(below);
        }
        // Branches on the way may be gone.
        cursor.next.truncate(way.len());
        while let Some(node) = way.last() {
            if visited >= most.max(1) {
                return visited;
            }
            let depth = way.len() - 1;
            let Some(at) = node.branch(&tokens, depth, cursor.next[depth]) else {
                way.pop();
                cursor.next.pop();
                continue;
            };
            cursor.next[depth] = at + 1;
            let Some(child) = node.child(at) else { continue };
            visited += 1;
            way.push(child);
            cursor.next.push(0);
            if depth + 1 >= tokens.len() {
                child.topic.into_iter().for_each(&mut found);
            }
        }
        cursor.is_done = true;
        visited
    }
}

impl Node {
    /// Removes the topic with these tokens below this node. Returns whether nothing is left of the node.
    fn remove(&mut self, tokens: &[&str]) -> bool {
        let Some((token, later)) = tokens.split_first() else {
            self.topic = None;
            return self.children.is_none();
        };
        let Some(children) = self.children.as_mut() else {
            return false;
        };
        let Some(place) = children.places.get(*token).copied() else {
            return false;
        };
        if children.nodes[place as usize].remove(later) {
            children.remove(token, place);
        }
        if children.places.is_empty() {
            self.children = None;
        }
        self.children.is_none() && self.topic.is_none()
    }

    fn child(&self, at: usize) -> Option<&Self> {
        self.children.as_ref()?.nodes.get(at)
    }

    /// The next branch of this node to look at for `tokens`, after those before `next`. The node is `depth` tokens
    /// below the root.
    fn branch(&self, tokens: &[&str], depth: usize, next: usize) -> Option<usize> {
        let children = self.children.as_ref()?;
        let token = match tokens.get(depth) {
            Some(token) => *token,
            None => tokens.last().copied().filter(|last| *last == ">")?,
        };
        match token {
            "*" | ">" => (next < children.nodes.len()).then_some(next),
            // There is only one such branch, and it was looked at if `next` is not 0.
            token => (next == 0).then(|| children.places.get(token).map(|at| *at as usize))?,
        }
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

    fn matching(topics: &[Topic], pattern: &Pattern) -> Vec<TopicId> {
        let ids = (0..).map(TopicId);
        let matching = ids
            .zip(topics)
            .filter(|(_, topic)| pattern.matches(topic.as_str()));
        matching.map(|(id, _)| id).collect()
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
            let selected = tree.select(&pattern.parse().expect("a pattern"));
            assert_eq!(
                (selected.topics.len(), selected.visited),
                (found, visited),
                "{pattern}"
            );
        }
    }

    #[test]
    fn the_places_of_branches_that_are_gone_are_used_again() {
        let mut tree = TopicTree::default();
        let topic = |day: u32, n: u32| format!("option.{day}.S{n}").parse::<Topic>().expect("a topic");
        for day in 0..100 {
            for n in 0..50 {
                tree.insert(&topic(day, n), TopicId(day * 50 + n));
                if day > 0 {
                    tree.remove(&topic(day - 1, n));
                }
            }
        }
        let all: Pattern = ">".parse().expect("a pattern");
        assert_eq!(
            tree.select(&all).topics,
            (4_950..5_000).map(TopicId).collect::<Vec<_>>()
        );
        assert!(tree.select(&all).visited <= 1 + 1 + 2 + 50);
        (0..50).for_each(|n| tree.remove(&topic(99, n)));
        assert!(tree.root.children.is_none(), "nothing is left of it");
    }

    proptest! {
        /// A topic that was there all the time is found once, whatever came and went beside it.
        #[test]
        fn a_search_in_pieces_finds_what_stays_while_topics_come_and_go(
            topics in prop::collection::hash_set("[ab](\\.[abc]){0,3}", 2..40),
            pattern in "([ab*](\\.[abc*]){0,3}(\\.>)?|>)",
            changes in prop::collection::vec((1_usize..6, 0_usize..40), 1..40),
            staying in 1_usize..20,
        ) {
            let topics: Vec<Topic> = topics.iter().map(|text| text.parse().expect("a topic")).collect();
            let pattern: Pattern = pattern.parse().expect("a pattern");
            let staying = staying.min(topics.len());
            let (mut tree, mut cursor) = (tree(&topics), TreeCursor::default());
            let (mut there, mut found) = (vec![true; topics.len()], Vec::new());
            for (most, change) in changes.iter().cycle() {
                tree.search(&pattern, &mut cursor, *most, |topic| found.push(topic));
                if cursor.is_done() {
                    break;
                }
                let at = staying + change % (topics.len() - staying + 1);
                if at < topics.len() {
                    there[at] = !there[at];
                    match there[at] {
                        true => tree.insert(&topics[at], TopicId(u32::try_from(at).expect("few"))),
                        false => tree.remove(&topics[at]),
                    }
                }
            }
            for topic in matching(&topics[..staying], &pattern) {
                prop_assert_eq!(found.iter().filter(|it| **it == topic).count(), 1, "{:?}", topics[topic.index()]);
            }
            let left: Vec<TopicId> = matching(&topics, &pattern).into_iter().filter(|id| there[id.index()]).collect();
            prop_assert_eq!(tree.select(&pattern).topics, left);
        }

        #[test]
        fn selects_what_the_pattern_matches(
            topics in prop::collection::hash_set("[ab](\\.[abc]){0,3}", 1..40),
            pattern in "([ab*](\\.[abc*]){0,3}(\\.>)?|>)",
        ) {
            let topics: Vec<Topic> = topics.iter().map(|text| text.parse().expect("a topic")).collect();
            let pattern: Pattern = pattern.parse().expect("a pattern");
            let expected = matching(&topics, &pattern);
            prop_assert_eq!(tree(&topics).select(&pattern).topics, expected);
        }

        /// Topics that are made between two pieces may be found or not. Earlier ones are found once each, for the same
        /// work.
        #[test]
        fn a_search_in_pieces_finds_each_topic_that_was_there_once(
            topics in prop::collection::hash_set("[ab](\\.[abc]){0,3}", 2..40),
            pattern in "([ab*](\\.[abc*]){0,3}(\\.>)?|>)",
            pieces in prop::collection::vec(1_usize..6, 1..5),
            later in 0_usize..20,
        ) {
            let topics: Vec<Topic> = topics.iter().map(|text| text.parse().expect("a topic")).collect();
            let pattern: Pattern = pattern.parse().expect("a pattern");
            let (before, mut after) = topics.split_at(topics.len().saturating_sub(later).max(1));
            let (mut tree, mut cursor) = (tree(before), TreeCursor::default());
            let all = tree.select(&pattern);
            let (mut found, mut visited) = (Vec::new(), 0);
            for most in pieces.iter().cycle() {
                visited += tree.search(&pattern, &mut cursor, *most, |topic| found.push(topic));
                if cursor.is_done() {
                    break;
                }
                if let Some((next, others)) = after.split_first() {
                    tree.insert(next, TopicId(u32::try_from(topics.len() - after.len()).expect("few")));
                    after = others;
                }
            }
            found.sort_unstable();
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
            prop_assert!(found.iter().all(|id| pattern.matches(topics[id.index()].as_str())));
            found.retain(|id| id.index() < before.len());
            prop_assert_eq!(&found, &all.topics);
            prop_assert!(visited >= all.visited);
        }
    }
}
