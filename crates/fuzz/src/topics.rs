//! Topics and patterns: which words are valid, and which match, compared with a naive form of the rules.

use tickwire_router::PatternIndex;
use tickwire_wire::limits::{TOPIC_BYTES_MAX, TOPIC_TOKENS_MAX};
use tickwire_wire::{Pattern, Topic};

/// Checks words between spaces, each of which may be a topic and a pattern. Adds the patterns to an index and removes
/// them again.
///
/// # Panics
/// When validity or a match differs from the naive rules.
pub fn topics(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let words: Vec<&str> = text.split(' ').collect();
    let (mut topics, mut patterns) = (Vec::<Topic>::new(), Vec::<Pattern>::new());
    for word in &words {
        let (topic, pattern) = (word.parse::<Topic>(), word.parse::<Pattern>());
        assert_eq!(
            topic.is_ok(),
            is_valid(word, false),
            "{word:?} as a topic: {topic:?}"
        );
        assert_eq!(
            pattern.is_ok(),
            is_valid(word, true),
            "{word:?} as a pattern: {pattern:?}"
        );
        if let Ok(topic) = topic {
            assert_eq!(topic.as_str(), *word);
            topics.push(topic);
        }
        if let Ok(pattern) = pattern
            && !patterns.contains(&pattern)
        {
            patterns.push(pattern);
        }
    }
    let mut index = PatternIndex::<usize>::default();
    for (at, pattern) in patterns.iter().enumerate() {
        *index.entry(pattern) = at;
    }
    check(&index, &topics, &patterns, |_| true);
    for (at, pattern) in patterns.iter().enumerate().step_by(2) {
        assert_eq!(index.remove(pattern), Some(at));
        assert_eq!(index.remove(pattern), None);
    }
    check(&index, &topics, &patterns, |at| at % 2 == 1);
    for pattern in patterns.iter().skip(1).step_by(2) {
        index.remove(pattern);
    }
    assert!(index.is_empty(), "something is left of {patterns:?}");
}

/// Checks that the index finds exactly the matching patterns that it still has.
fn check(index: &PatternIndex<usize>, topics: &[Topic], patterns: &[Pattern], has: impl Fn(usize) -> bool) {
    for topic in topics {
        let mut found = Vec::new();
        index.matches(topic.as_str(), |at| found.push(*at));
        found.sort_unstable();
        let mut expected = Vec::new();
        for (at, pattern) in patterns.iter().enumerate() {
            let matches = is_match(pattern.as_str(), topic.as_str());
            assert_eq!(pattern.matches(topic.as_str()), matches, "{pattern} and {topic}");
            if matches && has(at) {
                expected.push(at);
            }
        }
        assert_eq!(found, expected, "{topic} among {patterns:?}");
    }
}

/// The rules of PROTOCOL.md, "Topics".
fn is_valid(word: &str, wildcards: bool) -> bool {
    let tokens: Vec<&str> = word.split('.').collect();
    let named = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let last = tokens.len() - 1;
    word.len() <= TOPIC_BYTES_MAX
        && tokens.len() <= TOPIC_TOKENS_MAX
        && tokens.iter().enumerate().all(|(at, token)| match *token {
            "*" => wildcards,
            ">" => wildcards && at == last,
            token => named(token),
        })
}

fn is_match(pattern: &str, topic: &str) -> bool {
    let (pattern_token, pattern_rest) = split(pattern);
    let (token, rest) = split(topic);
    match (pattern_token, pattern_rest, rest) {
        (">", ..) => true,
        (one, None, None) => one == "*" || one == token,
        (one, Some(pattern), Some(topic)) => (one == "*" || one == token) && is_match(pattern, topic),
        _ => false,
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    }
}
