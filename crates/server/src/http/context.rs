//! The state that all HTTP tasks of a shard share.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_router::{Directory, Ingress, OutletAnswer, Placed, Rights, Teller, Ticket};
use tickwire_wire::limits::BULK_BODY_BYTES_MAX;
use tickwire_wire::{ErrorCode, Refusal};
use tokio::sync::{Semaphore, oneshot};

use super::requester::Requester;
use super::{Encoder, ErrorResponse, UnreadQuery};
use crate::auth::Admission;
use crate::config::{Config, TestOnly};
use crate::http::shutdown::HttpShutdown;
use crate::hub::SharedHub;
use crate::limits::ConnectionLimits;
use crate::net::tls::TlsStore;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;

/// The number of bulk bodies that are published at a time, and of bodies of the largest size that may be in memory at a
/// time. More are refused.
const BULK_AT_A_TIME: usize = 4;
/// The time for the body of one message, as a multiple of the handshake's time.
const MESSAGE_HANDSHAKES: u32 = 6;
/// The time for a bulk body, as a multiple of the handshake's time.
const BULK_HANDSHAKES: u32 = 24;

/// The statuses of refused handshakes, as labels of a metric.
pub(crate) const REFUSED_STATUSES: [&str; 9] =
    ["400", "401", "403", "405", "426", "429", "431", "503", "other"];

/// The state that all HTTP tasks of a shard share.
pub(crate) struct HttpContext {
    pub(crate) hub: Rc<SharedHub>,
    pub(crate) directory: Arc<Directory>,
    /// The way in for publications.
    pub(super) ingress: Ingress,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) metrics: Arc<Catalogue>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(super) bulk: BulkPlaces,
    pub(super) encoder: Encoder,
    pub(crate) limits: HttpLimits,
    /// The value of `Keep-Alive`: how long an idle connection is kept. `None` if it is less than a second.
    pub(crate) kept: Option<HeaderValue>,
    /// The identity for TLS handshakes, if clients use TLS.
    pub(crate) tls: Option<Arc<TlsStore>>,
    /// Whether WebSocket connections, bodies and answers may be compressed.
    pub(crate) compression: bool,
    /// Switches for tests.
    pub(crate) test: TestOnly,
    pub(crate) shutdown: Rc<HttpShutdown>,
}

/// A request that was admitted.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) context: &'c HttpContext,
    pub(super) requester: &'c Requester,
    pub(super) admission: &'c Admission,
    pub(super) head: &'c Parts,
    pub(super) query: UnreadQuery<'c>,
    /// The segment of the path with the topic; empty if the path has none.
    pub(super) topic: &'c str,
}

/// The resources of bulk bodies. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct BulkPlaces {
    /// A permit for each byte of a body in memory.
    pub(super) room: Arc<Semaphore>,
    /// A permit for each body that is being published.
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

/// The limits of HTTP requests and their answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLimits {
    /// Time for the headers of a request.
    pub(crate) headers_within: Duration,
    /// Time for the body of one message.
    pub(crate) message_within: Duration,
    /// Time for a bulk body.
    pub(crate) bulk_within: Duration,
    /// Time for which a client may take none of an answer's bytes.
    pub(crate) stall: Duration,
    /// Most bytes of the headers.
    pub(crate) header_bytes: usize,
    /// Most headers.
    pub(crate) headers: usize,
    /// Longest message.
    pub(crate) message_bytes: usize,
    /// The number of messages in a page of history, if the request has no limit.
    pub(crate) history_page: usize,
}

impl HttpContext {
    /// Counts a WebSocket or event-stream handshake that was refused with `status`.
    pub(crate) fn handshake_refused(&self, status: StatusCode) {
        let text = status.as_str();
        let label = REFUSED_STATUSES.iter().position(|known| *known == text);
        let label = label.unwrap_or(REFUSED_STATUSES.len() - 1);
        self.metrics.add(Metric::HandshakesRefused, &[label], 1);
    }

    pub(crate) fn new(
        hub: Rc<SharedHub>,
        config: &Config,
        metrics: Arc<Catalogue>,
        connection_limits: Arc<ConnectionLimits>,
        shutdown: Rc<HttpShutdown>,
    ) -> Self {
        let (ingress, clock, lifecycle) = {
            let hub = hub.borrow();
            (hub.shard.ingress().clone(), hub.clock, hub.lifecycle())
        };
        Self {
            hub,
            directory: ingress.directory().clone(),
            ingress,
            clock,
            lifecycle,
            metrics,
            connection_limits,
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

    /// The same state with the limits of `config`.
    pub(crate) fn reconfigured(&self, config: &Config) -> Self {
        Self {
            hub: self.hub.clone(),
            directory: self.directory.clone(),
            ingress: self.ingress.clone(),
            clock: self.clock,
            lifecycle: self.lifecycle.clone(),
            metrics: self.metrics.clone(),
            connection_limits: self.connection_limits.clone(),
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

    /// The same state for clients with TLS, if there is an identity.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<TlsStore>>) -> Self {
        self.tls = tls;
        self
    }

    /// Admits the client that sent a request with these `headers`. Returns its rights.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admission, ErrorResponse> {
        Ok(self.hub.borrow().auth().admit(headers)?)
    }

    /// Waits until a message or an end is written and everybody can see it.
    pub(super) async fn written(&self, ticket: Ticket) -> Result<(), ErrorResponse> {
        let (told, written) = oneshot::channel();
        let tell = Box::new(move |outcome| {
            // The client may have gone.
            let _unheard = told.send(outcome);
        });
        self.ingress.when_written(ticket, tell);
        let lost = |_| Err(Refusal::new(ErrorCode::Internal, "the journal has ended"));
        let outcome = written.await.unwrap_or_else(lost);
        outcome.map_err(|refusal| ErrorResponse::not_published(refusal, &self.ingress))
    }

    /// Waits until it is known what became of a message that is numbered elsewhere.
    pub(super) async fn settled(&self, settled: Answer) -> Result<Placed, ErrorResponse> {
        let lost = |_| {
            Err(Refusal::new(
                ErrorCode::Internal,
                "the link to the cluster has ended",
            ))
        };
        let outcome = settled.0.await.unwrap_or_else(lost);
        outcome.map_err(|refusal| ErrorResponse::not_published(refusal, &self.ingress))
    }

    /// The current rights of a client that was admitted with `admission`.
    pub(super) fn still(&self, admission: &Admission) -> Result<Rights, ErrorResponse> {
        Ok(self.hub.borrow().auth().still(admission)?)
    }

    /// Checks that the page behind a browser's request with these `headers` may make it, whoever its user is.
    pub(super) fn admit_page(&self, headers: &HeaderMap) -> Result<(), ErrorResponse> {
        Ok(self.hub.borrow().auth().admit_page(headers)?)
    }
}

/// What will be known of a message that is numbered elsewhere.
pub(super) struct Answer(oneshot::Receiver<Result<Placed, Refusal>>);

impl Answer {
    /// Also returns who is to be told.
    pub(super) fn new() -> (Teller, Self) {
        let (told, answer) = oneshot::channel();
        let told = Mutex::new(Some(told));
        let teller = Arc::new(move |settled: OutletAnswer| {
            if let Some(told) = told.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // The client may have gone.
                let _unheard = told.send(settled.outcome);
            }
        });
        (teller, Self(answer))
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
