//! The client of a request, whether its address was counted when it connected, and the price of the request.

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::Extensions;

use super::ErrorResponse;
use crate::auth::{Admission, Holder};
use crate::limits::{AddressSlot, ConnectionLimits, HttpAllowance, HttpPublisher, TurnedAway, WaitingAnswer};
use crate::net::proxied::ClientAddr;

/// Bytes of gzip that cost as much as a look at one topic. So a quarter of a megabyte costs as much as a request.
const CODED_BYTES_PER_VISIT: usize = 256;

/// The client and connection of a request. Each request has one as an extension.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) client: ClientAddr,
    /// Whether the connection belongs to a trusted proxy. Then its clients are counted one by one.
    pub(crate) proxied: bool,
    /// The allowance of the connection.
    pub(crate) allowance: HttpAllowance,
}

impl Requester {
    /// The requester in these extensions; each request has one.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, ErrorResponse> {
        extensions
            .get()
            .cloned()
            .ok_or_else(|| ErrorResponse::fault("it is not known where the request came from"))
    }

    /// Admits a handshake of the client. It also counts the client's session, unless that was counted with the
    /// connection.
    pub(crate) fn connect(
        &self,
        connection_limits: &ConnectionLimits,
    ) -> Result<Option<AddressSlot>, ErrorResponse> {
        let connected = match self.own() {
            None => connection_limits.connect(self.client.ip()),
            Some(own) => connection_limits
                .admit_handshake(self.client.ip(), own)
                .map(|()| None),
        };
        connected.map_err(|why| self.refused(connection_limits, why))
    }

    /// Admits a request to publish, unless too many of the client's publications were refused.
    pub(super) fn ask_to_publish(&self, connection_limits: &ConnectionLimits) -> Result<(), ErrorResponse> {
        let checked = connection_limits.check_refused_publishes(self.client.ip());
        checked.map_err(|why| self.refused(connection_limits, why))
    }

    /// Takes one publication from the rate of the client, which was admitted with `admission`.
    pub(super) fn publish(
        &self,
        connection_limits: &ConnectionLimits,
        admission: &Admission,
    ) -> Result<(), ErrorResponse> {
        let spent = connection_limits.publish(&self.publisher(admission));
        spent.map_err(|why| self.refused(connection_limits, why))
    }

    /// Charges the client for `count` more publications.
    pub(super) fn charge_publishes(
        &self,
        connection_limits: &ConnectionLimits,
        admission: &Admission,
        count: usize,
    ) {
        connection_limits.charge_publishes(&self.publisher(admission), count);
    }

    /// Charges the client for a refused publication.
    pub(super) fn charge_refused_publish(&self, connection_limits: &ConnectionLimits) {
        connection_limits.charge_refused_publish(self.client.ip());
    }

    fn publisher(&self, admission: &Admission) -> HttpPublisher {
        HttpPublisher {
            ip: self.client.ip(),
            holder: admission.holder.as_ref().map(Holder::publisher),
            own_rate: admission.rights.publish_rate,
        }
    }

    /// Takes one request from the client's rate.
    pub(super) fn ask(&self, connection_limits: &ConnectionLimits) -> Result<(), ErrorResponse> {
        let spent = connection_limits.ask(self.client.ip(), self.own());
        spent.map_err(|why| self.refused(connection_limits, why))
    }

    /// Charges the client for `visits` looks at topics.
    pub(super) fn charge_visits(&self, connection_limits: &ConnectionLimits, visits: usize) {
        connection_limits.charge_visits(self.client.ip(), self.own(), visits);
    }

    /// Charges the client for `bytes` that were encoded or decoded for it.
    pub(super) fn charge_coding(&self, connection_limits: &ConnectionLimits, bytes: usize) {
        self.charge_visits(connection_limits, bytes / CODED_BYTES_PER_VISIT);
    }

    /// Reserves a place for `answer` among the waiting answers until the client has taken it or is gone.
    pub(super) fn hold(
        &self,
        connection_limits: &ConnectionLimits,
        answer: Vec<u8>,
    ) -> Result<Bytes, ErrorResponse> {
        let place = connection_limits.hold_answer(self.client.ip(), answer.len())?;
        Ok(match place {
            None => answer.into(),
            // The spare room of a vector would not be counted, so it is given up.
            Some(place) => Bytes::from_owner(Held {
                answer: answer.into(),
                _place: place,
            }),
        })
    }

    /// Reserves a place for an answer that is made while the client takes it.
    pub(super) fn hold_export(
        &self,
        connection_limits: &ConnectionLimits,
        bytes: usize,
    ) -> Result<WaitingAnswer, ErrorResponse> {
        Ok(connection_limits.hold_place(self.client.ip(), bytes)?)
    }

    /// The allowance of the connection itself. A proxy's connection has none, since it has many clients.
    fn own(&self) -> Option<&HttpAllowance> {
        (!self.proxied).then_some(&self.allowance)
    }

    /// The answer to a client that the limits refuse. It closes the connection if requests went on after such answers.
    fn refused(&self, connection_limits: &ConnectionLimits, why: TurnedAway) -> ErrorResponse {
        let mut response = ErrorResponse::from(why);
        if self
            .own()
            .is_some_and(|own| connection_limits.is_worn_out_by(own))
        {
            let close = HeaderValue::from_static("close");
            response.headers.push((CONNECTION, close));
        }
        response
    }
}

/// An answer with a place among the waiting ones.
struct Held {
    answer: Box<[u8]>,
    _place: WaitingAnswer,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}
