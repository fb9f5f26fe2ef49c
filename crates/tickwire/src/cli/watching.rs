//! The arguments of the commands that watch and measure a broker: `top`, `bench`.

use clap::{Args, value_parser};
use tickwire_wire::Topic;

use super::ConnectionArgs;

const TOP_EXAMPLES: &str = "\
What is shown comes from the operators' listener: the topics with the most updates handed out, and the sessions that are owed the most
messages. On a terminal the screen is drawn again each interval; q or Ctrl-C ends it. Elsewhere one report is printed.

Examples:
  tickwire top
      The broker of this machine.
  tickwire top --ops http://10.0.0.5:7401 --interval 5
      Another broker, every five seconds.
  tickwire top --count 1 > now.txt
      One report, over one second.

Exit codes: 0 ended by the user or by --count, 1 the operators' listener cannot be asked, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = TOP_EXAMPLES)]
pub(crate) struct TopArgs {
    /// The operators' listener
    #[arg(long, env = "TICKWIRE_OPS", value_name = "URL", default_value = "http://127.0.0.1:7401", value_parser = ops)]
    pub(crate) ops: String,
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = value_parser!(u64).range(1..=3_600))]
    pub(crate) interval: u64,
    /// End after this many screens
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Most topics, and most sessions
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = value_parser!(u64).range(1..=1_000))]
    pub(crate) rows: u64,
}

const BENCH_EXAMPLES: &str = "\
Subscribers connect to the broker, a publisher sends messages that hold the time, and each message of each subscriber is counted and
timed. All of it runs in this process, on one thread, and takes time that the broker may need: on the same machine the figures are a
lower bound. Anyone who asks for more should use tickwire-loadtest.

The topic must be one that the token, or anyone, may publish to: for example, serve --anonymous-publish 'bench.>'.

Examples:
  tickwire bench
      100 subscribers, 100 messages a second, 5 seconds.
  tickwire bench --subscribers 1000 --rate 50 --seconds 30 --json | jq .delay_us.p99
      A thousand subscribers, and the 99th percentile of the delay.

Exit codes: 0 everything arrived, 1 something did not or the broker cannot be reached, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Connections that subscribe
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(1..=10_000))]
    pub(crate) subscribers: u64,
    /// Messages a second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(1..=10_000))]
    pub(crate) rate: u64,
    /// Seconds of publishing
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,
    /// Length of a message's data, in bytes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(40..=60_000))]
    pub(crate) bytes: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The topic, best one of kind `event`: then each message comes
    #[arg(long, value_name = "TOPIC", default_value = "bench.load")]
    pub(crate) topic: Topic,
}

/// The operators' listener as a URL of the client, which speaks HTTP to the same port.
pub(super) fn ops(text: &str) -> Result<String, String> {
    let url = match text.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(_) => return Err("write http://HOST:PORT".to_owned()),
        None => format!("ws://{text}"),
    };
    super::url(&url).map_err(|error| error.to_string())
}
