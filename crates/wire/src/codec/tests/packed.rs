//! The usual form of a `publish` of MessagePack, which has a reader of its own, and data that is kept as it came.

use proptest::prelude::*;
use serde_json::Value;

use super::super::msgpack;
use super::*;
use crate::message::RequestId;
use crate::msgpack::value::PackedSlice;

/// What both readers make of `bytes`.
fn both(bytes: &[u8]) -> (Option<ClientMessage>, Result<ClientMessage, BadRequest>) {
    let own = msgpack::publish::read(bytes);
    (own.map(ClientMessage::from), msgpack::decode_request(bytes))
}

/// `value` in MessagePack as another library writes it.
fn packed(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("it is written to memory")
}

#[test]
fn the_usual_form_is_read() {
    for bytes in [
        &b"\x83\xa2op\xa7publish\xa5topic\xa6chat.x\xa4data\x81\xa4text\xa2hi"[..],
        b"\x84\xa2op\xa7publish\xa2id\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa5topic\xa0\xa4data\xc0",
        b"\xde\x00\x03\xa4data\xca\x3f\x80\x00\x00\xd9\x05topic\xa1a\xa2op\xd9\x07publish",
    ] {
        let (own, other) = both(bytes);
        assert!(own.is_some(), "{bytes:02x?}");
        assert_eq!(own, other.ok(), "{bytes:02x?}");
    }
}

#[test]
fn another_form_is_left_to_the_other_reader() {
    for (bytes, is_request) in [
        (
            &b"\x84\xa2op\xa7publish\xa5topic\xa1a\xa4data\x01\xa5extra\x90"[..],
            true,
        ),
        (b"\x84\xa2op\xa7publish\xa5topic\xa1a\xa4data\x01\xa2id\xc0", true),
        (
            b"\x84\xa2op\xa7publish\xa5topic\xa1a\xa4data\x01\xa2id\xd0\x05",
            true,
        ),
        (b"\x81\xa2op\xa4ping", true),
        (
            b"\x84\xa2op\xa7publish\xa5topic\xa1a\xa4data\x01\xa4data\x01",
            false,
        ),
        (
            b"\x84\xa2op\xa7publish\xa5topic\xa1a\xa4data\x01\xa2id\xff",
            false,
        ),
        (b"\x82\xa2op\xa7publish\xa5topic\xa1a", false),
        (b"\x82\xa2op\xa7publish\xa4data\x01", false),
        (b"\x82\xa5topic\xa1a\xa4data\x01", false),
        (b"\x83\xa2op\xa7publish\xa5topic\xa1\xff\xa4data\x01", false),
        (b"\x83\xa2op\xa7publish\xa5topic\xa1a\xa4data\xc4\x00", false),
        (b"\x83\xa2op\xa7publish\xa5topic\xa1a\xa4data\x01\x01", false),
        (b"\x93\xa7publish\xa1a\x01", false),
    ] {
        let (own, other) = both(bytes);
        assert_eq!((own, other.is_ok()), (None, is_request), "{bytes:02x?}");
    }
}

#[test]
fn what_json_does_not_have_is_refused_wherever_it_is() {
    for (bytes, wrong) in [
        (
            &b"\xc4\x01a"[..],
            "binary at byte 0: only what JSON has can be sent",
        ),
        (
            b"\x91\xd4\x01\x02",
            "extension type at byte 1: only what JSON has can be sent",
        ),
        (b"\x81\x01\x02", "the map key at byte 1 is not a string"),
        (b"\x81\x90\x02", "the map key at byte 1 is not a string"),
        (
            b"\x92\x01\xca\x7f\x80\x00\x00",
            "the float at byte 2 is not finite",
        ),
        (
            b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
            "the float at byte 0 is not finite",
        ),
        (b"\x81\xa1\xff\x01", "the string at byte 1 is not UTF-8"),
        (b"\x91\xa1\xff", "the string at byte 1 is not UTF-8"),
        (b"\x92\x01", "2 values are declared at byte 0 but 1 bytes follow"),
        (b"\x91\xc1", "byte 0xc1 at 1 is not MessagePack"),
        (
            b"\x91\x90\x90",
            "the message ends at byte 2 but more bytes follow",
        ),
        (b"", "the message ends at byte 0, inside a value"),
    ] {
        let error = PackedSlice::parse(bytes).expect_err("it is refused");
        assert_eq!(error.to_string(), wrong, "{bytes:02x?}");
    }
    let deep = |depth: usize| [&vec![0x91; depth], &b"\x01"[..]].concat();
    assert!(PackedSlice::parse(&deep(64)).is_ok());
    assert_eq!(
        PackedSlice::parse(&deep(65)).map_err(|error| error.to_string()),
        Err("nested deeper than 64".to_owned())
    );
}

#[test]
fn readers_of_messagepack_get_the_bytes_that_were_published() {
    // The forms are longer than the broker's own: a number in nine bytes, a long head, a float of 32 bits.
    let data = b"\xdc\x00\x03\xcf\x00\x00\x00\x00\x00\x00\x00\x07\xd9\x01a\xca\x3f\x80\x00\x00";
    let request = [&b"\x83\xa2op\xa7publish\xa5topic\xa1a\xa4data"[..], data].concat();
    let Ok(ClientMessage::Publish { data: payload, .. }) = Codec::MessagePack.decode_request(&request) else {
        panic!("it is a publication");
    };
    let (mut packed, mut json) = (Vec::new(), Vec::new());
    payload.write_msgpack(&mut packed);
    payload.write_json(&mut json);
    assert_eq!((&packed[..], &json[..]), (&data[..], &br#"[7,"a",1.0]"#[..]));
    assert_eq!(payload.heap_bytes(), data.len());
}

/// Values that JSON and MessagePack both have.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no other", |float| float.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\u{0}-\\u{20}\"\\\\]{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_the_same_value_as_text(value in values()) {
        let bytes = packed(&value);
        let kept = PackedSlice::parse(&bytes).expect("JSON has it");
        prop_assert_eq!(kept.as_bytes(), &bytes[..]);
        let text = kept.to_json();
        prop_assert_eq!(&serde_json::from_str::<Value>(text.as_str()).expect("JSON"), &value);
        prop_assert_eq!(JsonText::from_msgpack(&bytes), Ok(text.clone()));
        // It is a text that may be published.
        prop_assert_eq!(JsonText::parse(text.as_str().as_bytes()), Ok(text));
    }

    #[test]
    fn what_is_read_is_what_the_other_reader_reads(
        id: Option<u64>, topic in "[a-z.]{0,9}", value in values(), at: prop::sample::Index, byte: u8
    ) {
        let bytes = packed(&value);
        let data = Payload::Packed(PackedSlice::parse(&bytes).expect("JSON has it").to_value());
        let message = ClientMessage::Publish { id: id.map(RequestId), topic, data, key: None, ts: None };
        let mut bytes = Vec::new();
        Codec::MessagePack.encode_request(&message, &mut bytes);
        prop_assert_eq!(both(&bytes), (Some(message.clone()), Ok(message)));
        // The same with a damaged byte.
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (own, other) = both(&bytes);
        if let Some(own) = own {
            prop_assert_eq!(Ok(own), other, "{:02x?}", bytes);
        }
    }
}
