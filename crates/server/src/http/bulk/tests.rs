//! Bodies against brokers with little room, and what is kept of long ones.

use expect_test::expect;
use proptest::prelude::*;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{Directory, DirectoryLimits, Kinds, Publication};
use tickwire_wire::market::Level;
use tickwire_wire::{Payload, Seq, Topic};

use super::check::{KEPT_BYTES_MAX, Ready};
use super::*;
use crate::http::Lines;
use crate::ops::labels::LABELS;

/// A body from a client that may publish everything, for a broker with room for `topics_max` topics.
fn bulk(text: Bytes, topics_max: usize) -> Bulk {
    let limits = DirectoryLimits {
        topics_max,
        ..DirectoryLimits::default()
    };
    bulk_within(text, limits)
}

fn bulk_within(text: Bytes, limits: DirectoryLimits) -> Bulk {
    let limits = DirectoryLimits {
        topics_per_key_max: 0,
        history_bytes_max: 1 << 20,
        ..limits
    };
    let directory = Directory::new("e".into(), Kinds::default(), limits, Vec::new());
    Bulk {
        text,
        message_bytes: 2 << 20,
        rights: Rights::open([">".parse().unwrap()]),
        publisher: Publisher(1),
        ingress: Ingress::new(Arc::new(directory)),
        clock: Clock::start(),
        lifecycle: Arc::new(Lifecycle::new(true)),
        metrics: Catalogue::new(1, "test", &LABELS).unwrap(),
    }
}

fn newest(bulk: &Bulk, topic: &str) -> Option<u64> {
    let cell = bulk.ingress.directory().find(topic);
    cell.map(|cell| cell.position().seq.0)
}

#[test]
fn a_line_that_another_publisher_forestalled_ends_the_publication() {
    let text = b"{\"topic\":\"a\",\"data\":1}\n\n{\"topic\":\"b\",\"data\":1}\n{\"topic\":\"a\",\"data\":2}";
    let bulk = bulk(Bytes::from_static(text), 2);
    let checked = bulk.check().expect("there is room for two topics");
    let other: Topic = "c".parse().expect("a topic");
    let payload = Payload::from_json(b"1").expect("JSON");
    let place = bulk
        .ingress
        .submit(Origin::Feed, &other, payload, bulk.clock.now());
    place.expect("there is room for it");
    let (HandledLines { published, .. }, stopped) = bulk.publish(checked);
    assert_eq!(published, 1, "it is charged for");
    let answer = stopped.unwrap_err();
    expect![[r#"409 Conflict: limit_exceeded: line 3: the broker holds its most topics (2); publish to an existing one or raise limits.topics; another publisher was faster; the 1 messages before it are published, it and what follows are not"#]]
    .assert_eq(&answer.to_string());
    assert_eq!(newest(&bulk, "a"), Some(1));
}

/// A line that publishes `levels` bids to the book `book.SYMBOL`.
fn book_line(symbol: &str, levels: usize) -> String {
    let bids: Vec<String> = (1..=levels).map(|at| format!("[\"{at}\",\"1\"]")).collect();
    let bids = bids.join(",");
    format!(
        "{{\"topic\":\"book.{symbol}\",\"data\":{{\"symbol\":\"{symbol}\",\"bids\":[{bids}],\"time\":0}}}}\n"
    )
}

/// The body was published up to the line that did not fit, and the answer blamed another publisher.
#[test]
fn a_body_was_published_in_part_when_the_values_had_no_room_for_all() {
    let value = "x".repeat(1_000);
    let to = |topic: &str| format!("{{\"topic\":\"{topic}\",\"data\":\"{value}\"}}\n");
    let topics = |count: usize| (0..count).map(|at| to(&format!("t.{at}"))).collect::<String>();
    for (body, refused) in [
        (topics(8), None),
        (topics(9), Some("line 9: ")),
        // One value takes the place of another.
        (to("t.0").repeat(30), None),
        (topics(7) + &book_line("A", 10), None),
        (
            topics(7) + &book_line("A", 20) + &book_line("A", 90),
            Some("line 9: "),
        ),
        (book_line("A", 40) + &book_line("B", 40), None),
        (
            book_line("A", 80) + &book_line("B", 80) + &topics(1),
            Some("line "),
        ),
    ] {
        let limits = DirectoryLimits {
            value_bytes_max: 10_600,
            ..DirectoryLimits::default()
        };
        let bulk = bulk_within(body.into(), limits);
        let (HandledLines { published, .. }, ended) = bulk.run();
        match (ended, refused) {
            (Ok(()), None) => assert_eq!(published, Lines::new(&bulk.text).count()),
            (Err(answer), Some(line)) => {
                assert_eq!((published, bulk.ingress.directory().topic_count()), (0, 0));
                let answer = answer.to_string();
                assert!(
                    answer.contains(line) && answer.contains("limits.value_bytes"),
                    "{answer}"
                );
            }
            (ended, refused) => panic!(
                "{published} published, {ended:?} in place of {refused:?}, {} bytes are held",
                bulk.ingress.directory().value_bytes()
            ),
        }
    }
}

/// Lines of the topic `trade.A` by turns with changes of `levels` levels of the book `book.B`.
fn body(lines: usize, levels: usize) -> Bytes {
    let line = |at: usize| match at % 2 {
        0 => format!("{{\"topic\":\"trade.A\",\"data\":{at}}}\n"),
        _ => book_line("B", levels),
    };
    (0..lines).map(line).collect::<String>().into()
}

/// The data of the newest messages of `topic`, with their numbers.
fn history(ingress: &Ingress, topic: &str) -> Vec<(u64, String)> {
    let cell = ingress.directory().find(topic);
    let messages = cell.map_or(Vec::new(), |cell| cell.history(Seq::ZERO, 1_000).messages);
    let message = |message: &Arc<Publication>| {
        let mut json = Vec::new();
        message.payload.write_json(&mut json);
        (message.seq.0, String::from_utf8(json).expect("JSON"))
    };
    messages.iter().map(message).collect()
}

#[test]
fn a_line_was_read_again_for_its_publication() {
    let bulk = bulk(body(8, 1), 10);
    let checked = bulk.check().expect("all is well");
    assert_eq!((checked.kept.len(), checked.rest.clone().count()), (8, 0));
    let (HandledLines { published, .. }, stopped) = bulk.publish(checked);
    assert!(stopped.is_ok() && published == 8, "{published} {stopped:?}");
    assert_eq!(
        (newest(&bulk, "trade.A"), newest(&bulk, "book.B")),
        (Some(4), Some(4))
    );
}

#[test]
fn what_is_kept_of_a_long_body_is_bounded() {
    let bulk = bulk(body(100, 4_000), 10);
    let checked = bulk.check().expect("all is well");
    let bytes: usize = checked.kept.iter().map(Ready::memory_bytes).sum();
    let each = 4_000 * size_of::<Level>();
    assert!(
        (KEPT_BYTES_MAX - 2 * each..=KEPT_BYTES_MAX).contains(&bytes),
        "{bytes}"
    );
    let kept = checked.kept.iter().map(|ready| ready.line);
    let rest = checked.rest.clone().map(|(line, _)| line);
    assert!(kept.chain(rest).eq(1..=100), "no line is left out or read twice");
    let (HandledLines { published, .. }, stopped) = bulk.publish(checked);
    assert!(stopped.is_ok() && published == 100, "{published} {stopped:?}");
    assert_eq!(
        (newest(&bulk, "trade.A"), newest(&bulk, "book.B")),
        (Some(50), Some(50))
    );
}

#[test]
fn topics_that_end_meanwhile_are_made_again() {
    let bulk = bulk(body(6, 1), 10);
    let submit = |topic: &str, text: &[u8]| {
        let (topic, payload) = (
            topic.parse().expect("a topic"),
            Payload::from_json(text).expect("JSON"),
        );
        let place = bulk
            .ingress
            .submit(Origin::Feed, &topic, payload, bulk.clock.now());
        place.expect("there is room")
    };
    submit("trade.A", b"0");
    let checked = bulk.check().expect("all is well");
    let ended = bulk.ingress.directory().delete("trade.A");
    assert!(ended.is_some());
    let (HandledLines { published, .. }, stopped) = bulk.publish(checked);
    assert!(stopped.is_ok() && published == 6, "{published} {stopped:?}");
    assert_eq!(newest(&bulk, "trade.A"), Some(3));
}

#[test]
fn messages_are_counted_by_the_text_of_their_data_and_the_kind_of_their_topic() {
    let text = "{\"topic\":\"trade.A\",\"data\": [1, 2] }\n{\"topic\":\"ticker.A\",\"data\":3}\n";
    let book = book_line("A", 300);
    let bulk = bulk((text.repeat(200) + &book).into(), 10);
    let (HandledLines { published, .. }, stopped) = bulk.run();
    assert!(stopped.is_ok() && published == 401, "{published} {stopped:?}");
    let total = |metric| bulk.metrics.total(metric);
    let book_bytes = book.len() - "{\"topic\":\"book.A\",\"data\":}\n".len();
    assert_eq!(total(Metric::Publications), 401);
    assert_eq!(total(Metric::PublishedBytes), 200 * 7 + book_bytes as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A body against its lines that are read as trees and published one by one.
    #[test]
    fn a_body_is_published_as_its_lines_are_one_by_one(
        lines in prop::collection::vec((0..3_usize, 0..6_usize, 0..9_u32, 0..4_usize), 0..40)
    ) {
        let line = |(topic, data, number, form): &(usize, usize, u32, usize)| {
            let topic = ["trade.A", "ticker.A", "book.A"][*topic];
            let data = match (topic, data) {
                // Some are no book messages, or of another book.
                ("book.A", 0) => "{\"symbol\":\"B\",\"bids\":[],\"time\":0}".to_owned(),
                ("book.A", 1) => "7".to_owned(),
                ("book.A", _) => format!("{{\"symbol\":\"A\",\"bids\":[[\"1{number}\",\"{data}\"]],\"time\":{number}}}"),
                (_, 0) => number.to_string(),
                (_, 1) => format!("\"\\u00e9 {number}\""),
                (_, 2) => format!("{{\"a\":[{number},{{}}],\"a\":null}}"),
                (_, 3) => format!("[{number},]"),
                (_, _) => format!("  [ {number} ]\t"),
            };
            match form {
                0 => format!("{{\"topic\":\"{topic}\",\"data\":{data}}}\n"),
                1 => format!("\r\n  {{\"data\":{data},\"topic\":\"{topic}\"}}\r\n"),
                2 => format!("{{\"topic\":\"\\u00{:02x}{}\",\"data\":{data}}}\n", topic.as_bytes()[0], &topic[1..]),
                _ => format!("{{\"topic\":\"{topic}\",\"unknown\":[1],\"data\":{data}}}\n"),
            }
        };
        let body: String = lines.iter().map(line).collect();
        let bulk = bulk(body.clone().into(), 10);
        let (HandledLines { published, .. }, stopped) = bulk.run();

        let model = self::bulk(Bytes::new(), 10);
        let mut taken = Ok(0);
        for text in body.lines().filter(|text| !text.trim().is_empty()) {
            #[derive(serde::Deserialize)]
            struct Tree {
                topic: String,
                data: Box<serde_json::value::RawValue>,
            }
            let tree = serde_json::from_str::<Tree>(text).map_err(drop);
            let one = tree.and_then(|tree| {
                let payload = Payload::from_json(tree.data.get().as_bytes()).map_err(drop)?;
                let topic = tree.topic.parse().map_err(drop)?;
                let place = model.ingress.submit(Origin::Feed, &topic, payload, model.clock.now());
                place.map(drop).map_err(drop)
            });
            taken = taken.and_then(|taken| one.map(|()| taken + 1));
        }
        match taken {
            Ok(taken) => {
                prop_assert!(stopped.is_ok(), "{:?}", stopped);
                prop_assert_eq!(published, taken);
                for topic in ["trade.A", "ticker.A", "book.A"] {
                    prop_assert_eq!(history(&bulk.ingress, topic), history(&model.ingress, topic));
                }
            }
            Err(()) => {
                prop_assert!(stopped.is_err());
                prop_assert_eq!((published, bulk.ingress.directory().topic_count()), (0, 0));
            }
        }
    }
}
