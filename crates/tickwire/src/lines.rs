//! Lines of a stream, bounded in length.

use std::io;

use tickwire_wire::byte_order_mark;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// One line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes, without the line's end.
    Text(Vec<u8>),
    /// It was longer than allowed and is skipped.
    TooLong,
}

/// Reads lines; a read that is given up loses nothing.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    bytes_max: usize,
    /// The beginning of the line that has not ended.
    begun: Vec<u8>,
    too_long: bool,
    /// Whether a byte order mark is to be skipped: Windows begins files of UTF-8 with one.
    first: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of at most `bytes_max` bytes.
    pub(crate) fn new(input: R, bytes_max: usize) -> Self {
        Self {
            input,
            bytes_max,
            begun: Vec::new(),
            too_long: false,
            first: true,
        }
    }

    /// The next line; none at the end. The last line need not have an end.
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

/// A line of a file from Windows ends with a carriage return.
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
        // A buffer shorter than most lines, so that they come in parts.
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
