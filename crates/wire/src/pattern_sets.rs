//! Patterns as sets of topics: whether one lies within others, whether two overlap, and in which topics.
//!
//! The answers treat a token as one of infinitely many and a topic as infinitely long. Real topics are fewer (255
//! bytes, 16 tokens). So [`covers`] may say no where only the limits would make it yes, but never yes where it is no.
//! [`overlap`] may say yes for patterns whose only common topics would be too long, but never no for two that overlap.
//! Both errors lead to a refusal. The work is bounded by the tokens of the patterns.

use crate::topic::Pattern;

/// Whether every topic that `inner` matches is matched by at least one of `outer`. Several of `outer` may be needed
/// together.
///
/// ```
/// use tickwire_wire::Pattern;
/// use tickwire_wire::pattern_sets::covers;
/// let grant: Vec<Pattern> = vec!["ticker.*".parse()?, "ticker.*.>".parse()?];
/// assert!(covers(&grant, &"ticker.>".parse()?));
/// assert!(!covers(&grant, &">".parse()?));
/// # Ok::<(), tickwire_wire::TopicError>(())
/// ```
#[must_use]
pub fn covers(outer: &[Pattern], inner: &Pattern) -> bool {
    if let [only] = outer
        && only.as_str() == ">"
    {
        return true;
    }
    if !inner.is_wildcard() {
        return outer.iter().any(|pattern| pattern.matches(inner.as_str()));
    }
    let outer: Vec<&str> = outer.iter().map(Pattern::as_str).collect();
    covers_rest(&outer, Some(inner.as_str()))
}

/// Whether topics that continue with `inner` all continue with one of `outer`. `None` and a missing text mean that
/// nothing follows.
fn covers_rest(outer: &[&str], inner: Option<&str>) -> bool {
    let Some(inner) = inner else {
        // The caller has found a pattern of `outer` that ends here as well.
        return false;
    };
    if outer.contains(&">") {
        return true;
    }
    let (token, rest) = split(inner);
    // Behind a wildcard there may be a token that no pattern names. Only wildcards cover it.
    let fitting = outer.iter().map(|pattern| split(pattern));
    let tails: Vec<Option<&str>> = fitting
        .filter(|(other, _)| *other == "*" || *other == token && !is_wild(token))
        .map(|(_, tail)| tail)
        .collect();
    let ends = tails.contains(&None);
    let go_on: Vec<&str> = tails.into_iter().flatten().collect();
    match (token, rest) {
        // The first case is one token, the second one or more of the same.
        (">", _) => ends && covers_rest(&go_on, Some(">")),
        (_, None) => ends,
        (_, rest) => covers_rest(&go_on, rest),
    }
}

/// Whether some topic is matched by both `a` and `b`.
///
/// ```
/// use tickwire_wire::pattern_sets::overlap;
/// assert!(overlap(&"ticker.*".parse()?, &"*.BTC-USD".parse()?));
/// assert!(!overlap(&"ticker.>".parse()?, &"ticker".parse()?));
/// # Ok::<(), tickwire_wire::TopicError>(())
/// ```
#[must_use]
pub fn overlap(a: &Pattern, b: &Pattern) -> bool {
    meet(a, b, |_| {})
}

/// The pattern of the topics that both `a` and `b` match. `None` if there are no such topics, or if the pattern would
/// be longer than a pattern may be.
///
/// ```
/// use tickwire_wire::Pattern;
/// use tickwire_wire::pattern_sets::common;
/// let both = common(&"ticker.>".parse()?, &"*.*.spot".parse()?);
/// assert_eq!(both, Some("ticker.*.spot".parse::<Pattern>()?));
/// # Ok::<(), tickwire_wire::TopicError>(())
/// ```
#[must_use]
pub fn common(a: &Pattern, b: &Pattern) -> Option<Pattern> {
    let mut text = String::new();
    let met = meet(a, b, |tokens| {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(tokens);
    });
    if met { text.parse().ok() } else { None }
}

/// Whether `a` and `b` overlap. `tell` gets the tokens of the overlap one after the other, as far as the patterns
/// agree.
fn meet<'p>(a: &'p Pattern, b: &'p Pattern, mut tell: impl FnMut(&'p str)) -> bool {
    let (mut a, mut b) = (Some(a.as_str()), Some(b.as_str()));
    loop {
        let (token, next_a, next_b) = match (a, b) {
            (None, None) => return true,
            // One of them has ended, and the other has a token left.
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(rest_a), Some(rest_b)) => match (split(rest_a), split(rest_b)) {
                ((">", _), _) => (rest_b, None, None),
                (_, (">", _)) => (rest_a, None, None),
                (("*", after_a), (token, after_b)) | ((token, after_a), ("*", after_b)) => {
                    (token, after_a, after_b)
                }
                ((token, after_a), (other, after_b)) if token == other => (token, after_a, after_b),
                _ => return false,
            },
        };
        tell(token);
        (a, b) = (next_a, next_b);
    }
}

/// The first token and the rest.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((token, rest)) => (token, Some(rest)),
        None => (text, None),
    }
}

fn is_wild(token: &str) -> bool {
    matches!(token, "*" | ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect(text)
    }

    #[test]
    fn what_lies_within_what() {
        for (outer, inner, expected) in [
            (">", ">", true),
            (">", "a", true),
            (">", "*.>", true),
            ("*", ">", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.>", "a", false),
            ("a.>", "a.*", true),
            ("a.>", "a.*.>", true),
            ("a.>", "*.b", false),
            ("a.*", "a.>", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.*.*", false),
            ("a.b", "a.*", false),
            ("a.* a.*.>", "a.>", true),
            ("a.* a.b.>", "a.>", false),
            ("a.* a.*.* a.*.*.>", "a.>", true),
            ("*.b a.*", "a.b", true),
            ("*.b a.*", "a.*", true),
            ("*.b a.*", "*.*", false),
            ("* *.>", ">", true),
            ("", "a", false),
            ("", ">", false),
        ] {
            let grant: Vec<Pattern> = outer.split(' ').filter(|t| !t.is_empty()).map(pattern).collect();
            assert_eq!(
                covers(&grant, &pattern(inner)),
                expected,
                "{inner} within {outer:?}"
            );
        }
    }

    #[test]
    fn where_patterns_meet() {
        for (a, b, both) in [
            ("a", "a", Some("a")),
            ("a", "b", None),
            ("a.b", "a", None),
            ("a.>", "a", None),
            ("a.>", "a.b.c", Some("a.b.c")),
            ("a.>", "*.b.>", Some("a.b.>")),
            ("*.b", "a.*", Some("a.b")),
            (">", "*", Some("*")),
            ("*.>", ">", Some("*.>")),
            ("*.>", "a.>", Some("a.>")),
            ("*.*", "a.>", Some("a.*")),
            ("*", "*.*", None),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let found = common(&pattern(a), &pattern(b));
                assert_eq!(found, both.map(pattern), "{a} and {b}");
                assert_eq!(overlap(&pattern(a), &pattern(b)), both.is_some());
            }
        }
        let long = |head: &str| pattern(&format!("{head}.{}.*", "x".repeat(120)));
        let other = pattern(&format!("*.*.{}", "y".repeat(200)));
        assert_eq!(common(&long("a"), &other), None, "too long for a pattern");
        assert!(overlap(&long("a"), &other), "on the side of refusing");
    }
}
