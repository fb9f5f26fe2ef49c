//! The endpoints of the clients' listener. Each row has a path and its answers by method.
//!
//! Everything else about endpoints follows from this table: the price of a request, `Allow` and preflights, the paths
//! that a 404 names, and the labels of the metrics.

use std::future::ready;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use hyper::body::Incoming;
use hyper::{Method, StatusCode, Uri};
use tickwire_metrics::{Catalogue, Metric, StatusClass};

use super::coding::Coding;
use super::context::Call;
use super::{ErrorResponse, Reply, UnreadQuery, WantedTopics, bulk, delete, history, publish, topics};

/// Stands for a topic in a path.
const TOPIC: &str = "{topic}";
/// The methods of an endpoint for a stream of events or a WebSocket.
pub(crate) const METHODS_OF_STREAMS: &str = "GET, OPTIONS";
/// The methods of all endpoints together.
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// The endpoints.
const ROUTES: &[Route] = &[
    Route {
        path: "/v1/ws",
        parameters: &[],
        get: Get::WebSocket,
        post: None,
        delete: None,
    },
    Route {
        path: "/v1/sse",
        parameters: &["topic", "mode", "conflate_ms", "last_event_id"],
        get: Get::Events,
        post: None,
        delete: None,
    },
    Route {
        path: "/v1/topics",
        parameters: WantedTopics::PARAMETERS,
        get: Get::Value(|call| topics::list(call).boxed_local()),
        post: None,
        delete: None,
    },
    Route {
        path: "/v1/topics/{topic}",
        parameters: &[],
        get: Get::Value(|call| ready(topics::value(call)).boxed_local()),
        post: Some(|call, body| {
            let who = (call.requester, call.admission);
            publish::message(call.context, who, (call.topic, &call.head.headers), body).boxed_local()
        }),
        delete: Some(|call| delete::topic(call).boxed_local()),
    },
    Route {
        path: "/v1/topics/{topic}/history",
        parameters: history::PARAMETERS,
        get: Get::Value(|call| history::history(call).boxed_local()),
        post: None,
        delete: None,
    },
    Route {
        path: "/v1/publish",
        parameters: &[],
        get: Get::Nothing,
        post: Some(|call, body| {
            bulk::lines(call.context, (call.requester, call.admission), body).boxed_local()
        }),
        delete: None,
    },
];

/// The labels of requests in the metrics: the paths in their order, and one for requests to none of them.
pub(crate) const LABELS: [&str; ROUTES.len() + 1] = {
    let mut labels = ["other"; ROUTES.len() + 1];
    let mut at = 0;
    while at < ROUTES.len() {
        labels[at] = ROUTES[at].path;
        at += 1;
    }
    labels
};

/// An endpoint.
struct Route {
    /// The path, which is also the label in the metrics. [`TOPIC`] stands for one segment.
    path: &'static str,
    /// The names of the query's parameters.
    parameters: &'static [&'static str],
    get: Get,
    /// Handles the body of a `POST`.
    post: Option<Publish>,
    /// The answer to `DELETE`.
    delete: Option<Read>,
}

/// The answer of an endpoint to `GET`.
enum Get {
    Nothing,
    /// A value, also for `HEAD`. It costs a request.
    Value(Read),
    /// A stream of server-sent events. It costs as much as a connection.
    Events,
    /// A WebSocket connection.
    WebSocket,
}

type FutureReply<'c> = LocalBoxFuture<'c, Result<Reply, ErrorResponse>>;
/// A function that answers with a value.
pub(super) type Read = for<'c> fn(Call<'c>) -> FutureReply<'c>;
/// A function that publishes a body.
pub(super) type Publish = for<'c> fn(Call<'c>, (&'c mut Incoming, Coding)) -> FutureReply<'c>;

/// What a request asks of its endpoint. This decides its price.
pub(super) enum Asked {
    Read(Read),
    Publish(Publish),
    /// It costs as much as publishing a message.
    Delete(Read),
    Events,
    /// The methods of the endpoint.
    Methods(&'static str),
    /// There is no such endpoint or method.
    Nothing(ErrorResponse),
}

/// The endpoint of a request: a row of the table, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint(usize);

impl Endpoint {
    /// A path without an endpoint.
    pub(crate) const NOWHERE: Self = Self(ROUTES.len());

    /// The endpoint at `path`.
    pub(crate) fn of(path: &str) -> Self {
        let found = ROUTES.iter().position(|route| route.topic_in(path).is_some());
        found.map_or(Self::NOWHERE, Self)
    }

    /// Counts a request to the endpoint that was answered with `status`.
    pub(crate) fn count(self, metrics: &Catalogue, status: StatusCode) {
        let labels = [self.0, StatusClass::of(status.as_u16()) as usize];
        metrics.add(Metric::HttpRequests, &labels, 1);
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self.get(), Get::WebSocket)
    }

    pub(crate) fn is_event_stream(self) -> bool {
        matches!(self.get(), Get::Events)
    }

    /// Whether it is a row of the table.
    pub(super) fn exists(self) -> bool {
        self != Self::NOWHERE
    }

    /// The methods of the endpoint, in the form of `Allow`.
    pub(super) fn methods(self) -> &'static str {
        match (self.get(), self.post()) {
            (Get::Nothing, None) => "",
            (Get::Nothing, Some(_)) => "POST, OPTIONS",
            (Get::Value(_), None) => "GET, HEAD, OPTIONS",
            (Get::Value(_), Some(_)) => METHODS, // with `DELETE`: there is one such endpoint
            (Get::Events | Get::WebSocket, _) => METHODS_OF_STREAMS,
        }
    }

    /// What a request with this method and target asks of the endpoint.
    pub(super) fn asked(self, method: &Method, target: &Uri) -> Asked {
        let path = target.path();
        match (method, self.get(), self.post()) {
            (&Method::OPTIONS, ..) if path == "*" => Asked::Methods(METHODS),
            _ if !self.exists() => Asked::Nothing(nothing_at(target)),
            (&Method::OPTIONS, ..) => Asked::Methods(self.methods()),
            (&Method::GET | &Method::HEAD, Get::Value(read), _) => Asked::Read(*read),
            (&Method::GET, Get::Events, _) => Asked::Events,
            (&Method::POST, _, Some(publish)) => Asked::Publish(publish),
            (&Method::DELETE, ..) => match self.delete() {
                Some(delete) => Asked::Delete(delete),
                None => Asked::Nothing(ErrorResponse::method_not_allowed(path, self.methods())),
            },
            _ => Asked::Nothing(ErrorResponse::method_not_allowed(path, self.methods())),
        }
    }

    /// The topic's segment and the query of `target`, which must lead to this endpoint. The segment is empty if the path
    /// has none.
    pub(super) fn parts_of(self, target: &Uri) -> (&str, UnreadQuery<'_>) {
        let query = UnreadQuery {
            text: target.query(),
            names: self.route().map_or(&[], |route| route.parameters),
        };
        (self.topic_in(target.path()), query)
    }

    fn topic_in(self, path: &str) -> &str {
        self.route()
            .and_then(|route| route.topic_in(path))
            .unwrap_or_default()
    }

    fn route(self) -> Option<&'static Route> {
        ROUTES.get(self.0)
    }

    fn get(self) -> &'static Get {
        self.route().map_or(&Get::Nothing, |route| &route.get)
    }

    fn post(self) -> Option<Publish> {
        self.route().and_then(|route| route.post)
    }

    fn delete(self) -> Option<Read> {
        self.route().and_then(|route| route.delete)
    }
}

impl Route {
    /// The topic's segment in `path`; empty if the route has none. `None` if `path` does not lead here.
    fn topic_in<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some((before, after)) = self.path.split_once(TOPIC) else {
            return (path == self.path).then_some("");
        };
        let segment = path.strip_prefix(before)?.strip_suffix(after)?;
        (!segment.contains('/')).then_some(segment)
    }
}

/// The answer to a request for `target`, which is not an endpoint.
pub(super) fn nothing_at(target: &Uri) -> ErrorResponse {
    let mut paths = String::new();
    for (at, route) in ROUTES.iter().enumerate() {
        paths += match ROUTES.len() - at {
            _ if at == 0 => "",
            1 => " and ",
            _ => ", ",
        };
        paths += route.path;
    }
    ErrorResponse::nothing_at(target, &paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::specification::{self, sorted};

    #[test]
    fn paths() {
        for (path, label, topic) in [
            ("/v1/ws", "/v1/ws", ""),
            ("/v1/sse", "/v1/sse", ""),
            ("/v1/topics", "/v1/topics", ""),
            ("/v1/topics/", "/v1/topics/{topic}", ""),
            ("/v1/topics/a.b", "/v1/topics/{topic}", "a.b"),
            ("/v1/topics/a%2Fb", "/v1/topics/{topic}", "a%2Fb"),
            ("/v1/topics/history", "/v1/topics/{topic}", "history"),
            ("/v1/topics/a/history", "/v1/topics/{topic}/history", "a"),
            ("/v1/topics//history", "/v1/topics/{topic}/history", ""),
            ("/v1/topics/a/history/", "other", ""),
            ("/v1/topics/a/b", "other", ""),
            ("/v1/topics/a/", "other", ""),
            ("/v1/topicsx", "other", ""),
            ("/v1/publish", "/v1/publish", ""),
            ("/v1/publish/", "other", ""),
            ("/V1/WS", "other", ""),
            ("/", "other", ""),
            ("", "other", ""),
            ("*", "other", ""),
        ] {
            let endpoint = Endpoint::of(path);
            assert_eq!(
                (LABELS[endpoint.0], endpoint.topic_in(path)),
                (label, topic),
                "{path}"
            );
        }
    }

    #[test]
    fn every_endpoint_is_documented() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
        let pages = ["PROTOCOL.md", "HTTP.md"].map(|page| {
            let read = std::fs::read_to_string(docs.to_owned() + page);
            read.expect("a page of the documentation")
        });
        for (index, route) in ROUTES.iter().enumerate() {
            let methods = Endpoint(index).methods().split(", ");
            for method in methods.filter(|method| matches!(*method, "GET" | "POST" | "DELETE")) {
                let request = format!("`{method} {}", route.path);
                let told = |page: &String| {
                    let mut places = page.match_indices(&request);
                    places.any(|(at, _)| page[at + request.len()..].starts_with(['`', '?']))
                };
                assert!(pages.iter().any(told), "{request}` is in neither page");
            }
        }
    }

    #[test]
    fn the_specification_has_these_endpoints_methods_and_parameters() {
        let rows = ROUTES.iter().enumerate().map(|(index, route)| {
            let methods = sorted(Endpoint(index).methods().split(", "));
            (
                route.path.to_owned(),
                (methods, sorted(route.parameters.iter().copied())),
            )
        });
        assert_eq!(specification::paths("openapi.yaml"), rows.collect());
    }
}
