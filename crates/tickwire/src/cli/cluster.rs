//! The arguments of `cluster`: which nodes are asked what they do.

use clap::{Args, ValueEnum};

const CLUSTER_EXAMPLES: &str = "\
Each address is that of a broker's operators' listener. A broker that cannot be asked is listed, too.

Examples:
  tickwire cluster
      The broker of this machine.
  tickwire cluster http://10.0.0.11:7401 http://10.0.0.12:7401 http://10.0.0.13:7401
      Three brokers: what each does, who numbers the messages, and how far each is.

Exit codes: 0 all are ready, and one of them or of the others writes, 1 a broker is not ready or cannot be asked, 2 used wrongly.";

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = CLUSTER_EXAMPLES)]
pub(crate) struct ClusterArgs {
    /// The operators' listeners of the brokers
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:7401", value_parser = super::watching::ops)]
    pub(crate) nodes: Vec<String>,
    /// The form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ClusterFormat,
}
