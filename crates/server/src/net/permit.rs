//! Counts connections: one permit each, from accept to close. Tells whose a connection is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::Place;
use crate::net::proxied::ClientAddr;

/// A connection's place. Dropping it frees the place, among those of the broker and those of the client's address.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    count: Arc<AtomicUsize>,
    client: ClientAddr,
    place: Option<Place>,
}

impl ConnectionPermit {
    /// One more of `count`: `client`, with the place of its address if that is counted.
    pub(crate) fn take(count: &Arc<AtomicUsize>, client: ClientAddr, place: Option<Place>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self {
            count: count.clone(),
            client,
            place,
        }
    }

    /// Whose connection it is.
    pub(crate) fn client(&self) -> ClientAddr {
        self.client
    }

    /// The connection turned out to be that of another client.
    pub(crate) fn hand_to(&mut self, client: ClientAddr, place: Option<Place>) {
        self.client = client;
        self.place = place;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
