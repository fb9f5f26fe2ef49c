//! What browsers let web pages do: preflights, and which pages may read an answer.

use crate::support::{Answer, TestBroker};

const LIST: &str = "[auth]\nrequired = true\nallowed_origins = [\"https://app.example.com\", \"https://*.example.org\"]\n\
     [[auth.keys]]\nname = \"a\"\nsha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n";

fn preflight(broker: &TestBroker, target: &str, origin: &str, method: &str) -> Answer {
    let headers = [
        format!("Origin: {origin}"),
        format!("Access-Control-Request-Method: {method}"),
        "Access-Control-Request-Headers: authorization".to_owned(),
    ];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    broker.connect().send("OPTIONS", target, &headers, "")
}

/// A browser sends the preflight without the token.
#[test]
fn a_preflight_of_an_allowed_page_was_refused() {
    let broker = TestBroker::with(LIST, &[]);
    for (origin, target, methods) in [
        (
            "https://app.example.com",
            "/v1/topics/a",
            "GET, HEAD, POST, DELETE, OPTIONS",
        ),
        ("https://a.b.example.org", "/v1/publish", "POST, OPTIONS"),
        ("https://a.example.org", "/v1/topics", "GET, HEAD, OPTIONS"),
    ] {
        let answer = preflight(&broker, target, origin, "POST");
        assert_eq!(answer.status, 204, "{origin} {target}");
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", methods),
            ("access-control-max-age", "7200"),
            ("vary", "Origin"),
            ("allow", methods),
        ] {
            assert_eq!(answer.header(name), value, "{origin} {target} {name}");
        }
        let headers = answer.header("access-control-allow-headers");
        for name in ["Authorization", "Content-Type", "Idempotency-Key"] {
            assert!(headers.split(", ").any(|listed| listed == name), "{headers}");
        }
    }
    assert_eq!(
        preflight(&broker, "/v2", "https://app.example.com", "GET").status,
        404
    );
    let foreign = preflight(&broker, "/v1/topics/a", "https://example.org", "POST");
    assert_eq!(
        foreign.refusal(),
        "403 forbidden: pages of this origin may not connect to this broker"
    );
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    // A request that is not a preflight must show a token.
    assert_eq!(
        broker.connect().send("OPTIONS", "/v1/topics/a", &[], "").status,
        401
    );
}

#[test]
fn an_allowed_page_reads_every_answer() {
    let broker = TestBroker::with("[auth]\nallowed_origins = [\"https://*.example.org\"]\n", &[]);
    let origin = ["Origin: https://a.example.org"];
    for (method, target, status) in [
        ("POST", "/v1/topics/a", 200),
        ("GET", "/v1/topics/a", 200),
        ("GET", "/v1/topics/none", 404),
        ("POST", "/v1/topics/a..b", 400),
    ] {
        let answer = broker.connect().send(method, target, &origin, "1");
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://a.example.org",
            "{method} {target}"
        );
        assert!(answer.header("access-control-expose-headers").contains("ETag"));
        let vary = if method == "GET" && status == 200 {
            "Accept-Encoding, Origin"
        } else {
            "Origin"
        };
        assert_eq!(answer.header("vary"), vary);
    }
    // A cache must not give this answer to a page.
    let answer = broker.get("/v1/topics/a");
    assert_eq!(
        (
            answer.header("access-control-allow-origin"),
            answer.header("vary")
        ),
        ("", "Accept-Encoding, Origin")
    );
}

#[test]
fn without_a_list_pages_of_any_site_may_read() {
    let broker = TestBroker::start();
    let answer = preflight(&broker, "/v1/topics/a", "null", "GET");
    assert_eq!(
        (
            answer.status,
            answer.header("access-control-allow-origin"),
            answer.header("access-control-allow-methods"),
            answer.header("vary"),
        ),
        (204, "*", "GET, HEAD, OPTIONS", "")
    );
}
