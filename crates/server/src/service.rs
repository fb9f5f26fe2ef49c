//! HTTP on the clients' listener: one task per connection until it is upgraded or ends.
//!
//! Bounded by hyper: headers in size, number and time, bodies by their endpoints.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tickwire_metrics::HttpMetrics;
use tickwire_wire::Codec;
use tokio::net::TcpStream;

use crate::config::Config;
use crate::handshake;
use crate::http::ErrorResponse;
use crate::hub::SharedHub;
use crate::labels::{Route, refused_status};
use crate::permit::Permit;

/// What all HTTP tasks of a shard share.
pub(crate) struct HttpContext {
    hub: SharedHub,
    metrics: HttpMetrics,
    handshake: Duration,
    header_bytes: usize,
    headers: usize,
}

impl HttpContext {
    pub(crate) fn new(hub: SharedHub, config: &Config, metrics: HttpMetrics) -> Self {
        Self {
            hub,
            metrics,
            handshake: Duration::from_millis(config.limits.handshake_ms),
            header_bytes: config.limits.header_bytes,
            headers: config.limits.headers,
        }
    }
}

/// Serves one connection for as long as it speaks HTTP.
pub(crate) async fn serve(context: Rc<HttpContext>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
    let permit = Rc::new(std::cell::RefCell::new(Some(permit)));
    let service = hyper::service::service_fn(|request| {
        let (context, permit) = (context.clone(), permit.clone());
        async move { Ok::<_, Infallible>(answer(&context, request, &permit)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(context.handshake)
        .max_headers(context.headers)
        .max_buf_size(context.header_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    }
}

type PermitSlot = Rc<std::cell::RefCell<Option<Permit>>>;

fn answer(
    context: &Rc<HttpContext>,
    mut request: Request<Incoming>,
    permit: &PermitSlot,
) -> Response<Full<Bytes>> {
    let (route, response) = match request.uri().path() {
        "/v1/ws" => (Route::WebSocket, upgrade(context, &mut request, permit)),
        path => {
            let reason = format!("there is nothing at {path}");
            let refusal = tickwire_wire::Refusal::bad_request(reason);
            (
                Route::Other,
                ErrorResponse::new(hyper::StatusCode::NOT_FOUND, refusal).into_response(),
            )
        }
    };
    context
        .metrics
        .answered(route as usize, response.status().as_u16());
    response
}

/// Answers a WebSocket handshake and, when it is accepted, hands the connection to the hub.
fn upgrade(
    context: &Rc<HttpContext>,
    request: &mut Request<Incoming>,
    permit: &PermitSlot,
) -> Response<Full<Bytes>> {
    let accepted = match handshake::check(request) {
        Ok(accepted) => accepted,
        Err(refused) => {
            let response = refused.into_response();
            context
                .metrics
                .handshake_refused(refused_status(response.status().as_u16()));
            return response;
        }
    };
    let on_upgrade = hyper::upgrade::on(request);
    let codec = accepted.codec;
    if let Some(permit) = permit.borrow_mut().take() {
        tokio::task::spawn_local(adopt(context.clone(), on_upgrade, codec, permit));
    }
    accepted.response().map(|_| Full::default())
}

async fn adopt(context: Rc<HttpContext>, on_upgrade: OnUpgrade, codec: Codec, permit: Permit) {
    let adopted = match on_upgrade.await {
        Ok(upgraded) => take_over(&context, upgraded, codec, permit),
        Err(error) => {
            tracing::debug!(%error, "a handshake was not completed");
            return;
        }
    };
    if let Err(error) = adopted {
        tracing::warn!(%error, "an upgraded connection could not be taken over");
    }
}

fn take_over(context: &HttpContext, upgraded: Upgraded, codec: Codec, permit: Permit) -> std::io::Result<()> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| std::io::Error::other("not the transport that was served"))?;
    let stream = parts.io.into_inner().into_std()?;
    let mut hub = context.hub.borrow_mut();
    hub.adopt(stream, permit, codec, parts.read_buf.to_vec())?;
    Ok(())
}
