//! Every status in the documents docs/spec/openapi.yaml and openapi-operators.yaml is one that a request gets.

use std::cell::RefCell;
use std::collections::BTreeSet;

use tickwire_server::config::KeyHash;

use crate::specification::{CLIENTS, OPERATORS};
use crate::stream::Stream;
use crate::support::{Answer, Http, TestBroker, request};

/// A header line that is too long for any listener.
const LONG: usize = 1_000_000;
/// Statuses that no request can cause: 409 needs another publisher at the right moment, 500 a fault of the broker.
const NOT_AT_WILL: [u16; 2] = [409, 500];

/// The brokers that the requests need, started with the settings that cause a status.
struct Brokers {
    /// Knows the topic `a.b`, and allows pages of one site.
    plain: TestBroker,
    /// Allows one request at a time.
    strict: TestBroker,
    /// Has its most connections: this one.
    full: (TestBroker, RefCell<Http>),
    /// Waits a moment only.
    hasty: TestBroker,
}

impl Brokers {
    fn start() -> Self {
        let plain = TestBroker::with(
            "[auth]\nallowed_origins = [\"https://here.example\"]\n[limits]\nheader_bytes = 1000000\n",
            &[],
        );
        plain.publish("a.b", "1");
        plain.publish("a.c", "2");
        let rates = "ops_per_s = 1\nops_burst = 1\npublishes_per_s = 1\npublishes_burst = 1\n";
        let full = TestBroker::with("[limits]\nconnections = 1\nhandshake_ms = 60000\n", &[]);
        let kept = RefCell::new(full.connect());
        Self {
            plain,
            strict: TestBroker::with(&format!("[limits]\nexempt_addresses = []\n{rates}"), &[]),
            full: (full, kept),
            hasty: TestBroker::with("[limits]\nhandshake_ms = 300\n", &[]),
        }
    }

    /// The answer with `status` to a request with this method and target. `None` if no request can cause it.
    fn cause(&self, method: &str, target: &str, status: u16) -> Option<Answer> {
        let body = if method == "POST" { "[1]" } else { "" };
        let body = if target == "/v1/publish" {
            "{\"topic\":\"a\",\"data\":1}"
        } else {
            body
        };
        if method == "DELETE" {
            self.plain.publish("a.b", "1");
        }
        let ask = |headers: &[&str]| self.plain.connect().send(method, target, headers, body);
        let raw = |bytes: &[u8]| {
            let mut client = self.plain.connect();
            client.try_write(bytes);
            client.answer(method == "HEAD")
        };
        Some(match status {
            101 => ask(&HANDSHAKE),
            200 if target.starts_with("/v1/sse") => {
                let mut client = self.plain.connect();
                client.write(&request(method, target, &[], ""));
                let (status, headers) = client.head();
                Answer {
                    status,
                    headers,
                    body: Vec::new(),
                }
            }
            200 | 204 | 426 => ask(&[]),
            304 => ask(&["If-None-Match: *"]),
            401 => ask(&["Authorization: Bearer nonsense"]),
            403 => ask(&["Origin: https://elsewhere.example"]),
            404 => self
                .plain
                .connect()
                .send(method, &target.replace("a.b", "no.such"), &[], body),
            408 => {
                let mut client = self.hasty.connect();
                let head = request(method, target, &["Content-Length: 9"], "");
                client.write(
                    String::from_utf8(head)
                        .expect("text")
                        .replace("Content-Length: 0\r\n", "")
                        .as_bytes(),
                );
                client.answer(method == "HEAD")
            }
            415 => ask(&["Content-Encoding: br"]),
            429 if target.starts_with("/v1/sse") => self.event_stream_beyond_the_rate(target)?,
            429 => {
                let mut client = self.strict.connect();
                (0..10)
                    .map(|_| client.send(method, target, &[], body))
                    .find(|answer| answer.status == 429)?
            }
            503 => {
                let kept = self.full.1.borrow_mut().send("GET", "/v1/topics", &[], "");
                assert_eq!(kept.status, 200, "the other connection is open");
                let mut client = self.full.0.connect();
                client.try_write(&request(method, target, &[], ""));
                client.answer(method == "HEAD")
            }
            _ => raw(&faulty(method, target, status)?),
        })
    }

    /// The answer to a request for a stream behind others that come at once. A stream that is granted has no end, so only heads are
    /// read, until one is the wanted one.
    fn event_stream_beyond_the_rate(&self, target: &str) -> Option<Answer> {
        let read = request("GET", "/v1/topics", &[], "");
        let stream = request("GET", target, &[], "");
        (0..20).find_map(|_| {
            let mut client = self.strict.connect();
            client.write(&[&read[..], &read, &read, &stream].concat());
            let before = [(); 3].map(|()| client.answer(false).status);
            let (status, headers) = client.head();
            let answer = Answer {
                status,
                headers,
                body: Vec::new(),
            };
            (before.contains(&429) && status == 429).then_some(answer)
        })
    }
}

/// A request that any listener answers with `status`, because its head is not one that it takes. `None` if there is none.
fn faulty(method: &str, target: &str, status: u16) -> Option<Vec<u8>> {
    let head = |lines: &str| format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes();
    Some(match status {
        400 => head("Host: b"),
        413 => head("Content-Length: 99999999"),
        414 => request(method, &format!("{target}?{}", "x".repeat(70_000)), &[], ""),
        431 => request(method, target, &[&format!("X-Long: {}", "x".repeat(LONG))], ""),
        501 => [&head("Transfer-Encoding: gzip, chunked")[..], b"0\r\n\r\n"].concat(),
        _ => return None,
    })
}

/// The header lines of a WebSocket handshake.
const HANDSHAKE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

#[test]
fn every_status_of_the_clients_document_is_one_that_a_request_gets() {
    let brokers = Brokers::start();
    for (path, method, status) in CLIENTS.statuses() {
        if NOT_AT_WILL.contains(&status) {
            continue;
        }
        let target = match path.as_str() {
            "/v1/sse" => "/v1/sse?topic=a.b".to_owned(),
            path => path.replace("{topic}", "a.b"),
        };
        let answer = brokers.cause(&method, &target, status);
        let answer = answer.unwrap_or_else(|| panic!("{method} {path}: nothing causes {status}"));
        assert_eq!(answer.status, status, "{method} {path}");
        CLIENTS.check(&method, &target, &answer);
    }
    // The only field that may be missing.
    let page = brokers.plain.get("/v1/topics?limit=1").json();
    assert!(page["next"].is_string(), "{page}");
}

#[test]
fn every_status_of_the_operators_document_is_one_that_a_request_gets() {
    let broker = operators_broker();
    for (path, method, status) in OPERATORS.statuses() {
        let answer = match status {
            200 | 503 if path == "/readyz" => {
                broker.wait_for_readiness(status);
                continue;
            }
            500 => continue,
            // The tests of the whole program have a cluster.
            200 if path == "/debug/cluster" => continue,
            _ if path.starts_with("/admin/") => caused_at_admin_api(&broker, &method, &path, status),
            _ => caused_at_operators_listener(&broker, &method, &path, status),
        };
        let answer = answer.unwrap_or_else(|| panic!("{method} {path}: nothing causes {status}"));
        assert_eq!(answer.status, status, "{method} {path}");
        OPERATORS.check(&method, &path, &answer);
    }
}

/// A static key that may close sessions.
const CLOSER: &str = "closer";

/// A key of the admin API.
const OPERATOR: &str = "operator";

/// A broker whose feed is silent most of the time, and where [`CLOSER`] is a key.
fn operators_broker() -> TestBroker {
    let settings = format!(
        "[feed]\nsymbols = 1\nrate = 1\nsilent_ms = 100\n[console]\norigins = [\"http://test\"]\n\
         [[auth.keys]]\nname = \"a\"\nsha256 = \"{}\"\nsubscribe = [\">\"]\nclose_sessions = true\n\
         [[admin.keys]]\nname = \"b\"\nsha256 = \"{}\"\n[limits]\nhandshake_ms = 2000\n[accounting]\nenabled = true\n",
        KeyHash::of(CLOSER),
        KeyHash::of(OPERATOR)
    );
    TestBroker::with_feed("sim", "", &settings, &[])
}

/// The answer with `status` to a request with this method and path. `None` if no request can cause it.
fn caused_at_operators_listener(
    broker: &TestBroker,
    method: &str,
    path: &str,
    status: u16,
) -> Option<Answer> {
    let raw = |bytes: &[u8]| {
        let mut client = broker.connect_ops();
        client.try_write(bytes);
        client.answer(method == "HEAD")
    };
    let ask = |headers: &[&str]| raw(&request(method, path, headers, ""));
    let close = |name: &str| {
        let target = format!("{path}?session={name}");
        let bearer = format!("Authorization: Bearer {CLOSER}");
        raw(&request(method, &target, &[&bearer], ""))
    };
    let history = |topic: &str| {
        let target = format!("{path}?topic={topic}");
        raw(&request(method, &target, &[], ""))
    };
    Some(match status {
        101 => ask(&HANDSHAKE),
        200 if path == "/console/close" => {
            let mut stream = Stream::open(broker.connect(), "topic=a", &[]);
            let welcome = stream.expect("welcome");
            close(welcome.data["session"].as_str()?)
        }
        200 if path == "/console/history" => history("ticker.BTC-USD"),
        200 | 426 => ask(&[]),
        304 => ask(&["If-None-Match: *"]),
        401 if path == "/console/close" => ask(&[]),
        401 => ask(&["Authorization: Bearer nonsense"]),
        403 => ask(&["Origin: https://elsewhere.example"]),
        404 if path == "/debug/cluster" => ask(&[]),
        404 if path == "/console/history" => history("nothing"),
        404 => close("nobody"),
        503 => {
            let mut places: Vec<Http> = (0..64).map(|_| broker.connect_ops()).collect();
            for place in &mut places {
                assert_eq!(place.send("GET", "/livez", &[], "").status, 200);
            }
            ask(&[])
        }
        _ => raw(&faulty(method, path, status)?),
    })
}

/// The same for a request to the admin API.
fn caused_at_admin_api(broker: &TestBroker, method: &str, path: &str, status: u16) -> Option<Answer> {
    let bearer = format!("Authorization: Bearer {OPERATOR}");
    let raw = |bytes: &[u8]| {
        let mut client = broker.connect_ops();
        client.try_write(bytes);
        client.answer(false)
    };
    let body = match path {
        "/admin/v1/close" => "{\"address\":\"192.0.2.1\"}",
        "/admin/v1/revocations" if method == "POST" => "{\"subject\":\"nobody\"}",
        _ => "",
    };
    let ask = |target: &str, lines: &[&str]| raw(&request(method, target, lines, body));
    let longer = |length: usize| {
        let head = String::from_utf8(request(method, path, &[&bearer], "")).expect("text");
        let announced = format!("Content-Length: {length}\r\n");
        raw(head.replace("Content-Length: 0\r\n", &announced).as_bytes())
    };
    Some(match status {
        200 | 202 => {
            let stream = path.contains("{session}").then(|| {
                let mut stream = Stream::open(broker.connect(), "topic=a", &[]);
                let session = stream.expect("welcome").data["session"].clone();
                (session, stream)
            });
            let session = stream.as_ref().and_then(|(session, _)| session.as_str());
            // What is revoked once more keeps its id, which is the first.
            let target = path
                .replace("{session}", session.unwrap_or_default())
                .replace("{id}", "1");
            ask(&target, &[&bearer])
        }
        401 => ask(path, &[]),
        403 => ask(path, &[&bearer, "Origin: https://elsewhere.example"]),
        404 if path == "/admin/v1/accounting" => ask("/admin/v1/accounting?day=2000-01-01", &[&bearer]),
        404 => ask(
            &path.replace("{session}", "0-ffff").replace("{id}", "99"),
            &[&bearer],
        ),
        408 => longer(9),
        413 => longer(99_999),
        415 => ask(path, &[&bearer, "Content-Encoding: br"]),
        503 => caused_at_operators_listener(broker, method, path, status)?,
        _ => raw(&faulty(method, path, status)?),
    })
}

#[test]
fn the_page_about_http_lists_the_statuses_of_the_document() {
    let page = include_str!("../../../../docs/HTTP.md");
    let listed = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok());
    let listed: BTreeSet<u16> = listed.collect();
    let documented = CLIENTS.statuses().into_iter().map(|(_, _, status)| status);
    // The page does not describe handshakes. Requests without an operation are not in the document.
    let refused = documented.filter(|status| *status >= 400 && *status != 426);
    assert_eq!(listed, refused.chain([405]).collect());
}

#[test]
fn schemas_of_the_same_name_are_the_same() {
    let messages: serde_json::Value =
        serde_saphyr::from_str(include_str!("../../../../docs/spec/asyncapi.yaml")).expect("YAML");
    let messages = &messages["components"]["schemas"];
    let (clients, operators) = (
        CLIENTS.at("/components/schemas"),
        OPERATORS.at("/components/schemas"),
    );
    let mut same = 0;
    for (one, other) in [(clients, operators), (clients, messages), (operators, messages)] {
        for (name, schema) in one.as_object().expect("schemas") {
            // The error over HTTP is not the message.
            if let Some(other) = other.get(name).filter(|_| name != "Error" || other != messages) {
                let shown = |schema: &serde_json::Value| {
                    let mut schema = schema.clone();
                    if let Some(fields) = schema.as_object_mut() {
                        fields.remove("additionalProperties");
                    }
                    schema.to_string()
                };
                assert_eq!(shown(schema), shown(other), "{name}");
                same += 1;
            }
        }
    }
    assert!(same > 15, "{same}");
}

#[test]
fn the_page_about_operating_shows_what_the_document_describes() {
    let page = include_str!("../../../../docs/OPERATING.md");
    let blocks = page
        .split("```json\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    let shown = ["/debug/sessions", "/debug/topics"];
    let blocks: Vec<&str> = blocks.collect();
    assert_eq!(blocks.len(), shown.len());
    for (path, block) in shown.into_iter().zip(blocks) {
        let answer = Answer {
            status: 200,
            headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
            body: block.as_bytes().to_vec(),
        };
        OPERATORS.check("GET", path, &answer);
    }
}
