//! Whose request it is, and whether the client's address was counted when it connected.

use hyper::http::Extensions;

use super::ErrorResponse;
use crate::gatekeeper::{Gatekeeper, Place, TurnedAway};
use crate::proxied::ClientAddr;

/// Where a request came from; an extension of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) client: ClientAddr,
    /// Whether the connection is a trusted proxy's: its clients are counted one by one.
    pub(crate) proxied: bool,
}

impl Arrival {
    /// That of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        *extensions.get().expect("each request has one")
    }

    /// Lets the client's session in, unless it was counted with its connection.
    pub(crate) fn connect(self, gatekeeper: &Gatekeeper) -> Result<Option<Place>, TurnedAway> {
        if !self.proxied {
            return Ok(None);
        }
        gatekeeper.connect(self.client.ip())
    }

    /// Lets the client publish once more.
    pub(super) fn publish(self, gatekeeper: &Gatekeeper) -> Result<(), ErrorResponse> {
        Ok(gatekeeper.publish(self.client.ip())?)
    }
}
