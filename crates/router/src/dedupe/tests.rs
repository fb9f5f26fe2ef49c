//! Keys compared with a list of everything that came.

use proptest::prelude::*;

use super::*;

const LIMITS: DedupeLimits = DedupeLimits {
    within_ms: 100,
    keys_max: 8,
};

fn publish(dedupe: &Dedupe, topic: &str, key: &str, ms: u64, seq: u64) -> (u64, bool) {
    let (topic, key) = (topic.parse().expect("a topic"), key.parse().expect("a key"));
    let published = Published::before(Epoch::from("e"), Seq(seq), Kind::Event);
    let once = dedupe.once(&topic, &key, Micros(ms * 1_000), || Ok::<_, ()>(published));
    let (published, is_duplicate) = once.expect("nothing is refused");
    (published.seq.0, is_duplicate)
}

proptest! {
    #[test]
    fn a_key_is_known_for_its_time_and_while_there_is_room(
        ops in proptest::collection::vec((0_u8..3, 0_u8..12, 0_u64..40, any::<bool>()), 1..120),
    ) {
        let dedupe = Dedupe::new(LIMITS);
        // What was published: topic, key, time, number. Duplicates are not in it.
        let mut published: Vec<(String, String, u64, u64)> = Vec::new();
        let (mut now, mut duplicates) = (1_000, 0);
        for (seq, (topic, key, later, forget)) in (1..).zip(ops) {
            now += later;
            let (topic, key) = (format!("t.{topic}"), format!("k{key}"));
            if forget {
                prop_assert!(!dedupe.forget(Micros(now * 1_000)));
            }
            // Names whose time is over may take room until they are looked for, so the newest eight matter.
            let kept = &published[published.len().saturating_sub(LIMITS.keys_max)..];
            let known = kept.iter().rev().find(|(t, k, at, _)| {
                (t, k) == (&topic, &key) && at + LIMITS.within_ms > now
            });
            let expected = known.map_or((seq, false), |(.., first)| (*first, true));
            prop_assert_eq!(publish(&dedupe, &topic, &key, now, seq), expected);
            if expected.1 {
                duplicates += 1;
            } else {
                published.push((topic, key, now, seq));
            }
            let tally = dedupe.tally();
            prop_assert!(tally.keys <= LIMITS.keys_max && tally.duplicates == duplicates);
            prop_assert!(tally.bytes >= tally.keys * KEY_OVERHEAD && tally.bytes <= tally.keys * 400);
        }
        dedupe.forget(Micros((now + LIMITS.within_ms) * 1_000));
        let tally = dedupe.tally();
        prop_assert_eq!((tally.keys, tally.bytes), (0, 0));
    }
}

#[test]
fn what_was_refused_is_not_known() {
    let dedupe = Dedupe::new(LIMITS);
    let (topic, key) = ("t".parse().expect("a topic"), "k".parse().expect("a key"));
    let refused = dedupe.once(&topic, &key, Micros(0), || Err("no room"));
    assert_eq!(refused.err(), Some("no room"));
    assert!(!dedupe.knows(&topic, &key, Micros(0)));
    assert_eq!(publish(&dedupe, "t", "k", 0, 1), (1, false));
    assert!(dedupe.knows(&topic, &key, Micros(99_999)) && !dedupe.knows(&topic, &key, Micros(100_000)));
}

#[test]
fn keys_that_are_forgotten_before_their_time_are_counted() {
    let dedupe = Dedupe::new(LIMITS);
    for seq in 1..=10 {
        publish(&dedupe, "t", &format!("k{seq}"), 0, seq);
    }
    assert_eq!(dedupe.tally().early, 2);
    assert_eq!(publish(&dedupe, "t", "k3", 0, 11), (3, true));
    assert_eq!(publish(&dedupe, "t", "k2", 0, 12), (12, false));
    dedupe.set_limits(DedupeLimits {
        keys_max: 2,
        ..LIMITS
    });
    publish(&dedupe, "u", "k", 0, 13);
    assert_eq!(dedupe.tally().keys, 2);
}

#[test]
fn a_key_of_one_topic_is_no_key_of_another() {
    let dedupe = Dedupe::new(LIMITS);
    assert_eq!(publish(&dedupe, "a", "b.k", 0, 1), (1, false));
    assert_eq!(publish(&dedupe, "a.b", "k", 0, 2), (2, false));
    assert_eq!(publish(&dedupe, "a", "b.k", 0, 3), (1, true));
}
