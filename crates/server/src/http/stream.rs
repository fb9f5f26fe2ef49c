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
use tickwire_router::SessionId;
use tickwire_router::cycle::Track;
use tickwire_wire::limits::SSE_TOPICS_MAX;
use tickwire_wire::message::{AckResult, Since, Subscribe, TopicRequest};
use tickwire_wire::sse::{self, Cursor, Framing};
use tickwire_wire::{ErrorCode, Mode, Refusal, RequestId, Topic};

use super::context::HttpContext;
use super::requester::Requester;
use super::{ErrorResponse, Query, Reply, UnreadQuery};
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

impl OpeningSession {
    /// The session, unless it has ended or has its connection. The sessions of a broken hub will all end, and their
    /// numbers will belong to others.
    fn id(&self) -> Option<SessionId> {
        let is_there = !self.opening.is_over() && !self.context.hub.is_broken();
        is_there.then_some(self.id)
    }
}

impl Drop for OpeningSession {
    fn drop(&mut self) {
        if let Some(id) = self.id() {
            self.context.hub.borrow_mut().end_opening(id);
        }
    }
}

/// A granted stream, which will get the connection of its request.
pub(crate) struct Granted {
    session: OpeningSession,
    pub(super) framing: Framing,
    pub(super) track: Option<Track>,
    pub(super) requester: Requester,
}

impl Granted {
    /// Takes the client's place among those of its address, if the connection has none.
    pub(super) fn take_place(&self) -> Option<AddressSlot> {
        self.session.opening.take_place()
    }

    /// The session, unless it has ended meanwhile.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.session.id()
    }
}

/// Opens a stream for the request with this head and query. Its subscription may be much work, and is done a piece in each turn.
pub(super) async fn open(
    context: &Rc<HttpContext>,
    (requester, mut admission): (Requester, Admission),
    opening: Rc<Opening>,
    (head, query): (&Parts, UnreadQuery<'_>),
) -> Result<Reply, StreamRefused> {
    let wanted = Wanted::read(&query.read()?, &head.headers)?;
    let framing = match head.version {
        Version::HTTP_10 => Framing::Bare,
        _ => Framing::Chunked,
    };
    let place = context.connection_limits.connect_holder(&admission);
    admission.place = Some(place.map_err(ErrorResponse::from)?);
    let visits = context.connection_limits.visits(requester.client.ip());
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
    let results = answer_to(&session).await?;
    let track = wanted
        .resumable
        .then(|| Track::begin(wanted.resumed.as_ref(), &results, &context.directory));
    let mut response = Response::new(Either::Right(Box::new(Granted {
        session,
        framing,
        track,
        requester,
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
/// Fails with the first refusal if nothing was granted, or if the session ended before.
async fn answer_to(session: &OpeningSession) -> Result<Vec<AckResult>, StreamRefused> {
    let context = &session.context;
    let refused = |refusal: Refusal, counted| StreamRefused {
        response: match context.shutdown.is_draining() && refusal.code == ErrorCode::Internal {
            true => ErrorResponse::draining(),
            false => refusal.into(),
        },
        counted,
    };
    let answer = loop {
        let Some(id) = session.id() else {
            let reason = "the session ended before its subscription was answered";
            return Err(refused(Refusal::new(ErrorCode::Internal, reason), false));
        };
        let goes_on = context.hub.borrow_mut().go_on_sse(id);
        if !goes_on {
            break context.hub.borrow_mut().shard.take_answer(id);
        }
        tokio::task::yield_now().await;
    };
    let Some(answer) = answer else {
        return Err(ErrorResponse::fault("a subscription was not answered").into());
    };
    let results = answer.map_err(|refusal| refused(refusal, true))?;
    let all_refused = results.iter().all(|result| result.error.is_some());
    match results.iter().find_map(|result| result.error.clone()) {
        Some(first) if all_refused => Err(refused(first, true)),
        _ => Ok(results),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tickwire_metrics::Catalogue;
    use tickwire_router::Drain;
    use tickwire_wire::message::Position;

    use super::*;
    use crate::config::Config;
    use crate::http::shutdown::HttpShutdown;
    use crate::hub::SharedHub;
    use crate::hub::tests::{hub, many_topics, open_many, opening};
    use crate::limits::{ConnectionLimits, LimitRules};
    use crate::ops::labels::LABELS;
    use crate::run::clock::Clock;

    #[test]
    fn a_stream_asks_for_the_positions_that_it_came_back_with() {
        let query = "topic=trade.A&topic=chat.x&topic=chat.y&topic=book.B";
        let query = Query::parse(Some(query), &["topic"]).expect("a query");
        for came_back_with in [None, Some("e:3;f:4,8;e:2"), Some("e:3,4,8,2")] {
            let mut headers = HeaderMap::new();
            if let Some(id) = came_back_with {
                headers.insert(LAST_EVENT_ID, HeaderValue::from_static(id));
            }
            let wanted = Wanted::read(&query, &headers).expect("a stream");
            let topics = wanted.subscribe().topics.into_iter();
            let since: Option<Vec<Position>> = topics.map(|topic| topic.position().cloned()).collect();
            assert_eq!(
                since.map(|places| Cursor(places).to_string()).as_deref(),
                came_back_with
            );
        }
    }

    /// The context of a shard whose directory has many topics.
    fn context() -> Rc<HttpContext> {
        let config = Config::default();
        let catalogue = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
        let rules = LimitRules::of(&config, 100);
        let limits = ConnectionLimits::new(rules, Clock::start(), catalogue.clone());
        let hub = Rc::new(SharedHub::new(hub(&many_topics())));
        let shutdown = Rc::new(HttpShutdown::new(Arc::default()));
        Rc::new(HttpContext::new(
            hub,
            &config,
            catalogue,
            Arc::new(limits),
            shutdown,
        ))
    }

    /// The status of a refusal, and whether the shard has counted it.
    type Refused = (u16, bool);

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_whose_session_ended_while_opening_got_500_and_was_not_counted() {
        type End = fn(&HttpContext, SessionId);
        let ends: [(End, Refused); 4] = [
            (
                |context, id| {
                    let mut hub = context.hub.borrow_mut();
                    let now = hub.clock.now();
                    hub.shard.withdraw(id, "the key was withdrawn", now);
                },
                (401, true),
            ),
            (
                |context, _| {
                    let mut hub = context.hub.borrow_mut();
                    let now = hub.clock.now();
                    let drain = Drain {
                        window_ms: 0,
                        deadline_ms: 1_000,
                        patience_ms: 1_000,
                        seed: 1,
                    };
                    context.shutdown.drain();
                    hub.shard.begin_drain(drain, now);
                    hub.shard.on_timeout(now);
                },
                (503, true),
            ),
            (
                |context, id| context.hub.borrow_mut().end_opening(id),
                (500, false),
            ),
            // The stream waited for the hub to begin anew, and kept its thread busy.
            (|context, _| context.hub.break_off(), (500, false)),
        ];
        for (end, expected) in ends {
            let (context, opening) = (context(), opening(&Arc::default()));
            let id = open_many(&mut context.hub.borrow_mut(), opening.clone());
            end(&context, id);
            let session = OpeningSession { context, id, opening };
            let refused = answer_to(&session).await.expect_err("nothing was granted");
            let is = (refused.response.status.as_u16(), refused.counted);
            assert_eq!(is, expected, "{}", refused.response);
        }
    }
}
