//! What all HTTP tasks of a shard share.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{Directory, Ingress, Rights};
use tickwire_wire::limits::BULK_BODY_BYTES_MAX;
use tokio::sync::Semaphore;

use super::requester::Requester;
use super::{Encoder, ErrorResponse};
use crate::auth::Admission;
use crate::config::{Config, TestOnly};
use crate::http::shutdown::HttpShutdown;
use crate::hub::SharedHub;
use crate::limits::AddressLimits;
use crate::net::tls::TlsStore;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// Bulk bodies that are published at a time, and the longest ones that there may be at a time; more are refused.
const BULK_AT_A_TIME: usize = 4;
/// Times the handshake's time that the body of one message may take.
const MESSAGE_HANDSHAKES: u32 = 6;
/// Times the handshake's time that a bulk body may take.
const BULK_HANDSHAKES: u32 = 24;

/// Statuses of refused handshakes.
pub(crate) const REFUSED_STATUSES: [&str; 9] =
    ["400", "401", "403", "405", "426", "429", "431", "503", "other"];

/// What all HTTP tasks of a shard share.
pub(crate) struct HttpContext {
    pub(crate) hub: SharedHub,
    pub(crate) directory: Arc<Directory>,
    /// The way in for what is published.
    pub(super) ingress: Ingress,
    pub(crate) clock: Clock,
    pub(crate) gate: Arc<Lifecycle>,
    pub(crate) metrics: Arc<Catalogue>,
    pub(crate) address_limits: Arc<AddressLimits>,
    pub(super) bulk: BulkPlaces,
    pub(super) encoder: Encoder,
    pub(crate) limits: HttpLimits,
    /// What `Keep-Alive` says of how long a connection is kept for further requests; nothing if it is less than a second.
    pub(crate) kept: Option<HeaderValue>,
    /// What clients shake hands with, if they speak TLS.
    pub(crate) tls: Option<Arc<TlsStore>>,
    /// Whether WebSocket connections may be compressed, and bodies and answers.
    pub(crate) compression: bool,
    /// What only tests have.
    pub(crate) test: TestOnly,
    pub(crate) shutdown: Rc<HttpShutdown>,
}

/// A request that was let in.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) context: &'c HttpContext,
    pub(super) requester: &'c Requester,
    pub(super) admission: &'c Admission,
    pub(super) head: &'c Parts,
    /// The segment of the path that stands for a topic; empty if none does.
    pub(super) topic: &'c str,
}

/// What bulk bodies take up. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct BulkPlaces {
    /// A permit for each byte that is there.
    pub(super) room: Arc<Semaphore>,
    /// A permit for each that is published.
    pub(super) turns: Arc<Semaphore>,
}

impl BulkPlaces {
    fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(BULK_AT_A_TIME * BULK_BODY_BYTES_MAX)),
            turns: Arc::new(Semaphore::new(BULK_AT_A_TIME)),
        }
    }
}

/// What bounds HTTP requests and their answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLimits {
    /// Time for the headers of a request.
    pub(crate) headers_within: Duration,
    /// Time for the body of one message.
    pub(crate) message_within: Duration,
    /// Time for a bulk body.
    pub(crate) bulk_within: Duration,
    /// Time that a client may take nothing of an answer.
    pub(crate) stall: Duration,
    /// Most bytes of the headers.
    pub(crate) header_bytes: usize,
    /// Most headers.
    pub(crate) headers: usize,
    /// Longest message.
    pub(crate) message_bytes: usize,
    /// Messages of a page of history that names no limit.
    pub(crate) history_page: usize,
}

impl HttpContext {
    /// Counts a handshake, of WebSocket or of server-sent events, that was refused with `status`.
    pub(crate) fn handshake_refused(&self, status: StatusCode) {
        let text = status.as_str();
        let label = REFUSED_STATUSES.iter().position(|known| *known == text);
        let label = label.unwrap_or(REFUSED_STATUSES.len() - 1);
        self.metrics.add(Metric::HandshakesRefused, &[label], 1);
    }

    pub(crate) fn new(
        hub: SharedHub,
        config: &Config,
        metrics: Arc<Catalogue>,
        address_limits: Arc<AddressLimits>,
        shutdown: Rc<HttpShutdown>,
    ) -> Self {
        let (ingress, clock, gate) = {
            let hub = hub.borrow();
            (hub.shard.ingress().clone(), hub.clock, hub.gate())
        };
        Self {
            hub,
            directory: ingress.directory().clone(),
            ingress,
            clock,
            gate,
            metrics,
            address_limits,
            bulk: BulkPlaces::new(),
            encoder: Encoder::default(),
            limits: HttpLimits::new(config),
            kept: kept(config),
            tls: None,
            compression: config.compression.enabled,
            test: config.test,
            shutdown,
        }
    }

    /// The same with the limits of `config`.
    pub(crate) fn reconfigured(&self, config: &Config) -> Self {
        Self {
            hub: self.hub.clone(),
            directory: self.directory.clone(),
            ingress: self.ingress.clone(),
            clock: self.clock,
            gate: self.gate.clone(),
            metrics: self.metrics.clone(),
            address_limits: self.address_limits.clone(),
            bulk: self.bulk.clone(),
            encoder: self.encoder.clone(),
            limits: HttpLimits::new(config),
            kept: kept(config),
            tls: self.tls.clone(),
            compression: config.compression.enabled,
            test: self.test,
            shutdown: self.shutdown.clone(),
        }
    }

    /// With clients that speak TLS, if there is something to shake hands with.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<TlsStore>>) -> Self {
        self.tls = tls;
        self
    }

    /// What the client behind a request with these `headers` may do: first of all whether it is let in.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admission, ErrorResponse> {
        Ok(self.hub.borrow().auth().admit(headers)?)
    }

    /// What whoever was let in with `admission` may do now.
    pub(super) fn still(&self, admission: &Admission) -> Result<Rights, ErrorResponse> {
        Ok(self.hub.borrow().auth().still(admission)?)
    }

    /// Whether the page that a browser makes a request with these `headers` for may do so, whoever it is.
    pub(super) fn admit_page(&self, headers: &HeaderMap) -> Result<(), ErrorResponse> {
        Ok(self.hub.borrow().auth().admit_page(headers)?)
    }
}

fn kept(config: &Config) -> Option<HeaderValue> {
    let seconds = config.limits.handshake_ms / 1_000;
    let told = (seconds > 0).then(|| format!("timeout={seconds}"))?;
    HeaderValue::try_from(told).ok()
}

impl HttpLimits {
    fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let headers_within = Duration::from_millis(limits.handshake_ms);
        Self {
            headers_within,
            message_within: headers_within * MESSAGE_HANDSHAKES,
            bulk_within: headers_within * BULK_HANDSHAKES,
            stall: Duration::from_millis(limits.stall_ms),
            header_bytes: limits.header_bytes,
            headers: limits.headers,
            message_bytes: limits.message_bytes,
            history_page: limits.history_page,
        }
    }
}
