//! The console's view of topics: the list of them, and WebSocket connections that only read.
//!
//! A connection is checked here and then given to a shard, where it is a session like any other: it is slow at its own
//! cost. Only [`CONSOLE_CONNECTIONS_MAX`] are open at a time. They do not count among the clients' connections, so
//! that an operator can look at a broker that is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use socket2::SockRef;
use tickwire_router::HistoryPage;
use tickwire_wire::codec::DataOp;
use tickwire_wire::limits::{CONSOLE_CONNECTIONS_MAX, HISTORY_ANSWER_BYTES_MAX, HISTORY_PAGE_MAX};
use tickwire_wire::{ErrorCode, Refusal, Seq, Topic, Variant};

use crate::auth::Admission;
use crate::config;
use crate::http::{ErrorResponse, Progress, UnreadQuery, WantedTopics};
use crate::net::acceptor::{self, ShardHandle};
use crate::net::listener;
use crate::net::permit::ConnectionPermit;
use crate::net::proxied::ClientAddr;
use crate::net::tls::HttpStream;
use crate::ops::Ops;
use crate::run::command::{Command, Viewer};
use crate::ws::handshake;

/// What new connections of the console need.
#[derive(Debug, Clone)]
pub(crate) struct Viewing {
    shards: Vec<ShardHandle>,
    socket: config::SocketSettings,
    /// The number of open connections.
    open: Arc<AtomicUsize>,
}

impl Viewing {
    /// Gives connections to these shards, with these options of their sockets.
    pub(crate) fn new(shards: Vec<ShardHandle>, socket: config::SocketSettings) -> Self {
        Self {
            shards,
            socket,
            open: Arc::default(),
        }
    }

    /// Gives an upgraded connection to a shard.
    fn hand_over(
        &self,
        upgraded: Upgraded,
        (variant, admission): (Variant, Admission),
        permit: ConnectionPermit,
    ) -> io::Result<()> {
        let parts = upgraded
            .downcast::<Progress>()
            .map_err(|_| io::Error::other("not the transport that was served"))?;
        let HttpStream::Plain(stream) = parts.io.into_inner() else {
            return Err(io::Error::other("this listener has no TLS"));
        };
        listener::prepare(&SockRef::from(&stream), &self.socket)?;
        let (_, room) = acceptor::emptiest(&self.shards)
            .ok_or_else(|| io::Error::other("no shard has room for a new connection"))?;
        room.send(Command::View(Box::new(Viewer {
            stream: stream.into_std()?,
            permit,
            variant,
            admission,
            early: parts.read_buf.to_vec(),
        })));
        Ok(())
    }
}

/// `GET /v1/topics`: the list of the [clients' listener](crate::http), without its rates.
///
/// # Errors
/// Those of [`Ops::admit_viewer`]; 400 if the query is wrong.
pub(in crate::ops) async fn topics(
    ops: &Ops,
    headers: &HeaderMap,
    query: UnreadQuery<'_>,
) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    let admission = ops.admit_viewer(headers)?;
    let wanted = WantedTopics::read(query)?;
    let listing = wanted.list(&ops.directory, &admission.rights.subscribe).await;
    Ok(json(listing))
}

/// `GET /console/history`: stored messages of the topic in `topic`, of candles also closed ones from before its history, as
/// JSON: `{"epoch":…,"messages":[…]}`. A topic that does not exist has none.
///
/// # Errors
/// Those of [`Ops::admit_viewer`]; 400 if the query is wrong; 403 without the right to subscribe.
pub(in crate::ops) fn history(
    ops: &Ops,
    headers: &HeaderMap,
    query: UnreadQuery<'_>,
) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    let admission = ops.admit_viewer(headers)?;
    let query = query.read()?;
    let topic = query.one("topic")?;
    let topic = topic.ok_or_else(|| ErrorResponse::bad_request("topic: name a topic in the query"))?;
    let topic: Topic = topic.parse().map_err(Refusal::from)?;
    admission.rights.check_subscribe(&topic.clone().into())?;
    let page = match ops.directory.find(topic.as_str()) {
        Some(cell) => cell.history(Seq::ZERO, HISTORY_PAGE_MAX),
        // A page asks for candles before it knows whether the broker makes them.
        None => HistoryPage {
            epoch: ops.directory.epoch_of(topic.as_str()),
            oldest: None,
            newest: Seq::ZERO,
            messages: Vec::new(),
        },
    };
    let (mut bytes, mut kept) = (0, Vec::new());
    // The newest first, so that the oldest are left out if there are too many bytes.
    for message in page.messages.iter().rev() {
        let update = message.json(DataOp::Update);
        bytes += update.len();
        if bytes > HISTORY_ANSWER_BYTES_MAX && !kept.is_empty() {
            break;
        }
        kept.push(update);
    }
    kept.reverse();
    let mut body = format!("{{\"epoch\":\"{}\",\"messages\":[", page.epoch).into_bytes();
    body.extend_from_slice(&kept.join(&b','));
    body.extend_from_slice(b"]}");
    Ok(json(body))
}

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /v1/ws`: a WebSocket connection of the console, from `peer`.
///
/// # Errors
/// Those of [`Ops::admit_viewer`] and of a handshake; 503 if too many are open.
pub(in crate::ops) fn websocket(
    ops: &Ops,
    peer: ClientAddr,
    request: &mut Request<Incoming>,
) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    let admission = ops.admit_viewer(request.headers())?;
    if ops.lifecycle.is_draining() {
        return Err(ErrorResponse::draining());
    }
    let (config, _) = ops.live_settings.rules();
    let accepted = handshake::check(request)?.with_compression(config.compression.enabled);
    let viewing = ops.viewing.clone();
    let permit = ConnectionPermit::take(&viewing.open, peer, None);
    if viewing.open.load(Ordering::Relaxed) > CONSOLE_CONNECTIONS_MAX {
        let reason = format!(
            "operators have {CONSOLE_CONNECTIONS_MAX} WebSocket connections open, the most there may be"
        );
        let refused = ErrorResponse::from(Refusal::new(ErrorCode::LimitExceeded, reason));
        return Err(refused.with_header(RETRY_AFTER, "1"));
    }
    let (variant, response) = (accepted.variant(), accepted.response()?);
    let upgrade = hyper::upgrade::on(request);
    tokio::task::spawn_local(give(viewing, upgrade, (variant, admission), permit));
    Ok(response.map(|_| Full::default()))
}

/// Gives a connection to a shard once its handshake is answered.
async fn give(viewing: Viewing, upgrade: OnUpgrade, kind: (Variant, Admission), permit: ConnectionPermit) {
    let given = match upgrade.await {
        Ok(upgraded) => viewing.hand_over(upgraded, kind, permit),
        Err(error) => {
            tracing::debug!(%error, "a handshake of the console was not completed");
            return;
        }
    };
    if let Err(error) = given {
        tracing::warn!(%error, "a connection of the console could not be given to a shard");
    }
}
