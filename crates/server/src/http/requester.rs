//! Whose request it is, whether the client's address was counted when it connected, and what the request costs them.

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::Extensions;

use super::ErrorResponse;
use crate::auth::{Admission, Holder};
use crate::limits::{AddressLimits, AddressSlot, Allowance, HttpPublisher, TurnedAway, WaitingAnswer};
use crate::net::proxied::ClientAddr;

/// Bytes that are encoded or decoded for what it costs to look at a topic: a quarter of a megabyte for a request.
const CODED_BYTES_PER_VISIT: usize = 256;

/// Where a request came from; an extension of each.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) client: ClientAddr,
    /// Whether the connection is a trusted proxy's: its clients are counted one by one.
    pub(crate) proxied: bool,
    /// The connection's.
    pub(crate) allowance: Allowance,
}

impl Requester {
    /// That of the request with these extensions, of which each has one.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, ErrorResponse> {
        extensions
            .get()
            .cloned()
            .ok_or_else(|| ErrorResponse::fault("it is not known where the request came from"))
    }

    /// Lets the client make a handshake, and its session in unless it was counted with its connection.
    pub(crate) fn connect(
        &self,
        address_limits: &AddressLimits,
    ) -> Result<Option<AddressSlot>, ErrorResponse> {
        let connected = match self.own() {
            None => address_limits.connect(self.client.ip()),
            Some(own) => address_limits
                .admit_handshake(self.client.ip(), own)
                .map(|()| None),
        };
        connected.map_err(|why| self.refused(address_limits, why))
    }

    /// Lets the client ask for a publication, unless too many of its were refused.
    pub(super) fn ask_to_publish(&self, address_limits: &AddressLimits) -> Result<(), ErrorResponse> {
        let checked = address_limits.check_refused_publishes(self.client.ip());
        checked.map_err(|why| self.refused(address_limits, why))
    }

    /// Lets the client, let in with `admission`, publish once more.
    pub(super) fn publish(
        &self,
        address_limits: &AddressLimits,
        admission: &Admission,
    ) -> Result<(), ErrorResponse> {
        let spent = address_limits.publish(&self.publisher(admission));
        spent.map_err(|why| self.refused(address_limits, why))
    }

    /// Charges the client for so many publications more.
    pub(super) fn charge_publishes(
        &self,
        address_limits: &AddressLimits,
        admission: &Admission,
        count: usize,
    ) {
        address_limits.charge_publishes(&self.publisher(admission), count);
    }

    /// Charges the client for a publication that was refused.
    pub(super) fn charge_refused_publish(&self, address_limits: &AddressLimits) {
        address_limits.charge_refused_publish(self.client.ip());
    }

    fn publisher(&self, admission: &Admission) -> HttpPublisher {
        HttpPublisher {
            ip: self.client.ip(),
            holder: admission.holder.as_ref().map(Holder::publisher),
            own_rate: admission.rights.publish_rate,
        }
    }

    /// Lets the client ask for something else once more.
    pub(super) fn ask(&self, address_limits: &AddressLimits) -> Result<(), ErrorResponse> {
        let spent = address_limits.ask(self.client.ip(), self.own());
        spent.map_err(|why| self.refused(address_limits, why))
    }

    /// Charges the client for looking at so many topics.
    pub(super) fn charge_visits(&self, address_limits: &AddressLimits, visits: usize) {
        address_limits.charge_visits(self.client.ip(), self.own(), visits);
    }

    /// Charges the client for so many bytes that were encoded or decoded for it.
    pub(super) fn charge_coding(&self, address_limits: &AddressLimits, bytes: usize) {
        self.charge_visits(address_limits, bytes / CODED_BYTES_PER_VISIT);
    }

    /// `answer`, with a place among those that wait for their clients until it is taken or given up.
    pub(super) fn hold(
        &self,
        address_limits: &AddressLimits,
        answer: Vec<u8>,
    ) -> Result<Bytes, ErrorResponse> {
        let place = address_limits.hold_answer(self.client.ip(), answer.len())?;
        Ok(match place {
            None => answer.into(),
            // What a vector has to spare would not be counted.
            Some(place) => Bytes::from_owner(Held {
                answer: answer.into(),
                _place: place,
            }),
        })
    }

    /// What the connection may by itself; a proxy's has many clients.
    fn own(&self) -> Option<&Allowance> {
        (!self.proxied).then_some(&self.allowance)
    }

    /// The answer to one who is turned away. A connection whose requests go on after such answers ends with one.
    fn refused(&self, address_limits: &AddressLimits, why: TurnedAway) -> ErrorResponse {
        let mut response = ErrorResponse::from(why);
        if self.own().is_some_and(|own| address_limits.is_worn_out_by(own)) {
            let close = HeaderValue::from_static("close");
            response.headers.push((CONNECTION, close));
        }
        response
    }
}

/// An answer that has a place.
struct Held {
    answer: Box<[u8]>,
    _place: WaitingAnswer,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}
