//! Why a broker did not start, and what an operator can do about it.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tickwire_feed::{ReplayError, SimError};
use tickwire_metrics::CatalogueError;

use crate::auth::AccessError;
use crate::cluster::ClusterError;
use crate::journal::JournalError;
use crate::net::tls::TlsError;
use crate::state_files::StateError;

/// Why a broker did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} (from {key}): {source}{}", advice(source, key))]
    Listen {
        /// The setting.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The system refuses an option of the clients' sockets.
    #[error("the options of section socket cannot be set: {0}")]
    Socket(#[source] io::Error),
    /// The recordings cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The simulated market cannot be made.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] CatalogueError),
    /// The rules of access cannot be built.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The required egress is not available.
    #[error("socket.egress = io_uring: this kernel does not offer it ({0}); set it to auto or plain")]
    Egress(#[source] io::Error),
    /// There is no usable certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The files of books or revocations cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The cluster cannot be joined.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A thread or its runtime could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// What an operator can do about an address that cannot be listened on.
fn advice(error: &io::Error, key: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "; another program listens there, perhaps another broker: stop it, or choose another port with --{key}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "; this machine does not have that address: choose one of its own with --{key}, or 0.0.0.0 for all"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("; ports below 1024 need the right to them: choose another port with --{key}")
        }
        _ => String::new(),
    }
}
