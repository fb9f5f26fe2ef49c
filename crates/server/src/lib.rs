//! Sockets, threads, HTTP, configuration and shutdown: the parts that turn the pure router into a broker.
//!
//! [`start`] runs a broker: a thread per shard, one for the feed, and one that accepts. Connections never move between
//! shards. `docs/ARCHITECTURE.md` describes the path of a message through them.

mod accounting;
pub mod auth;
mod cluster;
pub mod config;
pub mod http;
mod hub;
pub mod journal;
mod limits;
mod net;
mod ops;
mod run;
mod state_files;
mod ws;

#[cfg(test)]
mod tests;

pub use cluster::ClusterError;
pub use config::Config;
pub use journal::{JournalError, RecoveryError};
pub use net::passed::{PassedError, PassedSockets};
pub use net::tls;
pub use run::{
    Broker, NoSignOfLife, Program, ReloadError, Reloaded, StartError, StopRequest, Vitals, share_heap, start,
};
pub use state_files::StateError;

/// The version that the broker tells its clients.
const VERSION: &str = env!("CARGO_PKG_VERSION");
