//! Writes what a broker sends as a recording that [`Replay`](crate::Replay) reads (RECORDINGS.md).
//!
//! Lines are gathered and written together. A compressed file is a row of zstd frames, one for each time that the lines
//! are written, so a file that breaks off loses no more than the last of them.

use std::io::{self, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tickwire_wire::Micros;

/// So many bytes of lines are written at once.
const FULL_BYTES: usize = 1024 * 1024;

/// How the lines of a recording are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingForm {
    /// Frames of zstd (RFC 8878).
    Zstd,
    /// Text.
    Plain,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W> {
    file: W,
    form: RecordingForm,
    lines: Vec<u8>,
    written: u64,
}

impl<W: Write> Recorder<W> {
    /// Writes to `file`, from where it stands.
    #[must_use]
    pub fn new(file: W, form: RecordingForm) -> Self {
        Self {
            file,
            form,
            lines: Vec::with_capacity(FULL_BYTES),
            written: 0,
        }
    }

    /// Adds the message `json`, which has no line end in it, as the line of the moment `at`.
    ///
    /// # Errors
    /// If so much was gathered that it is written, and that fails.
    pub fn add(&mut self, at: Micros, json: &[u8]) -> io::Result<()> {
        // The recordings of exchanges have nanoseconds too.
        write!(self.lines, "{}000 ", at.0)?;
        self.lines.extend_from_slice(json);
        self.lines.push(b'\n');
        if self.lines.len() < FULL_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// As the file.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let frame;
        let bytes = match self.form {
            RecordingForm::Plain => &self.lines,
            RecordingForm::Zstd => {
                frame = compress_to_vec(self.lines.as_slice(), CompressionLevel::Fastest);
                &frame
            }
        };
        self.file.write_all(bytes)?;
        self.file.flush()?;
        self.written += bytes.len() as u64;
        self.lines.clear();
        Ok(())
    }

    /// The file. What was gathered and not written is lost.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.file
    }

    /// The number of bytes that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }
}
