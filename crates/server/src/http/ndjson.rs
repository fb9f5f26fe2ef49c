//! The body of `POST /v1/publish`: one object `{"topic","data"}` on each line, perhaps with a `key` and `ts`.
//!
//! It is read line by line and lent to the messages in it, so a body takes no more memory than it has bytes, whatever its
//! lines hold. Empty lines are ignored, lines may end with CRLF, and a byte order mark before the first one is skipped. The caller bounds the body
//! ([`tickwire_wire::limits::BULK_BODY_BYTES_MAX`]).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tickwire_wire::codec::PlainPublish;
use tickwire_wire::market::Book;
use tickwire_wire::message::PublishKey;
use tickwire_wire::{ErrorCode, JsonSlice, Micros, Refusal, byte_order_mark};

use super::ErrorResponse;

/// The first line of a body that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {refusal}")]
pub struct BadLine {
    /// The number of the line, beginning with 1.
    pub line: usize,
    /// The fault of the line.
    pub refusal: Refusal,
}

impl From<BadLine> for ErrorResponse {
    /// The status is always 400, even if a line is too large: the line must change, not the body's size.
    fn from(bad: BadLine) -> Self {
        let reason = format!("line {}: {}; nothing was published", bad.line, bad.refusal.reason);
        Self::new(
            hyper::StatusCode::BAD_REQUEST,
            Refusal::new(bad.refusal.code, reason),
        )
    }
}

#[derive(Deserialize)]
struct Line<'b> {
    #[serde(borrow)]
    topic: Cow<'b, str>,
    #[serde(borrow)]
    data: &'b RawValue,
    #[serde(borrow)]
    key: Option<Cow<'b, str>>,
    ts: Option<Micros>,
}

/// What few lines have beside their topic and data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineExtras {
    /// By which the broker knows the message again if it is repeated.
    pub key: Option<PublishKey>,
    /// The message's time, where the rights allow to set it.
    pub ts: Option<Micros>,
}

/// A line of a body that is a message.
#[derive(Debug, Clone, PartialEq)]
pub struct LineMessage<'b> {
    /// The topic that it names, not validated.
    pub topic: Cow<'b, str>,
    /// The message.
    pub data: JsonSlice<'b>,
    /// The message as one to a book, if it was read as that.
    pub book: Option<Box<Book>>,
    /// A key or a time, if it has any.
    pub extras: Option<Box<LineExtras>>,
}

impl BadLine {
    /// A bad line with the number `line`, because of `refusal`.
    #[must_use]
    pub fn new(line: usize, mut refusal: Refusal) -> Self {
        // The parser counts lines within its own text, which is one line of the body.
        refusal.reason = refusal.reason.replace(" at line 1 column ", " at column ");
        Self { line, refusal }
    }
}

/// The lines of a body that are not empty, in order, each with its number.
#[derive(Debug, Clone)]
pub struct Lines<'b> {
    rest: &'b [u8],
    /// The number of lines that were read.
    read: usize,
}

impl<'b> Lines<'b> {
    /// The lines of `body`.
    #[must_use]
    pub fn new(body: &'b [u8]) -> Self {
        Self {
            rest: byte_order_mark::without(body),
            read: 0,
        }
    }
}

impl<'b> Iterator for Lines<'b> {
    type Item = (usize, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            self.read += 1;
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Some((self.read, text));
            }
        }
        None
    }
}

/// Reads the message in `text`, line number `line`.
///
/// # Errors
/// If it is not a message, or longer than `message_bytes_max`.
pub fn parse_line(line: usize, text: &[u8], message_bytes_max: usize) -> Result<LineMessage<'_>, BadLine> {
    parse(text, message_bytes_max).map_err(|refusal| BadLine::new(line, refusal))
}

fn parse(line: &[u8], message_bytes_max: usize) -> Result<LineMessage<'_>, Refusal> {
    if line.len() > message_bytes_max {
        let reason = format!(
            "has {} bytes; at most {message_bytes_max} are allowed",
            line.len()
        );
        return Err(Refusal::new(ErrorCode::TooLarge, reason));
    }
    if let Some(PlainPublish {
        topic, data, book, ..
    }) = PlainPublish::of_line(line)
    {
        let topic = Cow::Borrowed(topic);
        let extras = None;
        return Ok(LineMessage {
            topic,
            data,
            book,
            extras,
        });
    }
    // The parser would take an array as the fields of a message in their order.
    if !line.starts_with(b"{") {
        return Err(Refusal::bad_request("is no JSON object {\"topic\",\"data\"}"));
    }
    let line: Line<'_> = serde_json::from_slice(line)
        .map_err(|e| Refusal::bad_request(format!("is not {{\"topic\",\"data\"}}: {e}")))?;
    let key = line.key.map(|key| key.parse()).transpose()?;
    let ts = line.ts;
    let has_extras = key.is_some() || ts.is_some();
    Ok(LineMessage {
        topic: line.topic,
        data: JsonSlice::parse(line.data.get().as_bytes())?,
        book: None,
        extras: has_extras.then(|| Box::new(LineExtras { key, ts })),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// All messages, or the first bad line.
    fn read(body: &[u8], message_bytes_max: usize) -> Result<Vec<LineMessage<'_>>, BadLine> {
        Lines::new(body)
            .map(|(line, text)| parse_line(line, text, message_bytes_max))
            .collect()
    }

    #[track_caller]
    fn check(body: &str, expected: &Expect) {
        let result = match read(body.as_bytes(), 100) {
            Err(bad) => bad.to_string(),
            Ok(messages) => {
                let lines = messages.iter().map(|message| {
                    let LineMessage {
                        topic, data, extras, ..
                    } = message;
                    let LineExtras { key, ts } = extras.as_deref().cloned().unwrap_or_default();
                    let key = key.map_or(String::new(), |key| format!(" once as {key}"));
                    let ts = ts.map_or(String::new(), |ts| format!(" at {ts}"));
                    format!("{topic} {data:?}{key}{ts}\n")
                });
                lines.collect()
            }
        };
        expected.assert_eq(&result);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        check(
            "\u{feff}{\"topic\":\"a\",\"data\":1}",
            &expect![[r#"
            a 1
        "#]],
        );
    }

    #[test]
    fn bodies() {
        check("", &expect![""]);
        check("\n\r\n \n", &expect![""]);
        check(
            "{\"topic\":\"a\",\"data\":1}",
            &expect![[r#"
            a 1
        "#]],
        );
        check(
            "{\"topic\":\"a\",\"data\":1}\r\n\r\n {\"data\":{ \"x\":[null]},\"topic\":\"a.b\"} \n{\"topic\":\"a\",\"data\":null}\n",
            &expect![[r#"
                a 1
                a.b { "x":[null]}
                a null
            "#]],
        );
        check(
            "{\"op\":\"publish\",\"topic\":\"\\u0061\",\"data\":\"\\n\"}",
            &expect![[r#"
                a "\n"
            "#]],
        );
    }

    #[test]
    fn lines_may_have_keys_and_times() {
        check(
            "{\"topic\":\"a\",\"data\":1,\"key\":\"k1\"}\n{\"key\":null,\"topic\":\"a\",\"data\":2}\n{\"key\":\"\\u0061\",\"ts\":5,\"topic\":\"b\",\"data\":3}\n{\"ts\":7.0,\"topic\":\"b\",\"data\":4}",
            &expect![[r#"
                a 1 once as k1
                a 2
                b 3 once as a at 5
                b 4 at 7
            "#]],
        );
        check(
            "{\"topic\":\"a\",\"data\":1,\"key\":\"\"}",
            &expect!["line 1: bad_request: a key of 0 bytes; it has 1 to 64"],
        );
    }

    #[test]
    fn the_first_bad_line_is_named() {
        let good = "{\"topic\":\"a\",\"data\":1}\n";
        check(
            &format!("{good}\n{good}nonsense\n{{"),
            &expect![[r#"line 4: bad_request: is no JSON object {"topic","data"}"#]],
        );
        check(
            "[\"a\",1]",
            &expect![[r#"line 1: bad_request: is no JSON object {"topic","data"}"#]],
        );
        check(
            "{\"topic\":\"a\"}",
            &expect![[r#"line 1: bad_request: is not {"topic","data"}: missing field `data` at column 13"#]],
        );
        check(
            "{\"data\":1}",
            &expect![[r#"line 1: bad_request: is not {"topic","data"}: missing field `topic` at column 10"#]],
        );
        check(
            "{\"topic\":1,\"data\":1}",
            &expect![[
                r#"line 1: bad_request: is not {"topic","data"}: invalid type: integer `1`, expected a string at column 10"#
            ]],
        );
        check(
            "{\"topic\":\"a\",\"data\":1,\"data\":2}",
            &expect![[
                r#"line 1: bad_request: is not {"topic","data"}: duplicate field `data` at column 28"#
            ]],
        );
        check(
            "{\"topic\":\"a\",\"data\":1}{\"topic\":\"a\",\"data\":1}",
            &expect![[r#"line 1: bad_request: is not {"topic","data"}: trailing characters at column 23"#]],
        );
        check(
            "{\"topic\":\"a\",\"data\":\n1}",
            &expect![[
                r#"line 1: bad_request: is not {"topic","data"}: EOF while parsing a value at column 20"#
            ]],
        );
        check(
            "{\"topic\":\"a\",\"data\":1e999}",
            &expect!["line 1: bad_request: data is not usable JSON: the number at byte 0 is out of range"],
        );
        check(
            &format!(
                "{{\"topic\":\"a\",\"data\":{}{}}}",
                "[".repeat(20),
                "]".repeat(30)
            ),
            &expect![[r#"line 1: bad_request: is not {"topic","data"}: expected `,` or `}` at column 61"#]],
        );
        let long = format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(100));
        check(
            &format!("{good}{long}"),
            &expect!["line 2: too_large: has 123 bytes; at most 100 are allowed"],
        );
    }

    #[test]
    fn hostile_lines_are_refused() {
        let deep = |open: &str| format!("{{\"topic\":\"a\",\"data\":{}", open.repeat(100_000));
        for body in [
            deep("["),
            deep("{\"a\":"),
            format!("{{\"x\":{}", "[".repeat(100_000)),
        ] {
            assert!(read(body.as_bytes(), usize::MAX).is_err());
        }
        assert!(read(b"{\"topic\":\"a\",\"data\":\"\xff\"}", 100).is_err());
        let closed = format!(
            "{{\"topic\":\"a\",\"data\":{}{}}}",
            "[".repeat(65),
            "]".repeat(65)
        );
        let refused = read(closed.as_bytes(), 1_000).unwrap_err();
        expect!["line 1: bad_request: data is nested deeper than 64"].assert_eq(&refused.to_string());
    }

    #[test]
    fn lines_keep_their_numbers_and_text() {
        let body = b"\n{\"topic\":\"a\",\"data\":1}\r\n\nnonsense\n {\"topic\":\"b\",\"data\":2}";
        let expected: [(usize, &[u8]); 3] = [
            (2, b"{\"topic\":\"a\",\"data\":1}"),
            (4, b"nonsense"),
            (5, b"{\"topic\":\"b\",\"data\":2}"),
        ];
        assert_eq!(Lines::new(body).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_answer_names_line_and_code() {
        let bad = read(b"\n{\"topic\":\"a\",\"data\":1e999}", 100).unwrap_err();
        let response = ErrorResponse::from(bad);
        assert_eq!(response.status, hyper::StatusCode::BAD_REQUEST);
        expect!["bad_request: line 2: data is not usable JSON: the number at byte 0 is out of range; nothing was published"]
            .assert_eq(&response.refusal.to_string());
    }
}
