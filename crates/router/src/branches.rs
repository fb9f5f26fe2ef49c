//! The branches of a node of the pattern index, by token: a few in a vector of exactly that length, or many in a map.
//!
//! Most nodes have one branch, and clients choose how many nodes there are, so unused room matters: a map with one
//! entry takes the room of four.

use std::collections::HashMap;

/// The most branches that are kept in a vector.
const FEW_MAX: usize = 8;

#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "the many nodes with few branches pay for the size of this"
)]
pub(crate) enum Branches<N> {
    Few(Vec<(Box<str>, N)>),
    // The standard hasher: clients choose the tokens, so they must not be able to choose their hashes.
    Many(Box<HashMap<Box<str>, N>>),
}

impl<N> Default for Branches<N> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<N> Branches<N> {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(row) => row.is_empty(),
            Self::Many(map) => map.is_empty(),
        }
    }

    pub(crate) fn get(&self, token: &str) -> Option<&N> {
        match self {
            Self::Few(row) => row
                .iter()
                .find(|(name, _)| **name == *token)
                .map(|(_, node)| node),
            Self::Many(map) => map.get(token),
        }
    }

    pub(crate) fn get_mut(&mut self, token: &str) -> Option<&mut N> {
        match self {
            Self::Few(row) => row
                .iter_mut()
                .find(|(name, _)| **name == *token)
                .map(|(_, node)| node),
            Self::Many(map) => map.get_mut(token),
        }
    }

    /// The branch of `token`. It is made if there was none.
    pub(crate) fn entry(&mut self, token: &str) -> &mut N
    where
        N: Default,
    {
        if let Self::Few(row) = self
            && row.len() == FEW_MAX
            && !row.iter().any(|(name, _)| **name == *token)
        {
            *self = Self::Many(Box::new(row.drain(..).collect()));
        }
        match self {
            Self::Few(row) => {
                let at = row.iter().position(|(name, _)| **name == *token);
                let at = at.unwrap_or_else(|| {
                    row.reserve_exact(1);
                    row.push((token.into(), N::default()));
                    row.len() - 1
                });
                &mut row[at].1
            }
            Self::Many(map) => map.entry(token.into()).or_default(),
        }
    }

    pub(crate) fn remove(&mut self, token: &str) {
        match self {
            Self::Few(row) => {
                row.retain(|(name, _)| **name != *token);
                row.shrink_to_fit();
            }
            Self::Many(map) => {
                map.remove(token);
                if map.is_empty() {
                    *self = Self::default();
                }
            }
        }
    }

    /// Keeps the branches that `keep` selects. `keep` may also change them.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut N) -> bool) {
        match self {
            Self::Few(row) => {
                row.retain_mut(|(_, node)| keep(node));
                row.shrink_to_fit();
            }
            Self::Many(map) => {
                map.retain(|_, node| keep(node));
                if map.is_empty() {
                    *self = Self::default();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_found_and_removed() {
        let mut branches: Branches<usize> = Branches::default();
        for n in 0..20 {
            *branches.entry(&n.to_string()) = n;
            assert_eq!(matches!(branches, Branches::Few(_)), n < FEW_MAX);
        }
        for n in 0..20 {
            assert_eq!(*branches.entry(&n.to_string()), n);
            assert_eq!(branches.get(&n.to_string()), Some(&n));
        }
        assert_eq!(branches.get("20"), None);
        for n in 0..20 {
            assert!(!branches.is_empty());
            branches.remove(&n.to_string());
            assert_eq!(branches.get_mut(&n.to_string()), None);
        }
        assert!(branches.is_empty() && matches!(branches, Branches::Few(_)));
    }

    #[test]
    fn one_takes_the_room_of_one() {
        let mut branches: Branches<u8> = Branches::default();
        *branches.entry("a") = 1;
        assert!(matches!(branches, Branches::Few(row) if row.capacity() == 1));
    }
}
