//! Recordings of a real market: what was received and when. They are files `*.jsonl.gz` with lines `TIME
//! {"stream":"NAME","data":…}`, where the time is in nanoseconds.
//!
//! All files of a folder are read and ordered by time. Lines without a stream, such as a book that was fetched over
//! HTTP, are left out. The folder is not part of the project: `TICKWIRE_RECORDINGS` names it.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

const FOLDER_VARIABLE: &str = "TICKWIRE_RECORDINGS";
/// The default folder, relative to the project's own.
const FOLDER: &str = "../shared/data";
const FILE_END: &str = ".jsonl.gz";
/// Longest message in bytes. Tickwire takes requests of 64 KiB, which hold more than the message.
const MESSAGE_BYTES_MAX: usize = 64_000;
const MESSAGES_MAX: usize = 2_000_000;

/// The folder holds no recording.
#[derive(Debug, Error)]
#[error("no recording *{FILE_END} in {}: set {FOLDER_VARIABLE} to the folder that has them", .0.display())]
pub(crate) struct Absent(PathBuf);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Nanoseconds since the first message.
    pub(crate) at_ns: u64,
    pub(crate) stream: u32,
    pub(crate) text: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// At least one; the first is at time 0.
    pub(crate) messages: Vec<Recorded>,
    pub(crate) streams: Vec<Box<[u8]>>,
}

impl Recording {
    /// Loads the recordings of the folder that the environment names.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let named = env::var_os(FOLDER_VARIABLE).map_or_else(|| FOLDER.into(), PathBuf::from);
        Self::read_folder(&root.join(named))
    }

    fn read_folder(folder: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(folder).map_err(|_| Absent(folder.to_owned()))?;
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(FILE_END))
            .collect();
        paths.sort_unstable();
        let mut recording = Self::default();
        for path in &paths {
            let shown = path.display();
            let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
            let lines = BufReader::new(MultiGzDecoder::new(BufReader::new(file)));
            recording
                .read(lines)
                .with_context(|| format!("recording {shown}"))?;
        }
        recording.put_in_order();
        ensure!(!recording.messages.is_empty(), Absent(folder.to_owned()));
        Ok(recording)
    }

    /// Appends the messages of `lines` with their recorded times.
    fn read(&mut self, lines: impl BufRead) -> anyhow::Result<()> {
        for (index, text) in lines.split(b'\n').enumerate() {
            let (line, text) = (index + 1, text?);
            let (at_ns, message) = timed(&text).with_context(|| {
                let text = String::from_utf8_lossy(&text[..text.len().min(100)]);
                format!("line {line} is not a time and a message: {text:?}")
            })?;
            let Some(stream) = stream_of(message) else {
                continue;
            };
            let bytes = message.len();
            ensure!(
                bytes <= MESSAGE_BYTES_MAX,
                "line {line} has {bytes} bytes, at most {MESSAGE_BYTES_MAX} can be published"
            );
            ensure!(
                self.messages.len() < MESSAGES_MAX,
                "more than {MESSAGES_MAX} messages up to line {line}"
            );
            let known = self.streams.iter().position(|known| **known == *stream);
            let stream = known.unwrap_or_else(|| {
                self.streams.push(stream.into());
                self.streams.len() - 1
            });
            self.messages.push(Recorded {
                at_ns,
                stream: u32::try_from(stream).unwrap_or(u32::MAX),
                text: message.into(),
            });
        }
        Ok(())
    }

    /// Sorts by time, and makes the times relative to the first message.
    fn put_in_order(&mut self) {
        // The sort is stable: messages of the same time keep their order.
        self.messages.sort_by_key(|message| message.at_ns);
        let begin = self.messages.first().map_or(0, |message| message.at_ns);
        for message in &mut self.messages {
            message.at_ns -= begin;
        }
    }
}

/// Splits a line into its time and its message.
fn timed(line: &[u8]) -> Option<(u64, &[u8])> {
    let apart = line.iter().position(|byte| *byte == b' ')?;
    let at_ns = std::str::from_utf8(&line[..apart]).ok()?.parse().ok()?;
    Some((at_ns, &line[apart + 1..]))
}

fn stream_of(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(br#"{"stream":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[&str]) -> anyhow::Result<Recording> {
        let mut recording = Recording::default();
        files
            .iter()
            .try_for_each(|text| recording.read(text.as_bytes()))?;
        recording.put_in_order();
        Ok(recording)
    }

    #[test]
    fn files_are_merged_by_time() {
        let one = "1000 {\"stream\":\"a\",\"data\":1}\n1050 {\"lastUpdateId\":7}\n1300 {\"stream\":\"b\",\"data\":2}\n";
        let other = "1300 {\"stream\":\"a\",\"data\":3}\n1200 {\"stream\":\"c\",\"data\":4}";
        let recording = read(&[one, other]).expect("good lines");
        let messages = recording.messages.iter();
        let found: Vec<String> = messages
            .map(|message| {
                format!(
                    "{} {} {}",
                    message.at_ns,
                    message.stream,
                    String::from_utf8_lossy(&message.text)
                )
            })
            .collect();
        let expected = [
            r#"0 0 {"stream":"a","data":1}"#,
            r#"200 2 {"stream":"c","data":4}"#,
            r#"300 1 {"stream":"b","data":2}"#,
            r#"300 0 {"stream":"a","data":3}"#,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let long = format!(
            "1 {{\"stream\":\"a\",\"data\":\"{}\"}}",
            "x".repeat(MESSAGE_BYTES_MAX)
        );
        for (line, fault) in [
            (
                "1 {\"stream\":\"a\"}\nnonsense",
                "line 2 is not a time and a message: \"nonsense\"",
            ),
            ("1x {}", "line 1 is not a time and a message: \"1x {}\""),
            (&long, "line 1 has 64024 bytes, at most 64000 can be published"),
        ] {
            assert_eq!(read(&[line]).expect_err("must be refused").to_string(), fault);
        }
        let error = Recording::read_folder(Path::new("no/such/folder")).expect_err("is not there");
        assert!(
            error
                .to_string()
                .starts_with("no recording *.jsonl.gz in no/such/folder: set TICKWIRE_RECORDINGS")
        );
    }
}
