//! The arguments of the commands that need no broker: `check-config`, `check-recording`, `hash-key`, `completions`, `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

const CHECK_EXAMPLES: &str = "\
Examples:
  tickwire check-config tickwire.toml

This fails for everything that SIGHUP refuses, and for a recording without a usable line, with which a broker would not start.

Exit codes: 0 good, 1 not good; standard error names the first fault.";

#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckConfigArgs {
    /// The configuration file, in TOML
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

const RECORDING_EXAMPLES: &str = "\
Reads the files through as `serve --feed replay:FILE,FILE` would, together and by their times, and keeps the books.
A line is a local time, a space and a message of Binance, spot or USD-M futures; plain, gzip or zstd:
  1723161254087896568 {\"stream\":\"btcusdt@trade\",\"data\":{\"e\":\"trade\",…}}
docs/RECORDINGS.md says what such a line may be, and what is done about each kind of fault.

The report is a table of the symbols, then each kind of fault with how many there are, its meaning, and the first 64 as FILE:LINE: REASON. Lines of streams that are not replayed are listed as `unused` and are no fault.

Examples:
  tickwire check-recording btc.jsonl.gz
      What a recording holds.
  tickwire check-recording --format json btc.jsonl.zst eth.jsonl.zst | jq .counts
      How many faults of each kind two of them have together.

Exit codes: 0 nothing is wrong; 1 something is, or a file cannot be read; 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = RECORDING_EXAMPLES)]
pub(crate) struct CheckRecordingArgs {
    /// The format of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub(crate) format: ReportFormat,
    /// The recordings
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

const HASH_KEY_EXAMPLES: &str = "\
The configuration file holds the hash of a key only. A key is read from standard input, never from the command line, which
others on the machine can see.

Examples:
  tickwire hash-key --generate
      Makes a key and prints it, once, with the line for the file.
  tickwire hash-key < desk.key
      The line for the key in a file.

Exit codes: 0 done, 1 failed, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = HASH_KEY_EXAMPLES)]
pub(crate) struct HashKeyArgs {
    /// Make a key instead of reading one
    #[arg(long)]
    pub(crate) generate: bool,
}

const COMPLETIONS_EXAMPLES: &str = "\
Commands, flags and their values are completed, and names of topics where a broker answers within half a second: that of --url or
TICKWIRE_URL.

Examples:
  tickwire completions bash > ~/.local/share/bash-completion/completions/tickwire
  tickwire completions fish > ~/.config/fish/completions/tickwire.fish

Exit codes: 0 printed, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

const MAN_EXAMPLES: &str = "\
Examples:
  tickwire man sub | man -l -
      The page of a command.
  tickwire man --dir ~/.local/share/man/man1
      All pages, for man to find.

Exit codes: 0 done, 1 failed, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands to this folder
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
    /// The command; without it, the page of the program
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

/// The values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Human,
    /// One JSON object
    Json,
}
