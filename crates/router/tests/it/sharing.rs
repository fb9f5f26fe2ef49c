//! What is shared: encodings, histories, shards.

use expect_test::expect;

use crate::script::check;

#[test]
fn each_variant_is_encoded_once() {
    check(
        "shards 2; open a; open b; open c msgpack; open d shard=1; open e shard=1 msgpack; sub a t; sub b t; sub c t; sub d t; sub e t; go; pub t 1..3; go; show encodes",
        expect![[r#"
            a: ack 1 t@0 every
            b: ack 1 t@0 every
            c: ack 1 t@0 every
            d: ack 1 t@0 every
            e: ack 1 t@0 every
            a: update t 1 1
            a: update t 2 2
            a: update t 3 3
            b: update t 1 1
            b: update t 2 2
            b: update t 3 3
            c: update t 1 1
            c: update t 2 2
            c: update t 3 3
            d: update t 1 1
            d: update t 2 2
            d: update t 3 3
            e: update t 1 1
            e: update t 2 2
            e: update t 3 3
            encodes: json 3 updates 0 snapshots, msgpack 3 updates 0 snapshots"#]],
    );
    check(
        "open a; open b; sub a t; sub b t; pub t 1..3; go; show encodes",
        expect![[r#"
            a: ack 1 t@0 every
            a: update t 1 1
            a: update t 2 2
            a: update t 3 3
            b: ack 1 t@0 every
            b: update t 1 1
            b: update t 2 2
            b: update t 3 3
            encodes: json 3 updates 0 snapshots, msgpack 0 updates 0 snapshots"#]],
    );
    check(
        "shards 2; open a; open b shard=1; pub ticker.A 1; sub a ticker.A; sub b ticker.A; go; show encodes",
        expect![[r#"
            a: ack 1 ticker.A@1 conflate
            a: snapshot ticker.A 1 1
            b: ack 1 ticker.A@1 conflate
            b: snapshot ticker.A 1 1
            encodes: json 0 updates 1 snapshots, msgpack 0 updates 0 snapshots"#]],
    );
    check(
        "open a; pub t 1..10; go; show encodes",
        expect!["encodes: json 0 updates 0 snapshots, msgpack 0 updates 0 snapshots"],
    );
}

#[test]
fn every_shard_gets_its_own() {
    check(
        "shards 3; open a; open b shard=1; open c shard=2; sub a trade.A; sub b trade.*; pub trade.A 1; pub trade.B 1; show queue; go; sub c >; pub trade.A 2; pub trade.C 1; go; show sessions; show subscribers trade.A",
        expect![[r#"
            queue: 1 2 0
            a: ack 1 trade.A@0 every
            a: update trade.A 1 1
            b: ack 1 trade.* matched=0 every
            b: joined trade.A 0
            b: update trade.A 1 1
            b: joined trade.B 0
            b: update trade.B 1 1
            a: update trade.A 2 2
            b: update trade.A 2 2
            b: joined trade.C 0
            b: update trade.C 1 1
            c: ack 1 > matched=2 state=conflate book=every event=every
            c: joined trade.C 0
            c: update trade.C 1 1
            c: snapshot trade.A 1 1
            c: update trade.A 2 2
            c: snapshot trade.B 1 1
            sessions: 1 1 1
            subscribers trade.A: 3"#]],
    );
}
