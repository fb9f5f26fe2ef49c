//! The matrix of grants and requests, against the rights of the router.

use tickwire_router::{Grant, OwnLimits, Rights};
use tickwire_wire::{ErrorCode, Pattern};

/// A grant from words: patterns that it allows and, with a `-` before them, patterns that it denies.
pub(crate) fn grant<'w>(words: impl Iterator<Item = &'w str>) -> Grant {
    let (mut allow, mut deny): (Vec<Pattern>, Vec<Pattern>) = (Vec::new(), Vec::new());
    for word in words {
        match word.strip_prefix('-') {
            Some(denied) => deny.push(denied.parse().expect("a pattern")),
            None => allow.push(word.parse().expect("a pattern")),
        }
    }
    Grant::new(allow, deny)
}

#[test]
fn every_grant_and_request_of_the_matrix() {
    let mut rights = Rights::none();
    let mut cases = 0;
    for line in include_str!("../rights.txt").lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            None | Some("#") => {}
            Some("grant") => {
                let grant = grant(words);
                rights = Rights {
                    subscribe: grant.clone(),
                    publish: grant,
                    publish_rate: None,
                    stamp: false,
                    own: OwnLimits::default(),
                };
            }
            Some(verdict) => {
                let (op, name) = (words.next().expect(line), words.next().expect(line));
                let outcome = match op {
                    "subscribe" => rights.check_subscribe(&name.parse().expect("a pattern")),
                    "publish" => rights.check_publish(name),
                    _ => panic!("{line}"),
                };
                assert_eq!(outcome.is_ok(), verdict == "yes", "{line} by {rights:?}");
                if let Err(refusal) = outcome {
                    assert_eq!(refusal.code, ErrorCode::Forbidden);
                    assert!(refusal.reason.contains(name), "{refusal}");
                }
                cases += 1;
            }
        }
    }
    assert!(cases >= 300, "{cases} cases");
}

#[test]
fn the_refusal_of_a_wildcard_names_what_is_denied_of_it() {
    for (words, asked, reason) in [
        (
            "ticker.> trade.> -*.TEST-USD",
            "ticker.*",
            "ticker.* holds topics that this connection may not subscribe to: ticker.TEST-USD",
        ),
        (
            "trade.> -trade.internal.>",
            "trade.>",
            "trade.> holds topics that this connection may not subscribe to: trade.internal.>; it may subscribe to trade.*",
        ),
        // This concerns not only the denied part.
        (
            "ticker.> -ticker.X",
            ">",
            "> holds topics that this connection may not subscribe to",
        ),
        (
            "ticker.> -ticker.X",
            "ticker.X",
            "this connection may not subscribe to ticker.X",
        ),
    ] {
        let rights = Rights {
            subscribe: grant(words.split_whitespace()),
            publish: Grant::none(),
            publish_rate: None,
            stamp: false,
            own: OwnLimits::default(),
        };
        let refusal = rights.check_subscribe(&asked.parse().expect("a pattern"));
        assert_eq!(refusal.expect_err(words).reason, reason, "{words}: {asked}");
    }
}

#[test]
fn a_narrower_pattern_is_told_where_there_is_one() {
    for (words, asked, told) in [
        ("ticker.*", ">", Some("ticker.*")),
        ("ticker.>", "*.BTC-USD", Some("ticker.BTC-USD")),
        ("ticker.> trade.> -ticker.ETH-USD", ">", Some("trade.>")),
        ("> -secret.>", ">", Some("*")),
        ("trade.> -trade.internal.>", "trade.>", Some("trade.*")),
        ("ticker.> trade.> -*.TEST-USD", "ticker.>", None),
        ("ticker.*", "trade.*", None),
        ("", ">", None),
        ("a.* -a.b", "a.*", None),
    ] {
        let grant = grant(words.split_whitespace());
        let rights = Rights {
            subscribe: grant,
            publish: Grant::none(),
            publish_rate: None,
            stamp: false,
            own: OwnLimits::default(),
        };
        let asked: Pattern = asked.parse().expect("a pattern");
        let refusal = rights.check_subscribe(&asked).expect_err(words);
        let narrower = rights.subscribe.narrower(&asked);
        assert_eq!(narrower.as_ref().map(Pattern::as_str), told, "{words}: {asked}");
        assert!(narrower.is_none_or(|narrower| rights.check_subscribe(&narrower).is_ok()));
        assert_eq!(
            refusal
                .reason
                .ends_with(&format!("it may subscribe to {}", told.unwrap_or("-"))),
            told.is_some()
        );
    }
}
