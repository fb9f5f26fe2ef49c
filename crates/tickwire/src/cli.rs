//! The command line: every command, argument and help text.

mod admin;
mod cluster;
mod journal;
mod offline;
mod reading;
mod recording;
mod watching;

use std::path::PathBuf;

use crate::completions;
use crate::failure::Failure;
use crate::token;
use clap::builder::PossibleValuesParser;
use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    ValueHint,
};
use clap_complete::ArgValueCompleter;
use tickwire_client::{Client, ClientBuilder};
use tickwire_server::config::{Config, Overrides};
use tickwire_wire::limits::PUBLISH_KEY_BYTES_MAX;
use tickwire_wire::message::Position;
use tickwire_wire::{Codec, Epoch, Mode, Moment, Pattern, ReplaySpeed, Seq, Topic};

pub(crate) use self::admin::{
    AdminAccountingArgs, AdminArgs, AdminBroker, AdminCloseArgs, AdminCommand, AdminFormat, AdminRevokeArgs,
    SessionConditions,
};
pub(crate) use self::cluster::{ClusterArgs, ClusterFormat};
pub(crate) use self::journal::{
    JournalArgs, JournalCatArgs, JournalCommand, JournalExportArgs, JournalSelection, JournalTrimArgs,
};
pub(crate) use self::offline::{
    CheckConfigArgs, CheckRecordingArgs, CompletionsArgs, HashKeyArgs, ManArgs, ReportFormat,
};
pub(crate) use self::reading::{
    EndArgs, ExportArgs, ExportFormat, GetArgs, HistoryArgs, ListFormat, Since, TopicsArgs,
};
pub(crate) use self::recording::{RecordArgs, RecordFormat};
pub(crate) use self::watching::{BenchArgs, TopArgs};

/// The broker's URL, if none is given.
pub(crate) const URL: &str = "ws://127.0.0.1:7400/v1/ws";
/// The variable with the broker's URL, or with those of several nodes.
pub(crate) const URL_VARIABLE: &str = "TICKWIRE_URL";

/// A broker for real-time market data, which it pushes at once to very many WebSocket subscribers.
#[derive(Debug, Parser)]
#[command(name = "tickwire", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line of this process. A wrong one, or one that asks for help, ends the process with a message.
    pub(crate) fn read() -> Self {
        let read = Self::from_arg_matches(&command().get_matches());
        read.unwrap_or_else(|error| error.exit())
    }
}

/// The definition of the command line, with hints for completion by the shell.
pub(crate) fn command() -> clap::Command {
    let without_files = |command: clap::Command| {
        command.mut_args(|arg| match arg.get_value_hint() {
            // Shells complete arguments without a hint with names of files.
            ValueHint::Unknown if arg.get_action().takes_values() && arg.get_id() != "--feed" => {
                arg.value_hint(ValueHint::Other)
            }
            _ => arg,
        })
    };
    Cli::command().mut_subcommands(without_files)
}

/// The settings that were given as flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingFlags(pub(crate) Overrides);

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(Config::flags().map(|flag| {
            let again = if flag.is_list {
                ". May be given several times"
            } else {
                ""
            };
            let arg = Arg::new(flag.name)
                .long(flag.name.trim_start_matches('-'))
                .value_name(flag.value_name)
                .help(format!("{}{again} [default: {}]", flag.meaning, flag.default));
            match flag.words {
                [] if flag.is_list => arg.action(ArgAction::Append),
                [] if flag.is_truth => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                [] => arg,
                words => arg.value_parser(PossibleValuesParser::new(words.iter().copied())),
            }
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches).map(|()| given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in Config::flags() {
            if let Some(texts) = matches.get_many::<String>(flag.name) {
                let texts: Vec<&str> = texts.map(String::as_str).collect();
                self.0.set(flag.name, texts.join(","));
            }
        }
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker
    Serve(ServeArgs),
    /// Subscribe to topics and print one JSON message a line
    Sub(SubArgs),
    /// Publish standard input's lines, each a JSON value
    Pub(PubArgs),
    /// Record topics to a file that serve publishes again
    Record(RecordArgs),
    /// End topics
    End(EndArgs),
    /// List topics
    Topics(TopicsArgs),
    /// Print the values of topics
    Get(GetArgs),
    /// Print the messages that a topic's history holds
    History(HistoryArgs),
    /// Write the histories of topics to a file: Parquet, Arrow, CSV or NDJSON
    Export(ExportArgs),
    /// Watch the hottest topics and the slowest readers
    Top(TopArgs),
    /// List and close sessions, revoke keys and tokens, drain
    Admin(AdminArgs),
    /// Show what the brokers of a cluster do and how far each is
    Cluster(ClusterArgs),
    /// Measure how fast a broker delivers, with a small load
    Bench(BenchArgs),
    /// Look into the files of a journal: list, verify, print, export, trim
    Journal(JournalArgs),
    /// Check a configuration file without starting the broker
    CheckConfig(CheckConfigArgs),
    /// Report what recordings hold, their faults, and where these are
    CheckRecording(CheckRecordingArgs),
    /// Hash a static key for the configuration file, or make one
    HashKey(HashKeyArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them
    Man(ManArgs),
}

const SERVE_EXAMPLES: &str = "\
Each flag is a setting: a flag wins over the environment, the environment over the file, the file over the default.

Examples:
  tickwire serve
      The simulated market, for clients of this machine.
  tickwire serve --listen 0.0.0.0:7400 --config tickwire.toml
      With the settings of a file, for clients anywhere.
  tickwire serve --feed replay:btc.jsonl.gz,eth.jsonl.gz --speed 2 --start on-subscribe
      Two recordings twice as fast, from the first subscription on.
  tickwire serve --feed none --anonymous-publish 'chat.>'
      No market; anyone may publish below chat.

SIGTERM or SIGINT drains: clients are told and closed one after the other. A second signal ends the broker at once. SIGHUP reads the settings again.

Exit codes: 0 stopped by a signal, 1 failed, 2 a setting is wrong, 130 or 143 ended at once by a second SIGINT or SIGTERM.";

#[derive(Debug, Clone, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    /// A file with further settings, in TOML
    #[arg(long, value_name = "FILE", env = "TICKWIRE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// How to connect to the broker.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// The broker's URL. Without a path, /v1/ws is used. Of several, separated by commas or each with a flag of its own, all are
    /// nodes of one cluster: a command that loses its node goes on at another
    #[arg(long, env = URL_VARIABLE, default_value = URL, value_delimiter = ',', value_parser = url)]
    pub(crate) url: Vec<String>,
    /// With wss://, trust the authorities whose certificates are in this PEM file, and not those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// With wss://, the certificate in PEM to show to a broker that asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of --cert, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// A file with the token, which is read again for each connection. Without it, the token is that of the
    /// environment's TICKWIRE_TOKEN, if that is set
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl BrokerArgs {
    /// A client with these settings.
    ///
    /// # Errors
    /// When no URL is given, or the token of the environment cannot be read.
    pub(crate) fn client(&self) -> Result<ClientBuilder, Failure> {
        let (first, others) = self
            .url
            .split_first()
            .ok_or_else(|| Failure::usage(anyhow::anyhow!("no URL of a broker is given")))?;
        let mut client = others.iter().fold(Client::builder(first), ClientBuilder::or_url);
        if let Some(ca) = &self.ca {
            client = client.ca_file(ca);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            client = client.client_certificate(cert, key);
        }
        token::shown_by(client, self.token_file.as_deref())
    }
}

/// How to connect to the broker for messages.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// The codec of messages on the connection. What is printed and read is always JSON
    #[arg(long, value_enum, default_value_t = CodecName::Json)]
    pub(crate) codec: CodecName,
}

impl ConnectionArgs {
    /// A client with these settings.
    ///
    /// # Errors
    /// When the token of the environment cannot be read.
    pub(crate) fn client(&self) -> Result<ClientBuilder, Failure> {
        Ok(self.broker.client()?.codec(self.codec.into()))
    }
}

const SUB_EXAMPLES: &str = "\
A TOPIC may hold wildcards: * stands for one token, a final > for one or more. Quote them.
When the connection is lost, sub connects again and resumes; standard error says so.

Examples:
  tickwire sub ticker.BTC-USD
      Each new ticker of one instrument.
  tickwire sub --conflate-ms 1000 'ticker.*'
      All tickers, each at most once a second.
  tickwire sub --mode snapshot book.BTC-USD
      One book as it is now.
  tickwire sub --since k3v9:57 trade.BTC-USD
      The trades after number 57 of lineage k3v9, then those to come.
  tickwire sub --from 2024-08-08T23:54:13Z trade.BTC-USD
      The trades since then that the broker still has, then those to come. A MOMENT may also be microseconds since 1970.
  tickwire sub --from 2024-08-08T23:54:13Z --speed 10 trade.BTC-USD
      The same, and the stored ones ten times as fast as they came.
  tickwire sub --url wss://broker.example:7400 --ca ca.pem 'bbo.*'
      By TLS, with a broker whose certificate an authority of your own has signed.
  tickwire sub --url ws://a.example:7400,ws://b.example:7400 'trade.>'
      From one node of a cluster, and from the other if that is lost.
  tickwire sub 'trade.>' --count 1000 | jq -r .data.price
      The prices of the next thousand trades.
  tickwire sub --pretty --report 'trade.*' 'ticker.*'
      Lines for people, and at the end what came, what is missing and how old it was.

Exit codes: 0 ended by a signal, by --count or by the reader; 1 no topic is left, there is no snapshot, or the broker is gone for good; 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = SUB_EXAMPLES)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Which messages come: each one, the newest, or one snapshot and then the end. Default: by the topic's kind
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeName>,
    /// Shortest time between two updates of a topic, for conflated topics; 0 means only when behind
    #[arg(long, value_name = "N")]
    pub(crate) conflate_ms: Option<u32>,
    /// Begin with the next update instead of a snapshot
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// End after this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Resume after this position. Give one per TOPIC, in the same order
    #[arg(long, value_name = "EPOCH:SEQ", value_parser = position)]
    pub(crate) since: Vec<Position>,
    /// Begin with the stored messages from this moment on. A `status` with `caught_up` tells where live ones begin
    #[arg(long, value_name = "MOMENT", conflicts_with_all = ["since", "conflate_ms"])]
    pub(crate) from: Option<Moment>,
    /// Send the stored messages by so much faster than they came: 1 as fast, 10 ten times as fast. Default: as fast as possible
    #[arg(long, value_name = "FACTOR", requires = "from")]
    pub(crate) speed: Option<ReplaySpeed>,
    /// Also print messages without data: welcomes, acks, heartbeats, errors
    #[arg(long)]
    pub(crate) all: bool,
    /// Print lines for people instead of JSON, in colour on a terminal unless NO_COLOR is set
    #[arg(long)]
    pub(crate) pretty: bool,
    /// At the end, print to standard error what came of each topic, what is missing, and how old messages were
    #[arg(long)]
    pub(crate) report: bool,
    /// Topics and patterns
    #[arg(value_name = "TOPIC", required = true, add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topics: Vec<Pattern>,
}

const PUB_EXAMPLES: &str = "\
Lines are published in their order, and each is acknowledged. pub keeps to the rate that the broker announces.

Examples:
  echo '{\"text\":\"hello\"}' | tickwire pub chat.lobby
      One message.
  tail -f app.log | tickwire pub --text log.app
      Each line of a log, as a JSON string.
  tickwire pub < messages.jsonl
      What sub printed, to the topics that each line names. The value of a book replaces the book.

Exit codes: 0 every line was published, 1 a line was not, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = PUB_EXAMPLES)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Publish each line as a JSON string
    #[arg(long, requires = "topic")]
    pub(crate) text: bool,
    /// Give each line the key TEXT-LINE, by which the broker knows it again: within two minutes the same lines can be
    /// published again, and those that were published are left out
    #[arg(long, value_name = "TEXT", value_parser = key_prefix)]
    pub(crate) publish_key: Option<String>,
    /// Give each message the time in its line (`ts`), where the rights allow that
    #[arg(long, conflicts_with = "topic")]
    pub(crate) stamp: bool,
    /// The topic, without wildcards. Without it, each line is a message as sub prints them, which names its topic
    #[arg(value_name = "TOPIC", add = ArgValueCompleter::new(completions::topics))]
    pub(crate) topic: Option<Topic>,
}

/// The beginning of the keys of publications, which leaves room for the number of any line.
fn key_prefix(text: &str) -> Result<String, String> {
    const BYTES_MAX: usize = PUBLISH_KEY_BYTES_MAX - "-18446744073709551615".len();
    if (1..=BYTES_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("it has 1 to {BYTES_MAX} bytes"))
}

/// The values of `--codec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecName {
    /// JSON
    Json,
    /// MessagePack
    Msgpack,
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Self {
        match name {
            CodecName::Json => Self::Json,
            CodecName::Msgpack => Self::MessagePack,
        }
    }
}

/// The values of `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// Each message, in order
    Every,
    /// The newest message; older ones may be skipped
    Conflate,
    /// One snapshot of each topic, then the end
    Snapshot,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Every => Self::Every,
            ModeName::Conflate => Self::Conflate,
            ModeName::Snapshot => Self::Snapshot,
        }
    }
}

fn url(text: &str) -> Result<String, tickwire_client::UrlError> {
    Client::check_url(text).map(|()| text.to_owned())
}

fn position(text: &str) -> Result<Position, String> {
    let parts = text.rsplit_once(':').filter(|(epoch, _)| !epoch.is_empty());
    let number = parts.and_then(|(epoch, seq)| Some((epoch, seq.parse().ok()?)));
    let (epoch, seq) = number.ok_or("a position is EPOCH:SEQ, as in k3v9:57")?;
    Ok(Position {
        epoch: Epoch::from(epoch),
        seq: Seq(seq),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_shows_the_default_of_each_flag_of_serve() {
        let mut command = command();
        let serve = command.find_subcommand_mut("serve").expect("a command");
        let help = serve.render_long_help().to_string();
        // The check does not depend on how the lines are wrapped.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for flag in Config::flags() {
            let value = if flag.is_truth { "[=<" } else { " <" };
            assert!(help.contains(&format!("{}{value}", flag.name)), "{}", flag.name);
            assert!(
                help.contains(&format!("[default: {}]", flag.default)),
                "{}",
                flag.name
            );
        }
        assert!(help.contains("[default: 127.0.0.1:7400]"), "{help}");
    }

    #[test]
    fn completions_offer_the_words_of_a_setting_and_no_files() {
        let mut script = Vec::new();
        clap_complete::generate(
            clap_complete::Shell::Fish,
            &mut command(),
            "tickwire",
            &mut script,
        );
        let script = String::from_utf8(script).expect("text");
        let line = |flag: &str| {
            let of_flag =
                |entry: &&str| entry.contains("subcommand serve") && entry.contains(&format!("-l {flag} "));
            script
                .split("\ncomplete ")
                .find(of_flag)
                .unwrap_or_default()
                .to_owned()
        };
        assert!(line("start").contains("on-subscribe"), "{script}");
        assert!(line("log-level").contains("debug"), "{script}");
        assert!(!line("rate").contains(" -F"), "{script}");
        assert!(line("config").contains(" -F"), "{script}");
    }

    #[test]
    fn positions() {
        let found = position("k3v9:57").expect("a position");
        assert_eq!((found.epoch.as_str(), found.seq), ("k3v9", Seq(57)));
        for text in ["", "57", ":57", "k3v9:", "k3v9:-1", "k3v9:x"] {
            assert!(position(text).is_err(), "{text:?}");
        }
    }
}
