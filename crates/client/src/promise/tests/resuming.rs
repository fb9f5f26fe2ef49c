//! Where topics stand: positions to resume from, lineages, and what is left of a subscription that ended.

use expect_test::expect;

use super::trace::{broken, kept, run, welcome};
use super::*;

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
fn a_replay_from_a_moment_ends_with_caught_up() {
    let replay = "sub 1 from A; ack 1 A@k:57..59/every; ";
    kept(&format!(
        "{replay} up A 58; up A 59; caught A 59; synced 1; up A 60"
    ));
    kept(&format!(
        "{replay} up A 58; up A 59; up A 60; caught A 60; synced 1"
    ));
    kept(&format!(
        "{replay} gap A@k 58 70 slow; caught A 70; synced 1; up A 71"
    ));
    kept("sub 1 from A; ack 1 A@k:57..57/every; caught A 57; synced 1; up A 58");
    // Asking again for what is replayed changes nothing.
    kept(&format!(
        "{replay} sub 2 A nosnap; ack 2 A@k:57/every; up A 58; up A 59; caught A 59; synced 1; synced 2"
    ));
    // The next connection resumes: nothing is caught up with there.
    kept(&format!(
        "{replay} up A 58; cut; sub 2 since A=k:58; ack 2 A@k:60/every+; up A 59; up A 60; synced 2"
    ));
    // A broker that does not know moments.
    kept("sub 1 from A; ack 1 A@k:57/every; snap A@k:57; synced 1; up A 58");
    broken(
        &format!("{replay} up A 58; caught A 58"),
        &expect!["A: a caught_up came with 58; the last message was 58"],
    );
    broken(
        &format!("{replay} up A 58; up A 59; caught A 60"),
        &expect!["A: a caught_up came with 60; the last message was 59"],
    );
    broken(
        "sub 1 A nosnap; ack 1 A@k:57/every; caught A 57",
        &expect!["A: a caught_up came with 57; the last message was 57"],
    );
    broken(
        &format!("{replay} up A 58; up A 59; synced 1"),
        &expect!["A: request 1 was synced before all that it brings had come"],
    );
    broken(
        &format!("{replay} up A 59"),
        &expect!["A: message 59 came where 58 was due, and no gap named what is missing"],
    );
    check_position(replay, Some("k:57"));
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
fn a_resync_tells_the_lineage_of_a_topic_that_was_made_anew() {
    kept(
        "positions 1 k,t.A:8; sub 2 t.*; ack 1; ack 2 t.*/every=0,0; resync 3 t.A; ack 3 t.A@n:0; up t.A 1; up t.A 2",
    );
    // The answer to a resync may come before the gap of the pattern that did not resume the topic.
    kept(
        "sub 1 each t.*=k,t.A:8; resync 2 t.A; ack 1 t.*/every=0,1; ack 2 t.A@n:3; gap t.A@n 1 3 epoch; synced 1; snap t.A@n:3; up t.A 4",
    );
}
