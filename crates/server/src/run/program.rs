//! The program that runs a broker, as far as the broker needs it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::net::passed::PassedSockets;

/// A way to ask the program to stop its broker in an orderly way.
#[derive(Clone)]
pub struct StopRequest(Arc<dyn Fn() + Send + Sync>);

impl StopRequest {
    /// Asks by calling `ask`, which must return at once.
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks the program to stop the broker. It may be asked several times.
    pub(crate) fn ask(&self) {
        (self.0)();
    }
}

impl fmt::Debug for StopRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopRequest")
    }
}

/// The program around a broker.
pub struct Program {
    /// The listening sockets that it was started with.
    pub sockets: PassedSockets,
    /// The number of log lines that it has lost, for the metrics.
    pub log_lines_lost: Arc<AtomicU64>,
    /// Ends the program after a fault that no broker can go on with. The log says which.
    pub end: Box<dyn Fn() + Send>,
    /// Stops the broker because an operator wants that.
    pub drain: StopRequest,
}
