//! Clients that break the rules of HTTP, or are too slow.

use crate::support::{TestBroker, request};

#[test]
fn headers_over_the_limits_are_answered_with_431() {
    let broker = TestBroker::with("[limits]\nheader_bytes = 8192\nheaders = 20\n", &[]);
    let long = format!("X-Long: {}", "x".repeat(8_192));
    let answer = broker.connect().send("GET", "/v1/topics", &[&long], "");
    assert_eq!(answer.status, 431);
    let many = vec!["X-Many: 1"; 20];
    assert_eq!(broker.connect().send("GET", "/v1/topics", &many, "").status, 431);
    let enough = vec!["X-Many: 1"; 19];
    assert_eq!(
        broker.connect().send("GET", "/v1/topics", &enough, "").status,
        200
    );
    broker.wait_for_metric(
        "tickwire_http_requests_total{route=\"other\",status=\"4xx\"}",
        2.0,
    );
}

#[test]
fn a_head_that_never_ends_is_answered_with_431_once_it_is_too_long() {
    let broker = TestBroker::with("[limits]\nheader_bytes = 8192\n", &[]);
    let mut client = broker.connect();
    client.write(b"GET /v1/topics HTTP/1.1\r\n");
    client.write("X-Long: 1234567890\r\n".repeat(410).as_bytes());
    assert_eq!(client.head().0, 431);
    assert!(client.is_at_end());
}

#[test]
fn what_is_no_request_is_answered_with_400() {
    let broker = TestBroker::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v1/topics HTTP/9.9\r\n\r\n",
        b"GET /v1/topics HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /v1/topics HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"POST /v1/publish HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/publish HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/publish HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut client = broker.connect();
        client.write(bytes);
        assert_eq!(
            client.answer(false).refusal(),
            "400 bad_request: this is no HTTP request that can be read",
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert!(client.is_at_end());
    }
}

#[test]
fn what_hyper_refuses_by_itself_had_an_empty_body() {
    let broker = TestBroker::with("[limits]\nheader_bytes = 8192\nheaders = 20\n", &[]);
    let good = request("GET", "/v1/topics", &[], "");
    let bad = request("GET", "/v1/topics", &["bad header"], "");
    let long = request("GET", &format!("/v1/topics?{}", "x".repeat(70_000)), &[], "");
    let many = request("GET", "/v1/topics", &["X-Many: 1"; 20], "");
    for (bytes, status) in [(&bad, 400), (&many, 431), (&long, 431)] {
        // The bad request comes behind a valid one, in one write or in two.
        for before in [&b""[..], &good] {
            let mut client = broker.connect();
            client.try_write(&[before, bytes].concat());
            if !before.is_empty() {
                assert_eq!(client.answer(false).status, 200);
            }
            let answer = client.answer(false);
            assert_eq!(answer.status, status);
            assert!(
                answer.refusal().contains(" bad_request: "),
                "{}",
                answer.refusal()
            );
            assert_eq!(
                (answer.header("content-type"), answer.header("connection")),
                ("application/json", "close")
            );
            assert!(client.is_at_end());
        }
    }
    let mut operator = broker.connect_ops();
    operator.write(&bad);
    assert!(operator.answer(false).refusal().starts_with("400 bad_request: "));
}

/// RFC 9112 §6.1: the gzip itself was published, or refused because it is no JSON.
#[test]
fn a_body_that_is_gzip_by_its_transfer_coding_was_taken_for_plain_chunks() {
    let broker = TestBroker::start();
    for codings in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
    ] {
        for target in ["/v1/topics/chat.open", "/v1/publish"] {
            let mut client = broker.connect();
            client.write(
                format!("POST {target} HTTP/1.1\r\nHost: a\r\n{codings}\r\n1\r\n1\r\n0\r\n\r\n").as_bytes(),
            );
            let answer = client.answer(false);
            assert_eq!(
                answer.refusal(),
                "501 bad_request: of transfer codings only chunked is understood, once",
                "{target} {codings:?}"
            );
            assert_eq!(answer.header("connection"), "close");
            assert!(client.is_at_end());
        }
    }
    broker.wait_for_metric(
        "tickwire_http_requests_total{route=\"/v1/publish\",status=\"5xx\"}",
        3.0,
    );
}

/// RFC 9112 §3.2.
#[test]
fn requests_that_named_no_host_or_two_were_served() {
    let broker = TestBroker::start();
    for hosts in ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n"] {
        for (method, target) in [("GET", "/v1/topics"), ("POST", "/v1/topics/a"), ("GET", "/v1/ws")] {
            let mut client = broker.connect();
            client.write(format!("{method} {target} HTTP/1.1\r\n{hosts}\r\n").as_bytes());
            let answer = client.answer(false);
            assert_eq!(
                answer.refusal(),
                "400 bad_request: exactly one Host header is needed, with a host and perhaps a port",
                "{method} {target} {hosts:?}"
            );
            assert!(client.is_at_end());
        }
        let mut operator = broker.connect_ops();
        operator.write(format!("GET /livez HTTP/1.1\r\n{hosts}\r\n").as_bytes());
        assert_eq!(operator.answer(false).status, 400, "{hosts:?}");
    }
    // The target may name the host as well, which requests to proxies must do (§3.2.2). HTTP/1.0 has no `Host`.
    for head in [
        "GET http://any.example:80/v1/topics HTTP/1.1\r\nHost: any.example\r\n\r\n",
        "GET /v1/topics HTTP/1.1\r\nHost:\r\n\r\n",
    ] {
        let mut client = broker.connect();
        client.write(head.as_bytes());
        assert_eq!(client.answer(false).status, 200, "{head}");
    }
    let mut client = broker.connect();
    client.write(b"GET /v1/topics HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(client.until_end()).expect("text");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

/// Otherwise a client that reuses a connection at the moment when the broker closes it gets no answer.
#[test]
fn a_client_is_told_how_long_its_connection_is_kept() {
    let broker = TestBroker::with("", &[("LIMITS__HANDSHAKE_MS", "1500")]);
    let mut client = broker.connect();
    for _ in 0..2 {
        let answer = client.send("GET", "/v1/topics", &[], "");
        assert_eq!(
            (answer.header("connection"), answer.header("keep-alive")),
            ("keep-alive", "timeout=1")
        );
    }
    assert!(client.is_at_end());
    let last = broker
        .connect()
        .send("GET", "/v1/topics", &["Connection: close"], "");
    assert_eq!(
        (last.header("connection"), last.header("keep-alive")),
        ("close", "")
    );
}

#[test]
fn dribbled_headers_are_not_waited_for() {
    let broker = TestBroker::with("", &[("LIMITS__HANDSHAKE_MS", "1000")]);
    let mut client = broker.connect();
    client.write(b"GET /v1/topics HTTP/1.1\r\nHost: te");
    assert!(client.is_at_end());
    // Nor is a client that sends nothing, before a request or after one.
    assert!(broker.connect().is_at_end());
    let mut client = broker.connect();
    assert_eq!(client.send("GET", "/v1/topics", &[], "").status, 200);
    assert!(client.is_at_end());
}

#[test]
fn a_dribbled_body_is_answered_with_408() {
    let broker = TestBroker::with("", &[("LIMITS__HANDSHAKE_MS", "300")]);
    let mut clients = [("/v1/topics/a", 1_800), ("/v1/publish", 7_200)].map(|(target, within)| {
        let mut client = broker.connect();
        let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n1");
        client.write(head.as_bytes());
        (client, within)
    });
    for (client, within) in &mut clients {
        let answer = client.answer(false);
        assert_eq!(
            answer.refusal(),
            format!("408 bad_request: the body did not come within {within} ms")
        );
        assert_eq!(answer.header("connection"), "close");
        assert!(client.is_at_end());
    }
}

#[test]
fn a_body_that_is_no_body_is_answered_with_400() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    client.write(b"POST /v1/topics/a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let refusal = client.answer(false).refusal();
    assert!(
        refusal.starts_with("400 bad_request: the body cannot be read: "),
        "{refusal}"
    );
    // A client that goes away in the middle leaves nothing behind.
    let mut client = broker.connect();
    client.write(b"POST /v1/topics/a HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n1234");
    client.finish();
    client.is_at_end();
    assert_eq!(broker.get("/v1/topics/a").status, 404);
}

#[test]
fn the_answer_reaches_a_client_that_sends_on_what_was_refused() {
    let broker = TestBroker::publishing("", "", &[]);
    let body = "x".repeat(900_000);
    for _ in 0..5 {
        let mut client = broker.connect();
        client.write(&request("POST", "/v1/topics/a", &[], &body));
        assert_eq!(client.answer(false).status, 403);
        // All of it was read, so the connection goes on.
        assert_eq!(client.send("GET", "/v1/topics", &[], "").status, 200);
    }
}

#[test]
fn a_chunked_body_is_cut_off_at_the_limit() {
    let broker = TestBroker::with("[limits]\nmessage_bytes = 1000\n", &[]);
    let mut client = broker.connect();
    client.write(b"POST /v1/topics/a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("100\r\n{}\r\n", "x".repeat(256));
    client.write(chunk.repeat(4).as_bytes());
    assert_eq!(
        client.answer(false).refusal(),
        "413 too_large: the body is longer than 1000 bytes"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let requests: Vec<u8> = (1..=50)
        .flat_map(|n| request("POST", "/v1/topics/a", &[], &n.to_string()))
        .collect();
    client.write(&requests);
    for seq in 1..=50 {
        assert_eq!(client.answer(false).json()["seq"], seq);
    }
}

#[test]
fn a_client_that_never_reads_its_answers_loses_its_connection() {
    let broker = TestBroker::with(
        "[limits]\nstall_ms = 200\n[socket]\nsend_buffer_bytes = 16384\n",
        &[],
    );
    let long = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..20 {
        broker.publish("trade.X", &long);
    }
    let mut client = broker.connect_narrow();
    // These answers are far more than the two kernels buffer. Then the broker stops reading, and closes.
    let ask = request("GET", "/v1/topics/trade.X/history?limit=1024", &[], "");
    while client.try_write(&ask) {}
}
