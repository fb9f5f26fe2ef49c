//! A connection without WebSocket: its stream is cut into messages as they come.
//!
//! What a message is, is the caller's: lines of a protocol, or answers of HTTP. Holds the bytes of one incomplete message at most.

use crate::swarm::handshake::answered;

/// How many bytes at the beginning of a stream are whole messages; 0 as long as the first is not whole. What cannot be understood is
/// whole: who reads it will say so.
pub(crate) type Cut = fn(&[u8]) -> usize;

#[derive(Debug)]
pub(crate) struct BareReader {
    cut: Cut,
    rest: Vec<u8>,
}

impl BareReader {
    pub(crate) fn new(cut: Cut) -> Self {
        Self {
            cut,
            rest: Vec::new(),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.rest.len()
    }

    /// Takes `bytes` and gives `each` what is whole now, in order.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut held = std::mem::take(&mut self.rest);
        let mut bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        loop {
            match (self.cut)(bytes) {
                0 => break,
                whole => {
                    each(&bytes[..whole]);
                    bytes = &bytes[whole..];
                }
            }
        }
        self.rest = bytes.to_vec();
    }
}

/// The length of the answer of HTTP/1.1 at the beginning of `bytes`, whose body has a `Content-Length`.
pub(crate) fn answer(bytes: &[u8]) -> usize {
    match answered(bytes) {
        Ok(None) => 0,
        Ok(Some((_, head))) => {
            let text = String::from_utf8_lossy(&bytes[..head]);
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|(_, digits)| digits.trim().parse().ok());
            let end = head.saturating_add(length.unwrap_or(0));
            if end <= bytes.len() { end } else { 0 }
        }
        Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut_wherever_the_stream_is() {
        let answers = [
            "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"published\":2}",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 1\r\n\r\n!",
        ];
        let stream = answers.concat().into_bytes();
        for end in 0..=stream.len() {
            let (mut reader, mut found) = (BareReader::new(answer), Vec::new());
            for part in [&stream[..end], &stream[end..]] {
                reader.feed(part, |whole| {
                    found.push(String::from_utf8_lossy(whole).into_owned());
                });
            }
            assert_eq!(
                (&found[..], reader.held()),
                (&answers.map(str::to_owned)[..], 0),
                "{end}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_is_passed_on() {
        let mut found = Vec::new();
        BareReader::new(answer).feed(b"SSH-2.0\r\n\r\n", |whole| found.push(whole.to_vec()));
        assert_eq!(found, [b"SSH-2.0\r\n\r\n".to_vec()]);
    }
}
