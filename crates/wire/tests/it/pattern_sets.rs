//! Patterns as sets, compared with a look at every topic of a small world.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_wire::Pattern;
use tickwire_wire::pattern_sets::{common, covers, overlap};

/// Every topic of one to six tokens out of three. Patterns name two of these tokens; the third stands for all others.
fn topics() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut longest: Vec<String> = ["a", "b", "other"].map(str::to_owned).to_vec();
    for _ in 0..6 {
        all.extend(longest.iter().cloned());
        longest = longest
            .iter()
            .flat_map(|topic| ["a", "b", "other"].map(|token| format!("{topic}.{token}")))
            .collect();
    }
    all
}

fn pattern() -> impl Strategy<Value = Pattern> {
    "([ab*](\\.[ab*]){0,3}(\\.>)?|>)".prop_map(|text| text.parse().expect("a pattern"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Patterns have at most five tokens, so topics of six tokens distinguish a `>` from every number of `*`.
    #[test]
    fn covering_is_what_every_topic_says(outer in vec(pattern(), 0..6), inner in pattern()) {
        let every = topics()
            .iter()
            .filter(|topic| inner.matches(topic))
            .all(|topic| outer.iter().any(|pattern| pattern.matches(topic)));
        prop_assert_eq!(covers(&outer, &inner), every, "{} within {:?}", inner, outer);
    }

    #[test]
    fn what_two_have_in_common_is_what_both_match(a in pattern(), b in pattern()) {
        let both = common(&a, &b);
        for topic in topics() {
            let expected = a.matches(&topic) && b.matches(&topic);
            prop_assert_eq!(both.as_ref().is_some_and(|both| both.matches(&topic)), expected);
        }
        prop_assert_eq!(overlap(&a, &b), both.is_some());
    }
}
