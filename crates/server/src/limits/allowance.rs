//! What is left of a connection's own rates while it speaks HTTP.
//!
//! The rates are those of a WebSocket connection. A trusted proxy's connection has none: its clients have theirs by address.

use std::sync::{Arc, Mutex, PoisonError};

use tickwire_router::{Bucket, Rate};
use tickwire_wire::Micros;

#[derive(Debug, Default)]
struct Spent {
    requests: Bucket,
    /// Requests that were refused for their rate.
    patience: Bucket,
    /// Whether a handshake was asked for.
    shook_hands: bool,
}

/// A connection's allowance. Clones are the same one.
// Shared within one thread; hyper asks of a request's extensions that they could be sent to another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowance(Arc<Mutex<Spent>>);

impl Allowance {
    /// Lets the connection ask once more.
    ///
    /// # Errors
    /// With the microseconds until it may.
    pub(super) fn ask(&self, rate: Rate, now: Micros) -> Result<(), u64> {
        self.with(|spent| spent.requests.take(rate, now))
    }

    /// Charges the connection for a request that looks at so many topics.
    pub(super) fn charge_visits(&self, rate: Rate, visits: usize, now: Micros) {
        self.with(|spent| spent.requests.charge_visits(rate, visits, now));
    }

    /// Whether one more request that was refused for its rate is forgiven.
    pub(super) fn forgives(&self, rate: Rate, now: Micros) -> bool {
        self.with(|spent| spent.patience.take(rate, now).is_ok())
    }

    /// Whether no handshake was asked for before this one.
    pub(super) fn is_first_handshake(&self) -> bool {
        self.with(|spent| !std::mem::replace(&mut spent.shook_hands, true))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Spent) -> T) -> T {
        // Nothing in here can panic half-way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
