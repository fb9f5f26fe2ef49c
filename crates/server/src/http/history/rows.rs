//! The formats of an export, and the rows that they make of messages.
//!
//! Pure: a format never reads a history and never waits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use thiserror::Error;
use tickwire_router::Publication;
use tickwire_wire::codec::DataOp;
use tickwire_wire::message::GapReason;
use tickwire_wire::{Codec, Control, Epoch, Kind, Seq, Topic};

/// The format of an answer with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A page: one JSON value.
    Json,
    /// A message in JSON per line, as subscribers get it.
    Ndjson,
    /// A line per message (RFC 4180): its number, its time, its data as JSON.
    Csv,
    /// The same columns as an Arrow IPC stream.
    Arrow,
}

impl Format {
    /// The names, as errors have them.
    pub(super) const NAMES: &str = "json, ndjson, csv or arrow";

    /// The value of `Content-Type`.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// A name that is no format's.
#[derive(Debug)]
pub(super) struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            _ => Err(UnknownFormat),
        }
    }
}

/// Why an export ends before it is whole.
#[derive(Debug, Error)]
pub(crate) enum ExportBroken {
    /// The history has let go of messages before the client took them, and the format has no way to say so.
    #[error("messages {0} to {1} have left the history, and this format cannot say so")]
    Gone(Seq, Seq),
    /// The topic has ended.
    #[error("the topic has ended")]
    Ended,
    /// The archive has failed. The log says why.
    #[error("the archive cannot be read")]
    Unreadable,
    /// Arrow refused a batch.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// The topic of an export.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) topic: Topic,
    pub(super) kind: Kind,
    pub(super) epoch: Epoch,
}

/// Makes rows of messages. They wait here until they are taken.
#[derive(Debug)]
pub(super) enum Rows {
    Ndjson(Vec<u8>),
    Csv(Vec<u8>),
    Arrow(Box<ArrowRows>),
}

impl Rows {
    /// Begins an export, whose format is not JSON: that has a page.
    pub(super) fn begin(format: Format, subject: &Subject) -> Result<Self, ExportBroken> {
        Ok(match format {
            Format::Json | Format::Ndjson => Self::Ndjson(Vec::new()),
            Format::Csv => Self::Csv(b"seq,ts,data\r\n".to_vec()),
            Format::Arrow => Self::Arrow(Box::new(ArrowRows::begin(subject)?)),
        })
    }

    /// About how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Ndjson(text) | Self::Csv(text) => text.len(),
            Self::Arrow(rows) => rows.bytes(),
        }
    }

    /// Adds the row of a message.
    pub(super) fn push(&mut self, message: &Publication) {
        match self {
            Self::Ndjson(text) => {
                let mut line = Vec::new();
                message.write_json(DataOp::Update, &mut line);
                text.extend(on_one_line(line));
                text.push(b'\n');
            }
            Self::Csv(text) => {
                text.extend_from_slice(format!("{},{},", message.seq, message.ts).as_bytes());
                quoted(&data_of(message), text);
                text.extend_from_slice(b"\r\n");
            }
            Self::Arrow(rows) => rows.push(message),
        }
    }

    /// Adds that the messages `from` to `to` are not there.
    ///
    /// # Errors
    /// If the format cannot say so.
    pub(super) fn gap(&mut self, subject: &Subject, from: Seq, to: Seq) -> Result<(), ExportBroken> {
        let Self::Ndjson(text) = self else {
            return Err(ExportBroken::Gone(from, to));
        };
        let gap = Control::Gap {
            topic: subject.topic.as_str().to_owned(),
            epoch: subject.epoch.clone(),
            from,
            to,
            reason: GapReason::History,
        };
        Codec::Json.encode_control(&gap, text);
        text.push(b'\n');
        Ok(())
    }

    /// Takes what waits.
    pub(super) fn take(&mut self) -> Result<Vec<u8>, ExportBroken> {
        match self {
            Self::Ndjson(text) | Self::Csv(text) => Ok(std::mem::take(text)),
            Self::Arrow(rows) => rows.take(),
        }
    }

    /// Adds what ends the export.
    pub(super) fn end(&mut self) -> Result<(), ExportBroken> {
        match self {
            Self::Ndjson(_) | Self::Csv(_) => Ok(()),
            Self::Arrow(rows) => rows.end(),
        }
    }
}

/// The data of a message as JSON.
fn data_of(message: &Publication) -> Vec<u8> {
    let mut data = Vec::new();
    message.payload.write_json(&mut data);
    on_one_line(data)
}

/// JSON without line ends. Between tokens they mean nothing, and a string cannot contain one (RFC 8259 §7).
fn on_one_line(mut json: Vec<u8>) -> Vec<u8> {
    json.retain(|byte| !matches!(byte, b'\n' | b'\r'));
    json
}

/// Appends a quoted field of CSV (RFC 4180 §2, rules 5 to 7).
fn quoted(field: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in field {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// The rows of an Arrow IPC stream. Those that wait become one batch.
pub(super) struct ArrowRows {
    stream: StreamWriter<Vec<u8>>,
    schema: Arc<Schema>,
    seqs: Vec<u64>,
    times: Vec<i64>,
    data: Vec<String>,
    data_bytes: usize,
}

impl ArrowRows {
    fn begin(subject: &Subject) -> Result<Self, ExportBroken> {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let columns = vec![
            Field::new("seq", DataType::UInt64, false),
            Field::new("ts", utc, false),
            Field::new("data", DataType::Utf8, false),
        ];
        let told = [
            ("topic", subject.topic.to_string()),
            ("kind", subject.kind.as_str().to_owned()),
            ("epoch", subject.epoch.to_string()),
        ];
        let told = told.map(|(name, value)| (format!("tickwire.{name}"), value));
        let schema = Arc::new(Schema::new(columns).with_metadata(told));
        Ok(Self {
            stream: StreamWriter::try_new(Vec::new(), &schema)?,
            schema,
            seqs: Vec::new(),
            times: Vec::new(),
            data: Vec::new(),
            data_bytes: 0,
        })
    }

    fn bytes(&self) -> usize {
        let row = size_of::<u64>() + size_of::<i64>() + size_of::<i32>();
        self.stream.get_ref().len() + self.data_bytes + self.seqs.len() * row
    }

    fn push(&mut self, message: &Publication) {
        // JSON that the broker has taken or made is UTF-8.
        let data = String::from_utf8_lossy(&data_of(message)).into_owned();
        self.data_bytes += data.len();
        self.seqs.push(message.seq.0);
        self.times.push(i64::try_from(message.ts.0).unwrap_or(i64::MAX));
        self.data.push(data);
    }

    fn take(&mut self) -> Result<Vec<u8>, ExportBroken> {
        if !self.seqs.is_empty() {
            self.data_bytes = 0;
            let times = TimestampMicrosecondArray::from(std::mem::take(&mut self.times));
            let columns: Vec<ArrayRef> = vec![
                Arc::new(UInt64Array::from(std::mem::take(&mut self.seqs))),
                Arc::new(times.with_timezone("UTC")),
                Arc::new(StringArray::from(std::mem::take(&mut self.data))),
            ];
            let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
            self.stream.write(&batch)?;
        }
        Ok(std::mem::take(self.stream.get_mut()))
    }

    /// Puts the end of the stream behind the last batch.
    fn end(&mut self) -> Result<(), ExportBroken> {
        let rows = self.take()?;
        self.stream.finish()?;
        let end = std::mem::take(self.stream.get_mut());
        *self.stream.get_mut() = [rows, end].concat();
        Ok(())
    }
}

impl fmt::Debug for ArrowRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrowRows")
            .field("rows", &self.seqs.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_csv() {
        for (field, expected) in [
            ("", r#""""#),
            ("1", r#""1""#),
            (r#"{"a":"b,c"}"#, r#""{""a"":""b,c""}""#),
            (r#"""#, r#""""""#),
        ] {
            let mut out = Vec::new();
            quoted(field.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn names_of_formats() {
        for name in Format::NAMES
            .split([',', ' '])
            .filter(|name| !name.is_empty() && *name != "or")
        {
            assert!(name.parse::<Format>().is_ok(), "{name}");
        }
        for name in ["", "JSON", "parquet"] {
            assert!(name.parse::<Format>().is_err(), "{name}");
        }
    }
}
