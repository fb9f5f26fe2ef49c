//! Topics with numbers of different epochs: a client is told, resumes and misses messages by the epoch of each topic.

use expect_test::expect;

use crate::script::check;

#[test]
fn every_topic_is_told_with_its_own_epoch() {
    check(
        "epoch chat.> f; open a; pub trade.A 1; pub chat.x 1; sub a trade.A chat.x trade.none chat.none; go;
         sub a chat.gone ticker.gone mode=snapshot; go; resync a chat.none; resync a trade.none; go",
        expect![[r#"
            a: ack 1 trade.A@1 every, chat.x@f:1 every, trade.none@0 every, chat.none@f:0 every
            a: snapshot trade.A 1 1
            a: snapshot chat.x f:1 1
            a: ack 2 chat.gone@f:0 snapshot, ticker.gone@0 snapshot
            a: ack 3 chat.none@f:0
            a: ack 4 trade.none@0"#]],
    );
    // Topics that come by a pattern tell their epochs themselves.
    check(
        "epoch chat.> f; open a; pub trade.A 1; sub a > nosnapshot; pub chat.x 1; pub trade.A 2; pub trade.B 1; go",
        expect![[r#"
            a: ack 1 > matched=1 state=conflate book=every event=every
            a: joined chat.x f:0
            a: update chat.x 1 1
            a: joined trade.A 1
            a: update trade.A 2 2
            a: joined trade.B 0
            a: update trade.B 1 1"#]],
    );
}

#[test]
fn a_topic_is_resumed_in_its_own_epoch_only() {
    let publish = "epoch chat.> f; open a; pub trade.A 1..3; pub chat.x 1..3;";
    check(
        &format!("{publish} sub a trade.A@2 chat.x@f:2 trade.none@0 chat.none@f:0; go"),
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=true, chat.x@f:3 every recovered=true, trade.none@0 every recovered=true, chat.none@f:0 every recovered=true
            a: update trade.A 3 3
            a: update chat.x 3 3"#]],
    );
    // The epoch of the other topic is as useless as none.
    check(
        &format!("{publish} sub a trade.A@f:2 chat.x@2 trade.none@f:0 chat.none@0; go"),
        expect![[r#"
            a: ack 1 trade.A@3 every recovered=false, chat.x@f:3 every recovered=false, trade.none@0 every recovered=false, chat.none@f:0 every recovered=false
            a: gap trade.A 1..3 epoch
            a: gap chat.x f:1..3 epoch"#]],
    );
}

#[test]
fn a_pattern_resumes_topics_of_several_epochs() {
    check(
        "epoch chat.> f; open a; pub trade.A 1..3; pub trade.B 1..3; pub chat.x 1..3; pub chat.y 1..3;
         sub a >@trade.A=2,trade.B=f:2,chat.x=f:2,chat.y=2; go",
        expect![[r#"
            a: ack 1 > matched=4 state=conflate book=every event=every resumed=2 not=2
            a: update trade.A 3 3
            a: gap trade.B 1..3 epoch
            a: update chat.x 3 3
            a: gap chat.y f:1..3 epoch"#]],
    );
}
