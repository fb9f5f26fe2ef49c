//! The body of `POST /v1/publish`: one `{"topic","data"}` a line.
//!
//! All or nothing: a body with one bad line yields no message. Empty lines are passed over, and lines may end with CRLF. The caller
//! bounds the body ([`tickwire_wire::limits::BULK_BODY_BYTES_MAX`]); what is read from it is a small multiple of that.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tickwire_wire::{ErrorCode, Payload, Refusal, Topic};

use super::ErrorResponse;

/// The first line of a body that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {refusal}")]
pub struct BadLine {
    /// Its number, 1 for the first line of the body.
    pub line: usize,
    /// What is wrong with it.
    pub refusal: Refusal,
}

impl From<BadLine> for ErrorResponse {
    /// Always 400, even for a line that is too large: it is the line that must change, not the body's size.
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
}

/// The messages of `body`, in its order; no line may be longer than `message_bytes_max`.
///
/// # Errors
/// The first line that is no message.
pub fn parse_lines(body: &[u8], message_bytes_max: usize) -> Result<Vec<(Topic, Payload)>, BadLine> {
    let mut messages = Vec::new();
    for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let message = parse_line(line, message_bytes_max).map_err(|mut refusal| {
            // The parser counts lines within the text that it was given, which is one line of the body.
            refusal.reason = refusal.reason.replace(" at line 1 column ", " at column ");
            BadLine {
                line: at + 1,
                refusal,
            }
        })?;
        messages.push(message);
    }
    Ok(messages)
}

fn parse_line(line: &[u8], message_bytes_max: usize) -> Result<(Topic, Payload), Refusal> {
    if line.len() > message_bytes_max {
        let reason = format!(
            "has {} bytes; at most {message_bytes_max} are allowed",
            line.len()
        );
        return Err(Refusal::new(ErrorCode::TooLarge, reason));
    }
    let line: Line<'_> = serde_json::from_slice(line)
        .map_err(|e| Refusal::bad_request(format!("is not {{\"topic\",\"data\"}}: {e}")))?;
    let topic = line.topic.parse::<Topic>()?;
    Ok((topic, Payload::from_json(line.data.get().as_bytes())?))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &Expect) {
        let result = match parse_lines(body.as_bytes(), 100) {
            Err(bad) => bad.to_string(),
            Ok(messages) => {
                let lines = messages.iter().map(|(topic, payload)| {
                    let mut data = Vec::new();
                    payload.write_json(&mut data);
                    format!("{topic} {}\n", String::from_utf8(data).unwrap())
                });
                lines.collect()
            }
        };
        expected.assert_eq(&result);
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
    fn the_first_bad_line_is_named() {
        let good = "{\"topic\":\"a\",\"data\":1}\n";
        check(
            &format!("{good}\n{good}nonsense\n{{"),
            &expect![[r#"line 4: bad_request: is not {"topic","data"}: expected ident at column 2"#]],
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
            "{\"topic\":\"a..b\",\"data\":1}",
            &expect!["line 1: bad_topic: empty token at byte 2"],
        );
        check(
            "{\"topic\":\"a.*\",\"data\":1}",
            &expect!["line 1: bad_topic: wildcard at byte 2: a single topic is needed here"],
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
            &expect!["line 1: bad_request: data is not usable JSON: number out of range at column 5"],
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
            assert!(parse_lines(body.as_bytes(), usize::MAX).is_err());
        }
        assert!(parse_lines(b"{\"topic\":\"a\",\"data\":\"\xff\"}", 100).is_err());
        let closed = format!(
            "{{\"topic\":\"a\",\"data\":{}{}}}",
            "[".repeat(65),
            "]".repeat(65)
        );
        let refused = parse_lines(closed.as_bytes(), 1_000).unwrap_err();
        expect!["line 1: bad_request: data is nested deeper than 64"].assert_eq(&refused.to_string());
    }

    #[test]
    fn the_answer_names_line_and_code() {
        let bad = parse_lines(b"\n{\"topic\":\"a..b\",\"data\":1}", 100).unwrap_err();
        let response = ErrorResponse::from(bad);
        assert_eq!(response.status, hyper::StatusCode::BAD_REQUEST);
        expect!["bad_topic: line 2: empty token at byte 2; nothing was published"]
            .assert_eq(&response.refusal.to_string());
    }
}
