//! The lines of a stream, bounded in length.

use std::io;

use tickwire_wire::byte_order_mark;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// The line's bytes, without the line end.
    Text(Vec<u8>),
    /// The line was longer than allowed and was skipped.
    TooLong,
}

/// Reads lines. Nothing is lost when a read is cancelled.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    bytes_max: usize,
    /// The part of an unfinished line that was read.
    begun: Vec<u8>,
    too_long: bool,
    /// Whether a byte order mark is to be skipped. Windows programs begin a UTF-8 file with one.
    first: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Reads lines of at most `bytes_max` bytes from `input`.
    pub(crate) fn new(input: R, bytes_max: usize) -> Self {
        Self {
            input,
            bytes_max,
            begun: Vec::new(),
            too_long: false,
            first: true,
        }
    }

    /// The next line; `None` at the end. The last line need not have a line end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.input.fill_buf().await?;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            let at_end = available.is_empty();
            if self.begun.len() + part.len() > self.bytes_max {
                self.too_long = true;
                self.begun.clear();
            }
            if !self.too_long {
                self.begun.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if at_end && self.begun.is_empty() && !self.too_long {
                return Ok(None);
            }
            if end.is_some() || at_end {
                let mut text = std::mem::take(&mut self.begun);
                if std::mem::take(&mut self.first) {
                    text = byte_order_mark::without(&text).to_vec();
                }
                let too_long = std::mem::take(&mut self.too_long);
                return Ok(Some(if too_long {
                    Line::TooLong
                } else {
                    Line::Text(without_return(text))
                }));
            }
        }
    }
}

/// Removes the carriage return at the end of a line of a Windows file.
fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(input: &[u8]) -> Vec<Line> {
        // The buffer is shorter than most lines, so that they come in parts.
        let mut lines = Lines::new(BufReader::with_capacity(3, input), 5);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.expect("memory can be read") {
            found.push(line);
        }
        found
    }

    fn text(line: &str) -> Line {
        Line::Text(line.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn lines_end_with_the_input_too() {
        assert_eq!(lines(b"").await, []);
        assert_eq!(lines(b"\n").await, [text("")]);
        assert_eq!(
            lines(b"ab\r\ncde\n\nfghij").await,
            [text("ab"), text("cde"), text(""), text("fghij")]
        );
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(
            lines("\u{feff}a\n\u{feff}b\n".as_bytes()).await,
            [text("a"), text("\u{feff}b")]
        );
    }

    #[tokio::test]
    async fn long_lines_are_skipped() {
        assert_eq!(
            lines(b"abcdef\nab\nabcdefghijkl").await,
            [Line::TooLong, text("ab"), Line::TooLong]
        );
    }
}
