//! Load tests of Tickwire: a broker, very many clients, and a check of everything that they are sent.
//!
//! `swarm` is what every run is made of: connections on one thread, the broker, the report. `compare` measures servers
//! side by side, in scenarios that are TOML files. `trials` put to the test what the broker promises. A run ends
//! with exit status 0 when all went well, 1 when the broker did something wrong, 2 when it could not be run.

mod compare;
mod swarm;
mod trials;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::compare::peers;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::report;
use crate::trials::{attack, chaos, drain, proxy, slowlink, soak, stall, tls_reload};

const EXAMPLES: &str = "\
Examples:
  A minute of market data to a hundred subscribers:
    cargo run --release -p tickwire-loadtest -- soak --seconds 60 --json soak.json
  The market to a thousand connections, from Tickwire and from uWebSockets, with a report:
    cargo run --release -p tickwire-loadtest -- run market --peer tickwire --peer uwebsockets --html market.html
  Many short rounds, for a comparison that what else the machine does disturbs less:
    cargo run --release -p tickwire-loadtest -- run hot-10k --rounds 9 --seconds 2 --json hot.json
  The servers that Tickwire is compared with, installed where they come from npm, and a message through each:
    cargo run --release -p tickwire-loadtest -- peers
  The market from Tickwire, from another build of it, and from the floor that the kernel's work sets:
    tickwire-loadtest run market --peer tickwire --peer floor --tickwire-binary before=/path/to/tickwire
  A million messages over a bad network, every one accounted for:
    cargo run --release -p tickwire-loadtest -- chaos --seed 7
  Ten thousand readers, a thousand of which stand still for a minute:
    cargo run --release -p tickwire-loadtest -- stall
  Ten thousand connections over TLS, while the certificate is replaced five times:
    cargo run --release -p tickwire-loadtest -- tls-reload
  A thousand attackers of each kind beside a thousand honest subscribers:
    cargo run --release -p tickwire-loadtest -- attack
  Fifteen thousand clients of a broker that stops, which all come back:
    cargo run --release -p tickwire-loadtest -- drain --window-s 30
  A bad network before a broker that runs already:
    tickwire-loadtest proxy --to 127.0.0.1:7400 --faults stall,reset --every-bytes 50000

Settings of the broker that is started can be given as TICKWIRE_... in the environment; the outcome names them.
Exit status: 0 all went well, 1 the broker did something wrong, 2 the test could not be run.";

/// Load tests of the Tickwire broker.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Run(compare::RunArgs),
    /// List the scenarios that `run` knows
    Scenarios,
    Soak(soak::SoakArgs),
    Peers(peers::CheckArgs),
    Chaos(chaos::ChaosArgs),
    Stall(stall::StallArgs),
    Attack(attack::AttackArgs),
    Drain(drain::DrainArgs),
    Slowlink(slowlink::SlowLinkArgs),
    Proxy(proxy::ProxyArgs),
    TlsReload(tls_reload::TlsReloadArgs),
    /// Serve in the most ordinary way, to compare with; other scenarios start it themselves
    #[command(hide = true)]
    NaiveServer(peers::NaiveArgs),
    /// Serve with next to nothing but the system's calls, to compare with; other scenarios start it themselves
    #[command(hide = true)]
    FloorServer(peers::FloorArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.scenario) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::progress(format_args!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(scenario: &Scenario) -> anyhow::Result<bool> {
    match scenario {
        Scenario::Run(args) => compare::run(args, &Interrupt::watch()?),
        Scenario::Scenarios => compare::list(),
        Scenario::Soak(args) => {
            report::publish(&soak::run(args, &Interrupt::watch()?)?, args.json.as_deref())
        }
        Scenario::Peers(args) => peers::check(args, &Interrupt::watch()?),
        Scenario::Chaos(args) => {
            report::publish(&chaos::run(args, &Interrupt::watch()?)?, args.json.as_deref())
        }
        Scenario::Stall(args) => {
            report::publish(&stall::run(args, &Interrupt::watch()?)?, args.json.as_deref())
        }
        Scenario::Attack(args) => {
            report::publish(&attack::run(args, &Interrupt::watch()?)?, args.json.as_deref())
        }
        Scenario::Drain(args) => {
            report::publish(&drain::run(args, &Interrupt::watch()?)?, args.json.as_deref())
        }
        Scenario::Slowlink(args) => {
            report::publish(&slowlink::run(args, &Interrupt::watch()?)?, args.json.as_deref())
        }
        Scenario::TlsReload(args) => report::publish(
            &tls_reload::run(args, &Interrupt::watch()?)?,
            args.json.as_deref(),
        ),
        Scenario::Proxy(args) => proxy::run(args, &Interrupt::watch()?),
        // Ended by a signal, as servers are.
        Scenario::NaiveServer(args) => peers::serve_naive(args).map(|()| true),
        Scenario::FloorServer(args) => peers::serve_floor(args).map(|()| true),
    }
}
