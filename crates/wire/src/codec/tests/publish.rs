//! The usual form of a `publish`, which has a reader of its own: what has that form, and that it is read as the reader
//! of all requests does.

use proptest::prelude::*;

use super::super::publish::{PlainPublish, read};
use super::*;
use crate::message::RequestId;

/// What both readers make of `text`.
fn both(text: &[u8]) -> (Option<ClientMessage>, Result<ClientMessage, BadRequest>) {
    (read(text).map(PlainPublish::into), json::decode_request(text))
}

#[test]
fn the_usual_form_is_read() {
    for text in [
        r#"{"op":"publish","topic":"chat.x","data":{"text":"hi"}}"#,
        r#"{"op":"publish","id":7,"topic":"chat.x","data":null}"#,
        r#"{"data":[1,-2.5e3,"\u00e9\n"],"id":18446744073709551615,"topic":"bad..topic","op":"publish"}"#,
        " \r\n{ \"op\" : \"publish\" ,\t\"topic\" : \"é\" , \"data\" : \"é\" , \"id\" : 0 } \n",
    ] {
        let (own, other) = both(text.as_bytes());
        assert_eq!(own, other.ok(), "{text}");
        assert!(own.is_some(), "{text}");
    }
}

#[test]
fn another_form_is_left_to_the_other_reader() {
    for (text, is_request) in [
        (r#"{"op":"publish","topic":"a","data":1,"extra":[]}"#, true),
        (r#"{"op":"publish","topic":"a","data":1,"id":null}"#, true),
        (r#"{"op":"publish","topic":"a","data":1,"id":1.0}"#, true),
        (r#"{"op":"publish","topic":"\u0061","data":1}"#, true),
        (r#"{"o\u0070":"publish","topic":"a","data":1}"#, true),
        (r#"{"op":"pub\u006cish","topic":"a","data":1}"#, true),
        (r#"{"op":"ping"}"#, true),
        (r#"{"op":"publish","topic":"a","data":1,"data":1}"#, false),
        (r#"{"op":"publish","op":"publish","topic":"a","data":1}"#, false),
        (r#"{"op":"publish","topic":"a","topic":"a","data":1}"#, false),
        (r#"{"op":"publish","topic":"a","data":1,"id":1,"id":1}"#, false),
        (r#"{"op":"publish","topic":"a","data":1,"id":01}"#, false),
        (r#"{"op":"publish","topic":"a","data":1,"id":-1}"#, false),
        (
            r#"{"op":"publish","topic":"a","data":1,"id":18446744073709551616}"#,
            false,
        ),
        (r#"{"op":"publish","topic":"a","data":1,"id":}"#, false),
        (r#"{"op":"publish","topic":"a"}"#, false),
        (r#"{"op":"publish","data":1}"#, false),
        (r#"{"topic":"a","data":1}"#, false),
        (r#"{"op":"publish","topic":"a","data":01}"#, false),
        (r#"{"op":"publish","topic":"a","data":1e999}"#, false),
        (r#"{"op":"publish","topic":"a","data":1} 1"#, false),
        (r#"{"op":"publish","topic":"a","data":1,}"#, false),
        (r#"{"op":"publish","topic":"a","data":1"#, false),
        (r#"{,"op":"publish","topic":"a","data":1}"#, false),
        (r#"{"op":"publish" "topic":"a","data":1}"#, false),
        (r#"{"op","publish","topic":"a","data":1}"#, false),
        ("{}", false),
        ("", false),
    ] {
        let (own, other) = both(text.as_bytes());
        assert_eq!(own, None, "{text}");
        assert_eq!(other.is_ok(), is_request, "{text}");
    }
    let not_utf8 = b"{\"op\":\"publish\",\"topic\":\"a\",\"data\":\"\xff\"}";
    assert!(matches!(both(not_utf8), (None, Err(_))));
}

/// Texts that are a `publish`, or nearly so.
fn nearly_publish() -> impl Strategy<Value = String> {
    let data = prop_oneof![
        Just("1".to_owned()),
        Just("[{\"a\":[]},{}]".to_owned()),
        "\"[a-zé]{0,40}\"",
        "-?[0-9.eE]{1,6}",
        "[\\[\\]{}:,\"0-9a ]{0,8}",
    ];
    let field = prop_oneof![
        Just("\"op\":\"publish\"".to_owned()),
        "\"topic\":\"[a-c.*\\\\é]{0,5}\"",
        data.prop_map(|data| format!("\"data\":{data}")),
        "\"id\":-?[0-9.]{0,21}",
        "\"(op|id|mode|x)\":(null|1|\"every\"|\\[\\])",
    ];
    let space = "[ \n]?";
    let fields = prop::collection::vec((field, space), 2..6);
    (space, fields, "[}]?[ ,}]?").prop_map(|(space, fields, end)| {
        let fields: Vec<String> = fields.into_iter().map(|(field, space)| field + &space).collect();
        [&space, "{", &fields.join(","), &end].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_read_is_what_the_other_reader_reads(text in nearly_publish()) {
        let (own, other) = both(text.as_bytes());
        if let Some(own) = own {
            prop_assert_eq!(Ok(own), other, "{}", text);
        }
    }

    #[test]
    fn every_publish_that_a_client_writes_is_read(id: Option<u64>, topic in "[a-z.]{0,9}", text: String) {
        let data = serde_json::to_string(&text).expect("text");
        let data = Payload::from_json(data.as_bytes()).expect("JSON");
        let message = ClientMessage::Publish { id: id.map(RequestId), topic, data, key: None, ts: None };
        let mut bytes = Vec::new();
        Codec::Json.encode_request(&message, &mut bytes);
        prop_assert_eq!(both(&bytes), (Some(message.clone()), Ok(message)));
    }
}
