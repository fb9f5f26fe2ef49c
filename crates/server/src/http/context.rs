//! What all HTTP tasks of a shard share.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tickwire_metrics::HttpMetrics;
use tickwire_router::{Directory, Rights};
use tickwire_wire::{ErrorCode, Refusal, Topic};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::Config;
use crate::hub::SharedHub;
use crate::start_gate::StartGate;
use crate::tls::TlsStore;

/// Bulk bodies that are read or published at a time; one more is refused, so that their bytes are bounded.
const BULK_AT_A_TIME: usize = 4;
/// Times the handshake's time that the body of one message may take.
const MESSAGE_HANDSHAKES: u32 = 6;
/// Times the handshake's time that a bulk body may take.
const BULK_HANDSHAKES: u32 = 24;

/// What all HTTP tasks of a shard share.
pub(crate) struct HttpContext {
    pub(crate) hub: SharedHub,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) gate: Arc<StartGate>,
    pub(crate) rights: Rc<Rights>,
    pub(crate) metrics: HttpMetrics,
    /// Places for bulk bodies.
    pub(crate) bulk: Arc<Semaphore>,
    pub(crate) limits: HttpLimits,
    /// What clients shake hands with, if they speak TLS.
    pub(crate) tls: Option<Arc<TlsStore>>,
    /// Whether WebSocket connections may be compressed.
    pub(crate) compression: bool,
    /// Whether the route for conformance suites is open.
    pub(crate) echo: bool,
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
    pub(crate) fn new(hub: SharedHub, config: &Config, metrics: HttpMetrics) -> Self {
        let limits = &config.limits;
        let headers_within = Duration::from_millis(limits.handshake_ms);
        let (directory, clock, gate, rights) = {
            let hub = hub.borrow();
            (
                hub.shard.directory().clone(),
                hub.clock,
                hub.gate(),
                hub.anonymous(),
            )
        };
        Self {
            hub,
            directory,
            clock,
            gate,
            rights,
            metrics,
            bulk: Arc::new(Semaphore::new(BULK_AT_A_TIME)),
            limits: HttpLimits {
                headers_within,
                message_within: headers_within * MESSAGE_HANDSHAKES,
                bulk_within: headers_within * BULK_HANDSHAKES,
                stall: Duration::from_millis(limits.stall_ms),
                header_bytes: limits.header_bytes,
                headers: limits.headers,
                message_bytes: limits.message_bytes,
                history_page: limits.history_page,
            },
            tls: None,
            compression: config.compression.enabled,
            echo: config.test.echo,
        }
    }

    /// With clients that speak TLS, if there is something to shake hands with.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<TlsStore>>) -> Self {
        self.tls = tls;
        self
    }
}

/// The refusal of a publication to `topic` by someone whose `rights` do not cover it.
pub(super) fn check_publish(rights: &Rights, topic: &Topic) -> Result<(), Refusal> {
    if rights.may_publish(topic.as_str()) {
        return Ok(());
    }
    let reason = format!("publishing to {topic} is not allowed without a token");
    Err(Refusal::new(ErrorCode::Forbidden, reason))
}
