//! A seeded simulator of the broker's core, its clients and the network between them. It is never shipped.
//!
//! A seed stands for a [`Plan`]: limits, clients, and a list of events. [`run()`] runs it with the real directory and
//! shards, the real parser and the real codecs; only sockets and time are simulated. Clients read real bytes and check
//! what PROTOCOL.md lets them rely on. They check it twice: with the client library's own checks, and with an oracle
//! that knows everything that was published.
//!
//! The same plan always gives the same run, byte for byte. The simulator never reads a clock, and the order of a hash
//! map never shows.

mod archive;
mod broken;
mod broker;
mod chance;
mod client;
mod describe;
mod ledger;
mod link;
mod op;
mod oracle;
mod plan;
mod request;
mod run;
mod shrink;
mod sockets;
mod streams;
mod tally;
mod topics;
mod trace;
mod truth;
mod world;

pub use broken::{Broken, Rule};
pub use op::{Op, Pace, Since};
pub use plan::{ClientSetup, Plan, Setup};
pub use run::{Outcome, catch_panics, run};
pub use shrink::shrink;
pub use tally::Tally;
