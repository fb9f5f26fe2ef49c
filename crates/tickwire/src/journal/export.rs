//! `tickwire journal export`: the messages of a journal as a table for analysis.
//!
//! Memory holds some megabytes of messages at a time, which are written topic by topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::anyhow;
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use tickwire_lane::Content;
use tickwire_wire::Topic;

use crate::cli::JournalExportArgs;
use crate::console::say;
use crate::export::{Sink, Unfinished, format_of};
use crate::failure::Failure;

/// The bytes of data that are gathered before they are written.
const GATHERED_BYTES: usize = 16 * 1024 * 1024;

/// Messages of a topic.
#[derive(Default)]
struct Rows {
    seq: Vec<u64>,
    ts: Vec<i64>,
    data: Vec<String>,
}

/// Exports what `args` names.
pub(super) fn run(args: &JournalExportArgs) -> Result<(), Failure> {
    let format = format_of(&args.output, args.format)?;
    if args.output.exists() && !args.force {
        let name = args.output.display();
        return Err(Failure::usage(anyhow!("{name} exists: --force replaces it")));
    }
    let mut file = Unfinished::beside(&args.output)?;
    let mut sink = Sink::begin(format, file.writer()?)?;
    let (mut gathered, mut bytes, mut rows) = (BTreeMap::<Topic, Rows>::new(), 0, 0_u64);
    let is_whole = args.selection.each(|topic, item| {
        let (Content::Data(text) | Content::Change(text) | Content::Whole(text)) = item.content else {
            return Ok(());
        };
        let of_topic = gathered.entry(topic.topic.clone()).or_default();
        of_topic.seq.push(item.seq.0);
        of_topic.ts.push(item.ts.0.cast_signed());
        of_topic.data.push(String::from_utf8(text.to_vec())?);
        rows += 1;
        bytes += text.len();
        if bytes >= GATHERED_BYTES {
            bytes = 0;
            write(&mut sink, std::mem::take(&mut gathered))?;
        }
        Ok(())
    })?;
    if !is_whole {
        return Err(anyhow!("the journal is damaged, so nothing is kept").into());
    }
    write(&mut sink, gathered)?;
    sink.end()?;
    file.finish(&args.output)?;
    say(format_args!("{}: {rows} messages", args.output.display()));
    Ok(())
}

fn write(sink: &mut Sink, gathered: BTreeMap<Topic, Rows>) -> Result<(), Failure> {
    for (topic, Rows { seq, ts, data }) in gathered {
        let columns: [(&str, ArrayRef); 3] = [
            ("seq", Arc::new(UInt64Array::from(seq))),
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC")),
            ),
            ("data", Arc::new(StringArray::from(data))),
        ];
        sink.write(topic.as_str(), &RecordBatch::try_from_iter(columns)?)?;
    }
    Ok(())
}
