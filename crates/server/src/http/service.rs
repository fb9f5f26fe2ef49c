//! HTTP on the clients' listener: one task per connection, until it becomes a WebSocket or a stream, or ends.
//!
//! Bounded: hyper bounds the size, number and time of headers, the endpoints bound bodies, and [`Progress`] bounds
//! writing.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioTimer;
use tickwire_router::Transport;
use tickwire_wire::Variant;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::auth::Admission;
use crate::http::identify;
use crate::http::reply;
use crate::http::shutdown::Answering;
use crate::http::{
    self, Endpoint, ErrorResponse, Exchange, HttpContext, Progress, Reply, Requester, Smuggling, Takeover,
};
use crate::hub::Stream;
use crate::limits::HttpAllowance;
use crate::net::permit::{ConnectionPermit, SharedPermit};
use crate::net::proxied::ClientAddr;
use crate::net::tls::HttpStream;
use crate::ws::handshake;

/// The most bytes that are read of a request before they are handled. Hyper begins with 8 KiB and makes more room for a
/// client whose bytes fill that.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The path that sends messages back unchanged, if `test.echo` is on.
const ECHO_PATH: &str = "/v1/echo";
/// The path that makes the task of its connection panic, if `test.panic` is on.
const PANIC_PATH: &str = "/v1/panic";

/// Extra time for which a connection is kept, beyond the time that its client was told or the end of a drain. A request
/// that is already on its way still arrives.
const KEPT_LONGER: Duration = Duration::from_secs(1);
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Serves one connection as long as it uses HTTP.
pub(crate) async fn serve(
    context: Rc<HttpContext>,
    stream: TcpStream,
    peer: SocketAddr,
    mut permit: ConnectionPermit,
    answering: Answering,
) {
    if let Err(error) = identify::identify(&context, &stream, &mut permit).await {
        tracing::debug!(%peer, %error, "a proxy's connection ended before it was served");
        return;
    }
    let client = permit.client();
    let mut transport = match &context.tls {
        None => HttpStream::Plain(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%client, %error, "a TLS handshake failed");
                return;
            }
        },
    };
    let asks_until = Instant::now() + context.limits.headers_within;
    match timeout_at(asks_until, transport.readable()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%client, %error, "HTTP connection ended");
            return;
        }
        Err(_) => {
            note_unasked(client);
            return;
        }
    }
    let counted = Rc::new(Counted {
        permit: SharedPermit::new(permit),
        answering: RefCell::new(Some(answering)),
        upgrading: RefCell::default(),
    });
    // Boxed: until its client speaks, a connection is small (ADR 0023).
    Box::pin(speak(&context, transport, client, counted.clone(), asks_until)).await;
    if let Some(upgrading) = counted.upgrading.take() {
        upgrading.adopt(&context).await;
    }
}

/// How a connection is counted until it continues without hyper.
struct Counted {
    permit: SharedPermit,
    answering: RefCell<Option<Answering>>,
    /// What it continues as once hyper has written the answer to a handshake.
    upgrading: RefCell<Option<Upgrading>>,
}

/// A connection whose WebSocket handshake is accepted.
struct Upgrading {
    on_upgrade: OnUpgrade,
    kind: (Transport, Variant),
    admission: Box<Admission>,
    permit: ConnectionPermit,
    answering: Answering,
}

impl Counted {
    /// Takes both for a connection that continues without hyper.
    fn take(&self) -> Option<(ConnectionPermit, Answering)> {
        self.permit.take().zip(self.answering.take())
    }
}

/// Has hyper serve a connection whose client has begun its first request, which must have come `asks_until` then.
async fn speak(
    context: &Rc<HttpContext>,
    transport: HttpStream,
    client: ClientAddr,
    counted: Rc<Counted>,
    asks_until: Instant,
) {
    let (exchange, smuggling) = (Exchange::default(), Smuggling::default());
    let transport =
        Progress::new(transport, context.limits.stall, exchange.clone()).telling(smuggling.clone());
    let (asked, allowance) = (Cell::new(false), HttpAllowance::default());
    let takeover = Takeover::default();
    let service = hyper::service::service_fn(|request| {
        asked.set(true);
        exchange.set_answered(false);
        let (context, counted) = (context.clone(), counted.clone());
        let (allowance, unclear) = (allowance.clone(), unclear(&request, &smuggling));
        let endpoint = Endpoint::of(request.uri().path());
        let (exchange, takeover) = (&exchange, &takeover);
        async move {
            let reply = match unclear {
                Some(refused) => refuse_unclear(&context, endpoint, refused),
                None => {
                    let request = identify::locate(&context, (client, allowance), request);
                    answer_for_now(&context, endpoint, request, &counted).await
                }
            };
            note_answer(exchange, endpoint, reply.status());
            let (parts, body) = reply.into_parts();
            match body {
                Either::Left(written) => Ok::<_, Infallible>(Response::from_parts(parts, written)),
                Either::Right(granted) => {
                    takeover.set(parts, granted);
                    std::future::pending().await
                }
            }
        }
    });
    let limits = context.limits;
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within + KEPT_LONGER)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_BYTES_MAX))
        .serve_connection(transport, service)
        .with_upgrades();
    let served = tokio::select! {
        served = takeover.or_served(&mut connection, &exchange) => served,
        () = context.shutdown.idle_closes() => tokio::select! {
            biased;
            served = takeover.or_served(&mut connection, &exchange) => served,
            () = tokio::time::sleep(KEPT_LONGER) => {
                if exchange.is_answered() {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                takeover.or_served(&mut connection, &exchange).await
            }
        },
        () = unasked(&asked, asks_until) => {
            note_unasked(client);
            return;
        }
    };
    if let Err(error) = served {
        count_unreadable(context, &error);
        tracing::debug!(%client, %error, "HTTP connection ended");
        return;
    }
    if let Some(stream) = takeover.take()
        && let (Some(parts), Some((permit, answering))) = (connection.into_parts(), counted.take())
    {
        stream.begin(context, parts.io, parts.read_buf.len(), permit);
        // A drain that begins meanwhile waits for the session.
        drop(answering);
    }
}

/// Records that a request was answered with `status`.
fn note_answer(exchange: &Exchange, endpoint: Endpoint, status: StatusCode) {
    exchange.set_answered(true);
    if endpoint.is_websocket() && status == StatusCode::SWITCHING_PROTOCOLS {
        exchange.set_followed(); // by the welcome
    }
}

/// Waits until the time for a connection's first request is over, unless a request has come.
async fn unasked(asked: &Cell<bool>, until: Instant) {
    tokio::time::sleep_until(until).await;
    if asked.get() {
        std::future::pending::<()>().await;
    }
}

fn note_unasked(client: ClientAddr) {
    tracing::debug!(%client, "a connection made no request in time");
}

/// Counts a request that hyper refused by itself because its head was malformed.
fn count_unreadable(context: &HttpContext, error: &hyper::Error) {
    if error.is_parse() {
        let status = match error.is_parse_too_large() {
            true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            false => StatusCode::BAD_REQUEST,
        };
        Endpoint::NOWHERE.count(&context.metrics, status);
    }
}

/// The refusal of a request whose end, body or host is ambiguous.
fn unclear<B>(request: &Request<B>, smuggling: &Smuggling) -> Option<ErrorResponse> {
    if smuggling.is_found() {
        let reason = "Content-Length and Transfer-Encoding do not go together";
        return Some(ErrorResponse::bad_request(reason));
    }
    if !http::is_named(request) {
        return Some(ErrorResponse::bad_request(http::ONE_HOST));
    }
    http::check_transfer(request.headers()).err()
}

/// The answer to an ambiguous request. Nothing after it is read.
fn refuse_unclear(context: &HttpContext, endpoint: Endpoint, refused: ErrorResponse) -> Reply {
    let refused = refused.with_header(CONNECTION, "close");
    endpoint.count(&context.metrics, refused.status);
    reply::whole(refused.into_response())
}

/// Answers a request, and decides whether further requests on the connection are answered.
async fn answer_for_now(
    context: &Rc<HttpContext>,
    endpoint: Endpoint,
    request: Request<Incoming>,
    counted: &Counted,
) -> Reply {
    let kept = context.kept.clone().filter(|_| is_kept(&request));
    let lasts = endpoint.is_websocket() || endpoint.is_event_stream();
    let mut response = if lasts && context.shutdown.is_draining() {
        let refused = ErrorResponse::draining().into_response();
        context.handshake_refused(refused.status());
        endpoint.count(&context.metrics, refused.status());
        reply::whole(refused)
    } else {
        answer(context, endpoint, request, counted).await
    };
    let is_written = matches!(response.body(), Either::Left(_));
    let is_last = counted
        .answering
        .borrow()
        .as_ref()
        .is_some_and(Answering::is_last);
    let headers = response.headers_mut();
    if is_last {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    } else if let Some(kept) = kept.filter(|_| is_written && !headers.contains_key(CONNECTION)) {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        headers.insert(KEEP_ALIVE, kept);
    }
    response
}

/// Whether the client of a request allows the connection to be kept without asking for it.
fn is_kept<B>(request: &Request<B>) -> bool {
    let closes = |line: &HeaderValue| {
        let mut options = line.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    request.version() == Version::HTTP_11 && !request.headers().get_all(CONNECTION).iter().any(closes)
}

async fn answer(
    context: &Rc<HttpContext>,
    endpoint: Endpoint,
    mut request: Request<Incoming>,
    counted: &Counted,
) -> Reply {
    let transport = match request.uri().path() {
        _ if request.method() == Method::OPTIONS => {
            return http::answer(context, endpoint, request, &counted.permit).await;
        }
        ECHO_PATH if context.test.echo => Transport::Echo,
        PANIC_PATH if context.test.panic => panic!("test.panic: in the task of an HTTP connection"),
        _ if endpoint.is_websocket() => Transport::WebSocket,
        _ => return http::answer(context, endpoint, request, &counted.permit).await,
    };
    let response = upgrade(context, &mut request, transport, counted);
    endpoint.count(&context.metrics, response.status());
    reply::whole(response)
}

/// Answers a WebSocket handshake. If it is accepted, hands the connection to the hub.
fn upgrade(
    context: &Rc<HttpContext>,
    request: &mut Request<Incoming>,
    transport: Transport,
    counted: &Counted,
) -> Response<Full<Bytes>> {
    let checked = Requester::of(request.extensions()).and_then(|requester| {
        let place = requester.connect(&context.connection_limits)?;
        let mut admission = context.admit(request.headers())?;
        let accepted = handshake::check(request)?.with_compression(context.compression);
        let (variant, response) = (accepted.variant(), accepted.response()?);
        admission.place = Some(context.connection_limits.connect_holder(&admission)?);
        Ok((requester, admission, variant, response, place))
    });
    let (requester, admission, variant, response, place) = match checked {
        Ok(checked) => checked,
        Err(refused) => {
            let response = refused.into_response();
            context.handshake_refused(response.status());
            return response;
        }
    };
    let on_upgrade = hyper::upgrade::on(request);
    if let Some((mut permit, answering)) = counted.take() {
        if requester.proxied {
            permit.hand_to(requester.client, place);
        }
        *counted.upgrading.borrow_mut() = Some(Upgrading {
            on_upgrade,
            kind: (transport, variant),
            admission: Box::new(admission),
            permit,
            answering,
        });
    }
    response.map(|_| Full::default())
}

impl Upgrading {
    /// Hands the connection to the hub, if its client was sent the answer. Hyper has finished with it.
    async fn adopt(self, context: &HttpContext) {
        let adopted = match self.on_upgrade.await {
            Ok(upgraded) => take_over(context, upgraded, self.kind, *self.admission, self.permit),
            Err(error) => {
                tracing::debug!(%error, "a handshake was not completed");
                return;
            }
        };
        if let Err(error) = adopted {
            tracing::warn!(%error, "an upgraded connection could not be taken over");
        }
        // A drain that begins meanwhile waits for the session.
        drop(self.answering);
    }
}

fn take_over(
    context: &HttpContext,
    upgraded: Upgraded,
    (transport, variant): (Transport, Variant),
    admission: Admission,
    permit: ConnectionPermit,
) -> std::io::Result<()> {
    let parts = upgraded
        .downcast::<Progress>()
        .map_err(|_| std::io::Error::other("not the transport that was served"))?;
    let stream = Stream::of(parts.io.into_inner())?;
    let visits = context.connection_limits.visits(permit.client().ip());
    let mut hub = context.hub.borrow_mut();
    let id = hub.adopt(
        stream,
        permit,
        transport,
        variant,
        admission,
        parts.read_buf.to_vec(),
    )?;
    if let Some(visits) = visits {
        hub.shard.share_lookups(id, visits);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// A client may connect and say nothing for seconds, and many may do so at once.
    #[test]
    fn a_connection_without_a_request_took_as_much_memory_as_one_with_a_request() {
        let (silent, speaking) = (size_of_future(serve), size_of_future(speak));
        assert!(silent <= 1_280 && speaking > silent, "{silent} and {speaking}");
    }
}
