//! The topic in a path such as `/v1/topics/{topic}`.

use tickwire_wire::{ErrorCode, Refusal, Topic};

use super::ErrorResponse;
use super::percent::decode;

/// The topic in `segment`, one segment of a path.
///
/// # Errors
/// 400 with `bad_topic` if it cannot be decoded or is not a topic. A `/` in it, encoded or not, makes it none.
pub fn topic_of_segment(segment: &str) -> Result<Topic, ErrorResponse> {
    let text = decode(segment)
        .map_err(|e| Refusal::new(ErrorCode::BadTopic, format!("the topic cannot be decoded: {e}")))?;
    Ok(text.parse::<Topic>().map_err(Refusal::from)?)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn segments() {
        let check = |segment: &str, expected: &Expect| {
            expected.assert_eq(&match topic_of_segment(segment) {
                Ok(topic) => topic.to_string(),
                Err(refused) => refused.to_string(),
            });
        };
        check("trade.BTC-USD", &expect!["trade.BTC-USD"]);
        check("trade%2eBTC%2DUSD", &expect!["trade.BTC-USD"]);
        check("", &expect!["400 Bad Request: bad_topic: topic is empty"]);
        check(
            "trade.*",
            &expect!["400 Bad Request: bad_topic: wildcard at byte 6: a single topic is needed here"],
        );
        check(
            "trade%2FBTC",
            &expect!["400 Bad Request: bad_topic: byte 5 ('/') is not one of A-Z a-z 0-9 _ - ."],
        );
        check(
            "..%2f..%2fetc%2fpasswd",
            &expect!["400 Bad Request: bad_topic: empty token at byte 0"],
        );
        check(
            "trade.%00",
            &expect![[r#"400 Bad Request: bad_topic: byte 6 ('\0') is not one of A-Z a-z 0-9 _ - ."#]],
        );
        check(
            "trade.%",
            &expect![
                "400 Bad Request: bad_topic: the topic cannot be decoded: '%' at byte 6 is not followed by two hexadecimal digits"
            ],
        );
        check(
            "trade.%ff",
            &expect!["400 Bad Request: bad_topic: the topic cannot be decoded: it is not UTF-8 once decoded"],
        );
        check(
            "trade.BTC+USD",
            &expect!["400 Bad Request: bad_topic: byte 9 ('+') is not one of A-Z a-z 0-9 _ - ."],
        );
    }
}
