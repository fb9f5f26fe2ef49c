//! Each op, and each way to get one wrong. Both codecs must agree, except for the position at the end of JSON's errors.

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: Expect) {
    let json = outcome(Codec::Json, text.as_bytes());
    expected.assert_eq(&json);
    let value: serde_json::Value = serde_json::from_str(text).expect("a JSON request");
    let mut bytes = Vec::new();
    msgpack::write(&value, &mut bytes);
    let placeless = json.split(" at line 1 column ").next().unwrap_or_default();
    assert_eq!(outcome(Codec::MessagePack, &bytes), placeless);
}

#[test]
fn every_op_is_read() {
    for text in [
        r#"{"op":"subscribe","id":1,"topics":["ticker.*"]}"#,
        r#"{"op":"subscribe","id":1,"topics":["a",{"topic":"b","since":{"epoch":"k3v9","seq":57}},{"topic":"c"}]}"#,
        r#"{"op":"subscribe","id":0,"topics":[],"mode":"every","conflate_ms":0,"snapshot":false}"#,
        r#"{"op":"subscribe","id":1,"topics":["a"],"mode":"conflate","conflate_ms":4294967295}"#,
        r#"{"op":"subscribe","id":1,"topics":["a"],"mode":"snapshot"}"#,
        r#"{"op":"subscribe","id":1,"topics":[{"topic":"a.*","since":[{"epoch":"e","seqs":{"a.b":1,"a.c":2}},{"epoch":"f","seqs":{}}]}]}"#,
        r#"{"op":"subscribe","id":1,"topics":[{"topic":"a.*","since":[]}]}"#,
        r#"{"op":"positions","id":1,"since":[{"epoch":"e","seqs":{"a":1,"b":18446744073709551615}}]}"#,
        r#"{"op":"unsubscribe","id":18446744073709551615,"topics":["a","b.>"]}"#,
        r#"{"op":"publish","topic":"chat.x","data":{"text":"hi"}}"#,
        r#"{"op":"publish","id":7,"topic":"chat.x","data":null}"#,
        r#"{"op":"resync","id":1,"topic":"book.BTC-USD"}"#,
        r#"{"op":"auth","id":1,"token":"abc"}"#,
        r#"{"op":"ping","id":9}"#,
    ] {
        // A request that is written again is the same text: its fields are in the order of PROTOCOL.md.
        for codec in Codec::ALL {
            let value: serde_json::Value = serde_json::from_str(text).expect(text);
            let mut bytes = Vec::new();
            match codec {
                Codec::Json => json::write(&value, &mut bytes),
                Codec::MessagePack => msgpack::write(&value, &mut bytes),
            }
            assert_eq!(outcome(codec, &bytes), text, "{codec}");
        }
    }
}

#[test]
fn positions_of_one_lineage_need_no_array() {
    check(
        r#"{"op":"subscribe","id":1,"topics":[{"topic":"a.*","since":{"epoch":"e","seqs":{"a.c":2,"a.b":1}}}]}"#,
        expect![[
            r#"{"op":"subscribe","id":1,"topics":[{"topic":"a.*","since":[{"epoch":"e","seqs":{"a.b":1,"a.c":2}}]}]}"#
        ]],
    );
    check(
        r#"{"op":"positions","id":1,"since":{"seqs":{"not..valid":1},"epoch":"e"}}"#,
        expect![[r#"{"op":"positions","id":1,"since":[{"epoch":"e","seqs":{"not..valid":1}}]}"#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn positions_are_read_strictly() {
    for (since, expected) in [
        (
            r#""e""#,
            expect![[
                r#"id 5, bad_request: topics: since: invalid type: string "e", expected {"epoch","seq"}, {"epoch","seqs"} or an array of the latter at line 1 column 61"#
            ]],
        ),
        (
            r"{}",
            expect![[
                r#"id 5, bad_request: topics: since: a position needs a field "epoch" at line 1 column 60"#
            ]],
        ),
        (
            r#"{"epoch":"e"}"#,
            expect![[
                r#"id 5, bad_request: topics: since: a position needs a field "seq" at line 1 column 71"#
            ]],
        ),
        (
            r#"{"epoch":"e","seq":1,"seqs":{}}"#,
            expect![[
                r#"id 5, bad_request: topics: since: a position has a field "seq" or "seqs", not both at line 1 column 89"#
            ]],
        ),
        (
            r#"{"epoch":"e","seqs":null}"#,
            expect![[
                r#"id 5, bad_request: topics: since: a position needs a field "seq" at line 1 column 83"#
            ]],
        ),
        (
            r#"{"epoch":"e","seqs":[]}"#,
            expect![
                "id 5, bad_request: topics: since: seqs: invalid type: sequence, expected a map of topics to numbers at line 1 column 80"
            ],
        ),
        (
            r#"{"epoch":"e","seqs":{"a":-1}}"#,
            expect![
                "id 5, bad_request: topics: since: seqs: a: invalid value: integer `-1`, expected an integer from 0 to 18446744073709551615 at line 1 column 85"
            ],
        ),
        (
            r#"[{"epoch":"e","seq":1}]"#,
            expect![[
                r#"id 5, bad_request: topics: since: a position needs a field "seqs" at line 1 column 80"#
            ]],
        ),
        (
            r"[[]]",
            expect![[
                r#"id 5, bad_request: topics: since: invalid type: sequence, expected {"epoch","seqs"} at line 1 column 61"#
            ]],
        ),
    ] {
        check(
            &format!(r#"{{"op":"subscribe","id":5,"topics":[{{"topic":"a.*","since":{since}}}]}}"#),
            expected,
        );
    }
    check(
        r#"{"op":"positions","id":5}"#,
        expect![[r#"id 5, bad_request: positions needs a field "since""#]],
    );
    check(
        r#"{"op":"positions","since":[]}"#,
        expect![[r#"no id, bad_request: positions needs a field "id""#]],
    );
    check(
        r#"{"op":"positions","id":5,"since":{"epoch":"e","seq":1}}"#,
        expect![[r#"id 5, bad_request: positions needs a field "seqs""#]],
    );
}

#[test]
fn a_number_that_no_type_holds_is_published_as_it_is() {
    let text = r#"{"op":"publish","topic":"a","data":[184467440737095516160,0.10000000000000000001,1.50]}"#;
    assert_eq!(outcome(Codec::Json, text.as_bytes()), text);
}

#[test]
fn integers_that_come_as_floats_are_taken() {
    for (text, expected) in [
        (r#"{"op":"ping","id":57.0}"#, r#"{"op":"ping","id":57}"#),
        (r#"{"op":"ping","id":1e3}"#, r#"{"op":"ping","id":1000}"#),
        (
            r#"{"op":"ping","id":4294967296.0}"#,
            r#"{"op":"ping","id":4294967296}"#,
        ),
        (
            r#"{"op":"ping","id":9007199254740992.0}"#,
            r#"{"op":"ping","id":9007199254740992}"#,
        ),
        (r#"{"op":"ping","id":-0.0}"#, r#"{"op":"ping","id":0}"#),
        (
            r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","since":{"epoch":"e","seq":5.7e1}}],"conflate_ms":250.0}"#,
            r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","since":{"epoch":"e","seq":57}}],"conflate_ms":250}"#,
        ),
    ] {
        let value: serde_json::Value = serde_json::from_str(text).expect(text);
        let mut packed = Vec::new();
        msgpack::write(&value, &mut packed);
        assert_eq!(outcome(Codec::Json, text.as_bytes()), expected);
        assert_eq!(outcome(Codec::MessagePack, &packed), expected);
    }
    check(
        r#"{"op":"ping","id":57.5}"#,
        expect![
            "no id, bad_request: id: invalid value: floating point `57.5`, expected an integer from 0 to 18446744073709551615 at line 1 column 22"
        ],
    );
    check(
        r#"{"op":"ping","id":-1.0}"#,
        expect![
            "no id, bad_request: id: invalid value: floating point `-1.0`, expected an integer from 0 to 18446744073709551615 at line 1 column 22"
        ],
    );
    // From here on an integer may have no equal float.
    check(
        r#"{"op":"ping","id":9007199254740994.0}"#,
        expect![
            "no id, bad_request: id: invalid value: floating point `9007199254740994.0`, expected an integer from 0 to 18446744073709551615 at line 1 column 36"
        ],
    );
    check(
        r#"{"op":"subscribe","id":1,"topics":["a"],"conflate_ms":4294967296.0}"#,
        expect![
            "id 1, bad_request: conflate_ms: invalid value: floating point `4294967296.0`, expected milliseconds: an integer from 0 to 4294967295 at line 1 column 66"
        ],
    );
    check(
        r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","since":{"epoch":"e","seq":0.5}}]}"#,
        expect![
            "id 1, bad_request: topics: since: seq: invalid value: floating point `0.5`, expected an integer from 0 to 18446744073709551615 at line 1 column 78"
        ],
    );
}

#[test]
fn what_is_not_known_is_ignored_whatever_it_holds() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for (json, packed) in [
        (r#"{"a":[{},"\ud800",1e999]}"#, &b"\x81\x01\xc0"[..]), // a map with an integer for a key
        (deep.as_str(), b"\xc4\x02\xff\xff"),                   // binary
        ("-0", b"\xd4\x00\x00"),                                // `undefined` of msgpackr
        ("1e999", b"\xd7\xff\0\0\0\0\0\0\0\0"),                 // a timestamp
        ("0.10", b"\xc7\x03\x05abc"),                           // an extension type
        (r#""\udc00""#, b"\xa2\xc3\x28"),                       // no UTF-8
        ("[]", b"\xcb\x7f\xf8\0\0\0\0\0\0"),                    // not a number
        ("{}", b"\x81\x81\xc0\xc4\x00\x91\xd4\x01\x02"),        // a map for a key, and more of the same
    ] {
        let unknown = |before: &str, after: &str| format!("{{{before}\"x\":{json},{after}}}");
        let ping = unknown("", r#""op":"ping","id":1"#);
        let since = unknown(r#""epoch":"e","#, r#""seq":1"#);
        let entry = unknown(r#""topic":"a","#, &format!(r#""since":{since}"#));
        let subscribe = unknown(r#""op":"subscribe","id":1,"#, &format!(r#""topics":[{entry}]"#));
        assert_eq!(outcome(Codec::Json, ping.as_bytes()), r#"{"op":"ping","id":1}"#);
        let resumed = r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","since":{"epoch":"e","seq":1}}]}"#;
        assert_eq!(outcome(Codec::Json, subscribe.as_bytes()), resumed);

        let ping = [b"\x83\xa1x", packed, b"\xa2op\xa4ping\xa2id\x01"].concat();
        assert_eq!(outcome(Codec::MessagePack, &ping), r#"{"op":"ping","id":1}"#);
        let since = [b"\x83\xa5epoch\xa1e\xa1x", packed, b"\xa3seq\x01"].concat();
        let entry = [b"\x83\xa5topic\xa1a\xa1x", packed, b"\xa5since", &since].concat();
        let head = b"\x84\xa2op\xa9subscribe\xa2id\x01\xa1x";
        let subscribe = [&head[..], packed, b"\xa6topics\x91", &entry].concat();
        assert_eq!(outcome(Codec::MessagePack, &subscribe), resumed);
    }
    let deep = [
        &b"\x83\xa1x"[..],
        &[0x91; 100_000],
        b"\xc0\xa2op\xa4ping\xa2id\x01",
    ]
    .concat();
    assert_eq!(outcome(Codec::MessagePack, &deep), r#"{"op":"ping","id":1}"#);
}

#[test]
fn a_known_field_of_a_kind_that_json_has_not_is_named() {
    let packed = |bytes: &[u8], expected: Expect| expected.assert_eq(&outcome(Codec::MessagePack, bytes));
    packed(
        b"\x82\xa2op\xa4ping\xa2id\xd4\x00\x00",
        expect![
            "no id, bad_request: id: invalid type: byte array, expected an integer from 0 to 18446744073709551615"
        ],
    );
    packed(
        b"\x82\xa2op\xc4\x04ping\xa2id\x05",
        expect!["id 5, bad_request: op: invalid type: byte array, expected a string"],
    );
    packed(
        b"\x82\xa2op\xa4ping\xa2id\xcb\x7f\xf8\0\0\0\0\0\0",
        expect![
            "no id, bad_request: id: invalid value: floating point `NaN`, expected an integer from 0 to 18446744073709551615"
        ],
    );
}

#[test]
fn what_is_not_known_is_ignored() {
    check(
        r#"{"id":1,"later":{"a":[1,{"b":null}]},"op":"ping","topic":"x"}"#,
        expect![[r#"{"op":"ping","id":1}"#]],
    );
    check(
        r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","x":1,"since":{"seq":1,"epoch":"e","y":[2]}}],"z":"w"}"#,
        expect![[r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","since":{"epoch":"e","seq":1}}]}"#]],
    );
}

#[test]
fn null_is_absent_but_for_data() {
    check(
        r#"{"op":"subscribe","id":1,"topics":["a"],"mode":null,"conflate_ms":null,"snapshot":null}"#,
        expect![[r#"{"op":"subscribe","id":1,"topics":["a"]}"#]],
    );
    check(
        r#"{"op":"subscribe","id":1,"topics":[{"topic":"a","since":null}]}"#,
        expect![[r#"{"op":"subscribe","id":1,"topics":[{"topic":"a"}]}"#]],
    );
    check(
        r#"{"op":"publish","id":null,"topic":"a","data":null}"#,
        expect![[r#"{"op":"publish","topic":"a","data":null}"#]],
    );
    check(r#"{"op":"ping","id":null}"#, expect![[r#"{"op":"ping"}"#]]);
    check(r#"{"op":"ping"}"#, expect![[r#"{"op":"ping"}"#]]);
    check(
        r#"{"op":null}"#,
        expect![[r#"no id, bad_request: a request needs a field "op""#]],
    );
}

#[test]
fn missing_fields_are_named() {
    check(
        "{}",
        expect![[r#"no id, bad_request: a request needs a field "op""#]],
    );
    check(
        r#"{"id":5}"#,
        expect![[r#"id 5, bad_request: a request needs a field "op""#]],
    );
    check(
        r#"{"op":"subscribe","topics":["a"]}"#,
        expect![[r#"no id, bad_request: subscribe needs a field "id""#]],
    );
    check(
        r#"{"op":"subscribe","id":5}"#,
        expect![[r#"id 5, bad_request: subscribe needs a field "topics""#]],
    );
    check(
        r#"{"op":"unsubscribe","topics":["a"]}"#,
        expect![[r#"no id, bad_request: unsubscribe needs a field "id""#]],
    );
    check(
        r#"{"op":"unsubscribe","id":5}"#,
        expect![[r#"id 5, bad_request: unsubscribe needs a field "topics""#]],
    );
    check(
        r#"{"op":"publish","data":1}"#,
        expect![[r#"no id, bad_request: publish needs a field "topic""#]],
    );
    check(
        r#"{"op":"publish","id":5,"topic":"a"}"#,
        expect![[r#"id 5, bad_request: publish needs a field "data""#]],
    );
    check(
        r#"{"op":"resync","topic":"a"}"#,
        expect![[r#"no id, bad_request: resync needs a field "id""#]],
    );
    check(
        r#"{"op":"resync","id":5}"#,
        expect![[r#"id 5, bad_request: resync needs a field "topic""#]],
    );
    check(
        r#"{"op":"auth","token":"a"}"#,
        expect![[r#"no id, bad_request: auth needs a field "id""#]],
    );
    check(
        r#"{"op":"auth","id":5}"#,
        expect![[r#"id 5, bad_request: auth needs a field "token""#]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{}]}"#,
        expect![[r#"id 5, bad_request: topics: an entry needs a field "topic" at line 1 column 37"#]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","since":{}}]}"#,
        expect![[
            r#"id 5, bad_request: topics: since: a position needs a field "epoch" at line 1 column 58"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","since":{"epoch":"e"}}]}"#,
        expect![[r#"id 5, bad_request: topics: since: a position needs a field "seq" at line 1 column 69"#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn fields_of_the_wrong_type_are_named_and_the_id_is_echoed() {
    check(
        r#"{"op":5,"id":5}"#,
        expect!["id 5, bad_request: op: invalid type: integer `5`, expected a string at line 1 column 7"],
    );
    check(
        r#"{"op":"ping","id":"5"}"#,
        expect![[
            r#"no id, bad_request: id: invalid type: string "5", expected an integer from 0 to 18446744073709551615 at line 1 column 21"#
        ]],
    );
    check(
        r#"{"op":"ping","id":-1}"#,
        expect![
            "no id, bad_request: id: invalid value: integer `-1`, expected an integer from 0 to 18446744073709551615 at line 1 column 20"
        ],
    );
    check(
        r#"{"op":"ping","id":1.5}"#,
        expect![
            "no id, bad_request: id: invalid value: floating point `1.5`, expected an integer from 0 to 18446744073709551615 at line 1 column 21"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":"a"}"#,
        expect![[
            r#"id 5, bad_request: topics: invalid type: string "a", expected an array of topics at line 1 column 37"#
        ]],
    );
    check(
        r#"{"op":"subscribe","topics":{"a":1},"id":5}"#,
        expect![
            "id 5, bad_request: topics: invalid type: map, expected an array of topics at line 1 column 28"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[7]}"#,
        expect![[
            r#"id 5, bad_request: topics: invalid type: integer `7`, expected a string, {"topic","since"} or {"topic","from"} at line 1 column 36"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":["a",null]}"#,
        expect![[
            r#"id 5, bad_request: topics: invalid type: null, expected a string, {"topic","since"} or {"topic","from"} at line 1 column 43"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","speed":2}]}"#,
        expect![[
            r#"id 5, bad_request: topics: "speed" says how fast the messages from a moment on come: it needs a field "from" at line 1 column 58"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","since":{"epoch":"e","seq":1},"speed":2}]}"#,
        expect![[
            r#"id 5, bad_request: topics: "speed" says how fast the messages from a moment on come: it needs a field "from" at line 1 column 88"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","from":1,"speed":0}]}"#,
        expect![
            "id 5, bad_request: topics: speed: a speed is a number above 0, such as 10, or 1 for as fast as the messages came at line 1 column 66"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","from":1,"speed":-1}]}"#,
        expect![
            "id 5, bad_request: topics: speed: a speed is a number above 0, such as 10, or 1 for as fast as the messages came at line 1 column 67"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","from":1,"speed":-0.5}]}"#,
        expect![
            "id 5, bad_request: topics: speed: a speed is a number above 0, such as 10, or 1 for as fast as the messages came at line 1 column 69"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","from":1,"speed":"10"}]}"#,
        expect![[
            r#"id 5, bad_request: topics: speed: invalid type: string "10", expected a speed: a number above 0 at line 1 column 69"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[["a"]]}"#,
        expect![[
            r#"id 5, bad_request: topics: invalid type: sequence, expected a string, {"topic","since"} or {"topic","from"} at line 1 column 36"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":7}]}"#,
        expect![
            "id 5, bad_request: topics: topic: invalid type: integer `7`, expected a string at line 1 column 45"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","since":["e",1]}]}"#,
        expect![[
            r#"id 5, bad_request: topics: since: invalid type: string "e", expected {"epoch","seqs"} at line 1 column 60"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","since":{"epoch":1,"seq":1}}]}"#,
        expect![
            "id 5, bad_request: topics: since: epoch: invalid type: integer `1`, expected a string at line 1 column 66"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[{"topic":"a","since":{"epoch":"e","seq":-1}}]}"#,
        expect![
            "id 5, bad_request: topics: since: seq: invalid value: integer `-1`, expected an integer from 0 to 18446744073709551615 at line 1 column 77"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"mode":"fast"}"#,
        expect![[
            r#"id 5, bad_request: mode: invalid value: string "fast", expected "every", "conflate" or "snapshot" at line 1 column 50"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"mode":1}"#,
        expect![[
            r#"id 5, bad_request: mode: invalid type: integer `1`, expected "every", "conflate" or "snapshot" at line 1 column 45"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"mode":{"every":null}}"#,
        expect![[
            r#"id 5, bad_request: mode: invalid type: map, expected "every", "conflate" or "snapshot" at line 1 column 45"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"conflate_ms":4294967296}"#,
        expect![
            "id 5, bad_request: conflate_ms: invalid value: integer `4294967296`, expected milliseconds: an integer from 0 to 4294967295 at line 1 column 61"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"conflate_ms":-1}"#,
        expect![
            "id 5, bad_request: conflate_ms: invalid value: integer `-1`, expected milliseconds: an integer from 0 to 4294967295 at line 1 column 53"
        ],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"conflate_ms":"100"}"#,
        expect![[
            r#"id 5, bad_request: conflate_ms: invalid type: string "100", expected milliseconds: an integer from 0 to 4294967295 at line 1 column 56"#
        ]],
    );
    check(
        r#"{"op":"subscribe","id":5,"topics":[],"snapshot":1}"#,
        expect![
            "id 5, bad_request: snapshot: invalid type: integer `1`, expected true or false at line 1 column 49"
        ],
    );
    check(
        r#"{"op":"publish","id":5,"topic":["a"],"data":1}"#,
        expect!["id 5, bad_request: topic: invalid type: sequence, expected a string at line 1 column 32"],
    );
    check(
        r#"{"op":"auth","id":5,"token":true}"#,
        expect![
            "id 5, bad_request: token: invalid type: boolean `true`, expected a string at line 1 column 32"
        ],
    );
}

#[test]
fn ops_that_do_not_exist() {
    check(
        r#"{"op":"","id":5}"#,
        expect![[
            r#"id 5, unknown_op: unknown op ""; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"#
        ]],
    );
    check(
        r#"{"op":"Ping","id":5}"#,
        expect![[
            r#"id 5, unknown_op: unknown op "Ping"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"#
        ]],
    );
    check(
        r#"{"op":"welcome"}"#,
        expect![[
            r#"no id, unknown_op: unknown op "welcome"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"#
        ]],
    );
    let escaped = format!("{{\"op\":\"{}\",\"id\":5}}", "\u{7f}".repeat(30_000));
    check(
        &escaped,
        expect![[
            r#"id 5, unknown_op: unknown op "\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"#
        ]],
    );
    let long = format!(r#"{{"op":"{}","id":5}}"#, "é".repeat(30_000));
    check(
        &long,
        expect![[
            r#"id 5, unknown_op: unknown op "éééééééééééééééééééééééééééééééééééééééé"; known are subscribe, positions, unsubscribe, publish, resync, auth, ping"#
        ]],
    );
}

#[test]
fn a_long_value_is_not_sent_back_whole() {
    let request = format!(r#"{{"op":"ping","id":"{}"}}"#, "é".repeat(30_000));
    for (codec, bytes) in [
        (Codec::Json, request.clone().into_bytes()),
        (Codec::MessagePack, {
            let value: serde_json::Value = serde_json::from_str(&request).expect("JSON");
            let mut bytes = Vec::new();
            msgpack::write(&value, &mut bytes);
            bytes
        }),
    ] {
        let bad = codec.decode_request(&bytes).expect_err("the id is a string");
        assert!(
            bad.refusal.reason.len() < 300,
            "{codec}: {}",
            bad.refusal.reason.len()
        );
    }
}
