//! HTTP on the clients' listener: one task per connection until it is upgraded or ends.
//!
//! Bounded: headers in size, number and time by hyper, bodies by their endpoints, writing by [`Progress`].

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use tickwire_router::Transport;
use tickwire_wire::Variant;
use tokio::net::TcpStream;

use crate::handshake;
use crate::http::{self, Endpoint, HttpContext, Progress, Reply, Stalled};
use crate::hub::Stream;
use crate::labels::{Route, refused_status};
use crate::permit::Permit;
use crate::tls::HttpStream;

/// The least that hyper buffers.
const BUFFER_BYTES_MIN: usize = 8 * 1024;
/// Where messages come back as they came, when `test.echo` says so.
const ECHO_PATH: &str = "/v1/echo";

/// Serves one connection for as long as it speaks HTTP.
pub(crate) async fn serve(context: Rc<HttpContext>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
    let stream = match &context.tls {
        None => HttpStream::Plain(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a TLS handshake failed");
                return;
            }
        },
    };
    let permit = Rc::new(RefCell::new(Some(permit)));
    let stalled = Stalled::default();
    let service = hyper::service::service_fn(|request| {
        let (context, permit, stalled) = (context.clone(), permit.clone(), stalled.clone());
        async move { Ok::<_, Infallible>(answer(&context, &stalled, request, &permit).await) }
    });
    let limits = context.limits;
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(BUFFER_BYTES_MIN))
        .serve_connection(Progress::new(stream, limits.stall, stalled.clone()), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        count_unreadable(&context, &error);
        tracing::debug!(%peer, %error, "HTTP connection ended");
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

async fn answer(
    context: &Rc<HttpContext>,
    stalled: &Stalled,
    mut request: Request<Incoming>,
    permit: &PermitSlot,
) -> Reply {
    let transport = match request.uri().path() {
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
    let accepted = match handshake::check(request) {
        Ok(accepted) => accepted.with_compression(context.compression),
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
    if let Some(permit) = permit.borrow_mut().take() {
        tokio::task::spawn_local(adopt(context.clone(), on_upgrade, transport, variant, permit));
    }
    accepted.response().map(|_| Full::default())
}

async fn adopt(
    context: Rc<HttpContext>,
    on_upgrade: OnUpgrade,
    transport: Transport,
    variant: Variant,
    permit: Permit,
) {
    let adopted = match on_upgrade.await {
        Ok(upgraded) => take_over(&context, upgraded, transport, variant, permit),
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
    transport: Transport,
    variant: Variant,
    permit: Permit,
) -> std::io::Result<()> {
    let parts = upgraded
        .downcast::<Progress>()
        .map_err(|_| std::io::Error::other("not the transport that was served"))?;
    let stream = Stream::of(parts.io.into_inner())?;
    let mut hub = context.hub.borrow_mut();
    hub.adopt(stream, permit, transport, variant, parts.read_buf.to_vec())?;
    Ok(())
}
