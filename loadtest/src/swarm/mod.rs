//! The base of every run: very many connections on one thread, what they read, the broker under test, and the report.
//!
//! It knows WebSocket and Tickwire's messages, but not what a run is for.

pub(crate) mod audit;
pub(crate) mod broker;
pub(crate) mod certificates;
pub(crate) mod conn;
pub(crate) mod connections;
pub(crate) mod events;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod head;
pub(crate) mod inflated;
pub(crate) mod interrupt;
pub(crate) mod latency;
pub(crate) mod payload;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod publisher;
pub(crate) mod readers;
pub(crate) mod report;
pub(crate) mod scrape;
pub(crate) mod sockets;
pub(crate) mod source;
pub(crate) mod tls;
pub(crate) mod watch;
