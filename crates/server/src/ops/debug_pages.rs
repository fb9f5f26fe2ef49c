//! The operators' pages about slow sessions and hot topics, as JSON. They have names, counts and times, and no
//! payloads.

use std::cmp::Reverse;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tickwire_router::{Directory, HotTopic, Transport, Watched};
use tickwire_wire::{ErrorCode, Kind, Micros, Refusal, Seq, Topic};

use crate::cluster::ClusterStatus;
use crate::http::{ErrorResponse, UnreadQuery};
use crate::net::proxied::ClientAddr;
use crate::ops::inspector::{Inspector, NoAnswer};
use crate::run::command::{ShardSessions, SlowSession};

/// The number of entries of a page whose request gives none.
const TOP: usize = 20;
/// Most entries of a page.
const TOP_MAX: usize = 1_000;

/// The number of sessions of all shards, and the slowest sessions.
#[derive(Debug, Serialize)]
struct SessionsPage {
    sessions: usize,
    lagging: usize,
    slowest: Vec<SessionEntry>,
}

#[derive(Debug, Serialize)]
struct SessionEntry {
    shard: usize,
    session: String,
    peer: Option<ClientAddr>,
    holder: Option<String>,
    state: &'static str,
    codec: String,
    transport: &'static str,
    owed_messages: u64,
    waiting_bytes: usize,
    subscriptions: usize,
    subscriptions_behind: usize,
    oldest_owed_us: u64,
    lagging_since: Option<Micros>,
    stalled_since: Option<Micros>,
    conflated: u64,
    gapped: u64,
}

/// The number of topics of the broker, and the hottest topics.
#[derive(Debug, Serialize)]
struct TopicsPage {
    topics: usize,
    hottest: Vec<TopicEntry>,
}

#[derive(Debug, Serialize)]
struct TopicEntry {
    topic: Topic,
    kind: Kind,
    updates: u64,
    subscribers: u32,
    seq: Seq,
    stale: bool,
}

impl From<NoAnswer> for ErrorResponse {
    fn from(missing: NoAnswer) -> Self {
        let refusal = Refusal::new(ErrorCode::Internal, missing.to_string());
        Self::new(StatusCode::SERVICE_UNAVAILABLE, refusal)
    }
}

/// `GET /debug/sessions`
///
/// # Errors
/// 400 if the query is wrong, 503 if a shard does not answer.
pub(crate) async fn sessions(
    inspector: &Inspector,
    query: UnreadQuery<'_>,
) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    let top_k = top_of(query)?;
    let shards = inspector.sessions(top_k, watched(query)?).await?;
    Ok(json(&sessions_page(shards, top_k)))
}

/// `GET /debug/topics`
///
/// # Errors
/// 400 if the query is wrong, 503 if a shard does not answer.
pub(crate) async fn topics(
    inspector: &Inspector,
    directory: &Directory,
    query: UnreadQuery<'_>,
) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    let top_k = top_of(query)?;
    let handed_out = inspector.topics().await?;
    let hottest = HotTopic::hottest(directory, &handed_out, top_k);
    let entry = |hot: HotTopic| TopicEntry {
        topic: hot.topic,
        kind: hot.kind,
        updates: hot.deliveries,
        subscribers: hot.subscribers,
        seq: hot.seq,
        stale: hot.stale,
    };
    Ok(json(&TopicsPage {
        topics: directory.topic_count(),
        hottest: hottest.into_iter().map(entry).collect(),
    }))
}

/// What the node of a cluster says of itself.
pub(crate) fn cluster(status: Option<&ClusterStatus>) -> Result<Response<Full<Bytes>>, ErrorResponse> {
    let alone = || {
        let reason = "this broker is alone: cluster.nats is not set";
        ErrorResponse::new(StatusCode::NOT_FOUND, Refusal::bad_request(reason))
    };
    Ok(json(&status.ok_or_else(alone)?.report()))
}

fn top_of(query: UnreadQuery<'_>) -> Result<usize, ErrorResponse> {
    query.read()?.count("top", TOP, TOP_MAX)
}

/// Which sessions a request asks about: by default those that are owed something.
fn watched(query: UnreadQuery<'_>) -> Result<Watched, ErrorResponse> {
    match query.read()?.one("all")? {
        None | Some("false") => Ok(Watched::Behind),
        Some("true") => Ok(Watched::All),
        Some(other) => Err(ErrorResponse::bad_request(format!(
            "all is true or false, not {other:?}"
        ))),
    }
}

/// The slowest sessions of all shards, from the slowest ones of each, which are in the order of the shards' numbers.
fn sessions_page(shards: Vec<ShardSessions>, top_k: usize) -> SessionsPage {
    let sum = |of: fn(&ShardSessions) -> usize| shards.iter().map(of).sum();
    let (sessions, lagging) = (sum(|shard| shard.count), sum(|shard| shard.lagging));
    let entries = shards.into_iter().enumerate().flat_map(|(shard, sessions)| {
        let slowest = sessions.slowest.into_iter();
        slowest.map(move |session| entry(shard, session))
    });
    let mut slowest: Vec<SessionEntry> = entries.collect();
    // The sort is stable: sessions of a shard that are owed equally many messages stay in its order.
    slowest.sort_by_key(|entry| Reverse(entry.owed_messages));
    slowest.truncate(top_k);
    SessionsPage {
        sessions,
        lagging,
        slowest,
    }
}

fn entry(shard: usize, slow: SlowSession) -> SessionEntry {
    let SlowSession { lag, peer, holder } = slow;
    SessionEntry {
        shard,
        session: lag.name,
        peer,
        holder,
        state: lag.state,
        codec: lag.codec.to_string(),
        transport: transport_name(lag.transport),
        owed_messages: lag.messages,
        waiting_bytes: lag.bytes,
        subscriptions: lag.subscriptions,
        subscriptions_behind: lag.behind,
        oldest_owed_us: lag.oldest_us,
        lagging_since: lag.lagging_since,
        stalled_since: lag.stalled_since,
        conflated: lag.conflated,
        gapped: lag.gapped,
    }
}

pub(super) fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::WebSocket => "websocket",
        Transport::Sse => "sse",
        Transport::Echo => "echo",
    }
}

pub(super) fn json<T: Serialize>(page: &T) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(page).expect("text and numbers serialise");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of CSV (RFC 7111).
pub(super) fn csv(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use expect_test::expect;
    use tickwire_router::{SessionId, SessionLag};
    use tickwire_wire::Codec;

    use super::*;

    fn slow(name: &str, messages: u64, peer: Option<ClientAddr>) -> SlowSession {
        let lag = SessionLag {
            session: SessionId(0),
            name: name.to_owned(),
            codec: Codec::MessagePack,
            transport: if peer.is_some() {
                Transport::WebSocket
            } else {
                Transport::Sse
            },
            state: "lagging",
            messages,
            bytes: 99,
            subscriptions: 5,
            behind: 4,
            oldest_us: 1_500,
            lagging_since: peer.map(|_| Micros(1_723_075_200_000_000)),
            stalled_since: None,
            conflated: 3,
            gapped: 2,
        };
        let holder = peer.map(|_| "desk".to_owned());
        SlowSession { lag, peer, holder }
    }

    #[test]
    fn the_slowest_of_all_shards_come_first() {
        let peer: SocketAddr = "[::1]:4000".parse().expect("an address");
        let peer = Some(ClientAddr::from(peer));
        let shards = || {
            let shard = |lagging, slowest| ShardSessions {
                count: 10,
                lagging,
                slowest,
            };
            vec![
                shard(0, vec![slow("0-a", 7, None), slow("0-b", 1, None)]),
                shard(1, vec![slow("1-a", 9, peer), slow("1-b", 7, None)]),
            ]
        };
        let order = |top_k| {
            let page = sessions_page(shards(), top_k);
            let names = page.slowest.into_iter().map(|entry| entry.session);
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(20), "1-a 0-a 1-b 0-b");
        assert_eq!(order(2), "1-a 0-a");
        let text = serde_json::to_string(&sessions_page(shards(), 1)).expect("it serialises");
        expect![[r#"{"sessions":20,"lagging":1,"slowest":[{"shard":1,"session":"1-a","peer":"[::1]:4000","holder":"desk","state":"lagging","codec":"msgpack","transport":"websocket","owed_messages":9,"waiting_bytes":99,"subscriptions":5,"subscriptions_behind":4,"oldest_owed_us":1500,"lagging_since":1723075200000000,"stalled_since":null,"conflated":3,"gapped":2}]}"#]].assert_eq(&text);
    }
}
