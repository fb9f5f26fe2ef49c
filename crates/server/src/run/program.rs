//! The program that runs a broker, as far as the broker needs it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::net::passed::PassedSockets;

/// The program around a broker.
pub struct Program {
    /// The listening sockets that it was started with.
    pub sockets: PassedSockets,
    /// The number of log lines that it has lost, for the metrics.
    pub log_lines_lost: Arc<AtomicU64>,
    /// Ends the program after a fault that no broker can go on with. The log says which.
    pub end: Box<dyn Fn() + Send>,
}
