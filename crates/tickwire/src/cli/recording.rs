//! The arguments of `record`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use tickwire_wire::Pattern;

use super::{ConnectionArgs, ModeName};
use crate::completions;

const RECORD_EXAMPLES: &str = "\
A TOPIC may hold wildcards: * stands for one token, a final > for one or more. Quote them.
When the connection is lost, record connects again and resumes; what it missed is named in the recording. It ends with Ctrl-C.

Examples:
  tickwire record 'trade.>' 'book.>' -o market.jsonl.zst
      All trades and books, compressed.
  tickwire serve --feed replay:market.jsonl.zst
      The same again, at the same pace.
  tickwire record --count 1000 chat.lobby -o chat.jsonl
      A thousand messages as text.
  tickwire record '>' -o day.twj
      Everything, in the form of a journal, for `tickwire journal` and for replays.
  tickwire check-recording market.jsonl.zst
      What a recording holds, and what is missing.

Exit codes: 0 ended by a signal or by --count; 1 no topic is left, the file cannot be written, or the broker is gone for good; 2 used wrongly, or the file exists.";

#[derive(Debug, Args)]
#[command(after_help = RECORD_EXAMPLES)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Go on with a file that exists
    #[arg(long, conflicts_with = "force")]
    pub(crate) append: bool,
    /// Begin a file that exists anew
    #[arg(long)]
    pub(crate) force: bool,
    /// The format; without it the end of the file's name says it: .twj, .jsonl or .ndjson, anything else is jsonl.zst
    #[arg(long, value_enum)]
    pub(crate) format: Option<RecordFormat>,
    /// The same as --format jsonl
    #[arg(long, conflicts_with = "format")]
    pub(crate) plain: bool,
    /// Which messages come: each one, or the newest. Default: by the topic's kind
    #[arg(long, value_parser = PossibleValuesParser::new(["every", "conflate"]).try_map(mode))]
    pub(crate) mode: Option<ModeName>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Topics and patterns
    #[arg(value_name = "TOPIC", required = true, add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topics: Vec<Pattern>,
}

/// The values of `--format` of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordFormat {
    /// The entries of a journal, in compressed blocks
    Twj,
    /// Lines of text
    Jsonl,
    /// The same, compressed with zstd
    #[value(name = "jsonl.zst")]
    JsonlZst,
}

impl RecordArgs {
    /// The format in which the recording is written.
    pub(crate) fn format(&self) -> RecordFormat {
        if self.plain {
            return RecordFormat::Jsonl;
        }
        self.format.unwrap_or_else(|| {
            let end = self.output.extension().and_then(|end| end.to_str());
            match end.map(str::to_ascii_lowercase).as_deref() {
                Some("twj") => RecordFormat::Twj,
                Some("jsonl" | "ndjson") => RecordFormat::Jsonl,
                _ => RecordFormat::JsonlZst,
            }
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps a value of clap")]
fn mode(name: String) -> Result<ModeName, String> {
    ModeName::from_str(&name, false)
}
