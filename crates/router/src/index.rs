//! An index from topics to what was stored under the patterns that match them: a trie over tokens.
//!
//! Looking up a topic visits at most 3 nodes per token and path, whatever the number of patterns. Bounded by what is put
//! in; empty branches are removed.

use std::collections::HashMap;

use tickwire_wire::Pattern;

#[derive(Debug)]
struct Node<T> {
    // The standard hasher: clients choose the tokens, so they must not be able to choose their hashes.
    literal: HashMap<Box<str>, Node<T>>,
    /// `*`
    any: Option<Box<Node<T>>>,
    /// Stored under a pattern that ends with `>` here.
    rest: Option<T>,
    /// Stored under a pattern that ends here.
    here: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literal: HashMap::new(),
            any: None,
            rest: None,
            here: None,
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.rest.is_none() && self.here.is_none()
    }

    fn visit<'a>(&'a self, tokens: &[&str], found: &mut impl FnMut(&'a T)) {
        let Some((token, later)) = tokens.split_first() else {
            self.here.iter().for_each(found);
            return;
        };
        self.rest.iter().for_each(&mut *found);
        if let Some(node) = self.literal.get(*token) {
            node.visit(later, found);
        }
        if let Some(node) = &self.any {
            node.visit(later, found);
        }
    }

    /// Removes the value of the pattern with these tokens.
    fn remove(&mut self, tokens: &[&str]) -> Option<T> {
        let Some((token, later)) = tokens.split_first() else {
            return self.here.take();
        };
        match *token {
            ">" => self.rest.take(),
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

/// Values by pattern, found by topic.
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
    /// The value stored under `pattern`, a default one if there was none.
    pub fn entry(&mut self, pattern: &Pattern) -> &mut T {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            match token {
                ">" => return node.rest.get_or_insert_default(),
                "*" => node = node.any.get_or_insert_default(),
                token => node = node.literal.entry(token.into()).or_default(),
            }
        }
        node.here.get_or_insert_default()
    }
}

impl<T> PatternIndex<T> {
    /// The value stored under `pattern` itself.
    pub fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut T> {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            match token {
                ">" => return node.rest.as_mut(),
                "*" => node = node.any.as_mut()?,
                token => node = node.literal.get_mut(token)?,
            }
        }
        node.here.as_mut()
    }

    /// Removes and returns the value stored under `pattern` itself.
    pub fn remove(&mut self, pattern: &Pattern) -> Option<T> {
        let tokens: Vec<&str> = pattern.tokens().collect();
        self.root.remove(&tokens)
    }

    /// Calls `found` with the value of every pattern that matches `topic`.
    pub fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a T)) {
        let mut tokens = [""; tickwire_wire::limits::TOPIC_TOKENS_MAX];
        let mut count = 0;
        for token in topic.split('.') {
            if count == tokens.len() {
                return; // longer than any topic
            }
            tokens[count] = token;
            count += 1;
        }
        self.root.visit(&tokens[..count], &mut found);
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}
