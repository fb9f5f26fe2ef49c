//! Runs an endpoint and sends its answer.
//!
//! Every answer goes through here: it is counted and gets the common headers. The rest of the request's body is read
//! for a while, so that the client gets to see the answer.

use std::rc::Rc;

use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use tickwire_metrics::Metric;

use super::context::{Call, HttpContext};
use super::cors::Readers;
use super::requester::Requester;
use super::routes::{Asked, Endpoint, nothing_at};
use super::stream::{self, StreamRefused};
use super::{ErrorResponse, Reply, UnreadQuery, body, coding, cors, gzip, reply};
use crate::auth::Admission;
use crate::hub::Opening;
use crate::limits::AddressSlot;
use crate::net::permit::SharedPermit;

/// Answers a request to `endpoint`, other than a WebSocket handshake, on the connection with this permit.
pub(crate) async fn answer(
    context: &Rc<HttpContext>,
    endpoint: Endpoint,
    request: Request<Incoming>,
    permit: &SharedPermit,
) -> Reply {
    let (head, mut body) = request.into_parts();
    let announced = body.size_hint().exact();
    let answered = if cors::is_preflight(&head.method, &head.headers) {
        preflight(context, endpoint, &head).map_err(StreamRefused::from)
    } else {
        let asked = endpoint.asked(&head.method, &head.uri);
        match Caller::enter(context, permit, &asked, &head) {
            Ok(caller) => {
                let target = endpoint.parts_of(&head.uri);
                dispatch(context, caller, asked, (&head, target), &mut body).await
            }
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
            if endpoint.is_event_stream() {
                context.handshake_refused(refused.response.status);
            }
            reply::whole(refused.response.into_response())
        }
    };
    let readers = Readers::of(context.hub.borrow().auth().access(), &head.headers);
    cors::allow(&readers, &head.method, response.headers_mut());
    // A client that waits for a 100 (Continue) has sent no body before it is asked for it. Without a length this cannot
    // be told.
    let untouched = announced.is_some() && body.size_hint().exact() == announced;
    let waits = untouched && head.headers.contains_key(EXPECT);
    if !body.is_end_stream() && !waits {
        tokio::task::spawn_local(body::linger(body));
    }
    endpoint.count(&context.metrics, response.status());
    response
}

/// The client that makes a request and was admitted.
struct Caller {
    requester: Requester,
    admission: Admission,
    permit: SharedPermit,
    /// The slot of a stream among those of its address, if the connection has none.
    place: Option<AddressSlot>,
}

impl Caller {
    /// Admits the client that makes the request with this head. The request is paid for before the token is verified.
    fn enter(
        context: &HttpContext,
        permit: &SharedPermit,
        asked: &Asked,
        head: &Parts,
    ) -> Result<Self, ErrorResponse> {
        let requester = Requester::of(&head.extensions)?;
        let connection_limits = &context.connection_limits;
        let place = match asked {
            Asked::Events => requester.connect(connection_limits)?,
            Asked::Publish(_) | Asked::Delete(_) => {
                requester.ask_to_publish(connection_limits)?;
                None
            }
            Asked::Read(_) | Asked::Methods(_) | Asked::Nothing(_) => {
                requester.ask(connection_limits)?;
                None
            }
        };
        let admitted = context.admit(&head.headers);
        if let Asked::Publish(_) | Asked::Delete(_) = asked {
            match &admitted {
                Ok(admission) => requester.publish(connection_limits, admission)?,
                Err(_) => requester.charge_refused_publish(connection_limits),
            }
        }
        Ok(Self {
            admission: admitted?,
            permit: permit.clone(),
            requester,
            place,
        })
    }

    /// Counts the result of a publication that the caller asked for.
    fn published<T>(
        &self,
        context: &HttpContext,
        outcome: Result<T, ErrorResponse>,
    ) -> Result<T, ErrorResponse> {
        outcome.inspect_err(|_| self.requester.charge_refused_publish(&context.connection_limits))
    }
}

/// Encodes an answer as the client prefers. The client pays for that, and the encoded answer takes the place of the
/// plain one.
async fn encode(context: &HttpContext, head: &Parts, response: Reply) -> Result<Reply, ErrorResponse> {
    let (parts, body) = response.into_parts();
    let mut answer = match body {
        Either::Left(Either::Left(whole)) => Response::from_parts(parts, whole),
        other => return Ok(Reply::from_parts(parts, other)),
    };
    if !matches!(head.method, Method::GET | Method::HEAD) || !context.compression {
        return Ok(reply::whole(answer));
    }
    // This is added even if the answer is not encoded, since it would be for another client (RFC 9110 §12.5.5).
    reply::vary(answer.headers_mut(), HeaderValue::from_static("Accept-Encoding"));
    let plain_bytes = answer.body().size_hint().lower();
    if let Some(coded) = gzip::of_answer(&context.encoder, &head.headers, &answer).await {
        let requester = Requester::of(&head.extensions)?;
        requester.charge_coding(
            &context.connection_limits,
            usize::try_from(plain_bytes).unwrap_or(usize::MAX),
        );
        // The place of the plain answer is freed first.
        *answer.body_mut() = Full::default();
        gzip::replace(&mut answer, requester.hold(&context.connection_limits, coded)?);
    }
    Ok(reply::whole(answer))
}

/// Answers a browser's preflight: it says what its page may request. The browser does not send the page's token with
/// it.
fn preflight(context: &HttpContext, endpoint: Endpoint, head: &Parts) -> Result<Reply, ErrorResponse> {
    Requester::of(&head.extensions)?.ask(&context.connection_limits)?;
    context.admit_page(&head.headers)?;
    if !endpoint.exists() {
        return Err(nothing_at(&head.uri));
    }
    let mut response = reply::options(endpoint.methods());
    let readers = Readers::of(context.hub.borrow().auth().access(), &head.headers);
    cors::allow_requests(&readers, endpoint.methods(), response.headers_mut());
    Ok(response)
}

async fn dispatch(
    context: &Rc<HttpContext>,
    caller: Caller,
    asked: Asked,
    (head, (topic, query)): (&Parts, (&str, UnreadQuery<'_>)),
    body: &mut Incoming,
) -> Result<Reply, StreamRefused> {
    let call = Call {
        context,
        requester: &caller.requester,
        admission: &caller.admission,
        head,
        query,
        topic,
    };
    let answer = match asked {
        Asked::Read(read) => read(call).await,
        Asked::Publish(publish) => {
            let publication = async {
                let coding = coding::of_body(&head.headers, context.compression)?;
                publish(call, (body, coding)).await
            };
            caller.published(context, publication.await)
        }
        Asked::Delete(delete) => caller.published(context, delete(call).await),
        Asked::Events => {
            let opening = Opening::new(caller.requester.client, caller.permit, caller.place);
            let who = (caller.requester, caller.admission);
            return stream::open(context, who, Rc::new(opening), (head, query)).await;
        }
        Asked::Methods(methods) => Ok(reply::options(methods)),
        Asked::Nothing(refused) => Err(refused),
    };
    Ok(answer?)
}
