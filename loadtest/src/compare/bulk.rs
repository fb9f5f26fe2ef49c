//! Bulk publications over HTTP: a `POST` with a line of JSON for each message, and what it is answered with.

use crate::swarm::handshake::answered;

/// How many lines a request has.
pub(super) const LINES: u64 = 1_000;

/// Appends the line that publishes `payload` to `topic`.
pub(super) fn line(topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"topic":""#);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(br#"","data":"#);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"}\n");
}

/// Appends the head of a request whose lines have this many bytes.
pub(super) fn head(lines_bytes: usize, out: &mut Vec<u8>) {
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: {lines_bytes}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}

/// How many messages were published, by an answer that says so: `{"published":17}`.
pub(super) fn published(answer: &[u8]) -> Option<u64> {
    let (200, head) = answered(answer).ok()?? else {
        return None;
    };
    let said: serde_json::Value = serde_json::from_slice(&answer[head..]).ok()?;
    said["published"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_many() {
        for (answer, count) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"published\":17}",
                Some(17),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n{}", None),
            ("HTTP/1.1 400 Bad Request\r\n\r\n{\"published\":17}", None),
            ("HTTP/1.1 200 OK\r\n", None),
        ] {
            assert_eq!(published(answer.as_bytes()), count, "{answer}");
        }
    }

    #[test]
    fn a_request_has_the_length_of_its_lines() {
        let (mut lines, mut request) = (Vec::new(), Vec::new());
        line("a", b"1", &mut lines);
        line("b", b"\"x\"", &mut lines);
        assert_eq!(
            lines,
            b"{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"b\",\"data\":\"x\"}\n"
        );
        head(lines.len(), &mut request);
        let text = String::from_utf8(request).expect("ASCII");
        assert!(
            text.ends_with(&format!("\r\nContent-Length: {}\r\n\r\n", lines.len())),
            "{text}"
        );
    }
}
