//! Topics and patterns compared with models so naive that they are easily seen to be right.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_wire::limits::{TOPIC_BYTES_MAX, TOPIC_TOKENS_MAX};
use tickwire_wire::{Pattern, Topic, TopicError};

/// The rules of PROTOCOL.md, "Topics", taken literally.
fn is_pattern(text: &str) -> bool {
    let tokens: Vec<&str> = text.split('.').collect();
    let word = |token: &str| {
        !token.is_empty()
            && token
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    text.len() <= TOPIC_BYTES_MAX
        && tokens.len() <= TOPIC_TOKENS_MAX
        && tokens
            .iter()
            .enumerate()
            .all(|(at, token)| word(token) || *token == "*" || (*token == ">" && at + 1 == tokens.len()))
}

/// `*` matches exactly one token, a final `>` one or more.
fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => matches(pattern, topic),
        ([p, pattern @ ..], [t, topic @ ..]) => p == t && matches(pattern, topic),
        _ => false,
    }
}

/// Patterns, texts that are nearly patterns, and any texts.
fn text() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        8 => "[A-Za-z0-9_-]{1,6}",
        3 => Just("*".to_owned()),
        1 => Just(">".to_owned()),
        1 => Just(String::new()),
        1 => "[a-z*>]{1,3}",
        1 => "[a\u{e9} \u{0}/+#,:~]{1,3}",
        1 => "[a-z]{100,140}",
    ];
    prop_oneof![
        8 => vec(token, 1..5).prop_map(|tokens| tokens.join(".")),
        2 => vec("[a-z]{1,2}", 14..19).prop_map(|tokens| tokens.join(".")),
        1 => "[a-z]{250,260}",
        1 => any::<String>(),
    ]
}

/// The offset of the byte in an error.
fn offset(error: &TopicError) -> Option<usize> {
    match error {
        TopicError::Empty | TopicError::TooLong(_) | TopicError::TooManyTokens(_) => None,
        TopicError::EmptyToken(at)
        | TopicError::BadByte(at, _)
        | TopicError::Wildcard(at)
        | TopicError::PartialWildcard(at)
        | TopicError::NotLast(at) => Some(*at),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_a_pattern_and_what_a_topic(text in text()) {
        let pattern = text.parse::<Pattern>();
        prop_assert_eq!(pattern.is_ok(), is_pattern(&text), "{:?}", pattern);
        let topic = text.parse::<Topic>();
        let wild = text.contains(['*', '>']);
        prop_assert_eq!(topic.is_ok(), is_pattern(&text) && !wild, "{:?}", topic);
        if let Ok(pattern) = &pattern {
            prop_assert_eq!(pattern.as_str(), &text);
            prop_assert_eq!(pattern.is_wildcard(), wild);
            prop_assert_eq!(pattern.as_topic(), topic.clone().ok());
        }
        if let Some(at) = topic.as_ref().err().and_then(offset) {
            prop_assert!(at <= text.len() && text.is_char_boundary(at), "byte {} of {:?}", at, text);
        }
    }

    #[test]
    fn patterns_match_as_the_model_does(
        pattern in vec("[ab*]", 0..5),
        rest in any::<bool>(),
        topic in vec("[ab]", 1..6),
    ) {
        let mut pattern = pattern;
        if rest || pattern.is_empty() {
            pattern.push(">".to_owned());
        }
        let parsed: Pattern = pattern.join(".").parse().expect("a pattern");
        let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
        let tokens: Vec<&str> = topic.iter().map(String::as_str).collect();
        prop_assert_eq!(parsed.matches(&topic.join(".")), matches(&pattern, &tokens));
        prop_assert!(parsed.tokens().eq(pattern.iter().copied()));
    }

    #[test]
    fn a_topic_as_a_pattern_matches_itself_only(a in vec("[ab]{1,2}", 1..4), b in vec("[ab]{1,2}", 1..4)) {
        let (a, b) = (a.join("."), b.join("."));
        let topic: Topic = a.parse().expect("a topic");
        prop_assert_eq!(Pattern::from(topic).matches(&b), a == b);
    }
}
