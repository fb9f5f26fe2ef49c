//! What a connection has left of its own rates while it uses HTTP.
//!
//! The rates are those of a WebSocket connection. A trusted proxy's connection has none: its clients have rates by
//! address.

use std::sync::{Arc, Mutex, PoisonError};

use tickwire_router::{Bucket, Rate};
use tickwire_wire::Micros;

#[derive(Debug, Default)]
struct Spent {
    requests: Bucket,
    /// The requests that were refused because of their rate.
    patience: Bucket,
    /// Whether a handshake was asked for.
    shook_hands: bool,
}

/// The allowance of a connection. Clones share one allowance.
// It is shared within one thread, but hyper requires extensions of a request that can be sent to another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpAllowance(Arc<Mutex<Spent>>);

impl HttpAllowance {
    /// Takes one request of the connection.
    ///
    /// # Errors
    /// The microseconds until there is one.
    pub(super) fn ask(&self, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|spent| spent.requests.take(rate, now))
    }

    /// Charges the connection for a request that looks at `visits` topics.
    pub(super) fn charge_visits(&self, rate: Rate, visits: usize, now: Micros) {
        self.with(|spent| spent.requests.charge_visits(rate, visits, now));
    }

    /// Whether one more request that is refused because of its rate is forgiven.
    pub(super) fn forgives(&self, rate: Rate, now: Micros) -> bool {
        self.with(|spent| spent.patience.take(rate, now).is_ok())
    }

    /// Whether this is the first handshake on the connection.
    pub(super) fn is_first_handshake(&self) -> bool {
        self.with(|spent| !std::mem::replace(&mut spent.shook_hands, true))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Spent) -> T) -> T {
        // Nothing in here can panic half-way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
