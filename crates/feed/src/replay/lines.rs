//! Reads one file line by line: plain, gzip or zstd.
//!
//! The first bytes tell the compression, never the file's name. A byte order mark before the first line is skipped.
//! Memory is one line of at most [`LINE_BYTES_MAX`] bytes and the buffers of the decoder. A longer line is skipped and
//! reported. A file that breaks off (a truncated gzip, a failing disk) is reported once and then ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use tickwire_wire::byte_order_mark;

use super::zstd::{self, Zstd};

/// Longest line in bytes, without its line end. A REST snapshot of 5,000 levels a side is less than half as long.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The first two bytes of a gzip file (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 64 * 1024;

/// The result of reading a line.
#[derive(Debug)]
pub(super) enum LineRead<'a> {
    /// A line, without its line end.
    Line(&'a [u8]),
    /// A line longer than [`LINE_BYTES_MAX`] was skipped.
    TooLong,
    /// The rest of the file cannot be read. The next read returns `End`.
    Broken(io::Error),
    /// The file has ended.
    End,
}

/// Reads a file line by line.
pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
    ended: bool,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("number", &self.number)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// Reads the lines of `file`, and its first bytes at once.
    pub(super) fn of(file: File) -> io::Result<Self> {
        Self::new(BufReader::with_capacity(BUFFER_BYTES, file))
    }

    /// The lines that `reader` yields.
    fn new(mut reader: impl BufRead + Send + 'static) -> io::Result<Self> {
        // A pipe may return one byte at first. The magic number is read whole and then put before the rest.
        let mut magic = Vec::with_capacity(zstd::MAGIC_BYTES);
        reader
            .by_ref()
            .take(zstd::MAGIC_BYTES as u64)
            .read_to_end(&mut magic)?;
        let (gzip, zstd) = (magic.starts_with(&GZIP_MAGIC), zstd::is_magic(&magic));
        let whole = io::Cursor::new(magic).chain(reader);
        let reader: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
        } else if zstd {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, Zstd::new(whole)))
        } else {
            Box::new(whole)
        };
        Ok(Self {
            reader,
            line: Vec::new(),
            number: 0,
            ended: false,
        })
    }

    /// Reads the next line. Returns it with its number; the first line is 1.
    pub(super) fn read(&mut self) -> (u64, LineRead<'_>) {
        if self.ended {
            return (self.number, LineRead::End);
        }
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let mut read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.line);
        if matches!(read, Ok(0)) {
            self.ended = true;
            return (self.number, LineRead::End);
        }
        self.number += 1;
        let whole = self.line.last() == Some(&b'\n');
        if whole {
            self.line.pop();
        }
        let too_long = self.line.len() > LINE_BYTES_MAX;
        if too_long && read.is_ok() {
            read = self.reader.skip_until(b'\n');
        }
        let outcome = match read {
            Err(error) => {
                self.ended = true;
                LineRead::Broken(error)
            }
            Ok(_) if too_long => LineRead::TooLong,
            Ok(_) if self.number == 1 => LineRead::Line(byte_order_mark::without(&self.line)),
            Ok(_) => LineRead::Line(&self.line),
        };
        (self.number, outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use expect_test::{Expect, expect};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// A reader that returns one byte per read.
    struct Trickle(io::Cursor<Vec<u8>>);

    impl Read for Trickle {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let most = buf.len().min(1);
            self.0.read(&mut buf[..most])
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn check(file: &[u8], expected: &Expect) {
        let mut log = String::new();
        let mut lines =
            Lines::new(BufReader::new(Trickle(io::Cursor::new(file.to_vec())))).expect("readable");
        loop {
            let (number, read) = lines.read();
            let entry = match read {
                LineRead::Line(line) if line.len() > 20 => format!("{} bytes", line.len()),
                LineRead::Line(line) => String::from_utf8_lossy(line).into_owned(),
                LineRead::TooLong => "too long".to_owned(),
                LineRead::Broken(error) => format!("broken: {:?}", error.kind()),
                LineRead::End => break,
            };
            log += &format!("{number} {entry}\n");
        }
        assert!(matches!(lines.read(), (_, LineRead::End)), "an end is final");
        expected.assert_eq(&log);
    }

    #[test]
    fn plain_lines() {
        check(b"", &expect![""]);
        check(b"\x1f", &expect![["1 \u{1f}\n"]]);
        check(b"a\n\nb\r\nc", &expect![["1 a\n2 \n3 b\r\n4 c\n"]]);
        check(b"a\n", &expect![["1 a\n"]]);
    }

    #[test]
    fn gzip_is_told_by_its_bytes_and_members_join() {
        check(&[gzip(b"a\nb"), gzip(b"c\n")].concat(), &expect![["1 a\n2 bc\n"]]);
    }

    /// `a\nb\n` as the program `zstd` compresses it, with a checksum.
    const ZSTD: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x21, 0x00, 0x00, 0x61, 0x0a, 0x62, 0x0a, 0x25, 0x50, 0xb3, 0x23,
    ];

    #[test]
    fn zstd_is_told_by_its_bytes_and_frames_join() {
        check(ZSTD, &expect![["1 a\n2 b\n"]]);
        // A skippable frame (RFC 8878 section 3.1.2) before a frame, and between two.
        let skipped = [0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
        check(
            &[&skipped, ZSTD, &skipped, ZSTD].concat(),
            &expect![["1 a\n2 b\n3 a\n4 b\n"]],
        );
    }

    #[test]
    fn a_truncated_or_garbled_zstd_ends_with_its_fault() {
        for end in 5..ZSTD.len() {
            let mut lines = Lines::new(io::Cursor::new(ZSTD[..end].to_vec())).expect("readable");
            let broken = (0..4).any(|_| matches!(lines.read(), (_, LineRead::Broken(_))));
            assert!(broken, "{end} bytes of {}", ZSTD.len());
            assert!(matches!(lines.read(), (_, LineRead::End)), "an end is final");
        }
        let mut garbled = ZSTD.to_vec();
        *garbled.last_mut().expect("bytes") ^= 1;
        check(&garbled, &expect![["1 a\n2 b\n3 broken: InvalidData\n"]]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_before_the_first_line_only() {
        let marked = "\u{feff}a\n\u{feff}b\n";
        for file in [marked.as_bytes().to_vec(), gzip(marked.as_bytes())] {
            check(&file, &expect![["1 a\n2 \u{feff}b\n"]]);
        }
    }

    #[test]
    fn a_truncated_gzip_ends_with_its_fault() {
        let whole = gzip(b"a\nb\nc\n");
        check(
            &whole[..whole.len() - 1],
            &expect![["1 a\n2 b\n3 c\n4 broken: UnexpectedEof\n"]],
        );
        check(&whole[..5], &expect![["1 broken: UnexpectedEof\n"]]);
        let mut garbled = whole;
        let at = garbled.len() - 6;
        garbled[at] ^= 1;
        check(&garbled, &expect![["1 a\n2 b\n3 c\n4 broken: InvalidInput\n"]]);
    }

    #[test]
    fn lines_over_the_limit_are_skipped() {
        let long = |bytes: usize| "x".repeat(bytes);
        check(
            format!(
                "{}\n{}\nb\n{}",
                long(LINE_BYTES_MAX),
                long(LINE_BYTES_MAX + 1),
                long(LINE_BYTES_MAX + 2)
            )
            .as_bytes(),
            &expect![["1 1048576 bytes\n2 too long\n3 b\n4 too long\n"]],
        );
    }
}
