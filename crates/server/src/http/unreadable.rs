//! The body of hyper's own answer to a head that it cannot parse.
//!
//! Hyper answers such a head with a status and an empty body, without asking the broker. That answer is recognised on
//! its way out, where it is the last output of a connection, and gets the body that every refusal has. An answer of an
//! endpoint is never mistaken for one, because it has other headers.

use tickwire_wire::Refusal;

use super::ErrorResponse;

/// The end of the status lines of hyper's answers, and the reasons for people.
const STATUSES: [(&str, &str); 3] = [
    ("400 Bad Request", "this is no HTTP request that can be read"),
    ("414 URI Too Long", "the request's target is too long"),
    (
        "431 Request Header Fields Too Large",
        "the headers are too long or too many; limits.header_bytes and limits.headers tell how many they may be",
    ),
];
const VERSION: &[u8] = b"HTTP/1.";
/// The headers of such an answer, except the date.
const HEADERS: &[u8] = b"\r\nconnection: close\r\ncontent-length: 0\r\n";
/// The length of the date line (RFC 9110 §5.6.7) and of the empty line after it.
const DATE_AND_END: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n".len();

/// An answer of hyper's own at the end of its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The position at which it begins.
    pub(super) at: usize,
    /// The answer that replaces it.
    pub(super) answer: Vec<u8>,
}

/// Finds an answer of hyper's own at the end of `written`.
pub(super) fn find(written: &[u8]) -> Option<Unreadable> {
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    STATUSES.iter().find_map(|(status, reason)| {
        let length = VERSION.len() + "1 ".len() + status.len() + HEADERS.len() + DATE_AND_END;
        let at = written.len().checked_sub(length)?;
        let (own, rest) = written[at..].split_at(length - DATE_AND_END);
        let line = own.strip_suffix(HEADERS)?;
        let is_own = line.starts_with(VERSION) && line.ends_with(status.as_bytes());
        is_own.then(|| Unreadable {
            at,
            answer: answer(line, rest, reason),
        })
    })
}

/// The answer with this status line. `rest` is the date line and the empty line.
fn answer(line: &[u8], rest: &[u8], reason: &str) -> Vec<u8> {
    let body = ErrorResponse::body_of(&Refusal::bad_request(reason));
    let headers = format!(
        "\r\nconnection: close\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n",
        body.len()
    );
    [line, headers.as_bytes(), rest, &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

    fn own(status: &str) -> String {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n{DATE}\r\n")
    }

    #[test]
    fn an_answer_of_hypers_own_gets_a_body() {
        for (status, reason) in STATUSES {
            for before in ["", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"] {
                let found = find(format!("{before}{}", own(status)).as_bytes()).expect(status);
                assert_eq!(found.at, before.len());
                let text = String::from_utf8(found.answer).expect("text");
                let (head, body) = text.split_once("\r\n\r\n").expect("a head");
                assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
                assert!(head.ends_with(DATE.trim_end()), "{head}");
                let length = format!("content-length: {}\r\n", body.len());
                assert!(head.contains(&length), "{head}");
                assert_eq!(
                    body,
                    format!(r#"{{"error":{{"code":"bad_request","reason":"{reason}"}}}}"#)
                );
            }
        }
    }

    #[test]
    fn an_answer_of_an_endpoint_is_left_alone() {
        for written in [
            "",
            "\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nallow: GET\r\n\r\n",
            "{\"a\":\"HTTP/1.1 400 Bad Request\"}",
        ] {
            assert_eq!(find(written.as_bytes()), None, "{written}");
        }
        let unfinished = own("400 Bad Request");
        assert_eq!(find(&unfinished.as_bytes()[..unfinished.len() - 1]), None);
    }
}
