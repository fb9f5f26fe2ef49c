//! Which texts are JSON, compared with serde_json; and the same values in MessagePack, whatever the names of their
//! keys.

use std::borrow::Cow;
use std::fmt;

use proptest::prelude::*;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::*;

/// The pairs of a map in their order, including equal keys.
struct Pairs<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Pairs<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, _>()? {
                    pairs.push((Cow::Owned(pair.0), pair.1));
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Read).map(Self)
    }
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Whether `packed`, which came through MessagePack, is the same value as `json`, by kinds and pairs. A number that
/// MessagePack cannot hold must be its text. The reader of JSON here is not this crate's.
pub(crate) fn is_same(json: &str, packed: &str) -> bool {
    match (json.as_bytes()[0], packed.as_bytes()[0]) {
        (b'[', b'[') => {
            let (json, packed): (Vec<&RawValue>, Vec<&RawValue>) = (read(json), read(packed));
            let mut both = json.iter().zip(&packed);
            json.len() == packed.len() && both.all(|(json, packed)| is_same(json.get(), packed.get()))
        }
        (b'{', b'{') => {
            let (Pairs(json), Pairs(packed)) = (read(json), read(packed));
            let mut both = json.iter().zip(&packed);
            json.len() == packed.len()
                && both.all(|(json, packed)| json.0 == packed.0 && is_same(json.1.get(), packed.1.get()))
        }
        (b'"', b'"') => read::<String>(json) == read::<String>(packed),
        (b'-' | b'0'..=b'9', b'"') => read::<String>(packed) == json,
        (b'-' | b'0'..=b'9', b'-' | b'0'..=b'9') => match (json.parse::<i128>(), packed.parse::<i128>()) {
            (Ok(json), Ok(packed)) => json == packed,
            _ => json.parse::<f64>() == packed.parse::<f64>(),
        },
        _ => json == packed,
    }
}

/// The value after it was written in MessagePack and read again.
fn through_msgpack(text: &JsonText) -> JsonText {
    let mut bytes = Vec::new();
    text.write_msgpack(&mut bytes);
    JsonText::from_msgpack(&bytes).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn parsed(text: &str) -> JsonText {
    JsonText::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn texts_that_are_no_json_are_refused_by_what_is_wrong_with_them() {
    for (text, wrong) in [
        ("", "the text ends at byte 0, where a value is expected"),
        (" ", "the text ends at byte 1, where a value is expected"),
        (
            "[1",
            "the text ends at byte 2, where a comma or the end of the array or map is expected",
        ),
        ("[", "the text ends at byte 1, where a value or ] is expected"),
        ("[1,]", "a value is expected at byte 3"),
        (
            "[1}",
            "a comma or the end of the array or map is expected at byte 2",
        ),
        ("]", "a value is expected at byte 0"),
        (
            "{",
            "the text ends at byte 1, where a key in quotes or } is expected",
        ),
        ("{]", "a key in quotes or } is expected at byte 1"),
        ("{\"a\"", "the text ends at byte 4, where a colon is expected"),
        ("{\"a\" 1}", "a colon is expected at byte 5"),
        ("{\"a\":}", "a value is expected at byte 5"),
        ("{\"a\":1,}", "a key in quotes is expected at byte 7"),
        ("{a:1}", "a key in quotes or } is expected at byte 1"),
        ("1 2", "the end of the text is expected at byte 2"),
        ("nul", "null is expected at byte 0"),
        ("NaN", "a value is expected at byte 0"),
        ("-", "the text ends at byte 1, where a digit is expected"),
        ("-a", "a digit is expected at byte 1"),
        ("01", "a number without leading zeros is expected at byte 1"),
        ("1.", "the text ends at byte 2, where a digit is expected"),
        ("1.e5", "a digit is expected at byte 2"),
        ("1e", "the text ends at byte 2, where a digit is expected"),
        ("+1", "a value is expected at byte 0"),
        ("1e400", "the number at byte 0 is out of range"),
        ("[-1e400]", "the number at byte 1 is out of range"),
        (
            "\"a",
            "the text ends at byte 2, where the end of a string is expected",
        ),
        ("\"\u{1}\"", "the control character at byte 1 must be escaped"),
        (r#""\x""#, "the escape at byte 1 is none of JSON's"),
        (r#""\u12""#, "the escape at byte 1 is none of JSON's"),
        (r#""\u+123""#, "the escape at byte 1 is none of JSON's"),
        (
            r#""\"#,
            "the text ends at byte 2, where the end of a string is expected",
        ),
        (r#""\ud800""#, "the escape at byte 1 is half a character"),
        (r#""\ud800\u0041""#, "the escape at byte 1 is half a character"),
        (r#""\udc00""#, "the escape at byte 1 is half a character"),
        ("\u{feff}1", "a value is expected at byte 0"),
    ] {
        let error = JsonText::parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), wrong, "{text}");
    }
    assert_eq!(JsonText::parse(b"\"\xff\""), Err(JsonError::NotUtf8(1)));
    let digits = "9".repeat(400);
    assert_eq!(JsonText::parse(digits.as_bytes()), Err(JsonError::OutOfRange(0)));
}

#[test]
fn arrays_and_maps_are_nested_64_deep_and_no_deeper() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"":"#, "}]")] {
        let layers = open.matches(['[', '{']).count();
        let nested = |depth: usize| {
            let times = depth / layers;
            format!("{}1{}", open.repeat(times), close.repeat(times))
        };
        let deepest = parsed(&nested(NESTING_MAX));
        assert_eq!(through_msgpack(&deepest), deepest);
        let deeper = nested(NESTING_MAX + layers);
        assert_eq!(JsonText::parse(deeper.as_bytes()), Err(JsonError::TooDeep));
    }
    let packed = |depth: usize| [&vec![0x91; depth], &b"\x01"[..]].concat();
    assert!(JsonText::from_msgpack(&packed(NESTING_MAX)).is_ok());
    let deeper = JsonText::from_msgpack(&packed(NESTING_MAX + 1));
    assert_eq!(deeper, Err(Malformed::TooDeep(NESTING_MAX)));
    // Brackets in strings and keys do not count.
    parsed(&format!(r#"{{"{0}":"{0}\"{0}"}}"#, "[{".repeat(100)));
}

#[test]
fn a_key_is_a_name_and_nothing_more() {
    for key in [
        "$serde_json::private::RawValue",
        "$serde_json::private::Number",
        "",
        "\u{0}",
    ] {
        for value in ["\"[[[1]]]\"", "\"1e400\"", "\"}\"", "1", "[]", "{}"] {
            let text = format!("{{{:?}:{value}}}", key.replace('\0', "\\u0000")).replace("\\\\", "\\");
            let text = parsed(&text);
            assert_eq!(through_msgpack(&text), text);
        }
    }
    // Strings within strings do not add up either: each layer is in the text of the one before.
    let mut text = "[".repeat(60) + &"]".repeat(60);
    for _ in 0..10 {
        let quoted = serde_json::to_string(&text).expect("text");
        text = format!(r#"[{{"$serde_json::private::RawValue":{quoted}}}]"#);
    }
    let text = parsed(&text);
    assert_eq!(through_msgpack(&text), text);
}

#[test]
fn equal_keys_stay_in_their_order() {
    let text = parsed(r#"{"a":1,"b":{"c":2,"c":[]},"a":{"a":null}}"#);
    assert_eq!(through_msgpack(&text), text);
}

#[test]
fn a_number_that_messagepack_does_not_have_goes_as_its_text() {
    for (number, packed) in [
        ("0", "0"),
        ("-0", "-0.0"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        // These are whole numbers beyond 64 bits; some of them have an equal float.
        ("100000000000000000000", "1e+20"),
        ("18446744073709551616", "\"18446744073709551616\""),
        ("-9223372036854775809", "\"-9223372036854775809\""),
        (
            "123456789012345678901234567890",
            "\"123456789012345678901234567890\"",
        ),
        // These are the shortest decimals of their floats.
        ("0.1", "0.1"),
        ("1.50", "1.5"),
        ("1e3", "1000.0"),
        ("100E-2", "1.0"),
        ("0.00e99999999999999999999", "0.0"),
        ("61837.630000000000000000000", "61837.63"),
        ("0.30000000000000004", "0.30000000000000004"),
        // This float is in the middle of two decimals. The other one is read as another float.
        ("2234916647100826.2", "2234916647100826.2"),
        ("2234916647100826.3", "\"2234916647100826.3\""),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("0.123456789012345678", "\"0.123456789012345678\""),
        (
            "0.1000000000000000055511151231257827",
            "\"0.1000000000000000055511151231257827\"",
        ),
        ("9007199254740993.0", "\"9007199254740993.0\""),
        ("4e-324", "\"4e-324\""),
        ("1e-400", "\"1e-400\""),
        ("-1e-99999999999999999999", "\"-1e-99999999999999999999\""),
    ] {
        assert_eq!(through_msgpack(&parsed(number)).as_str(), packed, "{number}");
    }
}

#[test]
fn containers_of_any_length_have_the_shortest_heads() {
    for len in [0_usize, 1, 15, 16, 17, 65_535, 65_536] {
        let items = vec!["[7]"; len].join(",");
        let pairs: Vec<String> = (0..len).map(|i| format!(r#""{i}":{{}}"#)).collect();
        let text = parsed(&format!(r#"[[{items}],{{{}}},[{items}]]"#, pairs.join(",")));
        let mut bytes = Vec::new();
        text.write_msgpack(&mut bytes);
        let head = |head: &[u8]| bytes.windows(head.len()).any(|found| found == head);
        let long = len as u32;
        let expected = match len {
            0..16 => [vec![0x90 | len as u8], vec![0x80 | len as u8]],
            16..0x1_0000 => [0xdc, 0xde].map(|marker| vec![marker, (len >> 8) as u8, len as u8]),
            _ => [0xdd, 0xdf].map(|marker| [&[marker][..], &long.to_be_bytes()].concat()),
        };
        assert!(expected.iter().all(|expected| head(expected)), "{len}");
        assert_eq!(JsonText::from_msgpack(&bytes), Ok(text), "{len}");
    }
}

/// Texts that are nearly JSON, and some that are JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[\\[\\]{}:, \n\"0-9eE.+-]{1,3}",
        Just("\"a\":".to_owned()),
        Just("true".to_owned()),
        Just("null,".to_owned()),
        "\"[\\\\u0-9a-f\"]{0,8}\"",
        "-?[0-9]{1,4}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?,?",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Whether serde_json reads all of `text`, including strings and numbers.
pub(super) fn is_json(text: &str) -> bool {
    struct Whole;
    impl<'de> Deserialize<'de> for Whole {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Whole)
        }
    }
    impl<'de> Visitor<'de> for Whole {
        type Value = Self;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }
        fn visit_unit<E>(self) -> Result<Self, E> {
            Ok(self)
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
            Ok(self)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
            Ok(self)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
            Ok(self)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
            Ok(self)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self, E> {
            Ok(self)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut array: A) -> Result<Self, A::Error> {
            while array.next_element::<Self>()?.is_some() {}
            Ok(self)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            while map.next_entry::<Self, Self>()?.is_some() {}
            Ok(self)
        }
    }
    serde_json::from_str::<Whole>(text).is_ok() && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_json_is_what_another_reader_takes(text in nearly_json()) {
        let ours = JsonText::parse(text.as_bytes());
        prop_assert_eq!(ours.is_ok(), is_json(&text), "{:?} is {:?}", text, ours);
        if let Ok(text) = ours {
            let packed = through_msgpack(&text);
            prop_assert!(is_same(text.as_str(), packed.as_str()), "{:?} came as {:?}", text, packed);
        }
    }

    #[test]
    fn any_number_comes_back_or_its_text(whole in "-?(0|[1-9][0-9]{0,25})", rest in "(\\.[0-9]{1,25})?(e[+-]?[0-9]{1,2})?") {
        let text = parsed(&(whole + &rest));
        let packed = through_msgpack(&text);
        prop_assert!(is_same(text.as_str(), packed.as_str()), "{:?} came as {:?}", text, packed);
    }

    #[test]
    fn any_text_comes_back(text: String) {
        let quoted = serde_json::to_string(&text).expect("text");
        let packed = through_msgpack(&parsed(&quoted));
        prop_assert_eq!(packed.as_str(), quoted);
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = through_msgpack(&parsed(&format!("\"{escaped}\"")));
        prop_assert_eq!(escaped, packed);
    }
}
