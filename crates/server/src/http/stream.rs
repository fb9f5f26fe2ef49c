//! `GET /v1/sse`: opens a stream of server-sent events.
//!
//! The stream is a session of the shard like any other: a request that a WebSocket client would be refused is refused
//! here as well. If nothing was granted, the answer is an error and no stream.

use std::collections::HashSet;
use std::rc::Rc;

use http_body_util::Either;
use hyper::Response;
use hyper::Version;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tickwire_router::{Directory, SessionId};
use tickwire_wire::limits::SSE_TOPICS_MAX;
use tickwire_wire::message::{AckResult, Position, Since, Subscribe, TopicRequest};
use tickwire_wire::sse::{self, Framing};
use tickwire_wire::{ErrorCode, Kind, Mode, Refusal, RequestId, Seq, Topic};

use super::context::HttpContext;
use super::requester::Requester;
use super::{Cursor, ErrorResponse, Query, Reply, Track, UnreadQuery};
use crate::auth::Admission;
use crate::hub::Opening;
use crate::limits::AddressSlot;

/// The request id of a stream's subscription, which is in its `ack`.
const REQUEST: RequestId = RequestId(0);
/// The header in which a browser sends its position.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The parameters of a request.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    topics: Vec<String>,
    mode: Option<Mode>,
    conflate_ms: Option<u32>,
    /// The client's position, if it had a stream before.
    resumed: Option<Cursor>,
    /// Whether the events have ids to resume from.
    resumable: bool,
}

/// A refusal of the whole stream: the answer, and whether the shard has counted the refusals.
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

/// The session of a stream that has no connection yet. The session ends when this is dropped, unless it has got a
/// connection.
struct OpeningSession {
    context: Rc<HttpContext>,
    id: SessionId,
    opening: Rc<Opening>,
}

impl Drop for OpeningSession {
    fn drop(&mut self) {
        // The sessions of a broken hub will all end.
        if !self.opening.is_over() && !self.context.hub.is_broken() {
            self.context.hub.borrow_mut().end_opening(self.id);
        }
    }
}

/// A granted stream, which will get the connection of its request.
pub(crate) struct Granted {
    session: OpeningSession,
    pub(super) framing: Framing,
    pub(super) track: Option<Track>,
    pub(super) requester: Requester,
    /// The client's place among those of its address, if the connection has none.
    pub(super) place: Option<AddressSlot>,
}

impl Granted {
    /// The session, unless it has ended meanwhile.
    pub(super) fn session(&self) -> Option<SessionId> {
        let is_there = !self.session.opening.is_over() && !self.session.context.hub.is_broken();
        is_there.then_some(self.session.id)
    }
}

/// Opens a stream for the request with this head and query. Its subscription may be much work, and is done a piece in each turn.
pub(super) async fn open(
    context: &Rc<HttpContext>,
    (requester, place, admission): (Requester, Option<AddressSlot>, Admission),
    (head, query): (&Parts, UnreadQuery<'_>),
) -> Result<Reply, StreamRefused> {
    let wanted = Wanted::read(&query.read()?, &head.headers)?;
    let framing = match head.version {
        Version::HTTP_10 => Framing::Bare,
        _ => Framing::Chunked,
    };
    let visits = context.address_limits.visits(requester.client.ip());
    let opening = Rc::new(Opening::new(requester.client));
    let id =
        context
            .hub
            .borrow_mut()
            .open_sse(opening.clone(), (admission, visits), framing, wanted.subscribe());
    // Dropping this ends the session if the client does not wait for the answer.
    let session = OpeningSession {
        context: context.clone(),
        id,
        opening,
    };
    let results = answer_to(&session).await.map_err(|refusal| StreamRefused {
        response: refusal.into(),
        counted: true,
    })?;
    let track = wanted
        .resumable
        .then(|| wanted.track(&context.directory, &results));
    let mut response = Response::new(Either::Right(Box::new(Granted {
        session,
        framing,
        track,
        requester,
        place,
    })));
    for (name, value) in [
        (CONTENT_TYPE, sse::CONTENT_TYPE),
        (CACHE_CONTROL, "no-store"),
        // nginx, and proxies that do as it does, would buffer the stream without this header.
        (HeaderName::from_static("x-accel-buffering"), "no"),
        // The connection ends with the stream.
        (CONNECTION, "close"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

impl Wanted {
    fn read(query: &Query, headers: &HeaderMap) -> Result<Self, ErrorResponse> {
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
        let resumed = match last_event_id(query, headers)? {
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
        let since = |at: usize| Some(self.resumed.as_ref()?.0[at].clone());
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

    /// The position of the stream before its first data. A client that is cut off there can resume without a loss.
    fn track(&self, directory: &Directory, results: &[AckResult]) -> Track {
        let places = results.iter().enumerate().map(|(at, result)| {
            let head = result.seq.unwrap_or_default();
            let epoch = result.epoch.clone();
            let epoch = epoch.unwrap_or_else(|| directory.epoch_of(&result.topic));
            let resumed = self.resumed.as_ref().map(|cursor| &cursor.0[at]);
            let seq = match resumed.filter(|resumed| resumed.epoch == epoch) {
                Some(since) if result.error.is_some() || since.seq <= head => since.seq,
                _ => before_snapshot(directory.kind_of(&result.topic), head),
            };
            Position { epoch, seq }
        });
        Track::new(self.topics.clone(), Cursor(places.collect()))
    }
}

/// The position from which a client without the snapshot at `head` will get the same value.
fn before_snapshot(kind: Kind, head: Seq) -> Seq {
    match kind {
        Kind::State | Kind::Event => Seq(head.0.saturating_sub(1)),
        // A change is not a whole book. So the client gets everything from the beginning, or a snapshot.
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

/// The client's position. The header has precedence over the parameter, because it is newer: browsers send it when they
/// reconnect to a URL that may have the parameter.
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
///
/// Fails with the first refusal if nothing was granted.
async fn answer_to(session: &OpeningSession) -> Result<Vec<AckResult>, Refusal> {
    let (hub, opening) = (&session.context.hub, &session.opening);
    // After its shard has begun anew, the number may belong to another session.
    while !opening.is_over() && (hub.is_broken() || hub.borrow_mut().go_on_sse(session.id)) {
        tokio::task::yield_now().await;
    }
    let answer = match opening.is_over() {
        true => None,
        false => hub.borrow_mut().shard.take_answer(session.id),
    };
    let unanswered = || Refusal::new(ErrorCode::Internal, "the subscription was not answered");
    let results = answer.ok_or_else(unanswered)??;
    let refused = results.iter().all(|result| result.error.is_some());
    match results.iter().find_map(|result| result.error.clone()) {
        Some(first) if refused => Err(first),
        _ => Ok(results),
    }
}

#[cfg(test)]
mod tests {
    use tickwire_router::{DirectoryLimits, EpochRule, Kinds};
    use tickwire_wire::Epoch;

    use super::*;

    /// A directory whose topics `chat.>` have the epoch `f`, and the others `e`.
    fn directory() -> Directory {
        let rule = EpochRule {
            pattern: "chat.>".parse().expect("a pattern"),
            epoch: Epoch::from("f"),
        };
        let limits = DirectoryLimits::default();
        Directory::new("e".into(), Kinds::default(), limits, Vec::new()).with_epochs(vec![rule])
    }

    /// The answer to a subscription: the position of each topic, or `None` if it was refused.
    fn results(topics: &[(&str, Option<(&str, u64)>)]) -> Vec<AckResult> {
        let result = |(topic, at): &(&str, Option<(&str, u64)>)| AckResult {
            topic: (*topic).to_owned(),
            epoch: at.map(|(epoch, _)| Epoch::from(epoch)),
            seq: at.map(|(_, seq)| Seq(seq)),
            error: at.is_none().then(|| Refusal::bad_request("no")),
            ..AckResult::default()
        };
        topics.iter().map(result).collect()
    }

    #[test]
    fn a_stream_of_topics_of_two_epochs_was_resumed_in_one_for_all() {
        let query = "topic=trade.A&topic=chat.x&topic=chat.y&topic=book.B";
        let query = Query::parse(Some(query), &["topic"]).expect("a query");
        let answer = results(&[
            ("trade.A", Some(("e", 5))),
            ("chat.x", Some(("f", 7))),
            ("chat.y", None),
            ("book.B", Some(("e", 9))),
        ]);
        for (came_back_with, stands_at) in [
            (None, "e:4;f:6,0;e:0"),
            (Some("e:3;f:4,8;e:2"), "e:3;f:4,8;e:2"),
            // A number that is not reached yet belongs to another lineage, and so does one with the other topic's
            // epoch.
            (Some("e:6;f:8,8;e:10"), "e:4;f:6,8;e:0"),
            (Some("f:3;e:4,8;f:2"), "e:4;f:6,0;e:0"),
            (Some("e:3,4,8,2"), "e:3;f:6,0;e:2"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(id) = came_back_with {
                headers.insert(LAST_EVENT_ID, HeaderValue::from_static(id));
            }
            let wanted = Wanted::read(&query, &headers).expect("a stream");
            let track = wanted.track(&directory(), &answer);
            assert_eq!(track.cursor.to_string(), stands_at, "{came_back_with:?}");
            let since = wanted
                .subscribe()
                .topics
                .into_iter()
                .map(|topic| topic.position().cloned());
            let since: Option<Vec<Position>> = since.collect();
            assert_eq!(
                since.map(|places| Cursor(places).to_string()).as_deref(),
                came_back_with
            );
        }
    }
}
