//! Finds the client of a connection and of a request before either is served.
//!
//! The connection of a trusted proxy begins with a header of the PROXY protocol, if the proxy is configured so. The
//! time for it is that of a request's head. The client that it names is then accepted or refused like one that has
//! connected directly.

use std::io;

use hyper::Request;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{HttpContext, Requester};
use crate::limits::{HttpAllowance, TurnedAway};
use crate::net::permit::ConnectionPermit;
use crate::net::proxied::{self, ClientAddr, HeaderError, Source};

/// Why a connection is not served.
#[derive(Debug, Error)]
pub(crate) enum NotServed {
    #[error("its header of the PROXY protocol: {0}")]
    Header(#[from] HeaderError),
    #[error("no header of the PROXY protocol within {0} ms")]
    Late(u128),
    #[error("its client is turned away: {0:?}")]
    TurnedAway(TurnedAway),
}

/// Reads the header of the PROXY protocol if there must be one, and counts the client's connection.
///
/// # Errors
/// If the header is not valid, or if the limits refuse the client, which gets an answer.
pub(crate) async fn identify(
    context: &HttpContext,
    stream: &TcpStream,
    permit: &mut ConnectionPermit,
) -> Result<(), NotServed> {
    let connection_limits = &context.connection_limits;
    let trust = &connection_limits.rules().trust;
    if !trust.proxy_header || !trust.covers(permit.client().ip()) {
        return Ok(());
    }
    let within = context.limits.headers_within;
    let read = timeout(within, proxied::read_header(stream)).await;
    let source = read
        .map_err(|_| NotServed::Late(within.as_millis()))
        .and_then(|read| Ok(read?))
        .inspect_err(|_| connection_limits.nameless())?;
    let Source::Client(client) = source else {
        return Ok(());
    };
    match connection_limits.connect(client.ip()) {
        Ok(place) => {
            permit.hand_to(client.into(), place);
            Ok(())
        }
        Err(why) => {
            tell(stream, &why.told(context.tls.is_some()));
            Err(NotServed::TurnedAway(why))
        }
    }
}

fn tell(stream: &TcpStream, answer: &[u8]) {
    // The socket's buffer is empty, so it takes this without waiting, unless the proxy is gone.
    match stream.try_write(answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => tracing::debug!(%error, "a proxy was gone"),
    }
}

/// Stores the client of a request in it, for a connection from `peer` with this allowance.
pub(crate) fn locate<B>(
    context: &HttpContext,
    (peer, allowance): (ClientAddr, HttpAllowance),
    mut request: Request<B>,
) -> Request<B> {
    let trust = &context.connection_limits.rules().trust;
    let requester = Requester {
        client: trust.client_of(request.headers(), peer),
        proxied: trust.covers(peer.ip()),
        allowance,
    };
    request.extensions_mut().insert(requester);
    request
}
