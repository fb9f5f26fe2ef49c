//! Traces that keep the promises, and traces that break each of them.

mod books;
mod resuming;
mod trace;

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use trace::{broken, kept, run, welcome};

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

/// What a broker may do with a topic that is subscribed in mode `every`.
#[derive(Debug, Clone)]
enum Step {
    Update,
    /// This many messages are missing.
    Gap(u64),
    /// This many messages are missing, and a snapshot of the last follows.
    GapAndSnapshot(u64),
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
