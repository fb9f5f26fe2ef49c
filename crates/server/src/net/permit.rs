//! Counts connections by one permit each, from accept to close. A permit names the client of its connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::AddressSlot;
use crate::net::proxied::ClientAddr;

/// An accepted connection, as long as it is counted. Dropping the permit frees its places in the limits of the broker and of
/// the client's address.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    count: Arc<AtomicUsize>,
    client: ClientAddr,
    place: Option<AddressSlot>,
}

impl ConnectionPermit {
    /// Counts one more connection in `count`: that of `client`, with the place of its address if that is counted.
    pub(crate) fn take(count: &Arc<AtomicUsize>, client: ClientAddr, place: Option<AddressSlot>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self {
            count: count.clone(),
            client,
            place,
        }
    }

    /// The client of the connection.
    pub(crate) fn client(&self) -> ClientAddr {
        self.client
    }

    /// Records that the connection belongs to another client.
    pub(crate) fn hand_to(&mut self, client: ClientAddr, place: Option<AddressSlot>) {
        self.client = client;
        self.place = place;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The permit of a connection that uses HTTP. Clones share it: the connection is counted until the last of them is
/// dropped, or longer if the permit is taken for what the connection continues as.
#[derive(Debug, Clone)]
pub(crate) struct SharedPermit(Rc<RefCell<Option<ConnectionPermit>>>);

impl SharedPermit {
    /// Shares `permit`.
    pub(crate) fn new(permit: ConnectionPermit) -> Self {
        Self(Rc::new(RefCell::new(Some(permit))))
    }

    /// Takes the permit, once.
    pub(crate) fn take(&self) -> Option<ConnectionPermit> {
        self.0.borrow_mut().take()
    }
}
