//! The operators' listener: metrics, health, slow sessions, hot topics, the console that shows them, and the admin API. It is on the loopback by default, and never
//! on the clients' listener.
//!
//! Bounded: connections in number, request heads and the writing of answers in time. If all places are taken, the
//! broker's health can still be asked for: further connections are accepted for that alone, and the oldest of them
//! gives way to the next.

mod admin;
mod console;
mod debug_pages;
pub(crate) mod inspector;
pub(crate) mod labels;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioTimer;
use tickwire_metrics::{CONTENT_TYPE as METRICS_TYPE, Catalogue, Metric};
use tickwire_router::Directory;
use tickwire_wire::message::EndReason;
use tickwire_wire::{ErrorCode, Refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::accounting::Accounting;
use crate::cluster::ClusterStatus;
use crate::http::{self, Encoder, ErrorResponse, Exchange, Progress, UnreadQuery, WantedTopics};
use crate::limits::ConnectionLimits;
use crate::net::proxied::ClientAddr;
use crate::net::tls::HttpStream;
pub(crate) use crate::ops::console::{HealthLog, Viewing};
use crate::ops::inspector::Inspector;
use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;
use crate::run::live_settings::LiveSettings;
use crate::run::program::StopRequest;
use crate::run::pulse::Pulse;

/// The number of connections that may ask for every page.
const CONNECTIONS_MAX: usize = 64;
/// The number of further connections, which may ask only for health.
const PROBES_MAX: usize = 16;
/// The time that such a connection lasts.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// The time that a client has for its request headers, and that a connection may be idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// The pause after an error of accepting.
const PAUSE: Duration = Duration::from_millis(50);

type OpsReply = Result<Response<Full<Bytes>>, ErrorResponse>;

/// A request for a page.
struct Asked<'a> {
    peer: ClientAddr,
    /// The path of the page, as its row has it.
    path: &'static str,
    query: UnreadQuery<'a>,
    request: &'a mut Request<Incoming>,
}

impl Asked<'_> {
    /// What stands in the path for its parameter.
    fn last_segment(&self) -> &str {
        let path = self.request.uri().path();
        path.rsplit_once('/').map_or(path, |(_, last)| last)
    }
}

type AnswerPage = for<'a> fn(&'a Arc<Ops>, Asked<'a>) -> LocalBoxFuture<'a, OpsReply>;

/// A page. Everything about pages follows from the rows of [`PAGES`].
struct Page {
    /// Its path. A segment in braces at its end stands for any text.
    path: &'static str,
    /// Its methods, with commas between them.
    methods: &'static str,
    /// The names of its query's parameters.
    parameters: &'static [&'static str],
    /// Whether it is served on the further connections, too.
    is_probe: bool,
    /// Whether it is there only if the settings have keys for the admin API.
    is_admin: bool,
    answer: AnswerPage,
}

impl Page {
    /// A page to read.
    const fn read(path: &'static str, parameters: &'static [&'static str], answer: AnswerPage) -> Self {
        Self {
            path,
            methods: "GET, HEAD",
            parameters,
            is_probe: false,
            is_admin: false,
            answer,
        }
    }

    /// A page of the admin API.
    const fn admin(path: &'static str, methods: &'static str, parameters: &'static [&'static str]) -> Self {
        Self {
            methods,
            is_admin: true,
            ..Self::read(path, parameters, |ops, asked| {
                admin::answer(ops, asked).boxed_local()
            })
        }
    }

    /// Whether it is at `path`.
    fn is_at(&self, path: &str) -> bool {
        match self
            .path
            .strip_suffix('}')
            .and_then(|template| template.rsplit_once('{'))
        {
            None => self.path == path,
            Some((folder, _)) => path
                .strip_prefix(folder)
                .is_some_and(|last| !last.is_empty() && !last.contains('/')),
        }
    }

    /// A file of the console.
    const fn asset(path: &'static str) -> Self {
        Self::read(path, &[], |_, asked| {
            let asset = console::asset(asked.request.uri().path(), asked.request.headers());
            ready(Ok(asset)).boxed_local()
        })
    }

    fn query_of<'r>(&self, target: &'r Uri) -> UnreadQuery<'r> {
        UnreadQuery {
            text: target.query(),
            names: self.parameters,
        }
    }
}

const PAGES: &[Page] = &[
    Page::read("/metrics", &[], |ops, _| ready(Ok(ops.metrics())).boxed_local()),
    Page {
        is_probe: true,
        ..Page::read("/livez", &[], |_, _| {
            ready(Ok(text(StatusCode::OK, "ok\n"))).boxed_local()
        })
    },
    Page {
        is_probe: true,
        ..Page::read("/readyz", &[], |ops, _| ready(Ok(ops.readiness())).boxed_local())
    },
    Page::read("/debug/sessions", &["top", "all"], |ops, asked| {
        debug_pages::sessions(&ops.inspector, asked.query).boxed_local()
    }),
    Page::read("/debug/topics", &["top"], |ops, asked| {
        debug_pages::topics(&ops.inspector, &ops.directory, asked.query).boxed_local()
    }),
    Page::read("/debug/cluster", &[], |ops, _| {
        ready(debug_pages::cluster(ops.cluster.as_deref())).boxed_local()
    }),
    Page::asset("/"),
    Page::asset("/console.js"),
    Page::asset("/console.css"),
    Page::read("/console/about", &[], |ops, asked| {
        ready(console::about(ops, asked.request.headers())).boxed_local()
    }),
    Page::read("/console/health", &["after"], |ops, asked| {
        ready(ops.health.page(asked.query)).boxed_local()
    }),
    Page::read("/console/history", &["topic"], |ops, asked| {
        ready(console::history(ops, asked.request.headers(), asked.query)).boxed_local()
    }),
    Page {
        methods: "POST",
        ..Page::read("/console/close", &["session"], |ops, asked| {
            console::close(ops, asked.request.headers(), asked.query).boxed_local()
        })
    },
    Page::read("/v1/topics", WantedTopics::PARAMETERS, |ops, asked| {
        console::topics(ops, asked.request.headers(), asked.query).boxed_local()
    }),
    Page {
        methods: "GET",
        ..Page::read("/v1/ws", &[], |ops, asked| {
            ready(console::websocket(ops, asked.peer, asked.request)).boxed_local()
        })
    },
    Page::admin(
        admin::SESSIONS,
        "GET",
        &["address", "key", "subject", "topic", "limit", "after"],
    ),
    Page::admin(admin::SESSION, "DELETE", &[]),
    Page::admin(admin::CLOSE, "POST", &[]),
    Page::admin(admin::REVOCATIONS, "GET, POST", &["limit", "after"]),
    Page::admin(admin::REVOCATION, "DELETE", &[]),
    Page::admin(admin::DRAIN, "POST", &[]),
    Page::admin(admin::ACCOUNTING, "GET", &["day", "format"]),
];

/// The operators' listener, with everything that its pages show.
#[derive(Debug)]
pub(crate) struct Ops {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) inspector: Inspector,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) live_settings: Arc<LiveSettings>,
    /// The number of lines of the program's log that were lost.
    pub(crate) log_lines_lost: Arc<AtomicU64>,
    pub(crate) encoder: Encoder,
    pub(crate) health: Arc<HealthLog>,
    pub(crate) viewing: Viewing,
    pub(crate) stop_request: StopRequest,
    pub(crate) accounting: Option<Arc<Accounting>>,
    /// What the node of a cluster says of itself, if the broker is one.
    pub(crate) cluster: Option<Arc<ClusterStatus>>,
}

impl Ops {
    /// Serves until the future is dropped. Must be called within a `LocalSet`.
    pub(crate) async fn run(self: Arc<Self>, listener: &TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut probes: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let ops = self.clone();
                    if let Ok(place) = places.clone().try_acquire_owned() {
                        tokio::task::spawn_local(async move {
                            ops.serve(stream, peer.into(), false).await;
                            drop(place);
                        });
                        continue;
                    }
                    probes.retain(|probe| !probe.is_finished());
                    if probes.len() == PROBES_MAX {
                        probes.pop_front().iter().for_each(AbortHandle::abort);
                    }
                    let served = tokio::time::timeout(PROBE_WITHIN, ops.serve(stream, peer.into(), true));
                    probes.push_back(tokio::task::spawn_local(served).abort_handle());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an operator's connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection. With `only_probes` it may ask only for health.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: ClientAddr, only_probes: bool) {
        let service = hyper::service::service_fn(|mut request| {
            let ops = self.clone();
            async move {
                let answer = match check(&request, only_probes, ops.has_admin()) {
                    Ok(page) => {
                        let target = request.uri().clone();
                        let query = page.query_of(&target);
                        let request = &mut request;
                        let asked = Asked {
                            peer,
                            path: page.path,
                            query,
                            request,
                        };
                        (page.answer)(&ops, asked).await
                    }
                    Err(refused) => Err(refused),
                };
                let answer = answer.unwrap_or_else(ErrorResponse::into_response);
                let answer = ops.encode(&request, answer).await;
                http::read_rest(request);
                Ok::<_, Infallible>(answer)
            }
        });
        let stall = Duration::from_millis(self.live_settings.stall_ms.load(Ordering::Relaxed));
        let transport = Progress::new(HttpStream::Plain(stream), stall, Exchange::default());
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .serve_connection(transport, service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "an operator's connection ended");
        }
    }

    /// Encodes an answer as its client prefers.
    async fn encode<B>(
        &self,
        request: &Request<B>,
        mut answer: Response<Full<Bytes>>,
    ) -> Response<Full<Bytes>> {
        if let Some(coded) = http::gzip_of_answer(&self.encoder, request.headers(), &answer).await {
            http::replace_by_gzip(&mut answer, coded.into());
        }
        answer
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.lifecycle.is_draining() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        if self.pulse.is_empty() {
            let body = "the feed has nothing to publish: not one line of its recordings can be used\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, body);
        }
        if self.pulse.has_failed() {
            let body = "the feed has ended by a fault of the broker; the log says more\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, body);
        }
        if let Some(shard) = self.inspector.ended() {
            let body = format!("shard {shard} has ended by a fault of the broker; the log says more\n");
            return text(StatusCode::SERVICE_UNAVAILABLE, body);
        }
        if let Some(reason) = self.cluster.as_ref().and_then(|cluster| cluster.unready()) {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not a whole part of the cluster: {reason}\n"),
            );
        }
        if let Some(reason) = self.directory.write_queue().and_then(|queue| queue.refusing()) {
            let body = format!("the journal cannot be written: {reason}\n");
            return text(StatusCode::SERVICE_UNAVAILABLE, body);
        }
        let most = self.live_settings.silent_ms.load(Ordering::Relaxed);
        match self.pulse.silent_ms(self.clock.now(), most) {
            None => text(StatusCode::OK, "ok\n"),
            Some(silent) => {
                let body =
                    format!("the feed has published nothing for {silent} ms; feed.silent_ms is {most}\n");
                text(StatusCode::SERVICE_UNAVAILABLE, body)
            }
        }
    }

    fn revocation_count(&self) -> usize {
        let (_, access) = self.live_settings.rules();
        access.revocations().count(self.clock.wall())
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let directory = &self.directory;
        let keys = directory.dedupe_tally();
        let unwritten = directory.write_queue().map_or(0, |queue| queue.waiting_bytes());
        for (metric, value) in [
            (Metric::Duplicates, keys.duplicates),
            (Metric::DedupeKeys, keys.keys as u64),
            (Metric::DedupeBytes, keys.bytes as u64),
            (Metric::DedupeEarly, keys.early),
            (Metric::Topics, directory.topic_count() as u64),
            (Metric::HistoryBytes, directory.history_bytes() as u64),
            (Metric::ValueBytes, directory.value_bytes() as u64),
            (Metric::ReplayBytes, directory.replay_bytes() as u64),
            (Metric::ArchivedBytes, directory.archived_bytes() as u64),
            (Metric::StaleTopics, directory.stale_topics()),
            (Metric::StaleChanges, directory.stale_changes()),
            (Metric::CrossedBooks, directory.crossed_books()),
            (Metric::JournalUnwritten, unwritten as u64),
            (Metric::DeriveQueue, directory.observer_depth_max() as u64),
            (Metric::ClockOffset, self.clock.offset_us().cast_unsigned()),
            (Metric::Addresses, self.connection_limits.address_count() as u64),
            (Metric::Revocations, self.revocation_count() as u64),
            (Metric::LogLost, self.log_lines_lost.load(Ordering::Relaxed)),
        ] {
            self.catalogue.set(metric, &[], value);
        }
        if let Some(accounting) = &self.accounting {
            accounting.export(&self.catalogue);
        }
        for reason in EndReason::ALL {
            let ended = directory.ended_topics(reason);
            self.catalogue.set(Metric::TopicsEnded, &[reason as usize], ended);
        }
        match self.catalogue.render() {
            Ok(page) => {
                let mut response = Response::new(Full::from(page));
                response.headers_mut().insert(
                    CONTENT_TYPE,
                    hyper::header::HeaderValue::from_static(METRICS_TYPE),
                );
                response
            }
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics cannot be written; see the log\n",
                )
            }
        }
    }
}

/// The page of a request. With `only_probes` only pages about health are served, and those of the admin API only if
/// there is one.
fn check<B>(
    request: &Request<B>,
    only_probes: bool,
    has_admin: bool,
) -> Result<&'static Page, ErrorResponse> {
    if !http::is_named(request) {
        return Err(ErrorResponse::bad_request(http::ONE_HOST).with_header(CONNECTION, "close"));
    }
    let path = request.uri().path();
    let is_there = |page: &&Page| has_admin || !page.is_admin;
    let page = PAGES.iter().filter(is_there).find(|page| page.is_at(path));
    if only_probes && !page.is_some_and(|page| page.is_probe) {
        let probes = paths(|page| page.is_probe).join(" and ");
        let reason = format!(
            "operators have {CONNECTIONS_MAX} connections open, the most there may be; beyond them only {probes} are answered"
        );
        let refused = ErrorResponse::from(Refusal::new(ErrorCode::LimitExceeded, reason));
        let refused = refused.with_header(RETRY_AFTER, "1");
        return Err(refused.with_header(CONNECTION, "close"));
    }
    let page = page.ok_or_else(|| {
        ErrorResponse::nothing_at(
            request.uri(),
            &paths(|page| has_admin || !page.is_admin).join(", "),
        )
    })?;
    if !page.methods.split(", ").any(|method| request.method() == method) {
        return Err(ErrorResponse::method_not_allowed(path, page.methods));
    }
    Ok(page)
}

/// The paths of the pages that `wanted` selects.
fn paths(wanted: impl Fn(&Page) -> bool) -> Vec<&'static str> {
    let wanted = PAGES.iter().filter(|page| wanted(page));
    wanted.map(|page| page.path).collect()
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::specification::{self, sorted};

    #[test]
    fn every_page_is_documented() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATING.md");
        let docs = std::fs::read_to_string(docs).expect("a page of the documentation");
        for page in PAGES {
            let method = page.methods.split(", ").next().expect("a method");
            let request = format!("`{method} {}", page.path);
            let mut places = docs.match_indices(&request);
            let told = places.any(|(at, _)| docs[at + request.len()..].starts_with(['`', '?']));
            assert!(told, "{request}` is not described");
        }
    }

    #[test]
    fn the_specification_has_these_pages_and_parameters() {
        let rows = PAGES.iter().map(|page| {
            let methods = sorted(page.methods.split(", "));
            (
                page.path.to_owned(),
                (methods, sorted(page.parameters.iter().copied())),
            )
        });
        assert_eq!(specification::paths("openapi-operators.yaml"), rows.collect());
    }
}
