//! The arguments of `journal`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use tickwire_wire::{Moment, Pattern};

use super::ExportFormat;

#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    pub(crate) command: JournalCommand,
}

/// What is done with a journal's files.
#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// List the files, what they hold and of which time
    Ls(JournalDirArgs),
    /// Check that the files are whole and follow on each other
    Verify(JournalDirArgs),
    /// Print the messages, a JSON object a line
    Cat(JournalCatArgs),
    /// Write the messages to a file: Parquet, Arrow, CSV or NDJSON
    Export(JournalExportArgs),
    /// Remove old files that a start does not need; no broker may use the directory meanwhile
    Trim(JournalTrimArgs),
}

const LS_EXAMPLES: &str = "\
Files are only read, also while a broker writes them.

Examples:
  tickwire journal ls /var/lib/tickwire/journal
  tickwire journal verify /var/lib/tickwire/journal

Exit codes: 0 done; 1 a file is damaged (verify), cannot be read, or there is no journal; 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
pub(crate) struct JournalDirArgs {
    /// The directory of the journal, or a recording in its form (.twj)
    #[arg(value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) dir: PathBuf,
}

/// Which messages of a journal.
#[derive(Debug, Args)]
pub(crate) struct JournalSelection {
    /// The messages from this moment on
    #[arg(long, value_name = "MOMENT")]
    pub(crate) from: Option<Moment>,
    /// The messages before this moment
    #[arg(long, value_name = "MOMENT")]
    pub(crate) to: Option<Moment>,
    /// The directory of the journal, or a recording in its form (.twj)
    #[arg(value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) dir: PathBuf,
    /// Topics and patterns; all if there are none
    #[arg(value_name = "TOPIC")]
    pub(crate) topics: Vec<Pattern>,
}

const CAT_EXAMPLES: &str = "\
A line has op, topic, epoch, seq, ts and data, as a client gets them. Of a book each change is printed. An op `end` is the end of a topic,
and in a recording `gap` names messages that did not come.
A MOMENT is a number of microseconds since 1970, or a date and a time, such as 2024-08-08T23:54:13Z. Behind damage the messages go on with
the next entry that is whole.

Examples:
  tickwire journal cat /var/lib/tickwire/journal 'trade.>'
      All trades that the files hold.
  tickwire journal cat --from 2024-08-08T08:00:00Z /var/lib/tickwire/journal | jq .topic
      The messages since eight o'clock.

Exit codes: 0 printed; 1 a file is damaged or cannot be read, or there is no journal; 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = CAT_EXAMPLES)]
pub(crate) struct JournalCatArgs {
    #[command(flatten)]
    pub(crate) selection: JournalSelection,
}

const EXPORT_EXAMPLES: &str = "\
A row has topic, seq, ts and data, which is JSON. ts are microseconds since 1970; Parquet and Arrow have them as a time in UTC. The messages of a
topic are in their order; those of different topics stand in groups. A topic that ended and began again counts from 1 again.

Examples:
  tickwire journal export /var/lib/tickwire/journal 'trade.>' -o trades.parquet
      All trades that the files hold, for pyarrow, polars, duckdb and others.

Exit codes: 0 the file is whole; 1 a file of the journal is damaged or cannot be read, or there is no journal; 2 used wrongly, or the file exists.";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct JournalExportArgs {
    /// The file to write
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// The format; without it the end of the file's name says it
    #[arg(long, value_enum)]
    pub(crate) format: Option<ExportFormat>,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) selection: JournalSelection,
}

const TRIM_EXAMPLES: &str = "\
The two newest checkpoints and everything behind the older of them always stay, so a broker starts as before. Without --before and --bytes, everything else
goes.

Examples:
  tickwire journal trim /var/lib/tickwire/journal --before 2024-08-01T00:00:00Z
      Files whose newest message is older than that.
  tickwire journal trim /var/lib/tickwire/journal --bytes 1000000000
      The oldest files, until those with messages have at most a gigabyte.

Exit codes: 0 done; 1 a broker uses the directory, or a file cannot be removed; 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = TRIM_EXAMPLES)]
pub(crate) struct JournalTrimArgs {
    /// Remove files whose messages are all older than this moment
    #[arg(long, value_name = "MOMENT")]
    pub(crate) before: Option<Moment>,
    /// Remove the oldest files until those with messages have at most this many bytes
    #[arg(long, value_name = "N")]
    pub(crate) bytes: Option<u64>,
    /// The directory of the journal
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}
