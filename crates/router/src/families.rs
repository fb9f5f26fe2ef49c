//! Families of topics: the groups by which deliveries are accounted. A topic is in one family for all its life.
//!
//! Without patterns, a topic's family is the first token of its name; with patterns, it is the first one that matches.
//! There are at most [`FAMILIES_MAX`]: topics beyond that, and topics that no pattern matches, are in the family of all
//! others. Names of families are never removed, so a family's number means the same until the process ends.

use std::sync::{PoisonError, RwLock};

use tickwire_wire::Pattern;

/// Most families, that of all other topics included: the families that a session has had messages of are a 64-bit mask.
pub const FAMILIES_MAX: usize = 64;

/// The number of a family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(u8);

impl FamilyId {
    /// The family of all topics that are in no other one.
    pub const OTHER: Self = Self(0);

    /// All numbers of families.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..FAMILIES_MAX as u8).map(Self)
    }

    /// The number as an index, below [`FAMILIES_MAX`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The bit of the family in a mask.
    pub(crate) const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// The families of a broker's topics.
#[derive(Debug)]
pub struct Families {
    patterns: Vec<Pattern>,
    /// The names of the families behind [`FamilyId::OTHER`], in the order of their numbers.
    names: RwLock<Vec<Box<str>>>,
    is_counted: bool,
}

impl Families {
    /// The name of the family of all other topics. No topic and no pattern begins like this.
    pub const OTHER_NAME: &str = "(other)";

    /// No families: all topics are in [`FamilyId::OTHER`].
    #[must_use]
    pub const fn none() -> Self {
        Self {
            patterns: Vec::new(),
            names: RwLock::new(Vec::new()),
            is_counted: false,
        }
    }

    /// A family for each of the `patterns`, which are tried in order; without patterns, one for each first token.
    /// Patterns beyond [`FAMILIES_MAX`] make no family of their own.
    #[must_use]
    pub fn of(mut patterns: Vec<Pattern>) -> Self {
        patterns.truncate(FAMILIES_MAX - 1);
        let names = patterns.iter().map(|pattern| pattern.as_str().into()).collect();
        Self {
            patterns,
            names: RwLock::new(names),
            is_counted: true,
        }
    }

    /// The family of the topic with this name.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> FamilyId {
        if !self.is_counted {
            return FamilyId::OTHER;
        }
        if self.patterns.is_empty() {
            return self.named(topic.split('.').next().unwrap_or(topic));
        }
        let found = self.patterns.iter().position(|pattern| pattern.matches(topic));
        found.map_or(FamilyId::OTHER, number)
    }

    /// The family with this name. If there is none and there is room, it is made.
    #[must_use]
    pub fn named(&self, name: &str) -> FamilyId {
        if name == Self::OTHER_NAME {
            return FamilyId::OTHER;
        }
        let find = |names: &[Box<str>]| names.iter().position(|it| **it == *name).map(number);
        if let Some(found) = find(&self.names.read().unwrap_or_else(PoisonError::into_inner)) {
            return found;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(&names) {
            return found; // another thread was faster
        }
        if names.len() + 1 >= FAMILIES_MAX {
            return FamilyId::OTHER;
        }
        names.push(name.into());
        number(names.len() - 1)
    }

    /// The names of all families in the order of their numbers, beginning with that of [`FamilyId::OTHER`].
    #[must_use]
    pub fn names(&self) -> Vec<Box<str>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let other = std::iter::once(Self::OTHER_NAME.into());
        other.chain(names.iter().cloned()).collect()
    }
}

/// The number of the family with the name at `index`.
fn number(index: usize) -> FamilyId {
    debug_assert!(index + 1 < FAMILIES_MAX);
    FamilyId(index as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(families: &Families, topics: &[&str]) -> Vec<String> {
        let of = |topic: &&str| {
            let family = families.of_topic(topic);
            families.names()[family.index()].to_string()
        };
        topics.iter().map(of).collect()
    }

    #[test]
    fn a_topic_is_in_the_family_of_its_first_token_or_of_the_first_pattern() {
        let topics = ["trade.BTC", "book.BTC", "trade", "trade.ETH"];
        for (patterns, expected) in [
            (None, ["(other)"; 4]),
            (Some(&[][..]), ["trade", "book", "trade", "trade"]),
            (
                Some(&["trade.BTC", "trade.*", "x"][..]),
                ["trade.BTC", "(other)", "(other)", "trade.*"],
            ),
        ] {
            let families = patterns.map_or(Families::none(), |patterns| {
                Families::of(patterns.iter().map(|it| it.parse().expect("a pattern")).collect())
            });
            assert_eq!(names(&families, &topics), expected, "{patterns:?}");
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_in_the_family_of_all_others() {
        let families = Families::of(Vec::new());
        let made: Vec<FamilyId> = (0..FAMILIES_MAX)
            .map(|at| families.of_topic(&format!("f{at}.a")))
            .collect();
        assert_eq!(
            made.iter().filter(|family| **family == FamilyId::OTHER).count(),
            1
        );
        assert_eq!(made.last(), Some(&FamilyId::OTHER));
        assert_eq!(families.of_topic("f0.b"), made[0], "those that there are stay");
        let patterns = (0..2 * FAMILIES_MAX).map(|at| format!("f{at}.*").parse().expect("a pattern"));
        let families = Families::of(patterns.collect());
        let last = format!("f{}.a", FAMILIES_MAX - 2);
        assert_eq!(families.of_topic(&last).index(), FAMILIES_MAX - 1);
        assert_eq!(families.of_topic(&format!("f{FAMILIES_MAX}.a")), FamilyId::OTHER);
    }
}
