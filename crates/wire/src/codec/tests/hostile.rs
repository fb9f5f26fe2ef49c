//! Bytes made to break a decoder: each gets an answer, none panics, and accepted data can be sent on.

use expect_test::{Expect, expect};

use super::*;
use crate::limits::NESTING_MAX;

fn json(text: impl AsRef<[u8]>, expected: Expect) {
    expected.assert_eq(&outcome(Codec::Json, text.as_ref()));
}

fn msgpack(parts: &[&[u8]], expected: Expect) {
    expected.assert_eq(&outcome(Codec::MessagePack, &parts.concat()));
}

/// `{"op":"publish","id":5,"topic":"a","data":` without the data.
const PUBLISH: &[u8] = b"\x84\xa2op\xa7publish\xa2id\x05\xa5topic\xa1a\xa4data";

fn publish(data: &str) -> String {
    format!(r#"{{"op":"publish","id":5,"topic":"a","data":{data}}}"#)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn json_that_is_no_request() {
    json(
        "",
        expect!["no id, bad_request: EOF while parsing a value at line 1 column 0"],
    );
    json(
        " ",
        expect!["no id, bad_request: EOF while parsing a value at line 1 column 1"],
    );
    json(
        "null",
        expect![[
            r#"no id, bad_request: invalid type: null, expected a request: a map with a field "op" at line 1 column 4"#
        ]],
    );
    json(
        "5",
        expect![[
            r#"no id, bad_request: invalid type: integer `5`, expected a request: a map with a field "op" at line 1 column 1"#
        ]],
    );
    json(
        r#""ping""#,
        expect![[
            r#"no id, bad_request: invalid type: string "ping", expected a request: a map with a field "op" at line 1 column 6"#
        ]],
    );
    json(
        "[]",
        expect![[
            r#"no id, bad_request: invalid type: sequence, expected a request: a map with a field "op" at line 1 column 2"#
        ]],
    );
    json(
        r#"["ping",5]"#,
        expect![[
            r#"no id, bad_request: invalid type: sequence, expected a request: a map with a field "op" at line 1 column 1"#
        ]],
    );
    json(
        r#"{"op":"ping","id":5"#,
        expect!["no id, bad_request: EOF while parsing an object at line 1 column 19"],
    );
    json(
        r#"{"op":"ping","id":5,}"#,
        expect!["no id, bad_request: trailing comma at line 1 column 21"],
    );
    json(
        r#"{"op":"ping","id":5} {}"#,
        expect!["no id, bad_request: trailing characters at line 1 column 22"],
    );
    json(
        r#"{"op":"ping","id":5,"id":6}"#,
        expect!["no id, bad_request: id: the field appears twice at line 1 column 27"],
    );
    json(
        r#"{"op":"positions","id":5,"since":{"epoch":"e","seqs":{"a":1,"a":1}}}"#,
        expect!["id 5, bad_request: since: seqs: a: the field appears twice at line 1 column 66"],
    );
    json(
        r#"{"op":"ping","op":"auth","id":5}"#,
        expect!["id 5, bad_request: op: the field appears twice at line 1 column 24"],
    );
    json(
        r#"{op:"ping","id":5}"#,
        expect!["no id, bad_request: key must be a string at line 1 column 2"],
    );
    json(
        r#"{"op":"ping","id":18446744073709551616}"#,
        expect![
            "no id, bad_request: id: invalid value: floating point `1.8446744073709552e+19`, expected an integer from 0 to 18446744073709551615 at line 1 column 38"
        ],
    );
    json(
        r#"{"op":"ping","id":05}"#,
        expect!["no id, bad_request: id: invalid number at line 1 column 20"],
    );
    json(
        r#"{"op":"ping","id":5}"#.replace('p', "\0"),
        expect![[
            r#"no id, bad_request: control character (\u0000-\u001F) found while parsing a string at line 1 column 4"#
        ]],
    );
    json(
        b"{\"op\":\"\xff\",\"id\":5}",
        expect!["id 5, bad_request: op: invalid unicode code point at line 1 column 8"],
    );
    json(
        b"\xef\xbb\xbf{\"op\":\"ping\",\"id\":5}",
        expect!["no id, bad_request: expected value at line 1 column 1"],
    );
    json(
        r#"{"op":"\ud800","id":5}"#,
        expect!["id 5, bad_request: op: unexpected end of hex escape at line 1 column 14"],
    );
}

#[test]
fn json_data_that_another_codec_could_not_carry() {
    json(
        publish("1e400"),
        expect!["id 5, bad_request: data is not usable JSON: the number at byte 0 is out of range"],
    );
    json(
        publish("[-1e400]"),
        expect!["id 5, bad_request: data is not usable JSON: the number at byte 1 is out of range"],
    );
    json(
        publish("NaN"),
        expect!["no id, bad_request: data: expected value at line 1 column 43"],
    );
    json(
        publish("Infinity"),
        expect!["no id, bad_request: data: expected value at line 1 column 43"],
    );
    json(
        publish(r#""\ud800""#),
        expect!["id 5, bad_request: data is not usable JSON: the escape at byte 1 is half a character"],
    );
    json(
        publish(r#"{"\udc00":1}"#),
        expect!["id 5, bad_request: data is not usable JSON: the escape at byte 2 is half a character"],
    );
    json(
        publish("\"\u{1}\""),
        expect![[
            r#"no id, bad_request: data: control character (\u0000-\u001F) found while parsing a string at line 1 column 43"#
        ]],
    );
    json(
        publish("{'a':1}"),
        expect!["no id, bad_request: data: key must be a string at line 1 column 44"],
    );
    json(
        publish(""),
        expect!["no id, bad_request: data: expected value at line 1 column 43"],
    );
    json(
        b"{\"op\":\"publish\",\"id\":5,\"topic\":\"a\",\"data\":\"\xff\"}",
        expect!["id 5, bad_request: data: invalid unicode code point at line 1 column 44"],
    );
}

#[test]
fn json_data_at_the_edges_is_carried_as_it_is() {
    for data in [
        "null",
        "-0",
        "-0.0",
        "1e-400",
        "1.7976931348623157e308",
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827021181583404541015625",
        r#""\ud83d\ude00\u0000""#,
        r#"{"a":1,"a":2}"#,
        r#"{"":[[],{}]}"#,
        " [ 1 , 2 ] ",
    ] {
        let request = publish(data);
        let ClientMessage::Publish {
            data: Payload::Json(text),
            ..
        } = Codec::Json.decode_request(request.as_bytes()).expect(data)
        else {
            panic!("{data} is not published as JSON");
        };
        assert_eq!(text.as_str(), data.trim());
        outcome(Codec::Json, request.as_bytes());
    }
}

#[test]
fn deep_nesting_takes_bounded_stack() {
    let deep = 100_000;
    json(
        "[".repeat(deep),
        expect![[
            r#"no id, bad_request: invalid type: sequence, expected a request: a map with a field "op" at line 1 column 1"#
        ]],
    );
    json(
        "{\"a\":".repeat(deep),
        expect!["no id, bad_request: EOF while parsing a value at line 1 column 500000"],
    );
    json(
        publish(&("[".repeat(deep) + &"]".repeat(deep))),
        expect!["id 5, bad_request: data is nested deeper than 64"],
    );
    msgpack(
        &[&[0x91; 100_000]],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[PUBLISH, &[0x91; 100_000], b"\xc0"],
        expect!["id 5, bad_request: data is nested deeper than 64"],
    );
    msgpack(
        &[PUBLISH, &b"\x81\xa1k".repeat(deep), b"\xc0"],
        expect!["id 5, bad_request: data is nested deeper than 64"],
    );
    msgpack(
        &[PUBLISH, &b"\xc7\x01\x00".repeat(deep)],
        expect!["id 5, bad_request: the message ends at byte 33 but more bytes follow"],
    );
}

#[test]
fn the_same_depth_is_allowed_in_both_codecs_and_can_be_sent_on() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let packed = |depth: usize| [PUBLISH, &vec![0x91; depth - 1], b"\x90"].concat();
    for (depth, fits) in [(NESTING_MAX, true), (NESTING_MAX + 1, false)] {
        assert_eq!(
            Codec::Json
                .decode_request(publish(&nested(depth)).as_bytes())
                .is_ok(),
            fits
        );
        assert_eq!(Codec::MessagePack.decode_request(&packed(depth)).is_ok(), fits);
    }
    outcome(Codec::Json, publish(&nested(NESTING_MAX)).as_bytes());
    outcome(Codec::MessagePack, &packed(NESTING_MAX));

    // The same holds for the payload alone, as in HTTP.
    let deepest = Payload::from_json(nested(NESTING_MAX).as_bytes()).expect("fits");
    let topic = "a".to_owned();
    assert_payload_encodes(&ClientMessage::Publish {
        id: None,
        topic,
        data: deepest,
        key: None,
        ts: None,
    });
    assert!(Payload::from_json(nested(NESTING_MAX + 1).as_bytes()).is_err());
}

#[test]
fn msgpack_that_is_no_request() {
    msgpack(&[], expect!["no id, bad_request: a request is a MessagePack map"]);
    msgpack(
        &[b"\xc0"],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[b"\x92\xa4ping\x05"],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[b"{\"op\":\"ping\",\"id\":5}"],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[b"\xc1"],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[b"\x82\xa2op\xa4ping\xa2id"],
        expect!["no id, bad_request: id: the message ends at byte 12, inside a value"],
    );
    msgpack(
        &[b"\x82\xa2op\xa4ping\xa2id\xcf\x00"],
        expect!["no id, bad_request: id: the message ends at byte 14, inside a value"],
    );
    msgpack(
        &[b"\x82\xa2op\xa4ping\xa2id\x05\x00\x00"],
        expect!["id 5, bad_request: the message ends at byte 13 but more bytes follow"],
    );
    msgpack(
        &[b"\x82\xa2op\xa4pi"],
        expect!["no id, bad_request: op: the message ends at byte 7, inside a value"],
    );
    msgpack(
        &[b"\x82\xa2op\xa4ping\xa2id\x05\xc0"],
        expect!["id 5, bad_request: the message ends at byte 13 but more bytes follow"],
    );
    msgpack(
        &[b"\x83\xa2op\xa4ping\xa2id\x05\xa2id\x06"],
        expect!["no id, bad_request: id: the field appears twice"],
    );
    msgpack(
        &[b"\x82\x00\xa4ping\x01\x05"],
        expect!["no id, bad_request: invalid type: integer `0`, expected a field's name"],
    );
    msgpack(
        &[b"\x82\xc4\x02op\xa4ping\xa2id\x05"],
        expect!["no id, bad_request: invalid type: byte array, expected a field's name"],
    );
    msgpack(
        &[b"\x82\xa2op\xa4p\xffng\xa2id\x05"],
        expect!["id 5, bad_request: op: the string at byte 4 is not UTF-8"],
    );
    msgpack(
        &[b"\x82\xa2op\xc0\xa2id\x05"],
        expect![[r#"id 5, bad_request: a request needs a field "op""#]],
    );
    msgpack(
        &[b"\x82\xa2op\xa4ping\xa2id\xff"],
        expect![
            "no id, bad_request: id: invalid value: integer `-1`, expected an integer from 0 to 18446744073709551615"
        ],
    );
    msgpack(
        &[b"\x82\xa2op\xa4ping\xa2id\xcb\x3f\xf0\0\0\0\0\0\0"],
        expect![[r#"{"op":"ping","id":1}"#]],
    );
}

#[test]
fn msgpack_lengths_that_promise_more_than_there_is() {
    msgpack(
        &[b"\xdd\xff\xff\xff\xff"],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[b"\xdf\xff\xff\xff\xff"],
        expect!["no id, bad_request: 8589934590 values are declared at byte 0 but 0 bytes follow"],
    );
    msgpack(
        &[b"\xdb\xff\xff\xff\xff"],
        expect!["no id, bad_request: a request is a MessagePack map"],
    );
    msgpack(
        &[PUBLISH, b"\xdd\xff\xff\xff\xff"],
        expect!["no id, bad_request: data: 4294967295 values are declared at byte 29 but 0 bytes follow"],
    );
    msgpack(
        &[PUBLISH, b"\xdf\xff\xff\xff\xff\xa1a\x01"],
        expect!["no id, bad_request: data: 8589934590 values are declared at byte 29 but 3 bytes follow"],
    );
    msgpack(
        &[PUBLISH, b"\xdb\xff\xff\xff\xffabc"],
        expect!["no id, bad_request: data: the message ends at byte 37, inside a value"],
    );
    msgpack(
        &[PUBLISH, b"\xc6\xff\xff\xff\xffabc"],
        expect!["no id, bad_request: data: the message ends at byte 37, inside a value"],
    );
    msgpack(
        &[PUBLISH, b"\xc9\xff\xff\xff\xff\x01abc"],
        expect!["no id, bad_request: data: the message ends at byte 38, inside a value"],
    );
    msgpack(
        &[b"\x83\xa2op\xa9subscribe\xa2id\x05\xa6topics\xdd\xff\xff\xff\xff"],
        expect!["no id, bad_request: topics: 4294967295 values are declared at byte 25 but 0 bytes follow"],
    );
}

#[test]
fn positions_beyond_what_a_message_holds() {
    msgpack(
        &[b"\x83\xa2op\xa9positions\xa2id\x05\xa5since\x82\xa5epoch\xa1e\xa4seqs\xdf\xff\xff\xff\xff"],
        expect![
            "no id, bad_request: since: seqs: 8589934590 values are declared at byte 38 but 0 bytes follow"
        ],
    );
    msgpack(
        &[b"\x83\xa2op\xa9positions\xa2id\x05\xa5since\x82\xa5epoch\xa1e\xa4seqs\x81\x01\x01"],
        expect!["id 5, bad_request: since: seqs: invalid type: integer `1`, expected a field's name"],
    );
}

#[test]
fn msgpack_data_that_json_could_not_carry() {
    msgpack(
        &[PUBLISH, b"\xc4\x01a"],
        expect!["id 5, bad_request: data: binary at byte 0: only what JSON has can be sent"],
    );
    msgpack(
        &[PUBLISH, b"\xd4\x01a"],
        expect!["id 5, bad_request: data: extension type at byte 0: only what JSON has can be sent"],
    );
    msgpack(
        &[PUBLISH, b"\xd7\xff\0\0\0\0\0\0\0\0"],
        expect!["id 5, bad_request: data: extension type at byte 0: only what JSON has can be sent"],
    );
    msgpack(
        &[PUBLISH, b"\x81\x01\x02"],
        expect!["id 5, bad_request: data: the map key at byte 1 is not a string"],
    );
    msgpack(
        &[PUBLISH, b"\x81\xc0\x02"],
        expect!["id 5, bad_request: data: the map key at byte 1 is not a string"],
    );
    msgpack(
        &[PUBLISH, b"\xca\x7f\xc0\x00\x00"],
        expect!["id 5, bad_request: data: the float at byte 0 is not finite"],
    );
    msgpack(
        &[PUBLISH, b"\xcb\x7f\xf0\0\0\0\0\0\0"],
        expect!["id 5, bad_request: data: the float at byte 0 is not finite"],
    );
    msgpack(
        &[PUBLISH, b"\xcb\xff\xf8\0\0\0\0\0\0"],
        expect!["id 5, bad_request: data: the float at byte 0 is not finite"],
    );
    msgpack(
        &[PUBLISH, b"\xa2\xc3\x28"],
        expect!["id 5, bad_request: data: the string at byte 0 is not UTF-8"],
    );
    msgpack(
        &[PUBLISH, b"\xa3\xed\xa0\x80"],
        expect!["id 5, bad_request: data: the string at byte 0 is not UTF-8"],
    );
    msgpack(
        &[PUBLISH, b"\xc1"],
        expect!["no id, bad_request: data: byte 0xc1 at 29 is not MessagePack"],
    );
}

#[test]
fn msgpack_data_at_the_edges() {
    msgpack(
        &[PUBLISH, b"\xc0"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":null}"#]],
    );
    msgpack(
        &[PUBLISH, b"\xca\x3f\x80\x00\x00"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":1.0}"#]],
    );
    msgpack(
        &[PUBLISH, b"\xcb\x80\0\0\0\0\0\0\0"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":-0.0}"#]],
    );
    msgpack(
        &[PUBLISH, b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":18446744073709551615}"#]],
    );
    msgpack(
        &[PUBLISH, b"\xd3\x80\0\0\0\0\0\0\0"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":-9223372036854775808}"#]],
    );
    msgpack(
        &[PUBLISH, b"\xd9\x01a"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":"a"}"#]],
    );
    msgpack(
        &[PUBLISH, b"\x82\xa1a\x01\xa1a\x02"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":{"a":1,"a":2}}"#]],
    );
    msgpack(
        &[PUBLISH, b"\xde\0\x01\xa0\xdc\0\x01\xe0"],
        expect![[r#"{"op":"publish","id":5,"topic":"a","data":{"":[-32]}}"#]],
    );
}
