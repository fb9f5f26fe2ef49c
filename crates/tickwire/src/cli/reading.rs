//! The arguments of the commands that ask over HTTP: `topics`, `get`, `history`, `export`, `end`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, value_parser};
use clap_complete::ArgValueCompleter;
use tickwire_wire::message::Position;
use tickwire_wire::{Moment, Pattern, Seq, Topic};

use super::{BrokerArgs, position};
use crate::completions;

const TOPICS_EXAMPLES: &str = "\
A PATTERN may hold wildcards: * stands for one token, a final > for one or more. Quote them. Topics that the token may not subscribe
to are not listed.

Examples:
  tickwire topics
      All topics, with their kind, the number of their newest message, and how many connections are subscribed.
  tickwire topics --format names 'book.*'
      The names of the books, one a line.
  tickwire topics --format json 'trade.>' | jq -r 'select(.subscribers == 0).topic'
      The trades that nobody reads.

Exit codes: 0 there is such a topic, 1 there is none or the broker cannot be asked, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = TOPICS_EXAMPLES)]
pub(crate) struct TopicsArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// The format of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub(crate) format: ListFormat,
    /// The topics to list
    #[arg(value_name = "PATTERN", default_value = ">", add = ArgValueCompleter::new(completions::topics))]
    pub(crate) pattern: Pattern,
}

const GET_EXAMPLES: &str = "\
What is printed is the `snapshot` that a subscriber gets, one JSON message a line.

Examples:
  tickwire get ticker.BTC-USD
      One ticker.
  tickwire get --data book.BTC-USD | jq '.bids[0]'
      The best bid of a book.

Exit codes: 0 each topic has a value, 1 one has none or the broker cannot be asked, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Print the data only
    #[arg(long)]
    pub(crate) data: bool,
    /// Topics, without wildcards
    #[arg(value_name = "TOPIC", required = true, add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topics: Vec<Topic>,
}

const END_EXAMPLES: &str = "\
A topic ends at once: its history and value are gone, and its subscribers get an `end` behind its last message. A message that is
published to it later makes it anew, in another epoch. The token needs the right to publish to it.

Examples:
  tickwire end option.BTC-27DEC26-90000-C
      One topic that is over.
  tickwire topics --format names 'option.*' | xargs tickwire end
      All topics of a pattern.

Exit codes: 0 each topic has ended, 1 one does not exist or the broker refuses or cannot be asked, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = END_EXAMPLES)]
pub(crate) struct EndArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Topics, without wildcards
    #[arg(value_name = "TOPIC", required = true, add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topics: Vec<Topic>,
}

const HISTORY_EXAMPLES: &str = "\
What is printed are the `update`s that subscribers got, oldest first, one JSON message a line. How many the broker holds depends on the
topic's kind. Standard error says how many of the asked ones are gone.

Examples:
  tickwire history --last 10 trade.BTC-USD
      The last ten trades.
  tickwire history --since k3v9:57 trade.BTC-USD
      The trades after number 57, if the lineage is still k3v9.
  tickwire history --data trade.BTC-USD | jq -s 'map(.size | tonumber) | add'
      What was traded, as far as the history goes.

Exit codes: 0 printed, 1 the topic has no message, has another lineage, or the broker cannot be asked, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = HISTORY_EXAMPLES)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// The messages after this number; with an epoch, only of this lineage
    #[arg(long, value_name = "[EPOCH:]SEQ", value_parser = since)]
    pub(crate) since: Option<Since>,
    /// The last N messages
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..), conflicts_with = "since")]
    pub(crate) last: Option<u64>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print the data only
    #[arg(long)]
    pub(crate) data: bool,
    /// The topic, without wildcards
    #[arg(value_name = "TOPIC", add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topic: Topic,
}

const EXPORT_EXAMPLES: &str = "\
A row has topic, seq, ts and data, which is JSON. ts are microseconds since 1970; Parquet and Arrow have them as a time in UTC.
A MOMENT is a number of microseconds since 1970, or a date and a time, such as 2024-08-08T23:54:13Z.

Examples:
  tickwire export 'trade.>' -o trades.parquet
      All trades that the broker still has, for pyarrow, polars, duckdb and others.
  tickwire export --from 2024-08-08T08:00:00Z --to 2024-08-08T09:00:00Z trade.BTC-USD -o hour.csv
      The trades of an hour.

Exit codes: 0 the file is whole, 1 no topic matches, a history came faster than it could be read, or the broker cannot be asked,
2 used wrongly, or the file exists.";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The format; without it the end of the file's name says it
    #[arg(long, value_enum)]
    pub(crate) format: Option<ExportFormat>,
    /// The messages from this moment on
    #[arg(long, value_name = "MOMENT")]
    pub(crate) from: Option<Moment>,
    /// The messages before this moment
    #[arg(long, value_name = "MOMENT")]
    pub(crate) to: Option<Moment>,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Topics and patterns
    #[arg(value_name = "TOPIC", required = true, add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topics: Vec<Pattern>,
}

/// The values of `--format` of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Parquet, with Snappy
    Parquet,
    /// An Arrow IPC file
    Arrow,
    /// A head and a line per message (RFC 4180)
    Csv,
    /// A JSON object per line
    Ndjson,
}

impl ExportFormat {
    /// The format that the end of a file's name says.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let end = path.extension()?.to_str()?.to_ascii_lowercase();
        match end.as_str() {
            "parquet" => Some(Self::Parquet),
            "arrow" | "feather" => Some(Self::Arrow),
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Where a history begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Since {
    /// After this number.
    Seq(Seq),
    /// After this position. The topic must still have its epoch.
    Position(Position),
}

/// The values of `--format` of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people
    Human,
    /// One name a line
    Names,
    /// One JSON object a line
    Json,
}

fn since(text: &str) -> Result<Since, String> {
    match text.parse() {
        Ok(seq) => Ok(Since::Seq(Seq(seq))),
        Err(_) => position(text)
            .map(Since::Position)
            .map_err(|_| "write a number, or EPOCH:SEQ, as in k3v9:57".to_owned()),
    }
}
