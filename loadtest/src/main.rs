//! Load tests of Tickwire: a broker, very many clients, and a check of everything that they are sent.
//!
//! `swarm` is the base of every run: connections on one thread, the broker, the report. `compare` measures servers
//! beside each other, in scenarios that are TOML files. `trials` test what the broker promises. A run ends with exit
//! status 0 when all went well, 1 when the broker did something wrong, 2 when it could not be run.

mod compare;
mod swarm;
mod trials;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::compare::peers;
use crate::swarm::{Interrupt, Outcome, progress};
use crate::trials::{attack, chaos, cluster, drain, k6, proxy, slowlink, stall, tls_reload};

const EXAMPLES: &str = "\
Examples:
  The market to a thousand connections, from Tickwire and from uWebSockets, with a report:
    tickwire-loadtest run market --peer tickwire --peer uwebsockets --markdown market.md
  Many short rounds, for a comparison that what else the machine does disturbs less:
    tickwire-loadtest run hot-10k --rounds 9 --seconds 2 --json hot.json
  The market from Tickwire, from another build of it, and from the floor that the kernel's work sets:
    tickwire-loadtest run market --peer tickwire --peer floor --tickwire-binary before=/path/to/tickwire
  The servers that Tickwire is compared with, installed where they come from npm, and a message through each:
    tickwire-loadtest peers
  A million messages over a bad network, every one accounted for:
    tickwire-loadtest chaos --seed 7
  A bad network before a broker that runs already:
    tickwire-loadtest proxy --to 127.0.0.1:7400 --faults stall,reset --every-bytes 50000

The broker is the program tickwire beside this one: build both, cargo build --release -p tickwire -p tickwire-loadtest.
Its settings can be given as TICKWIRE_... in the environment; the outcome names them.
Exit status: 0 all went well, 1 the broker did something wrong, 2 the test could not be run.";

/// Load tests of the Tickwire broker.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The arguments of a trial.
#[derive(Debug, Args)]
struct Trial<A: Args> {
    #[command(flatten)]
    args: A,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl<A: Args> Trial<A> {
    /// Runs the trial and reports its outcome. Returns whether all went well.
    fn run(self, run: fn(&A, &Interrupt) -> anyhow::Result<Outcome>) -> anyhow::Result<bool> {
        run(&self.args, &Interrupt::watch()?)?.publish(self.json.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare servers: each scenario, several rounds, alternating between the servers
    Run(compare::RunArgs),
    /// List the scenarios that `run` knows
    Scenarios,
    /// Check the servers that Tickwire is compared with, and install those that come from npm
    Peers(compare::CheckArgs),
    /// Run clients on a bad network: every message accounted for, over disconnects and resumes
    Chaos(Trial<chaos::ChaosArgs>),
    /// Kill, stop and cut off the brokers of a cluster and its NATS: every message accounted for. Needs nats-server
    Cluster(Trial<cluster::ClusterArgs>),
    /// Let some of very many readers stand still for a while: the cost for the broker, and for the others
    Stall(Trial<stall::StallArgs>),
    /// Run hostile clients beside honest ones: each gets its answer, and the others notice nothing
    Attack(Trial<attack::AttackArgs>),
    /// Stop a broker while very many clients read: all are told and closed, evenly, and no message is lost silently
    Drain(Trial<drain::DrainArgs>),
    /// Read behind a slow link: how old the messages are, from Tickwire and from other servers. Needs root, ip and tc
    Slowlink(Trial<slowlink::SlowLinkArgs>),
    /// Replace the certificate under very many TLS connections: none may notice
    TlsReload(Trial<tls_reload::TlsReloadArgs>),
    /// Let k6 subscribe clients too: it must count as many deliveries as the load test. Needs k6
    K6(Trial<k6::K6Args>),
    /// A TCP proxy that misbehaves as networks do: stalls, trickles, delays, resets, closes, half-closes
    ///
    /// Prints one line of JSON, {"listen":"HOST:PORT"}, once it accepts connections, and when it is told to end (SIGTERM,
    /// SIGINT) another with how often each fault happened.
    Proxy(proxy::ProxyArgs),
    /// Run the Rust client as a program for `chaos --client`
    #[command(hide = true)]
    ChaosClient(chaos::ClientArgs),
    /// Run the naive server to compare with; other scenarios start it themselves
    #[command(hide = true)]
    NaiveServer,
    /// Run the plain-send floor to compare with; other scenarios start it themselves
    #[command(hide = true)]
    FloorServer,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Run(args) => compare::run(&args, &Interrupt::watch()?),
        Command::Scenarios => compare::list(),
        Command::Peers(args) => compare::check(&args, &Interrupt::watch()?),
        Command::Chaos(trial) => trial.run(chaos::run),
        Command::Cluster(trial) => trial.run(cluster::run),
        Command::Stall(trial) => trial.run(stall::run),
        Command::Attack(trial) => trial.run(attack::run),
        Command::Drain(trial) => trial.run(drain::run),
        Command::Slowlink(trial) => trial.run(slowlink::run),
        Command::TlsReload(trial) => trial.run(tls_reload::run),
        Command::K6(trial) => trial.run(k6::run),
        Command::Proxy(args) => proxy::run(&args, &Interrupt::watch()?),
        Command::ChaosClient(args) => chaos::run_client(args),
        // A signal ends it, as it does any server.
        Command::NaiveServer => peers::serve_naive().map(|()| true),
        Command::FloorServer => peers::serve_floor().map(|()| true),
    }
}
