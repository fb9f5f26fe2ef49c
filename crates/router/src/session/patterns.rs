//! The patterns that a session subscribed to, and what it wants of each.
//!
//! Most sessions have one, which costs no allocation: the node of a tree has room for eleven. In no particular order.

use std::collections::BTreeMap;

use tickwire_wire::Pattern;

use crate::pace::Pace;

/// What a session wants of a pattern or topic that it subscribed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PatternSub {
    /// What was asked for.
    pub(crate) pace: Pace,
    /// Whether the shard's index holds it, so that topics which appear later join.
    pub(crate) indexed: bool,
}

/// Patterns, each once.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    /// One of them, if there is any.
    one: Option<(Pattern, PatternSub)>,
    // No map by hash: with the most patterns half of it would be empty, and clients choose them.
    others: BTreeMap<Pattern, PatternSub>,
}

impl Patterns {
    pub(crate) const fn is_empty(&self) -> bool {
        self.one.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.others.len()
    }

    pub(crate) fn has(&self, pattern: &Pattern) -> bool {
        self.is_the_one(pattern) || self.others.contains_key(pattern)
    }

    pub(crate) fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut PatternSub> {
        match &mut self.one {
            Some((one, sub)) if one == pattern => Some(sub),
            _ => self.others.get_mut(pattern),
        }
    }

    /// Adds a pattern that is not there.
    pub(crate) fn insert(&mut self, pattern: Pattern, sub: PatternSub) {
        if self.one.is_none() {
            self.one = Some((pattern, sub));
        } else {
            self.others.insert(pattern, sub);
        }
    }

    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<PatternSub> {
        if !self.is_the_one(pattern) {
            return self.others.remove(pattern);
        }
        let next = self.others.pop_first();
        let (_, removed) = std::mem::replace(&mut self.one, next)?;
        Some(removed)
    }

    /// Takes any of them out.
    pub(crate) fn pop(&mut self) -> Option<(Pattern, PatternSub)> {
        self.others.pop_first().or_else(|| self.one.take())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Pattern, &PatternSub)> {
        let one = self.one.iter().map(|(pattern, sub)| (pattern, sub));
        one.chain(&self.others)
    }

    fn is_the_one(&self, pattern: &Pattern) -> bool {
        self.one.as_ref().is_some_and(|(one, _)| one == pattern)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map(steps in prop::collection::vec((0..3_u8, "[a-e]", any::<bool>()), 0..40)) {
            let (mut patterns, mut model) = (Patterns::default(), BTreeMap::new());
            for (step, name, indexed) in steps {
                let pattern: Pattern = name.parse().expect("a pattern");
                let sub = PatternSub { pace: Pace::Every, indexed };
                match step {
                    0 if !patterns.has(&pattern) => {
                        patterns.insert(pattern.clone(), sub);
                        model.insert(pattern.clone(), indexed);
                    }
                    1 => {
                        let removed = patterns.remove(&pattern).map(|sub| sub.indexed);
                        prop_assert_eq!(removed, model.remove(&pattern));
                    }
                    _ => {
                        if let Some(sub) = patterns.get_mut(&pattern) {
                            sub.indexed = indexed;
                            model.insert(pattern.clone(), indexed);
                        }
                    }
                }
                prop_assert_eq!(patterns.has(&pattern), model.contains_key(&pattern));
                prop_assert_eq!((patterns.len(), patterns.is_empty()), (model.len(), model.is_empty()));
                let held: BTreeMap<_, _> = patterns.iter().map(|(name, sub)| (name.clone(), sub.indexed)).collect();
                prop_assert_eq!(&held, &model);
            }
            while let Some((pattern, sub)) = patterns.pop() {
                prop_assert_eq!(model.remove(&pattern), Some(sub.indexed));
            }
            prop_assert!(model.is_empty() && patterns.is_empty());
        }
    }
}
