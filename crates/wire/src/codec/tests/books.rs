//! The usual form of a book message, which has a reader of its own: what has that form, and that it is read as serde reads
//! it.

use proptest::prelude::*;

use super::super::{book, publish};
use crate::json_text::check::value_end;
use crate::market::Book;

/// The books that both readers make of `text`.
fn both(text: &str) -> (Option<Book>, Option<Book>) {
    let own = book::read(text, 0).filter(|(_, end)| *end == text.len());
    (own.map(|(book, _)| book), serde_json::from_str(text).ok())
}

#[test]
fn the_usual_form_is_read() {
    for text in [
        r#"{"symbol":"BTC-USDT","bids":[["61838.1","0.5"],["61838","0"]],"asks":[["61838.2","1"]],"time":1723075200000000}"#,
        r#"{"time":0,"symbol":"é","replace":true,"checksum":4294967295,"asks":[],"bids":[]}"#,
        r#"{"symbol":"","time":18446744073709551615}"#,
        "{ \"symbol\" : \"A\" ,\n\"bids\" : [ [ \"-1.50\" ,\t\"00.0\" ] , [\"1\",\"2\"] ] , \"replace\" : false ,\"time\" : 7 }",
        r#"{"symbol":"A","bids":[["79228162514264337593543950335","0.0000000000000000000000000001"]],"time":1}"#,
    ] {
        let (own, other) = both(text);
        assert!(own.is_some(), "{text}");
        assert_eq!(own, other, "{text}");
    }
}

#[test]
fn another_form_is_left_to_the_other_reader() {
    for (text, is_book) in [
        (r#"{"symbol":"A","time":1,"venue":"X"}"#, true),
        (r#"{"symbol":"\u0041","time":1}"#, true),
        (r#"{"symbol":"A","t\u0069me":1}"#, true),
        (r#"{"symbol":"A","time":1.0}"#, true),
        (r#"{"symbol":"A","time":1,"bids":[["\u0031","2"]]}"#, true),
        (r#"["A",[],[],0,1,false]"#, true),
        (r#"{"symbol":"A"}"#, false),
        (r#"{"time":1}"#, false),
        (r#"{}"#, false),
        (r#"{"symbol":"A","time":01}"#, false),
        (r#"{"symbol":"A","time":}"#, false),
        (r#"{"symbol":"A","time":-1}"#, false),
        (r#"{"symbol":"A","time":18446744073709551616}"#, false),
        (r#"{"symbol":"A","time":1,"checksum":4294967296}"#, false),
        (r#"{"symbol":"A","time":1,"replace":1}"#, false),
        (r#"{"symbol":"A","time":1,"replace":fals}"#, false),
        (r#"{"symbol":"A","time":1,"time":1}"#, false),
        (r#"{"symbol":"A","symbol":"A","time":1}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[],"bids":[]}"#, false),
        (r#"{"symbol":"A","time":1,"asks":[],"asks":[]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[["1"]]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[["1","2","3"]]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[["1",2]]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[["1.","2"]]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[["1","2"],]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[,["1","2"]]}"#, false),
        (r#"{"symbol":"A","time":1,"bids":[["1","2"]"#, false),
        (r#"{"symbol":"A","time":1,}"#, false),
        (r#"{"symbol":"A" "time":1}"#, false),
        (r#"{"symbol":"A","time":1"#, false),
        (r#"{"symbol":"A","time":1}}"#, false),
        ("{\"symbol\":\"\n\",\"time\":1}", false),
    ] {
        let (own, other) = both(text);
        assert_eq!((own, other.is_some()), (None, is_book), "{text}");
    }
}

#[test]
fn a_request_to_a_book_is_read_as_one_if_its_topic_comes_first() {
    let data = r#"{"symbol":"A","bids":[["1","2"]],"time":1}"#;
    for (text, is_book) in [
        (
            format!(r#"{{"op":"publish","topic":"book.A","data":{data}}}"#),
            true,
        ),
        (
            format!(r#"{{"topic":"book.A","data": {data} ,"op":"publish"}}"#),
            true,
        ),
        (
            format!(r#"{{"op":"publish","data":{data},"topic":"book.A"}}"#),
            false,
        ),
        (
            format!(r#"{{"op":"publish","topic":"books.A","data":{data}}}"#),
            false,
        ),
        (
            r#"{"op":"publish","topic":"book.A","data":{"symbol":"A"}}"#.to_owned(),
            false,
        ),
        (r#"{"op":"publish","topic":"book.A","data":7}"#.to_owned(), false),
    ] {
        let read = publish::read(text.as_bytes()).expect(&text);
        let book = read.book.as_deref();
        assert_eq!(book.is_some(), is_book, "{text}");
        if is_book {
            assert_eq!(
                (book, read.data.as_str()),
                (both(data).1.as_ref(), data),
                "{text}"
            );
        }
    }
}

/// Texts that are nearly book messages, and many that are.
fn nearly_books() -> impl Strategy<Value = String> {
    let space = || prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")];
    let number = prop_oneof![
        4 => "[0-9]{1,7}(\\.[0-9]{1,8})?".prop_map(|number| format!("\"{number}\"")),
        1 => "\"-?[0-9]{0,30}\\.?[0-9]{0,30}\"",
        1 => "[0-9]{1,3}",
    ];
    let level = (number.clone(), space(), number, space())
        .prop_map(|(price, before, size, after)| format!("[{price}{before},{size}{after}]"));
    let levels = prop::collection::vec(level, 0..5).prop_map(|levels| format!("[{}]", levels.join(",")));
    let name = prop_oneof![
        3 => Just("symbol"),
        3 => Just("time"),
        2 => Just("bids"),
        2 => Just("asks"),
        1 => Just("checksum"),
        1 => Just("replace"),
        1 => Just("other")
    ];
    let value = prop_oneof![
        2 => levels,
        2 => "(0|[1-9][0-9]{0,20})",
        1 => "\"[A-Zé\\\\]{0,3}\"",
        1 => Just("true".to_owned()),
        1 => Just("null".to_owned())
    ];
    let any_field = (name, value);
    let field = |name: &'static str, value: String| (Just(name), Just(value));
    let usual = (levels_of(), levels_of(), any::<u64>()).prop_flat_map(move |(bids, asks, time)| {
        let fields = (
            field("symbol", "\"A\"".to_owned()),
            field("bids", bids),
            field("asks", asks),
            field("time", time.to_string()),
        );
        fields.prop_map(|(a, b, c, d)| vec![a, b, c, d])
    });
    let fields = prop_oneof![usual.prop_shuffle(), prop::collection::vec(any_field, 0..6)];
    (fields, space(), space()).prop_map(|(fields, before, after)| {
        let fields = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\"{before}:{after}{value}"));
        format!(
            "{{{}}}",
            fields.collect::<Vec<_>>().join(&format!("{after},{before}"))
        )
    })
}

/// Levels as nearly all publishers write them.
fn levels_of() -> impl Strategy<Value = String> {
    let level = ("[0-9]{1,7}(\\.[0-9]{1,8})?", "[0-9]{1,3}(\\.[0-9]{1,8})?");
    prop::collection::vec(level, 0..5).prop_map(|levels| {
        let levels = levels
            .iter()
            .map(|(price, size)| format!("[\"{price}\",\"{size}\"]"));
        format!("[{}]", levels.collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_read_is_what_serde_reads(text in nearly_books(), at: prop::sample::Index, piece in "[\\[\\]{},:\"0-9.a\\\\ -]{0,2}") {
        for text in [text.clone(), {
            // The same with a place that is damaged.
            let mut text = text;
            let at = at.index(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                text.replace_range(at..=at, &piece);
            }
            text
        }] {
            if let Some((read, end)) = book::read(&text, 0) {
                prop_assert_eq!(Some(end), value_end(text.as_bytes(), 0), "{}", text);
                let other = serde_json::from_str::<Book>(&text[..end]).ok();
                prop_assert_eq!(Some(&read), other.as_ref(), "{}", text);
                prop_assert_eq!((read.bids.capacity(), read.asks.capacity()), (read.bids.len(), read.asks.len()));
            }
        }
    }

    #[test]
    fn every_book_that_a_publisher_writes_is_read(bids in levels_of(), asks in levels_of(), time: u64, replace: bool) {
        let text = format!("{{\"symbol\":\"A\",\"bids\":{bids},\"asks\":{asks},\"time\":{time},\"replace\":{replace}}}");
        let (own, other) = both(&text);
        prop_assert!(own.is_some());
        prop_assert_eq!(own, other);
    }
}
