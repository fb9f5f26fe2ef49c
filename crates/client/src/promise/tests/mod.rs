//! Traces that keep the promises, and traces that break each of them.

mod trace;

use expect_test::expect;
use proptest::prelude::*;
use tickwire_wire::Micros;

use super::*;
use trace::{broken, kept, raw, run, welcome};

const EVERY: &str = "sub 1 A; ack 1 A@k:57/every; snap A@k:57; up A 58; ";
const CONFLATE: &str = "sub 1 A; ack 1 A@k:57/conflate; snap A@k:57; up A 60; ";

#[test]
fn promise_1_numbers_increase() {
    kept(&format!("{EVERY} up A 59"));
    kept(&format!("{CONFLATE} up A 61; up A 70"));
    broken(&format!("{EVERY} up A 58"), &expect!["A: message 58 came twice"]);
    broken(
        &format!("{CONFLATE} up A 60"),
        &expect!["A: message 60 came twice"],
    );
    broken(&format!("{EVERY} up A 3"), &expect!["A: message 3 came after 58"]);
    broken(
        &format!("{CONFLATE} up A 59"),
        &expect!["A: message 59 came after 60"],
    );
    broken(
        "sub 1 A; ack 1 A@k:57/every; snap A@k:56",
        &expect!["A: message 56 came after 57"],
    );
    broken(
        &format!("{EVERY} snap A@k:58"),
        &expect!["A: message 58 came twice"],
    );
}

#[test]
fn promise_2_every_message_or_a_gap() {
    kept("sub 1 A; ack 1 A@k:57/every; up A 58; up A 59");
    kept("sub 1 A; ack 1 A@k:0/every; up A 1; up A 2");
    kept("sub 1 A nosnap mode every; ack 1 A@k:57; up A 58");
    kept(&format!(
        "{EVERY} gap A@k 59 70 slow; up A 71; gap A@k 72 72 slow; up A 73"
    ));
    broken(
        &format!("{EVERY} up A 60"),
        &expect!["A: message 60 came where 59 was due, and no gap named what is missing"],
    );
    broken(
        "sub 1 A; ack 1 A@k:57/every; up A 59",
        &expect!["A: message 59 came where 58 was due, and no gap named what is missing"],
    );
    broken(
        &format!("{EVERY} gap A@k 59 70 slow; up A 72"),
        &expect!["A: message 72 came where 71 was due, and no gap named what is missing"],
    );
    broken(
        &format!("{EVERY} gap A@k 59 70 slow; up A 70"),
        &expect!["A: message 70 came twice"],
    );
    broken(
        &format!("{EVERY} gap A@k 58 70 slow"),
        &expect!["A: a gap from 58 names messages that came: the last was 58"],
    );
    broken(
        &format!("{EVERY} gap A@k 60 70 slow"),
        &expect!["A: a gap from 60 leaves out what is missing from 59"],
    );
    broken(
        &format!("{EVERY} gap A@k 59 58 slow"),
        &expect!["A: a gap from 59 to 58 names nothing"],
    );
    broken(
        &format!("{EVERY} snap A@k:70"),
        &expect!["A: message 70 came where 59 was due, and no gap named what is missing"],
    );
}

#[test]
fn promise_3_conflation_skips_forward_only() {
    kept(&format!("{CONFLATE} up A 99; snap A@k:120; up A 121"));
    kept(&format!("{CONFLATE} gap A@k 80 90 slow; up A 91"));
    broken(
        &format!("{CONFLATE} gap A@k 60 90 slow"),
        &expect!["A: a gap from 60 names messages that came: the last was 60"],
    );
    broken(
        &format!("{CONFLATE} snap A@k:60"),
        &expect!["A: message 60 came twice"],
    );
}

#[test]
fn promise_4_a_book_resumes_with_a_snapshot() {
    kept(&format!("{EVERY} gap A@k 59 70 slow; snap A@k:70; up A 71"));
    broken(
        &format!("{EVERY} gap A@k 59 70 slow; snap A@k:70; up A 72"),
        &expect!["A: message 72 came where 71 was due, and no gap named what is missing"],
    );
    broken(
        &format!("{EVERY} gap A@k 59 70 slow; snap A@k:69"),
        &expect!["A: message 69 came after 70"],
    );
}

#[test]
fn promise_5_resume() {
    let since = "sub 1 since A=k:57; ";
    kept(&format!(
        "{since} ack 1 A@k:60/every+; up A 58; up A 59; up A 60; up A 61"
    ));
    kept(&format!("{since} ack 1 A@k:57/every+; up A 58"));
    kept(&format!("{since} ack 1 A@k:60/conflate+; up A 60"));
    kept(&format!("{since} ack 1 A@k:60/conflate+; snap A@k:60"));
    kept(&format!(
        "{since} ack 1 A@k:60/every+; gap A@k 58 70 slow; snap A@k:70"
    ));
    kept(&format!("{since} ack 1 A@k:60/every-; snap A@k:60; up A 61"));
    kept(&format!(
        "{since} ack 1 A@k:60/every-; gap A@k 58 60 history; up A 61"
    ));
    kept(&format!("{since} ack 1 A@z:9/every-; gap A@z 1 9 epoch; up A 10"));
    kept(&format!("{since} ack 1 A@z:0/every-; gap A@z 1 0 epoch; up A 1"));
    kept(&format!("{since} ack 1 A@z:0/every-; up A 1; up A 2"));
    kept(&format!("{since} ack 1 A@z:9/every-; snap A@z:9; up A 10"));
    kept("sub 1 since A=k:99; ack 1 A@k:60/every-; snap A@k:60; up A 61");
    kept("sub 1 since A=k:57 nosnap; ack 1 A@k:60/every-; up A 61");
    kept("sub 1 since A=k:57 nosnap; ack 1 A@k:60/every-; snap A@k:60; up A 61");
    kept("sub 1 since A=k:61; ack 1 A@k:60/every-; gap A@k 1 60 epoch; gap A@k 61 70 slow; up A 71");
    let after = |ack: &str, step: &str| format!("{since} ack 1 {ack}; {step}");
    broken(
        &after("A@k:60/every+", "up A 59"),
        &expect!["A: recovered:true was false: update 59 came where 58 was due"],
    );
    broken(
        &after("A@k:60/every+", "snap A@k:60"),
        &expect!["A: recovered:true was false: a snapshot at 60 came in place of the missed messages"],
    );
    broken(
        &after("A@k:60/every+", "gap A@k 58 60 history"),
        &expect!["A: recovered:true was false: a gap from 58 followed, and not because of a slow reader"],
    );
    broken(
        &after("A@k:60/every+", "up A 57"),
        &expect!["A: message 57 came twice"],
    );
    broken(
        "sub 1 since A=k:57; ack 1 A@z:60/every+",
        &expect!["A: recovered:true was false: the epoch is z"],
    );
    broken(
        "sub 1 since A=k:57; ack 1 A@k:5/every+",
        &expect!["A: recovered:true was false: the topic is at 5 only"],
    );
    broken(
        "sub 1 A; ack 1 A@k:57/every+",
        &expect!["A: recovered:true was false: the request had no position to resume from"],
    );
    broken(
        &after("A@k:60/every-", "up A 58"),
        &expect!["A: update 58 came before a snapshot or gap gave a position to count from"],
    );
    broken(
        &after("A@z:0/every-", "up A 2"),
        &expect!["A: message 2 came where 1 was due, and no gap named what is missing"],
    );
    broken(
        &after("A@k:60/every-", "gap A@k 58 59 history"),
        &expect!["A: recovered:false at 60, but the gap ends at 59: part of a replay follows"],
    );
    broken(
        &after("A@k:60/every-", "gap A@k 59 60 history"),
        &expect!["A: a gap from 59 leaves out what is missing from 58"],
    );
}

#[test]
fn acks_come_before_data_and_end_it() {
    kept(&format!("{EVERY} unsub 2 A; up A 59; ack 2 A"));
    kept("sub 1 A B; ack 1 A@k:1/every B!; up A 2");
    kept(&format!(
        "{EVERY} unsub 2 A; ack 2 A; sub 3 A; ack 3 A@k:90/every; up A 91"
    ));
    kept(&format!("{EVERY} unsub 2 A; ack 2 A!; up A 59"));
    broken(
        "sub 1 A; up A 58",
        &expect!["A: a message came before the ack of its subscription"],
    );
    broken(
        "sub 1 *; snap A@k:58",
        &expect!["A: a message came before the ack of its subscription"],
    );
    broken(
        &format!("{EVERY} unsub 2 A; ack 2 A; up A 59"),
        &expect!["A: a message came after the ack that ended its subscription"],
    );
    broken(
        &format!("{EVERY} unsub 2 A; ack 2 A; gap A@k 59 60 slow"),
        &expect!["A: a message came after the ack that ended its subscription"],
    );
    broken(
        &format!("{EVERY} cut; up A 59"),
        &expect!["A: a message came after the ack that ended its subscription"],
    );
    broken(
        "sub 1 A B; ack 1 A@k:1/every B!; up B 2",
        &expect!["B: a message came, and no subscription covers it"],
    );
    broken(
        &format!("{EVERY} up B 1"),
        &expect!["B: a message came, and no subscription covers it"],
    );
    broken(
        &format!("{EVERY} status B"),
        &expect!["B: a message came, and no subscription covers it"],
    );
}

#[test]
fn wildcards() {
    let every = "sub 1 t.*; ack 1 t.*/every; ";
    kept(&format!(
        "{every} snap t.A@k:9; up t.A 10; joined t.B@k:0; up t.B 1; up t.B 2; status t.C"
    ));
    kept(&format!("{every} gap t.A@k 4 9 slow; up t.A 10"));
    kept("sub 1 t.* nosnap; ack 1 t.*/every; joined t.A@k:56; up t.A 57; up t.A 58");
    // A resync brings a snapshot of a topic without earlier messages, also when another subscription follows.
    kept(
        "sub 1 t.* nosnap; resync 2 t.A; sub 3 t.A nosnap; ack 1 t.*/every; ack 2 t.A@k:1; ack 3 t.A@k:1/every; snap t.A@k:1",
    );
    kept("sub 1 since A=k:9; sub 2 A nosnap; ack 1 A@k:1/every-; ack 2 A@k:1/every; snap A@k:1; up A 2");
    // The snapshots of a pattern are still due when the pattern ends and another subscription covers the topic, or when
    // a subscription of the same name ends.
    kept(
        "sub 1 t.*; sub 2 t.A nosnap; unsub 3 t.*; ack 1 t.*/every; ack 2 t.A@k:1/every; ack 3 t.*; snap t.A@k:1",
    );
    kept(
        "sub 1 t.*; sub 2 > nosnap; unsub 3 t.*; sub 4 t.A nosnap; ack 1 t.*/every; ack 2 >/every; ack 3 t.*; ack 4 t.A@k:1/every;
         snap t.A@k:1; up t.A 2",
    );
    broken(
        "sub 1 x.*; sub 2 > nosnap; sub 3 t.A nosnap; ack 1 x.*/every; ack 2 >/every; ack 3 t.A@k:1/every; snap t.A@k:1",
        &expect!["t.A: message 1 came twice"],
    );
    kept(
        "sub 1 > t.*; ack 1 >/every t.*/every; snap t.A@k:1; sub 2 > mode snapshot; ack 2 >/snapshot;
         unsub 3 >; ack 3 >; snap t.A@k:5; up t.A 6",
    );
    kept(&format!(
        "{every} sub 2 t.* t.A nosnap; ack 2 t.*/every t.A@k:9/every; snap t.A@k:9; up t.A 10"
    ));
    kept("sub 1 >; ack 1 >; snap t.A@k:9; up t.A 12");
    kept(&format!(
        "{every} snap t.A@k:9; unsub 2 t.*; up t.A 10; ack 2 t.*"
    ));
    // A topic's own subscription and a pattern overlap.
    kept(&format!(
        "{every} snap t.A@k:9; sub 2 t.A; ack 2 t.A@k:9/every; unsub 3 t.*; ack 3 t.*; up t.A 10"
    ));
    kept(&format!(
        "{every} snap t.A@k:9; sub 2 >; ack 2 >/every; snap t.A@k:9; up t.A 10"
    ));
    // The pattern that needs more messages counts until it ends.
    let both = format!("{every} snap t.A@k:9; sub 2 >; ack 2 >/conflate;");
    broken(
        &format!("{both} up t.A 15"),
        &expect!["t.A: message 15 came where 10 was due, and no gap named what is missing"],
    );
    kept(&format!("{both} unsub 3 t.*; ack 3 t.*; up t.A 15"));
    broken(
        &format!("{every} snap t.A@k:9; up t.A 11"),
        &expect!["t.A: message 11 came where 10 was due, and no gap named what is missing"],
    );
    broken(
        &format!("{every} up u.A 1"),
        &expect!["u.A: a message came, and no subscription covers it"],
    );
    broken(
        &format!("{every} snap t.A@k:9; snap t.A@k:9"),
        &expect!["t.A: message 9 came twice"],
    );
    broken(
        &format!("{every} snap t.A@k:9; unsub 2 t.*; ack 2 t.*; up t.A 10"),
        &expect!["t.A: a message came after the ack that ended its subscription"],
    );
    broken(
        &format!(
            "{every} snap t.A@k:9; sub 2 t.A nosnap; ack 2 t.A@k:9/every; unsub 3 t.*; ack 3 t.*; up t.A 11"
        ),
        &expect!["t.A: message 11 came where 10 was due, and no gap named what is missing"],
    );
}

#[test]
fn the_snapshot_of_an_event_topic_may_be_put_off_again_and_again() {
    // A lagging reader did not get the snapshot after the first message. When there was room, the second was gone, too.
    kept("sub 1 A; ack 1 A@k:1/every; gap A@k 2 4 slow; up A 5; up A 6; snap A@k:6; up A 7");
    kept("sub 1 A; ack 1 A@k:57/every; up A 58; up A 59; snap A@k:59; up A 60");
    // The pattern that asked for the snapshot has ended meanwhile.
    kept(
        "sub 1 t.*; ack 1 t.*/every; sub 2 *.A nosnap; ack 2 *.A/every; unsub 3 t.*; ack 3 t.*; joined t.A@k:2; up t.A 3; snap t.A@k:3",
    );
    broken(
        "sub 1 A; ack 1 A@k:1/every; gap A@k 2 4 slow; up A 5; up A 6; snap A@k:6; up A 7; snap A@k:7",
        &expect!["A: message 7 came twice"],
    );
}

#[test]
fn snapshots_that_were_asked_for() {
    // The message at the subscription's position was gone: the next one comes first.
    for asked in ["resync 2 A; ack 2", "sub 2 A; ack 2 A@k:58/every"] {
        kept(&format!(
            "{EVERY} {asked}; gap A@k 59 60 slow; up A 61; snap A@k:61; up A 62"
        ));
        broken(
            &format!("{EVERY} {asked}; gap A@k 59 60 slow; up A 61; up A 62; snap A@k:61"),
            &expect!["A: message 61 came after 62"],
        );
    }
    kept("sub 1 A; ack 1 A@k:57/every; up A 58; snap A@k:58; up A 59");
    broken(
        "sub 1 A; ack 1 A@k:57/every; up A 58; up A 59; snap A@k:58",
        &expect!["A: message 58 came after 59"],
    );
    kept(&format!(
        "{EVERY} resync 2 A; up A 59; ack 2; up A 60; snap A@k:60; up A 61"
    ));
    kept(&format!("{EVERY} resync 2 A; ack 2; snap A@k:70; up A 71"));
    kept(&format!(
        "{EVERY} sub 2 A mode snapshot; ack 2 A@k:58/snapshot; snap A@k:58; up A 59"
    ));
    kept("sub 1 A mode snapshot; ack 1 A@k:57/snapshot; snap A@k:57");
    kept("sub 1 * mode snapshot; ack 1 */snapshot; snap A@k:57; snap B@k:9");
    broken(
        "sub 1 A mode snapshot; ack 1 A@k:57/snapshot; snap A@k:57; up A 58",
        &expect!["A: a message came after the ack that ended its subscription"],
    );
    broken(
        &format!("{EVERY} resync 2 A; ack 2 A!; snap A@k:70"),
        &expect!["A: message 70 came where 59 was due, and no gap named what is missing"],
    );
    broken(
        &format!("{EVERY} resync 2 A; ack 2; snap A@k:70; snap A@k:70"),
        &expect!["A: message 70 came twice"],
    );
}

#[test]
fn a_further_ack_may_overtake_updates() {
    kept(&format!(
        "{EVERY} sub 2 A; ack 2 A@k:60/every; up A 59; up A 60; snap A@k:60; up A 61"
    ));
    kept(&format!(
        "{EVERY} sub 2 A nosnap; ack 2 A@k:60/every; up A 61; up A 62"
    ));
    kept(&format!("{EVERY} sub 2 A; ack 2 A@k:60/conflate; up A 65"));
    broken(
        &format!("{EVERY} sub 2 A nosnap; ack 2 A@k:60/every; up A 59; up A 60; up A 62"),
        &expect!["A: message 62 came where 61 was due, and no gap named what is missing"],
    );
}

#[test]
fn epochs_change_aloud() {
    kept(&format!("{EVERY} snap A@z:3; up A 4"));
    kept(&format!("{EVERY} gap A@z 1 3 epoch; up A 4"));
    broken(
        &format!("{EVERY} gap A@z 59 60 slow"),
        &expect!["A: the epoch became z from k without being announced"],
    );
    broken(&format!("{EVERY} up A 1"), &expect!["A: message 1 came after 58"]);
}

#[test]
fn answers_match_requests() {
    kept("ping 1; pong 1; sub 2 A; error 2; sub 3 A B; ack 3 A@k:1/every B@k:1/every");
    broken(
        "ping 1; pong 1; pong 1",
        &expect!["an answer came to request 1, which waits for none"],
    );
    broken(
        "ping 1; error 2",
        &expect!["an answer came to request 2, which waits for none"],
    );
    broken(
        "sub 1 A B; ack 1 A@k:1",
        &expect!["the ack of request 1 has nothing where its topic 1 is B"],
    );
    broken(
        "sub 1 A B; ack 1 B@k:1 A@k:1",
        &expect!["the ack of request 1 has B where its topic 0 is A"],
    );
    broken(
        "sub 1 A; ack 1 A@k:1 B@k:1",
        &expect!["the ack of request 1 has B where its topic 1 is nothing"],
    );
    broken(
        &format!("{EVERY} sub 1 B; error 1; sub 2 C; error 2; welcome"),
        &expect!["a welcome came where any other message was due"],
    );
    let mut checker = Checker::new();
    assert_eq!(
        run(&mut checker, "pong 1"),
        "pong 1: a pong came where the welcome was due"
    );
}

#[test]
fn one_fault_is_reported_once() {
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    let trace = format!("{EVERY} up A 70; up A 71; up A 60; up A 72; gap A@k 80 90 slow; up A 91");
    expect![[r"
        up A 70: A: message 70 came where 59 was due, and no gap named what is missing
        up A 60: A: message 60 came after 71
        gap A@k 80 90 slow: A: a gap from 80 leaves out what is missing from 73"]]
    .assert_eq(&run(&mut checker, &trace));
}

fn check_position(trace: &str, expected: Option<&str>) {
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    assert_eq!(run(&mut checker, trace), "", "{trace}");
    let position = checker.position("A").map(|at| format!("{}:{}", at.epoch, at.seq));
    assert_eq!(position.as_deref(), expected, "{trace}");
}

#[test]
fn positions_to_resume_from() {
    check_position("sub 1 A", None);
    check_position("sub 1 A; ack 1 A@k:0/every", Some("k:0"));
    check_position(EVERY, Some("k:58"));
    check_position(&format!("{EVERY} cut"), Some("k:58"));
    check_position(&format!("{EVERY} gap A@k 59 70 slow; up A 71"), Some("k:71"));
    check_position("sub 1 since A=k:57; ack 1 A@k:60/every+", Some("k:57"));
    check_position("sub 1 since A=k:57; ack 1 A@k:60/every-", Some("k:57"));
    check_position("sub 1 since A=k:57; ack 1 A@z:60/every-", Some("z:0"));
    check_position("sub 1 *; ack 1 */every; snap A@k:4; up A 5", Some("k:5"));
    // A snapshot is due. Counting on without it would miss what it tells.
    check_position("sub 1 A; ack 1 A@k:57/every", None);
    check_position(&format!("{EVERY} gap A@k 59 70 slow"), None);
    check_position("sub 1 *; ack 1 */every; joined A@k:4", Some("k:4"));
    check_position("sub 1 *; ack 1 */every; joined A@k:4; up A 5; cut", Some("k:5"));
    check_position("sub 1 each *=k,A:57; ack 1 */every=1,0", Some("k:57"));
}

#[test]
fn a_topic_that_appears_says_its_lineage_first() {
    let every = "sub 1 t.*; ack 1 t.*/every; ";
    kept(&format!(
        "{every} joined t.A@k:0; up t.A 1; joined t.B@k:0; up t.A 2; up t.B 1"
    ));
    kept("sub 1 t.*; ack 1 t.*/conflate; joined t.A@k:0; up t.A 5");
    kept(&format!(
        "{every} gap t.A@k 1 9 slow; up t.A 10; snap t.B@k:1; up t.B 2"
    ));
    // The topic was deleted and made again.
    kept(&format!(
        "{every} joined t.A@k:0; up t.A 1; joined t.A@z:0; up t.A 1"
    ));
    broken(
        &format!("{every} up t.A 1"),
        &expect!["t.A: update 1 came, and nothing had told the topic's epoch"],
    );
    broken(
        "sub 1 t.* nosnap; ack 1 t.*/every; up t.A 57",
        &expect!["t.A: update 57 came, and nothing had told the topic's epoch"],
    );
    broken(
        &format!("{every} joined t.A@k:0; up t.A 2"),
        &expect!["t.A: message 2 came where 1 was due, and no gap named what is missing"],
    );
    broken(
        &format!("{every} joined t.A@k:0; up t.A 1; joined t.A@k:1"),
        &expect!["t.A: a joined came, and the topic's epoch was known"],
    );
    broken(
        &format!("{every} joined u.A@k:0"),
        &expect!["u.A: a message came, and no subscription covers it"],
    );
    // A fault is reported once.
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    let found = run(&mut checker, &format!("{every} up t.A 1; up t.A 2; up t.A 4"));
    assert_eq!(found.lines().count(), 2, "{found}");
}

#[test]
fn synced_comes_once_and_behind_all_that_a_request_brings() {
    kept("sub 1 A; ack 1 A@k:57/every; snap A@k:57; synced 1; up A 58");
    kept("sub 1 A B; ack 1 A@k:0/every B!; synced 1; up A 1");
    kept("sub 1 A B; ack 1 A! B!; synced 1");
    kept("sub 1 since A=k:57; ack 1 A@k:59/every+; up A 58; up A 59; synced 1; up A 60");
    kept("sub 1 since A=k:57; ack 1 A@k:59/every-; gap A@k 58 59 history; synced 1; up A 60");
    kept("sub 1 since A=k:57; ack 1 A@z:0/every-; synced 1; up A 1");
    kept("sub 1 t.*; ack 1 t.*/every; snap t.A@k:57; synced 1");
    // Another subscription meanwhile needs every message: the newest message at that time comes as one of them.
    kept(
        "sub 1 since A=k:57; ack 1 A@k:59/conflate+; sub 2 * mode every nosnap; ack 2 */every; up A 58; unsub 3 *; ack 3 *; synced 1",
    );
    // Nothing more is due of a subscription that has ended.
    kept("sub 1 A; ack 1 A@k:57/every; unsub 2 A; ack 2 A; synced 1");
    for early in [
        "sub 1 A; ack 1 A@k:57/every; synced 1",
        "sub 1 since A=k:57; ack 1 A@k:59/every+; up A 58; synced 1",
        "sub 1 since A=k:57; ack 1 A@k:59/conflate+; synced 1",
        "sub 1 since A=k:57; ack 1 A@k:59/every-; synced 1",
    ] {
        broken(
            early,
            &expect!["A: request 1 was synced before all that it brings had come"],
        );
    }
    for unknown in [
        "sub 1 A; synced 1",
        "sub 1 A; error 1; synced 1",
        "sub 1 A; ack 1 A@k:0/every; synced 1; synced 1",
        "sub 1 A; ack 1 A@k:0/every; cut; synced 1",
    ] {
        broken(
            unknown,
            &expect!["a synced came to request 1, which waits for none"],
        );
    }
}

#[test]
fn patterns_resume_topic_by_topic() {
    let after = |positions: &str, counts: &str, what: &str| {
        format!("sub 1 each t.*=k,{positions}; ack 1 t.*/every={counts}; {what}")
    };
    kept(&after(
        "t.A:57,t.B:9",
        "2,0",
        "up t.A 58; up t.B 10; synced 1; up t.A 59",
    ));
    kept(&after("t.A:57", "1,0", "synced 1; up t.A 58"));
    kept(&after(
        "t.A:57",
        "0,1",
        "gap t.A@k 58 60 history; synced 1; up t.A 61",
    ));
    kept(&after(
        "t.A:57",
        "0,1",
        "gap t.A@z 1 60 epoch; synced 1; up t.A 61",
    ));
    kept(&after("t.A:57", "0,1", "snap t.A@k:60; synced 1; up t.A 61"));
    kept(&after("t.A:57", "0,1", "snap t.A@z:3; synced 1; up t.A 4"));
    kept(&after(
        "t.A:57,t.B:9",
        "1,1",
        "up t.A 58; gap t.A@k 59 60 slow; snap t.B@k:12; synced 1",
    ));
    // The lineage has not reached the position.
    kept(&after("t.A:70", "0,1", "gap t.A@k 1 60 epoch; up t.A 61"));
    // The topic is gone until it is made again.
    kept(&after("t.A:57", "0,0", "synced 1; joined t.A@z:0; up t.A 1"));
    kept(&after("t.A:0", "0,0", "gap t.A@k 1 2 slow; up t.A 3; synced 1"));
    kept(&after("t.A:57", "0,0", "gap t.A@k 1 2 slow; up t.A 3; synced 1"));
    // Positions are sent ahead, together with those of other topics, for the next `subscribe`.
    kept("positions 1 k,t.A:57,u.A:3; sub 2 t.*; ack 1; ack 2 t.*/every=1,0; up t.A 58; synced 2");
    kept("positions 1 k,t.A:57; sub 2 each t.*=k,t.B:9; ack 1; ack 2 t.*/every=2,0; up t.A 58; up t.B 10");
    kept(
        "positions 1 k,t.A:57; positions 2 k,t.B:9; sub 3 t.*; ack 1; ack 2; ack 3 t.*/every=2,0; up t.A 58; up t.B 10",
    );
    kept("positions 1 k,t.A:57; sub 2 t.*; error 2; sub 3 t.*; ack 1; ack 3 t.*/every=1,0; up t.A 58");
    // A request that resumes nothing cannot use the positions.
    kept(
        "sub 1 t.* nosnap; ack 1 t.*/every; positions 2 k,t.A:57; sub 3 t.* mode snapshot; ack 2; ack 3 t.*/snapshot; joined t.A@k:60; snap t.A@k:60; up t.A 61",
    );
    kept(
        "sub 1 t.* nosnap; ack 1 t.*/every; positions 2 k,t.A:57; sub 3 t.*; ack 2; ack 3 t.*/every; joined t.A@k:60; up t.A 61",
    );
    // The broker refused the positions, so the topic begins anew.
    kept("positions 1 k,t.A:57; sub 2 t.*; error 1; ack 2 t.*/every=0,1; snap t.A@k:60; up t.A 61");
    broken(
        &after("t.A:57", "1,0", "up t.A 59"),
        &expect!["t.A: message 59 came where 58 was due, and no gap named what is missing"],
    );
    broken(
        &after("t.A:57", "1,0", "gap t.A@k 59 60 history"),
        &expect!["t.A: a gap from 59 leaves out what is missing from 58"],
    );
    broken(
        &after("t.A:57", "1,0", "up t.A 57"),
        &expect!["t.A: message 57 came twice"],
    );
    broken(
        &after("t.A:57", "1,0", "snap t.A@k:60; synced 1"),
        &expect!["t.*: 0 topics were said to be not resumed, and 1 were"],
    );
    broken(
        &after("t.A:57,t.B:9", "1,1", "up t.A 58; up t.B 10; synced 1"),
        &expect!["t.*: 1 topics were said to be resumed, and 2 were"],
    );
    broken(
        "positions 1 k,t.A:57; sub 2 u.*; ack 1; ack 2 u.*/every; sub 3 t.*; ack 3 t.*/every; up t.A 58",
        &expect!["t.A: update 58 came, and nothing had told the topic's epoch"],
    );
}

#[test]
fn a_topic_that_was_not_there_when_its_position_was_sent_may_get_the_snapshot_of_its_pattern() {
    let positions = "positions 1 z,x:4; ack 1; ";
    // The first event may be gone before its snapshot could be sent. The snapshot is then that of the next event and
    // comes after it.
    kept(&format!(
        "{positions} sub 2 >; ack 2 >/every=0,1; joined x@k:1; up x 2; snap x@k:2; synced 2; up x 3"
    ));
    broken(
        &format!("{positions} sub 2 >; ack 2 >/every=0,1; joined x@k:1; up x 2; snap x@k:2; snap x@k:2"),
        &expect!["x: message 2 came twice"],
    );
    broken(
        &format!("{positions} sub 2 > nosnap; ack 2 >/every=0,1; joined x@k:1; up x 2; snap x@k:2"),
        &expect!["x: message 2 came twice"],
    );
}

#[test]
fn an_ack_tells_that_a_topic_to_be_resumed_has_no_message() {
    // The position is of another lineage, or was not reached in this one.
    for since in ["z", "k"] {
        let begin = format!("sub 1 each t.*={since},t.A:5; ack 1 t.*/every=0,0;");
        kept(&format!(
            "{begin} sub 2 t.A mode snapshot; ack 2 t.A@k:0/snapshot; up t.A 1; synced 1; synced 2"
        ));
        kept(&format!(
            "{begin} sub 2 t.A; ack 2 t.A@k:0/every; up t.A 1; synced 1; synced 2"
        ));
    }
    // If the topic has a message, what was missed is yet to be told.
    kept(
        "sub 1 each t.*=z,t.A:5; ack 1 t.*/every=0,1; resync 2 t.A; ack 2 t.A@k:9; gap t.A@k 1 9 epoch; synced 1; snap t.A@k:9",
    );
    // Nothing was missed if the topic was made after the positions came and before the request.
    kept(
        "positions 1 z,t.A:5; ack 1; sub 2 t.* nosnap; ack 2 t.*/every=0,1; sub 3 t.A nosnap; ack 3 t.A@k:1/every; up t.A 2",
    );
    // The topic may be at 0 because it was resumed from 0.
    kept(
        "sub 1 each t.*=k,t.A:0; ack 1 t.*/every=1,0; sub 2 t.A; ack 2 t.A@k:0/every; up t.A 1; synced 1; snap t.A@k:1; synced 2",
    );
}

#[test]
fn a_pong_says_when_its_ping_was_read() {
    kept("ping 1; pong 1 1; ping 2; pong 2 0; ping 3; pong 3");
    broken(
        "ping 1; pong 1 2",
        &expect!["the pong to request 1 was sent at 1, and its ping read at 2"],
    );
}

#[test]
fn topics_that_were_left() {
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    let left = |checker: &Checker| {
        let mut found: Vec<_> = checker
            .left_off()
            .map(|found| {
                let how = match (found.every, found.may_be_every) {
                    (true, _) => "every",
                    (false, true) => "every?",
                    (false, false) => "conflate",
                };
                let position = found.position.map_or("none".to_owned(), |at| at.seq.to_string());
                format!("{} {how} {} {position}", found.topic, found.last.seq)
            })
            .collect();
        found.sort();
        found
    };
    let trace = "sub 1 t.* B; ack 1 t.*/every B@k:1/every; snap t.A@k:4; up t.A 5; joined t.N@k:0; up t.N 1; up B 2;
        sub 2 s.* t.B m.>; ack 2 s.*/conflate t.B@k:3/conflate m.>; snap s.A@k:7; joined m.A@k:7; gap m.A@k 8 9 slow; snap m.B@k:4;
        sub 3 U; ack 3 U@k:1/every; snap U@k:1; unsub 4 U; ack 4 U";
    assert_eq!(run(&mut checker, trace), "");
    assert_eq!(left(&checker), [""; 0], "nothing was left");
    assert_eq!(run(&mut checker, "cut"), "");
    let all = [
        "B every 2 2",
        "m.A every? 9 none",
        "m.B every? 4 4",
        "s.A conflate 7 7",
        "t.A every 5 5",
        "t.B every 3 none",
        "t.N every 1 1",
    ];
    assert_eq!(left(&checker), all);
    // A topic is left off until it is live again.
    let trace = "cut; sub 5 since B=k:2; ack 5 B@k:2/every+; sub 6 each t.*=k,t.A:5; ack 6 t.*/every=1,1; snap t.N@k:1";
    assert_eq!(run(&mut checker, trace), "");
    assert_eq!(left(&checker), [all[1], all[2], all[3]]);
    // A pattern that ends, and one that begins anew, leave nothing to resume.
    assert_eq!(
        run(&mut checker, "sub 7 m.>; ack 7 m.>; unsub 8 m.>; ack 8 m.>; cut"),
        ""
    );
    let left = left(&checker);
    assert_eq!(left[1..], ["s.A conflate 7 7", "t.A every 5 5", "t.N every 1 1"]);
}

#[test]
fn books_are_verified_when_asked_for() {
    let mut checker = Checker::new().verify_books("book.>".parse().expect("a pattern"));
    assert_eq!(checker.received(&welcome()), Ok(()));
    assert_eq!(run(&mut checker, "sub 1 >; ack 1 >/every"), "");
    let snapshot = |checksum: u32| ServerMessage::Snapshot {
        topic: "book.A".to_owned(),
        epoch: Epoch::from("k"),
        seq: Seq(7),
        ts: Micros(1),
        data: raw(&format!(
            r#"{{"symbol":"A","bids":[["9.9","1"]],"asks":[["10.1","2"]],"checksum":{checksum},"time":1}}"#
        )),
    };
    let error = checker.received(&snapshot(1)).expect_err("a wrong checksum");
    expect!["book.A: after message 7 the book's checksum is 0x258184b6 and not 0x00000001"]
        .assert_eq(&error.to_string());
    assert_eq!(run(&mut checker, "snap trade.A@k:1"), "");
}

/// Message `seq` of book `A`, an update or a snapshot. With a right checksum it is the whole book, whatever was there
/// before.
fn book_message(seq: u64, is_right: bool, is_snapshot: bool) -> ServerMessage {
    let checksum = if is_right { 629_245_110 } else { 1 };
    let data = raw(&format!(
        r#"{{"symbol":"A","bids":[["9.9","1"]],"asks":[["10.1","2"]],"checksum":{checksum},"time":1}}"#
    ));
    let (topic, seq, ts) = ("book.A".to_owned(), Seq(seq), Micros(1));
    let epoch = Epoch::from("k");
    match is_snapshot {
        true => ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            ts,
            data,
        },
        false => ServerMessage::Update { topic, seq, ts, data },
    }
}

/// A checker that verifies books and has read a trace that keeps all promises.
fn verifying(trace: &str) -> Checker {
    let mut checker = Checker::new().verify_books("book.>".parse().expect("a pattern"));
    assert_eq!(checker.received(&welcome()), Ok(()));
    assert_eq!(run(&mut checker, trace), "", "{trace}");
    checker
}

#[test]
fn nothing_is_claimed_of_a_book_that_goes_on_in_the_middle_until_its_snapshot() {
    for before in [
        "sub 1 since book.A=k:6; ack 1 book.A@k:6/every+",
        "sub 1 since book.A=k:6; ack 1 book.A@k:9/every+",
        "sub 1 each >=k,book.A:6; ack 1 >/every=1,0",
        "sub 1 book.A nosnap; ack 1 book.A@k:6/every",
        "sub 1 > nosnap; ack 1 >/every; joined book.A@k:6",
        "sub 1 > nosnap; ack 1 >/every; sub 2 book.A nosnap; ack 2 book.A@k:6/every",
        "sub 1 > nosnap; ack 1 >/every; resync 2 book.A; ack 2 book.A@k:6",
    ] {
        let mut checker = verifying(before);
        for (seq, is_right) in [(7, true), (8, false)] {
            let update = book_message(seq, is_right, false);
            assert_eq!(checker.received(&update), Ok(()), "{before}");
        }
        assert_eq!(run(&mut checker, "resync 9 book.A; ack 9 book.A@k:8"), "");
        assert_eq!(checker.received(&book_message(8, true, true)), Ok(()), "{before}");
        assert_eq!(
            checker.received(&book_message(9, true, false)),
            Ok(()),
            "{before}"
        );
        let wrong = checker.received(&book_message(10, false, false));
        assert!(
            matches!(wrong, Err(BrokenPromise::Book { .. })),
            "{before}: {wrong:?}"
        );
        // The fault is reported once.
        assert_eq!(
            checker.received(&book_message(11, true, false)),
            Ok(()),
            "{before}"
        );
    }
}

#[test]
fn a_book_that_was_left_is_not_taken_for_where_it_goes_on() {
    for again in [
        "sub 3 book.A nosnap; ack 3 book.A@k:20/every",
        "sub 3 > nosnap; ack 3 >/every; joined book.A@k:20",
        "sub 3 > nosnap; ack 3 >/every; sub 4 book.A nosnap; ack 4 book.A@k:20/every",
        "cut; sub 3 since book.A=k:20; ack 3 book.A@k:20/every+",
    ] {
        let mut checker = verifying("sub 1 book.A; ack 1 book.A@k:7/every");
        assert_eq!(checker.received(&book_message(7, true, true)), Ok(()));
        assert_eq!(run(&mut checker, "unsub 2 book.A; ack 2 book.A"), "");
        assert_eq!(run(&mut checker, again), "", "{again}");
        assert_eq!(
            checker.received(&book_message(21, false, false)),
            Ok(()),
            "{again}"
        );
    }
    // A book that is resumed at its own position stays known.
    let mut checker = verifying("sub 1 book.A; ack 1 book.A@k:7/every");
    assert_eq!(checker.received(&book_message(7, true, true)), Ok(()));
    let resumed = "cut; sub 2 since book.A=k:7; ack 2 book.A@k:7/every+";
    assert_eq!(run(&mut checker, resumed), "");
    assert!(checker.received(&book_message(8, false, false)).is_err());
}

#[test]
fn a_change_of_a_book_whose_snapshot_is_due_is_a_broken_promise() {
    for before in [
        "sub 1 book.A; ack 1 book.A@k:6/every",
        "sub 1 book.A nosnap; ack 1 book.A@k:5/every; gap book.A@k 6 6 slow",
    ] {
        let mut checker = verifying(before);
        let broken = checker.received(&book_message(7, true, false));
        expect!["book.A: change 7 came without a snapshot before it; wait for one or ask with resync"]
            .assert_eq(&broken.expect_err(before).to_string());
        assert_eq!(checker.received(&book_message(8, true, false)), Ok(()), "once");
    }
}

#[test]
fn a_book_that_begins_under_a_subscription_is_verified_from_its_first_message() {
    // The topic begins under a pattern, under its own name, and under both. The last one begins again in another
    // lineage.
    for before in [
        "sub 1 >; ack 1 >/every; joined book.A@k:0",
        "sub 1 book.A; ack 1 book.A@k:0/every",
        "sub 1 >; ack 1 >/every; joined book.A@k:0; sub 2 book.A nosnap; ack 2 book.A@k:0/every",
        "positions 1 j,book.A:8; sub 2 >; ack 1; ack 2 >/every=0,0; resync 3 book.A; ack 3 book.A@k:0",
    ] {
        let mut checker = Checker::new().verify_books("book.>".parse().expect("a pattern"));
        assert_eq!(checker.received(&welcome()), Ok(()));
        assert_eq!(run(&mut checker, before), "");
        let update = |seq: u64, bids: &str, checksum: u32| ServerMessage::Update {
            topic: "book.A".to_owned(),
            seq: Seq(seq),
            ts: Micros(1),
            data: raw(&format!(
                r#"{{"symbol":"A","bids":{bids},"asks":[["10.1","2"]],"checksum":{checksum},"time":1}}"#
            )),
        };
        let first = update(1, r#"[["9.9","1"]]"#, 629_245_110);
        assert_eq!(checker.received(&first), Ok(()), "{before}");
        assert_eq!(
            checker.received(&update(2, "[]", 629_245_110)),
            Ok(()),
            "{before}"
        );
        let wrong = checker.received(&update(3, "[]", 1));
        assert!(
            matches!(wrong, Err(BrokenPromise::Book { .. })),
            "{before}: {wrong:?}"
        );
    }
}

/// What a broker may do with a topic that is subscribed in mode `every`.
#[derive(Debug, Clone)]
enum Step {
    Update,
    /// This many messages are missing.
    Gap(u64),
    /// This many messages are missing, and a snapshot of the last follows.
    GapAndSnapshot(u64),
}

#[test]
fn a_resync_tells_the_lineage_of_a_topic_that_was_made_anew() {
    kept(
        "positions 1 k,t.A:8; sub 2 t.*; ack 1; ack 2 t.*/every=0,0; resync 3 t.A; ack 3 t.A@n:0; up t.A 1; up t.A 2",
    );
    // The answer to a resync may come before the gap of the pattern that did not resume the topic.
    kept(
        "sub 1 each t.*=k,t.A:8; resync 2 t.A; ack 1 t.*/every=0,1; ack 2 t.A@n:3; gap t.A@n 1 3 epoch; synced 1; snap t.A@n:3; up t.A 4",
    );
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Update),
        1 => (1..9_u64).prop_map(Step::Gap),
        1 => (1..9_u64).prop_map(Step::GapAndSnapshot),
    ];
    prop::collection::vec(step, 2..40)
}

/// The messages of `steps` as steps of a trace.
fn render(steps: &[Step]) -> Vec<String> {
    let mut seq = 58;
    let line = |step: &Step| match step {
        Step::Update => {
            seq += 1;
            format!("up A {seq}")
        }
        Step::Gap(missing) | Step::GapAndSnapshot(missing) => {
            let from = seq + 1;
            seq += missing;
            let gap = format!("gap A@k {from} {seq} slow");
            match step {
                Step::GapAndSnapshot(_) => format!("{gap}; snap A@k:{seq}"),
                Step::Update | Step::Gap(_) => gap,
            }
        }
    };
    steps.iter().map(line).collect()
}

fn faults(lines: &[String]) -> usize {
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    run(&mut checker, &format!("{EVERY} {}", lines.join("; ")))
        .lines()
        .count()
}

proptest! {
    /// The checker never accuses a broker that keeps its promises, and sees each lost or repeated message exactly once.
    #[test]
    fn each_lost_or_repeated_message_is_seen(steps in steps(), at in any::<prop::sample::Index>()) {
        let lines = render(&steps);
        prop_assert_eq!(faults(&lines), 0);
        let at = at.index(lines.len());
        let mut lost = lines.clone();
        lost.remove(at);
        // The loss of the last message does not show.
        prop_assert_eq!(faults(&lost), usize::from(at + 1 < lines.len()));
        if let Step::Update = steps[at] {
            let mut repeated = lines.clone();
            repeated.insert(at, lines[at].clone());
            prop_assert_eq!(faults(&repeated), 1);
        }
    }
}
