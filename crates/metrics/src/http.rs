//! What the HTTP side counts: handshakes, requests, publications over HTTP, server-sent events.
//!
//! Each call is one or two atomic additions, visible at once; no flush.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::labels::{AuthFailure, StatusClass, Transport, TurnedAway};
use crate::table::Id;

/// A handle on the HTTP side's counters, shared by its tasks. Indices are positions in the catalogue's
/// [`LabelSets`](crate::LabelSets); one beyond its set counts as the last value.
#[derive(Debug, Clone)]
pub struct HttpMetrics(Arc<Catalogue>);

impl HttpMetrics {
    pub(crate) fn new(catalogue: &Arc<Catalogue>) -> Self {
        Self(Arc::clone(catalogue))
    }

    /// Counts a request to the route at index `route`, answered with `status`.
    pub fn answered(&self, route: usize, status: u16) {
        let family = self.0.family(Id::HttpRequests);
        let routes = family.len() / StatusClass::NAMES.len();
        let route = route.min(routes - 1);
        family.add(
            route * StatusClass::NAMES.len() + StatusClass::of(status) as usize,
            1,
        );
    }

    /// Counts a handshake refused with the status at index `status`.
    pub fn handshake_refused(&self, status: usize) {
        self.0.family(Id::HandshakesRefused).add(status, 1);
    }

    /// Counts a client that was not let in, or whose token was not taken.
    pub fn auth_failed(&self, failure: AuthFailure) {
        self.0.family(Id::AuthFailures).add(failure as usize, 1);
    }

    /// Counts one that was turned away at the door.
    pub fn turned_away(&self, why: TurnedAway) {
        self.0.family(Id::TurnedAway).add(why as usize, 1);
    }

    /// Counts a connection that completed its handshake and is open from now on.
    pub fn connection_opened(&self, transport: Transport) {
        self.0.family(Id::Connections).add(transport as usize, 1);
        self.0.family(Id::ConnectionsOpened).add(transport as usize, 1);
    }

    /// Takes a connection off the open ones, whichever struct counted it as opened.
    pub fn connection_closed(&self, transport: Transport) {
        self.0
            .family(Id::Connections)
            .add(transport as usize, 1_u64.wrapping_neg());
    }

    /// Counts sessions or connections that a fault of the broker ended.
    pub fn failed(&self, sessions: u64) {
        self.0.family(Id::SessionsFailed).add(0, sessions);
    }

    /// Counts a stream of server-sent events that was ended because its reader was too slow.
    pub fn sse_dropped(&self) {
        self.0.family(Id::SseDropped).add(0, 1);
    }

    /// Counts `bytes` more of bulk bodies that are held.
    pub fn bulk_bytes_taken(&self, bytes: u64) {
        self.0.family(Id::BulkBytes).add(0, bytes);
    }

    /// Takes `bytes` of bulk bodies off those that are held.
    pub fn bulk_bytes_freed(&self, bytes: u64) {
        self.0.family(Id::BulkBytes).add(0, bytes.wrapping_neg());
    }

    /// Counts a message of the kind at index `kind` with `bytes` of payload, published over HTTP.
    pub fn published(&self, kind: usize, bytes: u64) {
        self.0.family(Id::Publications).add(kind, 1);
        self.0.family(Id::PublishedBytes).add(0, bytes);
    }

    /// Counts a refusal with the error code at index `code`.
    pub fn refused(&self, code: usize) {
        self.0.family(Id::Refusals).add(code, 1);
    }
}
