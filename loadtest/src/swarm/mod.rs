//! The base of every run: very many connections on one thread, what they read, the broker under test, and the report.
//!
//! It knows WebSocket and Tickwire's messages, but not what a run is for.

pub(crate) mod bare;
mod broker;
mod certificates;
pub(crate) mod conn;
mod connections;
mod events;
mod frame;
pub(crate) mod handshake;
mod head;
mod inflated;
mod interrupt;
mod latency;
pub(crate) mod payload;
pub(crate) mod proc;
mod process;
mod publisher;
pub(crate) mod readers;
pub(crate) mod report;
pub(crate) mod scrape;
mod source;
mod tls;
mod watch;

pub(crate) use broker::{Broker, BrokerArgs, FREE_PUBLISHER, program};
pub(crate) use certificates::{Certificates, PEER_FILES, hasty, shown, trusting};
pub(crate) use conn::{ConnId, Ending, Handler, Reply, write_out};
pub(crate) use connections::{Endpoint, Swarm, allow_files};
pub(crate) use frame::FrameReader;
pub(crate) use head::Head;
pub(crate) use interrupt::Interrupt;
pub(crate) use latency::{Latency, latencies};
pub(crate) use payload::{Clock, Nanos, PAYLOAD_BYTES, Payload};
pub(crate) use proc::{Memory, Sample, Used};
pub(crate) use process::{Process, free_address, installed_program, loopback, on_cores, own_cores, run_on};
pub(crate) use publisher::Publisher;
pub(crate) use readers::{Layout, Readers};
pub(crate) use report::{
    Faults, Outcome, byte_change, bytes, grouped, micros, progress, say, write_file, write_json,
};
pub(crate) use scrape::Metrics;
pub(crate) use source::Sources;
pub(crate) use tls::{Secured, TlsClient};
pub(crate) use watch::{Came, Lateness, Phase, Watch};
