//! The arguments of `admin`: what operators change at a running broker.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use tickwire_wire::{Moment, Topic};

const ADMIN_EXAMPLES: &str = "\
The broker has an admin API only if its settings have a key for it: [[admin.keys]] with a name and the hash that hash-key prints.
The key comes from --token-file or TICKWIRE_TOKEN, never from the command line.

Examples:
  tickwire admin sessions --key desk
      The open sessions of the static key called desk.
  tickwire admin revoke --subject mallory --until 2026-12-01T12:00:00Z
      Closes all sessions of a subject, and refuses its tokens until the last of them has expired.
  tickwire admin close --address 203.0.113.0/24 --reason 'please use the other site'
      Closes the sessions of a network. Their clients may connect again.
  tickwire admin drain
      Stops a broker as SIGTERM does.

Exit codes: 0 done, 1 there is no such thing, or the broker refuses or cannot be asked, 2 used wrongly.";

const SESSIONS_EXAMPLES: &str = "\
A session is listed if it fulfils all conditions. Without one, all sessions are listed, page by page.

Examples:
  tickwire admin sessions
      All open sessions.
  tickwire admin sessions --topic trade.BTC-USD --format json | jq -r .address
      The addresses of those who would get a message of a topic.

Exit codes: 0 listed, 1 no session is selected, or the broker refuses or cannot be asked, 2 used wrongly.";

const CLOSE_EXAMPLES: &str = "\
Clients get close code 1001 and may connect again; revoke keeps them away.

Examples:
  tickwire admin close 0-1a 1-2f07
      Two sessions by their names.
  tickwire admin close --key desk --reason 'the desk moves'
      All sessions of a static key.

Exit codes: 0 closed, 1 a session does not exist, or the broker refuses or cannot be asked, 2 used wrongly.";

const REVOKE_EXAMPLES: &str = "\
Open sessions are closed with 4003 at once, and the key or token is refused from then on: for new connections, for requests over HTTP,
and for renewals. A restart of the broker forgets revocations if it has no admin.dir: also remove a key from the settings, and stop issuing tokens.

Examples:
  tickwire admin revoke --key desk
      A static key, until it is taken back.
  tickwire admin revoke --jti 7f3a --until 2026-12-01T12:00:00Z
      One JSON Web Token, until it has expired.

Exit codes: 0 revoked, 1 the broker refuses or cannot be asked, 2 used wrongly.";

const REVOCATIONS_EXAMPLES: &str = "\
Examples:
  tickwire admin revocations
      What is revoked now, until when, and by whom.
  tickwire admin revocations --format json | jq -r 'select(.until == null).id'
      The revocations that do not end by themselves.

Exit codes: 0 listed, 1 the broker refuses or cannot be asked, 2 used wrongly.";

const UNREVOKE_EXAMPLES: &str = "\
Examples:
  tickwire admin unrevoke 3
      Takes the revocation with this id back. Sessions that it has closed stay closed.

Exit codes: 0 taken back, 1 there is no such revocation, or the broker refuses or cannot be asked, 2 used wrongly.";

const ACCOUNTING_EXAMPLES: &str = "\
The broker has books only with accounting.enabled. A day is one of Coordinated Universal Time.

Examples:
  tickwire admin accounting
      What was delivered today, by holders and families of topics.
  tickwire admin accounting yesterday --csv > yesterday.csv
      The same of the day before, for a spreadsheet or a bill.
  tickwire admin accounting --format json | jq '.families[] | {family, users}'
      How many users each family of topics had.

Exit codes: 0 printed, 1 there are no such books, or the broker refuses or cannot be asked, 2 used wrongly.";

const DRAIN_EXAMPLES: &str = "\
The broker does what SIGTERM makes it do: clients are told and closed one after the other, and then it ends.

Examples:
  tickwire admin drain --ops http://10.0.0.5:7401
      Drains one broker.

Exit codes: 0 the broker drains, 1 it refuses or cannot be asked, 2 used wrongly.";

#[derive(Debug, Args)]
#[command(after_help = ADMIN_EXAMPLES)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
    #[command(flatten)]
    pub(crate) at: AdminBroker,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// List open sessions
    Sessions(AdminSessionsArgs),
    /// Close sessions
    Close(AdminCloseArgs),
    /// Revoke a static key, a subject or a token, and close its sessions
    Revoke(AdminRevokeArgs),
    /// List revocations
    #[command(after_help = REVOCATIONS_EXAMPLES)]
    Revocations,
    /// Take a revocation back
    Unrevoke(AdminUnrevokeArgs),
    /// Print what clients were delivered on a day
    Accounting(AdminAccountingArgs),
    /// Stop a broker in an orderly way
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain,
}

/// Which broker, and as whom.
#[derive(Debug, Args)]
pub(crate) struct AdminBroker {
    /// The operators' listener
    #[arg(long, global = true, env = "TICKWIRE_OPS", value_name = "URL", default_value = "http://127.0.0.1:7401", value_parser = super::watching::ops)]
    pub(crate) ops: String,
    /// A file with the key. Without it, the key is that of the environment's TICKWIRE_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = AdminFormat::Human)]
    pub(crate) format: AdminFormat,
}

/// The values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdminFormat {
    /// For people
    Human,
    /// JSON, one object a line
    Json,
}

/// The conditions on sessions.
#[derive(Debug, Args)]
pub(crate) struct SessionConditions {
    /// Sessions of clients at this address or in this network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// Sessions of the static key with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Sessions of this subject of JSON Web Tokens
    #[arg(long, value_name = "SUB")]
    pub(crate) subject: Option<String>,
    /// Sessions with a subscription that covers this topic
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<Topic>,
}

#[derive(Debug, Args)]
#[command(after_help = SESSIONS_EXAMPLES)]
pub(crate) struct AdminSessionsArgs {
    #[command(flatten)]
    pub(crate) conditions: SessionConditions,
}

#[derive(Debug, Args)]
#[command(after_help = CLOSE_EXAMPLES, group = ArgGroup::new("closed").multiple(true).required(true).args(["address", "key", "subject", "topic", "sessions"]))]
pub(crate) struct AdminCloseArgs {
    #[command(flatten)]
    pub(crate) conditions: SessionConditions,
    /// What the clients are told
    #[arg(long, value_name = "TEXT", conflicts_with = "sessions")]
    pub(crate) reason: Option<String>,
    /// Names of sessions
    #[arg(value_name = "SESSION", conflicts_with_all = ["address", "key", "subject", "topic"])]
    pub(crate) sessions: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES, group = ArgGroup::new("revoked").required(true).args(["key", "subject", "jti"]))]
pub(crate) struct AdminRevokeArgs {
    /// The name of a static key
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// A subject of JSON Web Tokens
    #[arg(long, value_name = "SUB")]
    pub(crate) subject: Option<String>,
    /// The claim jti of one JSON Web Token
    #[arg(long, value_name = "JTI")]
    pub(crate) jti: Option<String>,
    /// When the revocation ends, best when the last token has expired. Without it, it holds until it is taken back
    #[arg(long, value_name = "MOMENT")]
    pub(crate) until: Option<Moment>,
}

#[derive(Debug, Args)]
#[command(after_help = UNREVOKE_EXAMPLES)]
pub(crate) struct AdminUnrevokeArgs {
    /// Ids of revocations
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = ACCOUNTING_EXAMPLES)]
pub(crate) struct AdminAccountingArgs {
    /// today, yesterday, or the date of one of them, such as 2026-11-30
    #[arg(value_name = "DAY", default_value = "today")]
    pub(crate) day: String,
    /// Print CSV, with a row for each holder and family
    #[arg(long)]
    pub(crate) csv: bool,
}
