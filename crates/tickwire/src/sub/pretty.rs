//! Messages as lines for people: time, topic, number, and the fields of the data.
//!
//! Digits stay as the broker wrote them. Long arrays and objects are not printed, only how many elements they have, so that a book is
//! a line. A line has at most [`LINE_CHARS_MAX`] characters of data.

use std::fmt::{self, Write as _};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tickwire_wire::message::{GapReason, StaleReason, TopicState};
use tickwire_wire::{Control, Micros, Seq, ServerMessage};

use crate::colour::{Colour, Painter};

/// Most characters of an array or object that is printed.
const INNER_CHARS_MAX: usize = 40;
/// Most characters of the data in a line.
const LINE_CHARS_MAX: usize = 400;

/// Appends the line of `message`, with its end. Other messages than data, gaps and states are only printed with `all`.
pub(super) fn append(out: &mut String, message: &ServerMessage, all: bool, paint: Painter) {
    // Writing to a string cannot fail.
    let _ = match message {
        ServerMessage::Update { topic, seq, ts, data } => write!(
            out,
            "{} {} {}",
            time(*ts),
            paint.with(Colour::Cyan, topic),
            paint.with(Colour::Dim, seq)
        )
        .and_then(|()| write!(out, "  {}", fields(topic, data, paint))),
        ServerMessage::Snapshot {
            topic, seq, ts, data, ..
        } => write!(
            out,
            "{} {} {}",
            time(*ts),
            paint.with(Colour::Cyan, topic),
            paint.with(Colour::Dim, seq)
        )
        .and_then(|()| {
            write!(
                out,
                " {}  {}",
                paint.with(Colour::Bold, "snapshot"),
                fields(topic, data, paint)
            )
        }),
        ServerMessage::Control(Control::Gap {
            topic,
            from,
            to,
            reason,
            ..
        }) => {
            let why = match reason {
                GapReason::Slow => "this reader was too slow",
                GapReason::History => "the history no longer has them",
                GapReason::Epoch => "they are of another lineage",
            };
            let line = format!("gap: {from} to {to} will not come, {why}");
            write!(
                out,
                "{} {}",
                paint.with(Colour::Cyan, topic),
                paint.with(Colour::Red, line)
            )
        }
        ServerMessage::Control(Control::Status {
            topic,
            state,
            reason,
            seq,
        }) => {
            let (colour, line) = status(*state, *reason, *seq);
            write!(
                out,
                "{} {}",
                paint.with(Colour::Cyan, topic),
                paint.with(colour, line)
            )
        }
        ServerMessage::Control(control) if all => {
            let mut text = Vec::new();
            tickwire_wire::Codec::Json.encode_control(control, &mut text);
            write!(out, "{}", paint.with(Colour::Dim, String::from_utf8_lossy(&text)))
        }
        ServerMessage::Control(_) | ServerMessage::Unknown(_) => return,
    };
    out.push('\n');
}

/// What a status says, and its colour.
fn status(state: TopicState, reason: Option<StaleReason>, seq: Option<Seq>) -> (Colour, String) {
    let (colour, mut line) = match state {
        TopicState::Stale => (Colour::Yellow, "stale".to_owned()),
        TopicState::Live => (Colour::Green, "live".to_owned()),
        TopicState::CaughtUp => (Colour::Green, "caught up".to_owned()),
    };
    if let Some(reason) = reason {
        line += &format!(": {reason:?}").to_lowercase();
    }
    if let Some(seq) = seq {
        line += &format!(" at {seq}, what follows is live");
    }
    (colour, line)
}

/// The time of day in UTC, with microseconds.
fn time(ts: Micros) -> String {
    let (seconds, micros) = (ts.0 / 1_000_000 % 86_400, ts.0 % 1_000_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{micros:06}", seconds % 60)
}

/// The fields of an object, in its order, or another value as it is.
fn fields(topic: &str, data: &RawValue, paint: Painter) -> String {
    let Ok(Pairs(pairs)) = serde_json::from_str(data.get()) else {
        return cut(&shown(data.get()));
    };
    let symbol = topic.rsplit('.').next().unwrap_or(topic);
    let mut line = String::new();
    let mut length = 0;
    for (name, value) in pairs {
        let value = shown(value.get());
        // The topic names the symbol already.
        if name == "symbol" && value == symbol {
            continue;
        }
        length += name.chars().count() + value.chars().count() + 3;
        if length > LINE_CHARS_MAX {
            line += " …";
            break;
        }
        let separator = if line.is_empty() { "" } else { "  " };
        let _ = write!(line, "{separator}{} {value}", paint.with(Colour::Dim, name));
    }
    line
}

/// A value: a text without its quotes, a short one as it is, and of a long one how many elements it has.
fn shown(json: &str) -> String {
    if let Ok(text) = serde_json::from_str::<String>(json) {
        return cut(&text.escape_debug().to_string());
    }
    let elements = match json.as_bytes() {
        _ if json.chars().count() <= INNER_CHARS_MAX => None,
        [b'[', ..] => serde_json::from_str::<Vec<IgnoredAny>>(json)
            .ok()
            .map(|elements| elements.len()),
        [b'{', ..] => serde_json::from_str::<Pairs<'_>>(json)
            .ok()
            .map(|Pairs(pairs)| pairs.len()),
        _ => None,
    };
    match elements {
        Some(count) if json.starts_with('[') => format!("[{count}]"),
        Some(count) => format!("{{{count}}}"),
        None => cut(&json.replace(['\n', '\r'], "")),
    }
}

/// `text`, cut where it is too long for a line.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LINE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The names and values of an object, in its order, not read further.
struct Pairs<'j>(Vec<(String, &'j RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tickwire_wire::Codec;

    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &Expect) {
        let message = Codec::Json.decode_server(message.as_bytes()).expect("a message");
        let mut line = String::new();
        append(&mut line, &message, false, Painter::PLAIN);
        expected.assert_eq(&line);
    }

    #[test]
    fn lines() {
        check(
            r#"{"op":"update","topic":"trade.BTC-USD","seq":58,"ts":1723118400100000,"data":{"symbol":"BTC-USD","id":7,"price":"61837.60","big":18446744073709551616,"tags":["a","b"]}}"#,
            &expect![[r#"
                12:00:00.100000 trade.BTC-USD 58  id 7  price 61837.60  big 18446744073709551616  tags ["a","b"]
            "#]],
        );
        let levels = vec![r#"["61837.62","0.5"]"#; 30].join(",");
        check(
            &format!(
                r#"{{"op":"snapshot","topic":"book.X","epoch":"k","seq":1,"ts":0,"data":{{"symbol":"X","bids":[{levels}],"asks":[]}}}}"#
            ),
            &expect![[r#"
                00:00:00.000000 book.X 1 snapshot  bids [30]  asks []
            "#]],
        );
        check(
            r#"{"op":"update","topic":"chat.x","seq":2,"ts":1,"data":"two\nlines\u001b[0m"}"#,
            &expect![[r#"
                00:00:00.000001 chat.x 2  two\nlines\u{1b}[0m
            "#]],
        );
        check(
            r#"{"op":"gap","topic":"trade.X","epoch":"k","from":3,"to":9,"reason":"slow"}"#,
            &expect![[r#"
                trade.X gap: 3 to 9 will not come, this reader was too slow
            "#]],
        );
        check(
            r#"{"op":"status","topic":"trade.X","state":"caught_up","seq":70}"#,
            &expect![[r#"
                trade.X caught up at 70, what follows is live
            "#]],
        );
        check(
            r#"{"op":"status","topic":"book.X","state":"stale","reason":"hole"}"#,
            &expect![[r#"
                book.X stale: hole
            "#]],
        );
        check(r#"{"op":"heartbeat","ts":1}"#, &expect![""]);
    }

    #[test]
    fn a_line_has_an_end_however_long_its_data_is() {
        let long = "x".repeat(10_000);
        let fields: Vec<String> = (0..1_000).map(|at| format!(r#""f{at}":{at}"#)).collect();
        for data in [
            format!("\"{long}\""),
            format!("{{{}}}", fields.join(",")),
            format!("{{\"a\":\"{long}\"}}"),
        ] {
            let message = format!(r#"{{"op":"update","topic":"a","seq":1,"ts":1,"data":{data}}}"#);
            let message = Codec::Json.decode_server(message.as_bytes()).expect("a message");
            let mut line = String::new();
            append(&mut line, &message, false, Painter::PLAIN);
            assert!(line.chars().count() < LINE_CHARS_MAX + 100, "{line}");
        }
    }
}
