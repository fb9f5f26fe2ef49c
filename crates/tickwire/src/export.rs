//! `tickwire export`: writes the histories of topics to a file, as a table for analysis.
//!
//! The broker sends each history as an Arrow stream, a topic after the other, and the rows are written as they come: memory
//! holds a few thousand of them. The file appears when it is whole, under its name; a broken export leaves none.

mod sink;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use serde::Deserialize;
use tickwire_client::{ClientBuilder, ConnectError};
use tickwire_wire::Pattern;

pub(crate) use self::sink::Sink;
use crate::cli::{ExportArgs, ExportFormat};
use crate::console::say;
use crate::failure::Failure;
use crate::http;

/// The longest time, in seconds, for which the broker is waited for.
const RETRY_AFTER_S_MAX: u64 = 60;

/// A page of the list of topics.
#[derive(Deserialize)]
struct Listing {
    topics: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    topic: String,
}

/// Exports what `args` names.
pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let format = format_of(&args.output, args.format)?;
    if args.output.exists() && !args.force {
        let name = args.output.display();
        return Err(Failure::usage(anyhow!("{name} exists: --force replaces it")));
    }
    http::run(async {
        let broker = args.broker.client()?;
        export(&broker, args, format).await
    })
}

/// The format that was asked for, or else that of the file's name.
pub(crate) fn format_of(output: &Path, asked: Option<ExportFormat>) -> Result<ExportFormat, Failure> {
    let by_name = || ExportFormat::of_file(output);
    asked.or_else(by_name).ok_or_else(|| {
        Failure::usage(anyhow!(
            "{}: the name's end says no format; let it end with .parquet, .arrow, .csv or .ndjson, or give --format",
            output.display()
        ))
    })
}

async fn export(broker: &ClientBuilder, args: &ExportArgs, format: ExportFormat) -> Result<(), Failure> {
    let topics = topics(broker, &args.topics).await?;
    let mut file = Unfinished::beside(&args.output)?;
    let mut sink = Sink::begin(format, file.writer()?)?;
    let mut rows = 0;
    for (number, topic) in topics.iter().enumerate() {
        let exported = history(broker, args, topic, &mut sink)
            .await
            .with_context(|| format!("{topic}: its history is not whole, so nothing is kept"))?;
        rows += exported.rows;
        say(format_args!(
            "{} of {}: {topic}: {exported}",
            number + 1,
            topics.len()
        ));
    }
    sink.end()?;
    file.finish(&args.output)?;
    say(format_args!("{}: {rows} messages", args.output.display()));
    Ok(())
}

/// The topics that match the patterns, each once, in the order of the patterns.
async fn topics(broker: &ClientBuilder, patterns: &[Pattern]) -> Result<Vec<String>, Failure> {
    let mut topics: Vec<String> = Vec::new();
    for pattern in patterns {
        let before = topics.len();
        let mut after = None;
        loop {
            // `>` is the only character of a pattern that a query may not contain (RFC 3986 §3.4).
            let matched = pattern.as_str().replace('>', "%3E");
            let from = after.map_or_else(String::new, |after: String| format!("&after={after}"));
            let page: Option<Listing> =
                http::get(broker, &format!("/v1/topics?match={matched}{from}")).await?;
            let page = page.ok_or_else(|| anyhow!("the broker has no list of topics"))?;
            topics.extend(page.topics.into_iter().map(|listed| listed.topic));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if topics.len() == before {
            return Err(anyhow!("{pattern}: no topic matches it").into());
        }
    }
    let mut seen = std::collections::HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    Ok(topics)
}

/// What came of a topic.
#[derive(Debug, Default)]
struct Exported {
    rows: u64,
    /// The first number and the last.
    ends: Option<(u64, u64)>,
}

impl std::fmt::Display for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ends {
            None => f.write_str("no messages"),
            Some((first, last)) => write!(f, "{} messages, {first} to {last}", self.rows),
        }
    }
}

/// Writes the history of a topic.
async fn history(
    broker: &ClientBuilder,
    args: &ExportArgs,
    topic: &str,
    sink: &mut Sink,
) -> anyhow::Result<Exported> {
    let mut target = format!("/v1/topics/{topic}/history?format=arrow");
    if args.from.is_none() {
        target += "&since=0"; // everything that is stored, not only in memory
    }
    for (name, moment) in [("from", args.from), ("to", args.to)] {
        if let Some(moment) = moment {
            target += &format!("&{name}={}", moment.0);
        }
    }
    let mut answer = loop {
        match broker.download(&target).await {
            Ok(answer) => break answer,
            // It has ended since it was listed.
            Err(ConnectError::Refused { status: 404, .. }) => return Ok(Exported::default()),
            // The broker says when to ask again, as for many topics in a row.
            Err(ConnectError::Refused {
                status: 429 | 503,
                retry_after_s: Some(seconds @ ..=RETRY_AFTER_S_MAX),
                ..
            }) => tokio::time::sleep(Duration::from_secs(seconds.max(1))).await,
            Err(error) => return Err(error.into()),
        }
    };
    let (mut decoder, mut exported) = (StreamDecoder::new(), Exported::default());
    while let Some(chunk) = answer.chunk().await? {
        let mut bytes = Buffer::from(chunk.to_vec());
        while !bytes.is_empty() {
            let decoded = decoder
                .decode(&mut bytes)
                .context("the broker's answer is no Arrow stream")?;
            if let Some(batch) = decoded {
                exported.add(&batch)?;
                sink.write(topic, &batch)?;
            }
        }
    }
    decoder.finish().context("the broker's answer ends early")?;
    Ok(exported)
}

impl Exported {
    /// Counts the rows of a batch, whose numbers must follow those before.
    fn add(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let seqs = batch
            .column_by_name("seq")
            .context("the broker's answer has no column seq")?;
        let seqs = seqs
            .as_primitive_opt::<UInt64Type>()
            .context("its column seq has no numbers")?;
        for seq in seqs.values() {
            match &mut self.ends {
                None => self.ends = Some((*seq, *seq)),
                Some((_, last)) if *last + 1 == *seq => *last = *seq,
                Some((_, last)) => bail!("{seq} follows {last}"),
            }
            self.rows += 1;
        }
        Ok(())
    }
}

/// A file that gets its name when it is whole. Until then it lies beside, and is removed if it never gets there.
pub(crate) struct Unfinished {
    path: std::path::PathBuf,
    is_finished: bool,
}

impl Unfinished {
    /// A file that is to get the name `output`.
    pub(crate) fn beside(output: &Path) -> Result<Self, Failure> {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.unfinished", std::process::id()));
        Ok(Self {
            path: output.with_file_name(name),
            is_finished: false,
        })
    }

    /// The file, which is made.
    pub(crate) fn writer(&self) -> Result<File, Failure> {
        let file = File::create(&self.path);
        Ok(file.with_context(|| format!("cannot write {}", self.path.display()))?)
    }

    /// Gives the file its name.
    pub(crate) fn finish(&mut self, output: &Path) -> Result<(), Failure> {
        std::fs::rename(&self.path, output)
            .with_context(|| format!("cannot give {} its name", output.display()))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            say(format_args!("{} is left: {error}", self.path.display()));
        }
    }
}
