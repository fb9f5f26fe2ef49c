//! Which endpoint a request is for, and its answer.
//!
//! Every answer goes through here: it is counted, gets the headers that all of them have, and what is left of the
//! request's body is read on for a while so that the client gets to see the answer.

use std::rc::Rc;

use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tickwire_metrics::Metric;
use tickwire_wire::Refusal;

use super::context::HttpContext;
use super::requester::Requester;
use super::stream::{self, StreamRefused};
use super::{ErrorResponse, Reply, body, bulk, coding, cors, gzip, publish, reply, topics};
use crate::auth::Admission;
use crate::limits::AddressSlot;
use crate::ops::labels::Route;

/// What there is, for those who look elsewhere.
const PATHS: &str =
    "/v1/ws, /v1/sse, /v1/topics, /v1/topics/{topic}, /v1/topics/{topic}/history and /v1/publish";

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint<'p> {
    /// The handshake of a WebSocket.
    WebSocket,
    /// A stream of server-sent events.
    Sse,
    /// The listing of topics.
    Topics,
    /// A topic, named by a segment of the path.
    Topic(&'p str),
    /// A topic's history.
    History(&'p str),
    /// Bulk publication.
    Publish,
    /// A path at which there is nothing.
    Nowhere,
}

impl<'p> Endpoint<'p> {
    /// What `path` leads to.
    pub(crate) fn of(path: &'p str) -> Self {
        match path {
            "/v1/ws" => Self::WebSocket,
            "/v1/sse" => Self::Sse,
            "/v1/topics" => Self::Topics,
            "/v1/publish" => Self::Publish,
            path => match path.strip_prefix("/v1/topics/").map(|rest| rest.split_once('/')) {
                Some(None) => Self::Topic(&path["/v1/topics/".len()..]),
                Some(Some((topic, "history"))) => Self::History(topic),
                _ => Self::Nowhere,
            },
        }
    }

    /// Its label in the metrics.
    pub(crate) fn route(self) -> Route {
        match self {
            Self::WebSocket => Route::WebSocket,
            Self::Sse => Route::Sse,
            Self::Topics => Route::Topics,
            Self::Topic(_) => Route::Topic,
            Self::History(_) => Route::History,
            Self::Publish => Route::Publish,
            Self::Nowhere => Route::Other,
        }
    }

    /// The methods that it takes.
    fn methods(self) -> &'static str {
        match self {
            Self::WebSocket | Self::Sse => "GET, OPTIONS",
            Self::Topics | Self::History(_) => "GET, HEAD, OPTIONS",
            Self::Topic(_) => "GET, HEAD, POST, OPTIONS",
            Self::Publish => "POST, OPTIONS",
            Self::Nowhere => "",
        }
    }
}

/// Answers a request that is not for a WebSocket.
pub(crate) async fn answer(context: &Rc<HttpContext>, request: Request<Incoming>) -> Reply {
    let (head, mut body) = request.into_parts();
    let announced = body.size_hint().exact();
    let endpoint = Endpoint::of(head.uri.path());
    let answered = if cors::is_preflight(&head.method, &head.headers) {
        preflight(context, endpoint, &head).map_err(StreamRefused::from)
    } else {
        match Caller::enter(context, endpoint, &head) {
            Ok(caller) => dispatch(context, caller, endpoint, &head, &mut body).await,
            Err(denied) => Err(denied.into()),
        }
    };
    let answered = match answered {
        Ok(response) => encode(context, &head, response)
            .await
            .map_err(StreamRefused::from),
        refused => refused,
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(refused) => {
            if !refused.counted {
                let code = refused.response.refusal.code as usize;
                context.metrics.add(Metric::Refusals, &[code], 1);
            }
            if endpoint == Endpoint::Sse {
                context.handshake_refused(refused.response.status);
            }
            reply::whole(refused.response.into_response())
        }
    };
    cors::allow(
        &context.readers(&head.headers),
        &head.method,
        response.headers_mut(),
    );
    // Whoever waits for a 100 (Continue) has sent nothing before the body is asked for; of one without a length it cannot be told.
    let untouched = announced.is_some() && body.size_hint().exact() == announced;
    let waits = untouched && head.headers.contains_key(EXPECT);
    if !body.is_end_stream() && !waits {
        tokio::task::spawn_local(body::linger(body));
    }
    context.answered(endpoint.route(), response.status());
    response
}

/// Who asks, and was let in.
struct Caller {
    arrival: Requester,
    admission: Admission,
    /// A stream's among those of its address, where the connection has none.
    place: Option<AddressSlot>,
}

impl Caller {
    /// Who makes the request with this head. The request is paid for before the token is looked at.
    fn enter(context: &HttpContext, endpoint: Endpoint<'_>, head: &Parts) -> Result<Self, ErrorResponse> {
        let arrival = Requester::of(&head.extensions)?;
        let address_limits = &context.address_limits;
        let publishes =
            matches!(endpoint, Endpoint::Topic(_) | Endpoint::Publish) && head.method == Method::POST;
        let place = match endpoint {
            Endpoint::Sse if head.method == Method::GET => arrival.connect(address_limits)?,
            _ if publishes => {
                arrival.ask_to_publish(address_limits)?;
                None
            }
            _ => {
                arrival.ask(address_limits)?;
                None
            }
        };
        let admitted = context.admit(&head.headers);
        if publishes {
            match &admitted {
                Ok(admission) => arrival.publish(address_limits, admission)?,
                Err(_) => arrival.charge_refused_publish(address_limits),
            }
        }
        Ok(Self {
            admission: admitted?,
            arrival,
            place,
        })
    }

    /// Counts what came of a publication that the caller asked for.
    fn published<T>(
        &self,
        context: &HttpContext,
        outcome: Result<T, ErrorResponse>,
    ) -> Result<T, ErrorResponse> {
        outcome.inspect_err(|_| self.arrival.charge_refused_publish(&context.address_limits))
    }
}

/// Encodes an answer as the client prefers it. The client is charged for that, and what waits for it is the encoded answer.
async fn encode(context: &HttpContext, head: &Parts, response: Reply) -> Result<Reply, ErrorResponse> {
    let (parts, body) = response.into_parts();
    let mut answer = match body {
        Either::Left(whole) => Response::from_parts(parts, whole),
        Either::Right(stream) => return Ok(Reply::from_parts(parts, Either::Right(stream))),
    };
    if !matches!(head.method, Method::GET | Method::HEAD) || !context.compression {
        return Ok(reply::whole(answer));
    }
    // Said also where it is not encoded, since to another client it would be (RFC 9110 §12.5.5).
    reply::vary(answer.headers_mut(), HeaderValue::from_static("Accept-Encoding"));
    let plain_bytes = answer.body().size_hint().lower();
    if let Some(coded) = gzip::of_answer(&context.encoder, &head.headers, &answer).await {
        let arrival = Requester::of(&head.extensions)?;
        arrival.charge_coding(
            &context.address_limits,
            usize::try_from(plain_bytes).unwrap_or(usize::MAX),
        );
        // The place of what was encoded is given up first.
        *answer.body_mut() = Full::default();
        gzip::replace(&mut answer, arrival.hold(&context.address_limits, coded)?);
    }
    Ok(reply::whole(answer))
}

/// Tells a browser what its page may ask for. It asks by itself, without the token that its page has.
fn preflight(context: &HttpContext, endpoint: Endpoint<'_>, head: &Parts) -> Result<Reply, ErrorResponse> {
    Requester::of(&head.extensions)?.ask(&context.address_limits)?;
    context.admit_page(&head.headers)?;
    if endpoint == Endpoint::Nowhere {
        return Err(nothing_at(head.uri.path()));
    }
    let mut response = reply::options(endpoint.methods());
    cors::allow_requests(
        &context.readers(&head.headers),
        endpoint.methods(),
        response.headers_mut(),
    );
    Ok(response)
}

fn nothing_at(path: &str) -> ErrorResponse {
    let reason = format!("there is nothing at {path}; there are {PATHS}");
    ErrorResponse::new(StatusCode::NOT_FOUND, Refusal::bad_request(reason))
}

async fn dispatch(
    context: &Rc<HttpContext>,
    caller: Caller,
    endpoint: Endpoint<'_>,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Reply, StreamRefused> {
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    let query = head.uri.query();
    let rights = &caller.admission.rights;
    let reader = (&caller.arrival, rights);
    let who = (&caller.arrival, &caller.admission);
    let answer = match endpoint {
        Endpoint::Nowhere if head.uri.path() == "*" && head.method == Method::OPTIONS => {
            Ok(reply::options("GET, HEAD, POST, OPTIONS"))
        }
        endpoint if endpoint != Endpoint::Nowhere && head.method == Method::OPTIONS => {
            Ok(reply::options(endpoint.methods()))
        }
        Endpoint::Sse if head.method == Method::GET => {
            let who = (caller.arrival, caller.place, caller.admission);
            return stream::open(context, who, head).await;
        }
        Endpoint::Topics if reads => topics::list(context, reader, query).await,
        Endpoint::Topic(segment) if reads => topics::value(context, reader, segment, &head.headers),
        Endpoint::History(segment) if reads => topics::history(context, reader, segment, query),
        Endpoint::Topic(segment) if head.method == Method::POST => {
            let publication = async {
                let coding = coding::of_body(&head.headers, context.compression)?;
                publish::message(context, who, segment, (body, coding)).await
            };
            caller.published(context, publication.await)
        }
        Endpoint::Publish if head.method == Method::POST => {
            let publication = async {
                let coding = coding::of_body(&head.headers, context.compression)?;
                bulk::lines(context, who, (body, coding)).await
            };
            caller.published(context, publication.await)
        }
        Endpoint::Nowhere => Err(nothing_at(head.uri.path())),
        endpoint => Err(ErrorResponse::method_not_allowed(
            head.uri.path(),
            endpoint.methods(),
        )),
    };
    Ok(answer?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, endpoint) in [
            ("/v1/ws", Endpoint::WebSocket),
            ("/v1/sse", Endpoint::Sse),
            ("/v1/topics", Endpoint::Topics),
            ("/v1/topics/", Endpoint::Topic("")),
            ("/v1/topics/a.b", Endpoint::Topic("a.b")),
            ("/v1/topics/a%2Fb", Endpoint::Topic("a%2Fb")),
            ("/v1/topics/history", Endpoint::Topic("history")),
            ("/v1/topics/a/history", Endpoint::History("a")),
            ("/v1/topics//history", Endpoint::History("")),
            ("/v1/topics/a/history/", Endpoint::Nowhere),
            ("/v1/topics/a/b", Endpoint::Nowhere),
            ("/v1/topics/a/", Endpoint::Nowhere),
            ("/v1/topicsx", Endpoint::Nowhere),
            ("/v1/publish", Endpoint::Publish),
            ("/v1/publish/", Endpoint::Nowhere),
            ("/V1/WS", Endpoint::Nowhere),
            ("/", Endpoint::Nowhere),
            ("", Endpoint::Nowhere),
            ("*", Endpoint::Nowhere),
        ] {
            assert_eq!(Endpoint::of(path), endpoint, "{path}");
        }
    }
}
