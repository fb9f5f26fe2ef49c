//! Sockets, threads, HTTP, configuration and shutdown: what turns the pure router into a broker.
//!
//! [`start`] gives a running broker: a thread per shard, one for the feed, one that accepts. Connections never move
//! between shards. See `docs/ARCHITECTURE.md` for the way of a message through them.

mod acceptor;
pub mod access;
mod announce;
mod broker;
mod clock;
pub mod config;
mod curfew;
mod debug_pages;
mod der;
mod egress;
mod entrance;
pub mod extensions;
mod feed_thread;
mod gatekeeper;
pub mod handshake;
pub mod http;
mod hub;
mod inspector;
mod kept_up;
mod labels;
mod leaving;
mod ops;
mod permit;
mod poller;
mod proxied;
mod pulse;
mod reload;
mod service;
mod shard_thread;
mod stale_watch;
mod start_error;
mod start_gate;
pub mod tls;
mod trim;
mod turns;

pub use broker::{Broker, start};
pub use config::Config;
pub use reload::{ReloadError, Reloaded};
pub use start_error::StartError;
