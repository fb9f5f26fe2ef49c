//! The formats of an exported file. Each row has the topic, the number, the time and the data of a message.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::cli::ExportFormat;

/// The columns of a history, as the broker sends them. The topic stands before them in the file.
const COLUMNS: [&str; 3] = ["seq", "ts", "data"];

/// The bytes of a row group of Parquet, which is kept in memory until it is whole.
const ROW_GROUP_BYTES: usize = 64 * 1024 * 1024;

/// A file that rows are written to.
pub(crate) enum Sink {
    Parquet(Box<ArrowWriter<File>>),
    Arrow(Box<FileWriter<BufWriter<File>>>),
    Csv(BufWriter<File>),
    Ndjson(BufWriter<File>),
}

impl Sink {
    /// Begins a file.
    pub(crate) fn begin(format: ExportFormat, file: File) -> Result<Self> {
        Ok(match format {
            ExportFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
                    .build();
                Self::Parquet(Box::new(ArrowWriter::try_new(file, schema(), Some(properties))?))
            }
            ExportFormat::Arrow => {
                Self::Arrow(Box::new(FileWriter::try_new(BufWriter::new(file), &schema())?))
            }
            ExportFormat::Csv => {
                let mut file = BufWriter::new(file);
                file.write_all(b"topic,seq,ts,data\r\n")?;
                Self::Csv(file)
            }
            ExportFormat::Ndjson => Self::Ndjson(BufWriter::new(file)),
        })
    }

    /// Writes the rows of `topic` in a batch of the broker.
    pub(crate) fn write(&mut self, topic: &str, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(file) => file.write(&with_topic(topic, batch)?)?,
            Self::Arrow(file) => file.write(&with_topic(topic, batch)?)?,
            Self::Csv(file) => each_row(batch, |seq, ts, data| {
                // A topic has no character that CSV would quote.
                let data = data.replace('"', "\"\"");
                write!(file, "{topic},{seq},{ts},\"{data}\"\r\n")
            })?,
            Self::Ndjson(file) => each_row(batch, |seq, ts, data| {
                // Between tokens, line ends mean nothing, and a string cannot contain one (RFC 8259 §7).
                let data = data.replace(['\n', '\r'], "");
                writeln!(
                    file,
                    r#"{{"topic":"{topic}","seq":{seq},"ts":{ts},"data":{data}}}"#
                )
            })?,
        }
        Ok(())
    }

    /// Writes what is missing, and sees that the disk has the file.
    pub(crate) fn end(self) -> Result<()> {
        let file = match self {
            Self::Parquet(file) => file.into_inner()?,
            Self::Arrow(mut file) => {
                file.finish()?;
                file.into_inner()?.into_inner()?
            }
            Self::Csv(file) | Self::Ndjson(file) => file.into_inner()?,
        };
        Ok(file.sync_all()?)
    }
}

/// The columns of a file.
fn schema() -> Arc<Schema> {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("seq", DataType::UInt64, false),
        Field::new("ts", utc, false),
        Field::new("data", DataType::Utf8, false),
    ]))
}

/// The rows with their topic.
fn with_topic(topic: &str, batch: &RecordBatch) -> Result<RecordBatch> {
    let topics = StringArray::from(vec![topic; batch.num_rows()]);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(topics)];
    for name in COLUMNS {
        columns.push(column(batch, name)?.clone());
    }
    RecordBatch::try_new(schema(), columns).context("the broker's columns are not those of a history")
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
    let column = batch.column_by_name(name);
    column.with_context(|| format!("the broker's answer has no column {name}"))
}

/// Hands out number, time and data of each row.
fn each_row(batch: &RecordBatch, mut row: impl FnMut(u64, i64, &str) -> std::io::Result<()>) -> Result<()> {
    let wrong = "the broker's columns are not those of a history";
    let [seq, ts, data] = COLUMNS.map(|name| column(batch, name));
    let seq = seq?.as_primitive_opt::<UInt64Type>().context(wrong)?;
    let ts = ts?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .context(wrong)?;
    let data = data?.as_string_opt::<i32>().context(wrong)?;
    for at in 0..batch.num_rows() {
        row(seq.value(at), ts.value(at), data.value(at))?;
    }
    Ok(())
}
