//! HTTP on the clients' listener: one task per connection until it is upgraded or ends.
//!
//! Bounded: headers in size, number and time by hyper, bodies by their endpoints, writing by [`Progress`].

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioTimer;
use tickwire_router::Transport;
use tickwire_wire::Variant;
use tokio::net::TcpStream;

use crate::access::Admission;
use crate::entrance;
use crate::gatekeeper::Allowance;
use crate::handshake;
use crate::http::{self, Arrival, Endpoint, ErrorResponse, HttpContext, Progress, Reply, Smuggling, Stalled};
use crate::hub::Stream;
use crate::labels::{Route, refused_status};
use crate::permit::Permit;
use crate::tls::HttpStream;

/// The least that hyper buffers.
const BUFFER_BYTES_MIN: usize = 8 * 1024;
/// Where messages come back as they came, when `test.echo` says so.
const ECHO_PATH: &str = "/v1/echo";

/// Serves one connection for as long as it speaks HTTP.
pub(crate) async fn serve(context: Rc<HttpContext>, stream: TcpStream, peer: SocketAddr, mut permit: Permit) {
    if let Err(error) = entrance::identify(&context, &stream, &mut permit).await {
        tracing::debug!(%peer, %error, "a proxy's connection ended before it was served");
        return;
    }
    let client = permit.client();
    let transport = match &context.tls {
        None => HttpStream::Plain(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%client, %error, "a TLS handshake failed");
                return;
            }
        },
    };
    let permit = Rc::new(RefCell::new(Some(permit)));
    let (stalled, smuggling) = (Stalled::default(), Smuggling::default());
    let transport =
        Progress::new(transport, context.limits.stall, stalled.clone()).telling(smuggling.clone());
    let (answering, allowance) = (OnceCell::new(), Allowance::default());
    let service = hyper::service::service_fn(|request| {
        answering.get_or_init(|| context.curfew.answer());
        let (context, permit, stalled) = (context.clone(), permit.clone(), stalled.clone());
        let (allowance, is_ambiguous) = (allowance.clone(), smuggling.is_found());
        async move {
            if is_ambiguous {
                return Ok(ambiguous(&context, &request));
            }
            let request = entrance::locate(&context, (client, allowance), request);
            Ok::<_, Infallible>(answer_for_now(&context, &stalled, request, &permit).await)
        }
    });
    let limits = context.limits;
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_BYTES_MIN))
        .serve_connection(transport, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = context.curfew.called() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        count_unreadable(&context, &error);
        tracing::debug!(%client, %error, "HTTP connection ended");
    }
}

type PermitSlot = RefCell<Option<Permit>>;

/// Counts a request that hyper answered by itself because its head broke the rules.
fn count_unreadable(context: &HttpContext, error: &hyper::Error) {
    if error.is_parse() {
        let status = if error.is_parse_too_large() { 431 } else { 400 };
        context.metrics.answered(Route::Other as usize, status);
    }
}

/// The answer to a request whose length can be read in two ways; nothing that follows it is read.
fn ambiguous(context: &HttpContext, request: &Request<Incoming>) -> Reply {
    let refused = ErrorResponse::bad_request("Content-Length and Transfer-Encoding do not go together")
        .with_header(CONNECTION, "close");
    let route = Endpoint::of(request.uri().path()).route();
    context.metrics.answered(route as usize, refused.status.as_u16());
    refused.into_response().map(Either::Left)
}

/// Answers, and says that no further request will be answered if the broker drains.
async fn answer_for_now(
    context: &Rc<HttpContext>,
    stalled: &Stalled,
    request: Request<Incoming>,
    permit: &PermitSlot,
) -> Reply {
    let endpoint = Endpoint::of(request.uri().path());
    let lasts = matches!(endpoint, Endpoint::WebSocket | Endpoint::Sse);
    let mut response = if lasts && context.curfew.is_draining() {
        let route = endpoint.route();
        let refused = http::draining();
        context
            .metrics
            .handshake_refused(refused_status(refused.status().as_u16()));
        context
            .metrics
            .answered(route as usize, refused.status().as_u16());
        refused.map(Either::Left)
    } else {
        answer(context, stalled, request, permit).await
    };
    if context.curfew.is_draining() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(
    context: &Rc<HttpContext>,
    stalled: &Stalled,
    mut request: Request<Incoming>,
    permit: &PermitSlot,
) -> Reply {
    let transport = match request.uri().path() {
        _ if request.method() == Method::OPTIONS => return http::answer(context, stalled, request).await,
        ECHO_PATH if context.echo => Transport::Echo,
        path if Endpoint::of(path) == Endpoint::WebSocket => Transport::WebSocket,
        _ => return http::answer(context, stalled, request).await,
    };
    let response = upgrade(context, &mut request, transport, permit);
    context
        .metrics
        .answered(Route::WebSocket as usize, response.status().as_u16());
    response.map(Either::Left)
}

/// Answers a WebSocket handshake and, when it is accepted, hands the connection to the hub.
fn upgrade(
    context: &Rc<HttpContext>,
    request: &mut Request<Incoming>,
    transport: Transport,
    permit: &PermitSlot,
) -> Response<Full<Bytes>> {
    let arrival = Arrival::of(request.extensions());
    let checked = arrival.connect(&context.gatekeeper).and_then(|place| {
        let admission = context.admit(request.headers())?;
        let accepted = handshake::check(request)?.with_compression(context.compression);
        Ok((admission, accepted, place))
    });
    let (admission, accepted, place) = match checked {
        Ok(checked) => checked,
        Err(refused) => {
            let response = refused.into_response();
            context
                .metrics
                .handshake_refused(refused_status(response.status().as_u16()));
            return response;
        }
    };
    let on_upgrade = hyper::upgrade::on(request);
    let variant = accepted.variant();
    if let Some(mut permit) = permit.borrow_mut().take() {
        if arrival.proxied {
            permit.hand_to(arrival.client, place);
        }
        let kind = (transport, variant);
        tokio::task::spawn_local(adopt(context.clone(), on_upgrade, kind, admission, permit));
    }
    accepted.response().map(|_| Full::default())
}

async fn adopt(
    context: Rc<HttpContext>,
    on_upgrade: OnUpgrade,
    kind: (Transport, Variant),
    admission: Admission,
    permit: Permit,
) {
    let adopted = match on_upgrade.await {
        Ok(upgraded) => take_over(&context, upgraded, kind, admission, permit),
        Err(error) => {
            tracing::debug!(%error, "a handshake was not completed");
            return;
        }
    };
    if let Err(error) = adopted {
        tracing::warn!(%error, "an upgraded connection could not be taken over");
    }
}

fn take_over(
    context: &HttpContext,
    upgraded: Upgraded,
    (transport, variant): (Transport, Variant),
    admission: Admission,
    permit: Permit,
) -> std::io::Result<()> {
    let parts = upgraded
        .downcast::<Progress>()
        .map_err(|_| std::io::Error::other("not the transport that was served"))?;
    let stream = Stream::of(parts.io.into_inner())?;
    let mut hub = context.hub.borrow_mut();
    hub.adopt(
        stream,
        permit,
        transport,
        variant,
        admission,
        parts.read_buf.to_vec(),
    )?;
    Ok(())
}
