//! Opens what a broker starts with: its addresses, its feed, and as many files as the system allows.

use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;
use tickwire_feed::{Books, Excerpt, Feed, Part, Sim, SimConfig};
use tickwire_router::Kinds;
use tickwire_wire::{Kind, Moment};

use crate::config::{Config, FeedSource};
use crate::net::listener;
use crate::net::passed::PassedSockets;
use crate::run::clock::Clock;
use crate::run::start_error::StartError;

/// Connections of operators that may wait to be accepted.
const OPS_BACKLOG: u32 = 128;

/// The listeners of clients and of operators, with the settings of sockets: those that were passed, or else new ones.
///
/// # Errors
/// If an address cannot be used, or a socket does not take its settings.
pub(super) fn listeners(
    config: &Config,
    passed: PassedSockets,
) -> Result<(TcpListener, TcpListener), StartError> {
    let clients = bind("listen", passed.listen, config.listen, config.socket.backlog)?;
    listener::prepare(&SockRef::from(&clients), &config.socket).map_err(StartError::Socket)?;
    let operators = bind("ops", passed.ops, config.ops, OPS_BACKLOG)?;
    Ok((clients, operators))
}

/// The listener that was `passed`, or else one on `address`, the value of the setting `key`.
///
/// # Errors
/// If the address cannot be used.
fn bind(
    key: &'static str,
    passed: Option<TcpListener>,
    address: SocketAddr,
    backlog: u32,
) -> Result<TcpListener, StartError> {
    if let Some(passed) = passed {
        tracing::info!(
            key,
            "listening on a socket that was passed, in place of the setting"
        );
        return Ok(passed);
    }
    listener::listen(address, backlog).map_err(|source| StartError::Listen { key, address, source })
}

/// Opens the feed that the settings ask for, if they do. Returns it with the factor by which it runs faster than its time.
///
/// # Errors
/// If a recording cannot be used, or the simulated market does not take its settings.
pub(super) fn open_feed(config: &Config) -> Result<Option<(Feed, f64)>, StartError> {
    let feed = &config.feed;
    Ok(match &feed.source {
        FeedSource::None => None,
        FeedSource::Sim => {
            let sim = SimConfig {
                symbols: feed.symbols,
                rate: feed.rate,
                seed: feed.seed,
                start: Clock::start().now(),
            };
            Some((Feed::Sim(Sim::new(sim)?), 1.0))
        }
        FeedSource::Replay(files) => {
            let part = Part {
                from: feed.from.map(|Moment(from)| from),
                until: feed.until.map(|Moment(until)| until),
                repeats: feed.repeats,
            };
            let kinds = Kinds::with_rules(config.kinds.clone());
            let books = Books::new(move |topic| kinds.kind_of(topic.as_str()) == Kind::Book);
            Some((Feed::Replay(Excerpt::open(files, part, books)?), feed.speed))
        }
    })
}

/// Raises the limit on open files as far as possible and returns it.
pub(super) fn raise_open_files() -> u64 {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1_024, |(soft, _)| soft)
        }
    }
}
