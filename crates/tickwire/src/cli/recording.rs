//! The arguments of `record`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum as _};
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
  tickwire record --plain --count 1000 chat.lobby -o chat.jsonl
      A thousand messages as text.
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
    /// Write text instead of zstd
    #[arg(long)]
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

#[expect(clippy::needless_pass_by_value, reason = "it maps a value of clap")]
fn mode(name: String) -> Result<ModeName, String> {
    ModeName::from_str(&name, false)
}
