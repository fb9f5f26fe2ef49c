//! Which clients are admitted: limits of the broker and of each address, and proxies that name their clients.
//!
//! All of 127.0.0.0/8 is this machine, so each client can have an address of its own.

use std::time::Instant;

use crate::support::{Answer, DEADLINE, Http, TestBroker, request};

/// Settings that limit the addresses of this machine like any other.
fn limits(more: &str) -> String {
    format!("[limits]\nexempt_addresses = []\n{more}")
}

const HANDSHAKE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// A WebSocket handshake with `more` headers.
fn upgrade(mut client: Http, more: &[&str]) -> (Http, Answer) {
    let lines = [&HANDSHAKE, more].concat();
    let answer = client.send("GET", "/v1/ws", &lines, "");
    (client, answer)
}

/// The header of the PROXY protocol for a client at the IPv4 address `ip`.
fn proxy_header(command: u8, ip: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, 0x11, 0, 12]);
    bytes.extend(ip);
    bytes.extend([127, 0, 0, 1]);
    bytes.extend(port.to_be_bytes());
    bytes.extend(7_400_u16.to_be_bytes());
    bytes
}

/// Connects again and again until the answer has this status.
fn wait_for_status(broker: &TestBroker, ip: &str, status: u16) {
    let begun = Instant::now();
    while broker.connect_from(ip).send("GET", "/v1/topics", &[], "").status != status {
        assert!(begun.elapsed() < DEADLINE, "never {status}");
        std::thread::yield_now();
    }
}

#[test]
fn an_address_has_its_most_connections() {
    let broker = TestBroker::with(&limits("connections_per_address = 2\n"), &[]);
    let mut kept = ["127.0.0.2"; 2].map(|ip| broker.connect_from(ip));
    for client in &mut kept {
        assert_eq!(client.send("GET", "/v1/topics", &[], "").status, 200);
    }
    let mut third = broker.connect_from("127.0.0.2");
    // It has sent its request before it gets the answer, and gets the answer all the same.
    third.try_write(b"GET /v1/topics HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = third.answer(false);
    assert_eq!(
        answer.refusal(),
        "429 limit_exceeded: this address has its most connections, 2"
    );
    assert_eq!(answer.header("retry-after"), "5");
    assert!(third.is_at_end());
    assert_eq!(
        broker
            .connect_from("127.0.0.3")
            .send("GET", "/v1/topics", &[], "")
            .status,
        200
    );
    broker.wait_for_metric("tickwire_turned_away_total{reason=\"address_connections\"}", 1.0);
    drop(kept);
    wait_for_status(&broker, "127.0.0.2", 200);
}

#[test]
fn an_upgraded_connection_counts_until_it_ends() {
    let broker = TestBroker::with(&limits("connections_per_address = 1\n"), &[]);
    let (kept, answer) = upgrade(broker.connect_from("127.0.0.2"), &[]);
    assert_eq!(answer.status, 101);
    assert_eq!(broker.connect_from("127.0.0.2").answer(false).status, 429);
    drop(kept);
    wait_for_status(&broker, "127.0.0.2", 200);
}

#[test]
fn an_address_connects_at_its_rate() {
    let file = limits("handshakes_per_s_per_address = 1\nhandshake_burst_per_address = 3\n");
    let broker = TestBroker::with(&file, &[]);
    let mut told = 0;
    for _ in 0..20 {
        let mut client = broker.connect_from("127.0.0.2");
        client.try_write(b"GET /v1/topics HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = client.answer(false);
        if answer.status == 429 {
            told += 1;
            assert_eq!(answer.header("retry-after"), "1");
            let refusal = answer.refusal();
            assert!(
                refusal.starts_with("429 rate_limited: this address connects too often; wait "),
                "{refusal}"
            );
        }
    }
    assert!(told > 0, "20 connections at one a second");
    assert_eq!(
        broker
            .connect_from("127.0.0.3")
            .send("GET", "/v1/topics", &[], "")
            .status,
        200
    );
    // This is the connection of the operators' client.
    assert!(broker.metric("tickwire_addresses") >= 1.0);
}

#[test]
fn a_full_broker_says_so_and_takes_the_next_when_there_is_room() {
    let broker = TestBroker::with("[limits]\nconnections = 1\n", &[]);
    let mut kept = broker.connect();
    assert_eq!(kept.send("GET", "/v1/topics", &[], "").status, 200);
    for _ in 0..20 {
        let mut client = broker.connect();
        client.try_write(b"GET /v1/topics HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = client.answer(false);
        assert_eq!(
            answer.refusal(),
            "503 limit_exceeded: the broker has its most connections; try again"
        );
        assert_eq!(answer.header("retry-after"), "5");
        assert!(client.is_at_end());
    }
    broker.wait_for_metric("tickwire_turned_away_total{reason=\"full\"}", 20.0);
    drop(kept);
    wait_for_status(&broker, "127.0.0.1", 200);
}

#[test]
fn publications_over_http_have_a_rate() {
    let broker = TestBroker::with(&limits("publishes_per_s = 1\npublishes_burst = 3\n"), &[]);
    let mut client = broker.connect_from("127.0.0.2");
    let mut statuses: Vec<u16> = Vec::new();
    for n in 0..10 {
        let answer = match n % 2 {
            0 => client.send("POST", "/v1/topics/a", &[], "1"),
            _ => client.send("POST", "/v1/publish", &[], "{\"topic\":\"a\",\"data\":1}\n"),
        };
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            let refusal = answer.refusal();
            assert!(
                refusal.starts_with("429 rate_limited: this address publishes too often; wait "),
                "{refusal}"
            );
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    // Reading has a rate of its own, and so has another address.
    assert_eq!(client.send("GET", "/v1/topics/a", &[], "").status, 200);
    let other = broker
        .connect_from("127.0.0.3")
        .send("POST", "/v1/topics/a", &[], "1");
    assert_eq!(other.status, 200);
}

#[test]
fn publications_over_http_do_not_have_the_rate_of_requests() {
    let file = limits("ops_per_s = 1\nops_burst = 3\npublishes_per_s = 1\npublishes_burst = 1000\n");
    let broker = TestBroker::with(&file, &[]);
    let mut client = broker.connect_from("127.0.0.2");
    for n in 0..50 {
        let answer = client.send("POST", "/v1/topics/a", &[], "1");
        assert_eq!(answer.status, 200, "{n}: {}", answer.text());
    }
    // Refused publications have one.
    let statuses: Vec<u16> = (0..20)
        .map(|_| client.send("POST", "/v1/topics/a", &[], "]").status)
        .collect();
    assert_eq!(statuses[..3], [400; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    // Each message of a body counts. The next request has to wait for all of them.
    let lines = "{\"topic\":\"a\",\"data\":1}\n".repeat(2_000);
    let mut other = broker.connect_from("127.0.0.3");
    assert_eq!(other.send("POST", "/v1/publish", &[], &lines).status, 200);
    let refused = other.send("POST", "/v1/topics/a", &[], "1");
    assert_eq!(refused.status, 429);
    let wait_s: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((900..=1_001).contains(&wait_s), "{wait_s}");
}

#[test]
fn requests_over_http_have_a_rate() {
    let broker = TestBroker::with(&limits("ops_per_s = 1\nops_burst = 3\n"), &[]);
    broker.publish("a", "1");
    let mut client = broker.connect_from("127.0.0.2");
    let asked = [
        "/v1/topics/a",
        "/v1/topics/a/history",
        "/v1/topics",
        "/v1/nowhere",
    ]
    .repeat(5);
    for target in &asked {
        client.write(&request("GET", target, &[], ""));
    }
    let answers: Vec<Answer> = asked.iter().map(|_| client.answer(false)).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses[..3], [200; 3], "{statuses:?}");
    let refused = answers.iter().find(|answer| answer.status == 429);
    let refused = refused.expect("20 requests at one a second");
    // The listing of one topic costs a thousandth more.
    assert!(["1", "2"].contains(&refused.header("retry-after")), "{refused:?}");
    let refusal = refused.refusal();
    assert!(
        refusal.starts_with("429 rate_limited: this connection asks too often; wait "),
        "{refusal}"
    );
    // Another connection does not help, and does not harm another address.
    let again = (0..20).map(|_| {
        broker
            .connect_from("127.0.0.2")
            .send("HEAD", "/v1/topics/a", &[], "")
    });
    assert!(
        again.into_iter().any(|answer| answer.status == 429),
        "20 requests at one a second"
    );
    assert!(broker.metric("tickwire_turned_away_total{reason=\"address_requests\"}") >= 1.0);
    let mut other = broker.connect_from("127.0.0.3");
    assert_eq!(other.send("GET", "/v1/topics/a", &[], "").status, 200);
    // Requests of operators are not limited.
    for target in ["/livez", "/readyz", "/metrics"].repeat(5) {
        assert_eq!(broker.ops(target).status, 200, "{target}");
    }
}

/// A proxy that is not named in the settings connects from there, with many clients on one connection.
#[test]
fn addresses_that_are_exempt_are_so_with_their_connections() {
    let broker = TestBroker::with("[limits]\nops_per_s = 1\nops_burst = 3\n", &[]);
    broker.publish("a", "1");
    let mut local = broker.connect();
    for target in ["/v1/topics/a", "/v1/topics"].repeat(10) {
        assert_eq!(local.send("GET", target, &[], "").status, 200, "{target}");
    }
}

#[test]
fn to_look_at_many_topics_costs_more() {
    let broker = TestBroker::with(&limits("ops_per_s = 1\nops_burst = 3\n"), &[]);
    let lines: String = (0..60_000)
        .map(|n| format!("{{\"topic\":\"many.{n}\",\"data\":1}}\n"))
        .collect();
    let answer = broker.connect().send("POST", "/v1/publish", &[], &lines);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = |address: &str, target: &str| {
        let mut client = broker.connect_from(address);
        let first = client.send("GET", target, &[], "").status;
        (first, client.send("GET", "/v1/topics/many.1", &[], ""))
    };
    let (first, next) = list("127.0.0.2", "/v1/topics?match=none.*");
    assert_eq!((first, next.status), (200, 429));
    // It took 61, and one more is asked for.
    let wait_s: u64 = next.header("retry-after").parse().expect("seconds");
    assert!((1..=59).contains(&wait_s), "{wait_s}");
    let (first, next) = list("127.0.0.3", "/v1/topics?match=many.2");
    assert_eq!((first, next.status), (200, 200), "one topic is not searched for");
}

#[test]
fn a_token_that_is_not_taken_costs_a_request() {
    let token = "Authorization: Bearer nonsense";
    for (method, target) in [
        ("GET", "/v1/topics"),
        ("GET", "/v1/sse?topic=a"),
        ("GET", "/v1/ws"),
    ] {
        let broker = TestBroker::with(&limits("ops_per_s = 1\nops_burst = 3\n"), &[]);
        let mut client = broker.connect_from("127.0.0.2");
        let lines = [&HANDSHAKE[..], &[token]].concat();
        let statuses: Vec<u16> = (0..20)
            .map(|_| client.send(method, target, &lines, "").status)
            .collect();
        assert_eq!(statuses[..3], [401; 3], "{target}");
        assert!(statuses.contains(&429), "{target}: {statuses:?}");
    }
    // A body is no way around the limit.
    let broker = TestBroker::with(&limits("ops_per_s = 1\nops_burst = 3\n"), &[]);
    let post = |_| {
        let mut client = broker.connect_from("127.0.0.2");
        client.send("POST", "/v1/topics/a", &[token], "1").status
    };
    let statuses: Vec<u16> = (0..20).map(post).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    // Nor is a second handshake, which costs as much as a connection.
    let file = limits("handshakes_per_s_per_address = 1\nhandshake_burst_per_address = 3\n");
    let broker = TestBroker::with(&file, &[]);
    let mut client = broker.connect_from("127.0.0.2");
    let lines = [&HANDSHAKE[..], &[token]].concat();
    let statuses: Vec<u16> = (0..20)
        .map(|_| client.send("GET", "/v1/ws", &lines, "").status)
        .collect();
    assert_eq!(statuses[..3], [401; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn requests_that_go_on_after_429_end_the_connection() {
    let broker = TestBroker::with(&limits("ops_per_s = 1\nops_burst = 3\nrate_limited = 2\n"), &[]);
    let mut client = broker.connect_from("127.0.0.2");
    let requests: Vec<u8> = (0..100)
        .flat_map(|_| request("GET", "/v1/topics", &[], ""))
        .collect();
    client.write(&requests);
    let mut refused = 0;
    loop {
        let answer = client.answer(false);
        refused += usize::from(answer.status == 429);
        if answer.header("connection") == "close" {
            break;
        }
    }
    assert!(refused >= 3, "{refused}");
    assert!(client.is_at_end());
}

#[test]
fn a_trusted_proxy_s_connection_has_many_clients() {
    let file = limits("ops_per_s = 1\nops_burst = 3\nrate_limited = 1\n[proxy]\ntrusted = [\"127.0.0.2\"]\n");
    let broker = TestBroker::with(&file, &[]);
    let mut proxy = broker.connect_from("127.0.0.2");
    let mut ask = |client: &str| {
        let line = format!("X-Forwarded-For: {client}");
        proxy.send("GET", "/v1/topics", &[&line], "")
    };
    let statuses: Vec<u16> = (0..20).map(|_| ask("192.0.2.1").status).collect();
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    for n in 2..20 {
        assert_eq!(ask(&format!("192.0.2.{n}")).status, 200, "{n}");
    }
}

#[test]
fn clients_behind_a_trusted_proxy_are_told_apart() {
    let file = limits("connections_per_address = 1\n[proxy]\ntrusted = [\"127.0.0.2\"]\n");
    let broker = TestBroker::with(&file, &[]);
    let proxied = |client: &str| {
        let line = format!("X-Forwarded-For: {client}");
        upgrade(broker.connect_from("127.0.0.2"), &[&line])
    };
    let (kept, answer) = proxied("192.0.2.1");
    assert_eq!(answer.status, 101);
    let (_, answer) = proxied("198.51.100.9, 192.0.2.1");
    assert_eq!(
        answer.refusal(),
        "429 limit_exceeded: this address has its most connections, 1"
    );
    assert_eq!(answer.header("retry-after"), "5");
    let (_other, answer) = proxied("192.0.2.1, 192.0.2.2");
    assert_eq!(
        answer.status, 101,
        "what the client itself says counts for nothing"
    );
    // A stream of events is a session as well.
    let line = "X-Forwarded-For: 192.0.2.1";
    let refused = broker
        .connect_from("127.0.0.2")
        .send("GET", "/v1/sse?topic=a", &[line], "");
    assert_eq!(refused.status, 429);
    broker.wait_for_metric("tickwire_handshakes_refused_total{status=\"429\"}", 2.0);
    drop(kept);
    let begun = Instant::now();
    while proxied("192.0.2.1").1.status != 101 {
        assert!(begun.elapsed() < DEADLINE, "its place was not given back");
        std::thread::yield_now();
    }
}

#[test]
fn what_an_untrusted_peer_says_of_itself_changes_nothing() {
    let file =
        limits("connections_per_address = 1\n[proxy]\ntrusted = [\"127.0.0.2\"]\nproxy_protocol = \"v2\"\n");
    let broker = TestBroker::with(&file, &[]);
    let (_kept, answer) = upgrade(
        broker.connect_from("127.0.0.3"),
        &[
            "X-Forwarded-For: 192.0.2.1",
            "Forwarded: for=192.0.2.1",
            "X-Real-IP: 192.0.2.1",
        ],
    );
    assert_eq!(answer.status, 101);
    assert_eq!(broker.connect_from("127.0.0.3").answer(false).status, 429);
    // A header of the PROXY protocol does not help it either: it is not a request.
    let mut client = broker.connect_from("127.0.0.4");
    client.write(&proxy_header(1, [192, 0, 2, 1], 9));
    assert_eq!(client.head().0, 400);
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let file =
        limits("connections_per_address = 1\n[proxy]\ntrusted = [\"127.0.0.2\"]\nproxy_protocol = \"v2\"\n");
    let broker = TestBroker::with(&file, &[("LIMITS__HANDSHAKE_MS", "1000")]);
    let proxied = |command, ip| {
        let mut client = broker.connect_from("127.0.0.2");
        // The header comes in two pieces.
        let header = proxy_header(command, ip, 4_711);
        client.write(&header[..17]);
        client.write(&header[17..]);
        client
    };
    let (_kept, answer) = upgrade(proxied(1, [192, 0, 2, 1]), &["X-Forwarded-For: 203.0.113.1"]);
    assert_eq!(answer.status, 101);
    let refused = proxied(1, [192, 0, 2, 1]).answer(false);
    assert_eq!(
        refused.refusal(),
        "429 limit_exceeded: this address has its most connections, 1"
    );
    let (_other, answer) = upgrade(proxied(1, [192, 0, 2, 2]), &[]);
    assert_eq!(answer.status, 101);
    // The proxy itself may check the broker's health as often as it likes.
    let mut checks: Vec<Http> = (0..3).map(|_| proxied(0, [0; 4])).collect();
    for check in &mut checks {
        assert_eq!(check.send("GET", "/v1/topics", &[], "").status, 200);
    }
    // It is a trusted proxy, so it may also name a client in the request.
    let (_third, answer) = upgrade(proxied(0, [0; 4]), &["X-Forwarded-For: 203.0.113.1"]);
    assert_eq!(answer.status, 101);
    let (_, answer) = upgrade(proxied(0, [0; 4]), &["X-Forwarded-For: 203.0.113.1"]);
    assert_eq!(answer.status, 429);
    assert!((broker.metric("tickwire_turned_away_total{reason=\"proxy_header\"}")).abs() < f64::EPSILON);
}

#[test]
fn a_trusted_proxy_must_say_who_the_client_is_and_in_time() {
    let file = limits("[proxy]\ntrusted = [\"127.0.0.2\"]\nproxy_protocol = \"v2\"\n");
    let broker = TestBroker::with(&file, &[("LIMITS__HANDSHAKE_MS", "500")]);
    let mut long = proxy_header(1, [192, 0, 2, 1], 9);
    long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let begun = proxy_header(1, [192, 0, 2, 1], 9);
    for bytes in [
        &b"GET /v1/topics HTTP/1.1\r\nHost: test\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 127.0.0.1 9 7400\r\nGET / HTTP/1.1\r\n\r\n",
        &long,
        &begun[..20],
        b"",
    ] {
        let mut client = broker.connect_from("127.0.0.2");
        client.try_write(bytes);
        assert!(client.is_at_end(), "{bytes:?}");
    }
    broker.wait_for_metric("tickwire_turned_away_total{reason=\"proxy_header\"}", 5.0);
}

#[test]
fn operators_see_the_clients_behind_proxies() {
    let file = "[limits]\noutbox_bytes = 70000\n[socket]\nsend_buffer_bytes = 16384\n[proxy]\ntrusted = [\"127.0.0.2\"]\n";
    let broker = TestBroker::with(file, &[("LIMITS__MESSAGE_BYTES", "65536")]);
    let line = "X-Forwarded-For: [2001:db8::7]:4711";
    let mut slow = broker.connect_from("127.0.0.2");
    let head = format!("GET /v1/sse?topic=a.%3E HTTP/1.1\r\nHost: test\r\n{line}\r\n\r\n");
    slow.write(head.as_bytes());
    assert_eq!(slow.head().0, 200);
    let (_quick, answer) = upgrade(broker.connect_from("127.0.0.3"), &[line]);
    assert_eq!(answer.status, 101);
    let long = format!("\"{}\"", "x".repeat(60_000));
    let begun = Instant::now();
    loop {
        // It reads no more, so at some time something waits for it.
        broker.publish("a.b", &long);
        let page = broker.ops("/debug/sessions").json();
        if let Some(session) = page["slowest"].as_array().and_then(|all| all.first()) {
            assert_eq!(session["peer"], "[2001:db8::7]:4711");
            assert_eq!(session["transport"], "sse");
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{page}");
    }
}

#[test]
fn a_length_that_can_be_read_in_two_ways_is_answered_with_400() {
    let broker = TestBroker::start();
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nHost: test\r\ntransfer-encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: identity",
        "Content-Length: 5\r\nTransfer-Encoding: chunked, gzip",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: 5\r\nTransfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
    ] {
        for target in [
            "POST /v1/topics/smuggled",
            "POST /v1/publish",
            "GET /v1/topics",
            "GET /v1/ws",
        ] {
            let mut client = broker.connect();
            let upgrade = HANDSHAKE.join("\r\n");
            let body = "0\r\n\r\nGET /v1/topics HTTP/1.1\r\nHost: test\r\n\r\n";
            let head = format!("{target} HTTP/1.1\r\nHost: test\r\n{upgrade}\r\n{lines}\r\n\r\n{body}");
            client.try_write(head.as_bytes());
            assert_eq!(client.head().0, 400, "{target} {lines:?}");
            // The text that looks like a second request is not one.
            let rest = String::from_utf8(client.until_end()).expect("text");
            assert!(!rest.contains("HTTP/1.1"), "{target} {lines:?}: {rest}");
        }
    }
    assert_eq!(broker.get("/v1/topics/smuggled").status, 404);
}

#[test]
fn options_are_told() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    for (target, allow) in [
        ("/v1/topics", "GET, HEAD, OPTIONS"),
        ("/v1/topics/a", "GET, HEAD, POST, DELETE, OPTIONS"),
        ("/v1/topics/a/history", "GET, HEAD, OPTIONS"),
        ("/v1/publish", "POST, OPTIONS"),
        ("/v1/sse", "GET, OPTIONS"),
        ("/v1/ws", "GET, OPTIONS"),
        ("*", "GET, HEAD, POST, DELETE, OPTIONS"),
    ] {
        let answer = client.send("OPTIONS", target, &[], "");
        assert_eq!((answer.status, answer.header("allow")), (204, allow), "{target}");
    }
    assert_eq!(client.send("OPTIONS", "/nowhere", &[], "").status, 404);
}
