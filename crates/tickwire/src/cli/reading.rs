//! The arguments of the commands that ask over HTTP: `topics`, `get`, `history`, `end`.

use clap::{Args, ValueEnum, value_parser};
use clap_complete::ArgValueCompleter;
use tickwire_wire::message::Position;
use tickwire_wire::{Pattern, Seq, Topic};

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
