//! What is revoked, as clients find it: with a new token, with one that was accepted before, and over a reload.

use std::sync::Arc;

use super::*;

const KEY: &str = "tw_0123456789abcdef0123456789abcdef";

fn with_key(name: &str) -> String {
    let hash = KeyHash::of(KEY);
    format!(
        "[[auth.keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nsubscribe = [\">\"]\nclose_sessions = true\n{ALL_ALGORITHMS}"
    )
}

fn revoke(access: &Access, revoked: Revoked) -> u64 {
    let made = access
        .revocations()
        .revoke((revoked, "x".to_owned()), None, "night-shift".to_owned(), NOW);
    made.expect("there is room").number
}

#[test]
fn a_revoked_token_is_refused_when_it_is_shown_and_when_it_was_accepted_before() {
    let access = rules(&with_key("desk"));
    let tokens = [
        KEY.to_owned(),
        hs256(&claims()),
        hs256(&claims_with(&json!({"sub": "alice", "jti": "a1"}))),
    ];
    let before = tokens
        .clone()
        .map(|token| access.verify(&Secret::from(token), NOW).expect("it is good"));
    let numbers = [
        Revoked::Key(access.key_named("desk").expect("it is there")),
        Revoked::Subject("desk-7".to_owned()),
        Revoked::TokenId("a1".to_owned()),
    ]
    .map(|revoked| revoke(&access, revoked));
    let refused = "unauthenticated Revoked: the token was revoked";
    for (token, admission) in tokens.iter().zip(&before) {
        assert_eq!(outcome(&access, token), refused);
        assert_eq!(access.still(admission, NOW), Err(Denied::Revoked));
    }
    // Others notice nothing.
    let other = hs256(&claims_with(&json!({"sub": "alice", "jti": "a2"})));
    assert!(outcome(&access, &other).starts_with("subscribe "));
    assert_eq!(
        access.closer(&Secret::from(KEY), NOW),
        None,
        "nor does it close others in the console"
    );
    for number in numbers {
        access.revocations().take_back(number, NOW).expect("it is there");
    }
    for (token, admission) in tokens.iter().zip(&before) {
        assert!(outcome(&access, token).starts_with("subscribe "));
        assert!(access.still(admission, NOW).is_ok());
    }
}

#[test]
fn other_rules_keep_what_is_revoked_and_a_key_may_not_escape_by_another_name() {
    let access = rules(&with_key("desk"));
    revoke(&access, Revoked::Key(KeyHash::of(KEY)));
    let after = rules(&with_key("renamed")).with_revocations(access.revocations().clone());
    assert!(Arc::ptr_eq(access.revocations(), after.revocations()));
    assert_eq!(
        outcome(&after, KEY),
        "unauthenticated Revoked: the token was revoked"
    );
}
