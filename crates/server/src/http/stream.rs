//! `GET /v1/sse`: opens a stream of server-sent events.
//!
//! The stream is a session of the shard like any other; what is refused to a WebSocket client is refused here. When nothing at
//! all was granted, the answer is an error and no stream.

use std::collections::HashSet;
use std::rc::Rc;

use http_body_util::Either;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tickwire_router::{Directory, Outbox};
use tickwire_wire::frame::{Opcode, payload_of};
use tickwire_wire::limits::SSE_TOPICS_MAX;
use tickwire_wire::message::{AckResult, Position, Since, Subscribe, TopicRequest};
use tickwire_wire::{Control, ErrorCode, Kind, Mode, Refusal, RequestId, Seq, Topic};

use super::context::HttpContext;
use super::progress::Stalled;
use super::stream_body::{StreamBody, StreamSession, Track};
use super::{Cursor, ErrorResponse, Query, Reply, SseLink, sse};
use crate::auth::Admission;

/// The id that the subscription of a stream has in its `ack`.
const REQUEST: RequestId = RequestId(0);
/// Where a browser says how far it has come.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    topics: Vec<String>,
    mode: Option<Mode>,
    conflate_ms: Option<u32>,
    /// Where the client has come to, if it was here before.
    resumed: Option<Cursor>,
    /// Whether the events have ids to resume from.
    resumable: bool,
}

/// A stream that was refused as a whole: the answer, and whether the shard has counted the refusals.
#[derive(Debug)]
pub(super) struct StreamRefused {
    pub(super) response: ErrorResponse,
    pub(super) counted: bool,
}

impl From<ErrorResponse> for StreamRefused {
    fn from(response: ErrorResponse) -> Self {
        Self {
            response,
            counted: false,
        }
    }
}

/// Opens a stream on the connection that `stalled` is about. What it subscribes to may be much, and is done a piece in each turn.
pub(super) async fn open(
    context: &Rc<HttpContext>,
    stalled: &Stalled,
    (sse_link, admission): (SseLink, Admission),
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Reply, StreamRefused> {
    let wanted = Wanted::read(query, headers)?;
    let sse_link = Rc::new(sse_link);
    let visits = sse_link
        .client()
        .and_then(|client| context.address_limits.visits(client.ip()));
    let id = context
        .hub
        .borrow_mut()
        .open_sse(sse_link.clone(), (admission, visits), wanted.subscribe());
    // Ends the session if the client does not wait for the answer.
    let session = StreamSession {
        context: context.clone(),
        id,
        sse_link,
    };
    let results = answer_to(&session).await.map_err(|refusal| StreamRefused {
        response: refusal.into(),
        counted: true,
    })?;
    let track = wanted
        .resumable
        .then(|| wanted.track(&context.directory, &results));
    let body = StreamBody::new(session, stalled.clone(), track);
    let mut response = Response::new(Either::Right(body));
    for (name, value) in [
        (CONTENT_TYPE, sse::CONTENT_TYPE),
        (CACHE_CONTROL, "no-store"),
        // Proxies that follow nginx's habit hold back what they were sent.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

impl Wanted {
    fn read(query: Option<&str>, headers: &HeaderMap) -> Result<Self, ErrorResponse> {
        let query = Query::parse(query)?;
        let topics: Vec<String> = query.all("topic").map(str::to_owned).collect();
        if topics.is_empty() {
            let reason = "the query has no topic; name one or more, as in /v1/sse?topic=ticker.*";
            return Err(ErrorResponse::bad_request(reason));
        }
        if topics.len() > SSE_TOPICS_MAX {
            let reason = format!("{} topics in the query; at most {SSE_TOPICS_MAX}", topics.len());
            return Err(ErrorResponse::bad_request(reason));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = topics.iter().find(|topic| !seen.insert(topic.as_str())) {
            return Err(ErrorResponse::bad_request(format!(
                "the query has topic={twice:?} more than once"
            )));
        }
        let mode = query.one("mode")?.map(mode_of).transpose()?;
        let conflate_ms = query.one_as("conflate_ms", "a whole number of milliseconds")?;
        let plain = topics.iter().all(|topic| topic.parse::<Topic>().is_ok());
        let resumable = plain && mode != Some(Mode::Snapshot);
        let resumed = match last_event_id(&query, headers)? {
            None => None,
            Some(_) if !resumable => {
                let reason = "Last-Event-ID needs topics without wildcards, and a mode other than snapshot";
                return Err(ErrorResponse::bad_request(reason));
            }
            Some(text) => Some(
                Cursor::parse_for(text, topics.len())
                    .map_err(|error| ErrorResponse::bad_request(error.to_string()))?,
            ),
        };
        Ok(Self {
            topics,
            mode,
            conflate_ms,
            resumed,
            resumable,
        })
    }

    fn subscribe(&self) -> Subscribe {
        let since = |at: usize| {
            let cursor = self.resumed.as_ref()?;
            Some(Position {
                epoch: cursor.epoch.clone(),
                seq: cursor.seqs[at],
            })
        };
        let topics = self.topics.iter().enumerate();
        Subscribe {
            id: REQUEST,
            topics: topics
                .map(|(at, topic)| TopicRequest::Since {
                    topic: topic.clone(),
                    since: since(at).map(Since::One),
                })
                .collect(),
            mode: self.mode,
            conflate_ms: self.conflate_ms,
            snapshot: true,
        }
    }

    /// Where the stream stands before its first data: a client that is cut off there resumes without a loss.
    fn track(&self, directory: &Directory, results: &[AckResult]) -> Track {
        let epoch = directory.epoch().clone();
        let seqs = results.iter().enumerate().map(|(at, result)| {
            let head = result.seq.unwrap_or_default();
            let kind = directory.kind_of(&result.topic);
            match &self.resumed {
                Some(Cursor { epoch: known, seqs })
                    if *known == epoch && (result.error.is_some() || seqs[at] <= head) =>
                {
                    seqs[at]
                }
                // The next event is a gap from the first message. A client that is cut off before it must get it again.
                Some(_) if kind == Kind::Event => Seq::ZERO,
                _ => before_snapshot(kind, head),
            }
        });
        let seqs = seqs.collect();
        let topics = self
            .topics
            .iter()
            .map(|topic| (topic.clone(), directory.kind_of(topic)));
        Track::new(topics, Cursor { epoch, seqs })
    }
}

/// The position from which a client that has not got the snapshot at `head` yet will get the same value.
fn before_snapshot(kind: Kind, head: Seq) -> Seq {
    match kind {
        Kind::State | Kind::Event => Seq(head.0.saturating_sub(1)),
        // A change is no book: from the beginning, or a snapshot.
        Kind::Book => Seq::ZERO,
    }
}

fn mode_of(text: &str) -> Result<Mode, ErrorResponse> {
    match text {
        "every" => Ok(Mode::Every),
        "conflate" => Ok(Mode::Conflate),
        "snapshot" => Ok(Mode::Snapshot),
        _ => {
            let shown: String = text.chars().take(40).collect();
            let reason = format!("mode={shown:?} in the query must be every, conflate or snapshot");
            Err(ErrorResponse::bad_request(reason))
        }
    }
}

/// Where the client says that it has come to. The header is the newer one: browsers send it when they connect again to an
/// address that may hold the parameter.
fn last_event_id<'r>(query: &'r Query, headers: &'r HeaderMap) -> Result<Option<&'r str>, ErrorResponse> {
    let mut lines = headers.get_all(LAST_EVENT_ID).into_iter();
    let header = lines.next();
    if lines.next().is_some() {
        return Err(ErrorResponse::bad_request(
            "Last-Event-ID stands there more than once",
        ));
    }
    let text = match header {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| ErrorResponse::bad_request("Last-Event-ID is not ASCII text"))?,
        ),
        None => query.one("last_event_id")?,
    };
    Ok(text.filter(|text| !text.is_empty()))
}

/// The results of a session's subscription, when all of it is done.
async fn answer_to(session: &StreamSession) -> Result<Vec<AckResult>, Refusal> {
    let (hub, sse_link) = (&session.context.hub, &session.sse_link);
    // When its shard has begun anew, the number is another's.
    while !sse_link.is_ended() && (hub.is_broken() || hub.borrow_mut().go_on_sse(session.id)) {
        tokio::task::yield_now().await;
    }
    let mut hub = hub.borrow_mut();
    let outbox = (!sse_link.is_ended()).then(|| hub.shard.outbox(session.id));
    let results = answer_in(outbox.flatten())?;
    hub.grant_sse(sse_link);
    Ok(results)
}

/// The results of the subscription, from the answer that waits in a new session's outbox.
///
/// Fails with the first refusal when nothing was granted.
fn answer_in(outbox: Option<&Outbox>) -> Result<Vec<AckResult>, Refusal> {
    let messages = outbox
        .into_iter()
        .flat_map(Outbox::waiting)
        .filter(|waiting| waiting.fanout.is_none() && is_text(waiting.bytes))
        .map(|waiting| serde_json::from_slice::<Control>(payload_of(waiting.bytes)));
    for message in messages {
        match message {
            Ok(Control::Ack { id: REQUEST, results }) => {
                let refused = results.iter().all(|result| result.error.is_some());
                let first = results.iter().find_map(|result| result.error.clone());
                return match first {
                    Some(refusal) if refused => Err(refusal),
                    _ => Ok(results),
                };
            }
            Ok(Control::Error { code, reason, .. }) => return Err(Refusal::new(code, reason)),
            _ => {}
        }
    }
    Err(Refusal::new(
        ErrorCode::Internal,
        "the subscription was not answered",
    ))
}

/// Whether a server's frame is a message, not a control frame of RFC 6455.
pub(super) fn is_text(frame: &[u8]) -> bool {
    frame
        .first()
        .is_some_and(|head| head & 0x0f == Opcode::Text as u8)
}
