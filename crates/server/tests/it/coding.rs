//! Bodies and answers in gzip.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::{Answer, Http, TestBroker};

const GZIP: &str = "Content-Encoding: gzip";
const MIB: usize = 1024 * 1024;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// The answer to a POST of bytes.
fn post(client: &mut Http, target: &str, headers: &[&str], body: &[u8]) -> Answer {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\n{lines}Content-Length: {length}\r\n\r\n");
    client.write(&[head.as_bytes(), body].concat());
    client.answer(false)
}

/// The answer to a GET of a client that accepts gzip. A coded body is decoded.
fn get(broker: &TestBroker, target: &str, headers: &[&str]) -> Answer {
    let headers: Vec<&str> = ["Accept-Encoding: gzip, br;q=0.9"]
        .iter()
        .chain(headers)
        .copied()
        .collect();
    decoded(broker.connect().send("GET", target, &headers, ""))
}

fn decoded(mut answer: Answer) -> Answer {
    if answer.header("content-encoding") == "gzip" {
        let mut plain = Vec::new();
        GzDecoder::new(&answer.body[..])
            .read_to_end(&mut plain)
            .expect("it is gzip");
        answer.body = plain;
    }
    answer
}

#[test]
fn a_body_that_came_as_gzip_was_no_json() {
    let broker = TestBroker::start();
    let mut client = broker.connect();
    let answer = post(&mut client, "/v1/topics/trade.X", &[GZIP], &gzip(b"{\"a\":1}"));
    assert_eq!((answer.status, &answer.json()["seq"]), (200, &json!(1)));
    let lines = "{\"topic\":\"trade.X\",\"data\":2}\n".repeat(100_000);
    let answer = post(&mut client, "/v1/publish", &[GZIP], &gzip(lines.as_bytes()));
    assert_eq!(answer.json(), json!({"published": 100_000}));
    // The chunks are independent of the coding.
    let coded = gzip(b"3");
    client.write(b"POST /v1/topics/trade.X HTTP/1.1\r\nHost: a\r\nContent-Encoding: x-gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in &coded {
        client.write(&[b"1\r\n", &[*byte][..], b"\r\n"].concat());
    }
    client.write(b"0\r\n\r\n");
    assert_eq!(client.answer(false).json()["seq"], 100_002);
    broker.wait_for_metric("tickwire_published_bytes_total", 100_008.0);
    for (body, refusal) in [
        (
            b"{\"a\":1}".to_vec(),
            "400 bad_request: the body cannot be read: it is no gzip, as Content-Encoding says: ",
        ),
        (
            coded[..coded.len() - 1].to_vec(),
            "400 bad_request: the body cannot be read: it ends before its gzip does",
        ),
        (
            [&coded[..], &coded].concat(),
            "400 bad_request: the body cannot be read: something follows on the end of its gzip",
        ),
        (gzip(b"{"), "400 bad_request: data is not JSON: "),
    ] {
        for target in ["/v1/topics/trade.X", "/v1/publish"] {
            let answer = post(&mut broker.connect(), target, &[GZIP], &body);
            let expected = match (target, refusal.contains("data is")) {
                ("/v1/publish", true) => "400 bad_request: line 1: ",
                _ => refusal,
            };
            assert!(answer.refusal().starts_with(expected), "{}", answer.refusal());
        }
    }
}

#[test]
fn other_codings_are_refused_with_the_one_that_is_taken() {
    let broker = TestBroker::start();
    for coding in ["deflate", "br", "gzip, gzip", "aws-chunked"] {
        for target in ["/v1/topics/trade.X", "/v1/publish"] {
            let header = format!("Content-Encoding: {coding}");
            let answer = post(&mut broker.connect(), target, &[&header], b"1");
            assert_eq!(
                answer.refusal(),
                "415 bad_request: of content codings only gzip is understood, once",
                "{target} {coding}"
            );
            assert_eq!(answer.header("accept-encoding"), "gzip");
        }
    }
}

/// Limits apply to the decoded body, and decoding ends there.
#[test]
fn a_bomb_is_refused_at_the_limit() {
    let broker = TestBroker::start();
    let bomb = gzip(&vec![b' '; 64 * MIB]);
    assert!(bomb.len() < 80_000);
    for (target, most) in [("/v1/topics/trade.X", "65536"), ("/v1/publish", "16777216")] {
        let answer = post(&mut broker.connect(), target, &[GZIP], &bomb);
        assert_eq!(
            answer.refusal(),
            format!("413 too_large: the body is longer than {most} bytes")
        );
    }
    // This one fits.
    let spaces = [&vec![b' '; 65_535][..], b"1"].concat();
    let answer = post(
        &mut broker.connect(),
        "/v1/topics/trade.X",
        &[GZIP],
        &gzip(&spaces),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_client_pays_for_what_is_decoded_and_encoded_for_it() {
    let file = "[limits]\nops_per_s = 1\nops_burst = 20\nexempt_addresses = []\n";
    let broker = TestBroker::with(file, &[]);
    let bomb = gzip(&vec![b' '; 8 * MIB]);
    let mut publisher = broker.connect_from("127.0.0.9");
    // 8 MiB of nothing cost 32 requests.
    let answer = post(&mut publisher, "/v1/publish", &[GZIP], &bomb);
    assert_eq!(answer.json(), json!({"published": 0}));
    let answer = post(&mut publisher, "/v1/publish", &[GZIP], &bomb);
    assert_eq!(answer.status, 429, "{}", answer.text());
    // They do not count as another publication.
    let answer = post(&mut publisher, "/v1/publish", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let long = format!("\"{}\"", "x".repeat(60_000));
    for host in 10..20 {
        let mut client = broker.connect_from(&format!("127.0.0.{host}"));
        for _ in 0..10 {
            let answer = client.send("POST", "/v1/topics/trade.X", &[], &long);
            assert_eq!(answer.status, 200);
        }
    }
    let mut reader = broker.connect_from("127.0.0.8");
    let target = "/v1/topics/trade.X/history?limit=70";
    let taken = (0..20).take_while(|_| {
        let answer = reader.send("GET", target, &["Accept-Encoding: gzip"], "");
        answer.status == 200
    });
    // The bodies have 4 MB each: they cost 16 requests and one.
    assert_eq!(taken.count(), 2);
}

#[test]
fn long_answers_go_as_gzip_where_it_is_taken() {
    let broker = TestBroker::start();
    broker.publish("ticker.short", "1");
    broker.publish("ticker.long", &format!("\"{}\"", "x".repeat(2_000)));
    for number in 0..100 {
        broker.publish("trade.X", &number.to_string());
    }
    for (target, coded) in [
        ("/v1/topics/ticker.long", true),
        ("/v1/topics/ticker.short", false),
        ("/v1/topics/trade.X/history", true),
        ("/v1/topics?match=ticker.*", false),
    ] {
        let plain = broker.get(target);
        let answer = get(&broker, target, &[]);
        assert_eq!(answer.json(), plain.json(), "{target}");
        assert_eq!(
            answer.header("content-encoding"),
            if coded { "gzip" } else { "" },
            "{target}"
        );
        assert_eq!(plain.header("content-encoding"), "");
        assert_eq!(
            (answer.header("vary"), plain.header("vary")),
            ("Accept-Encoding", "Accept-Encoding")
        );
        // The bytes of the two differ.
        let strong = plain.header("etag");
        let weak = format!("W/{strong}");
        let tag = if coded && !strong.is_empty() {
            &weak
        } else {
            strong
        };
        assert_eq!(answer.header("etag"), tag, "{target}");
        let head = broker
            .connect()
            .send("HEAD", target, &["Accept-Encoding: gzip"], "");
        assert_eq!(head.header("content-encoding"), answer.header("content-encoding"));
    }
    for accept in ["gzip;q=0", "identity, gzip;q=0.5", "br"] {
        let header = format!("Accept-Encoding: {accept}");
        let answer = broker
            .connect()
            .send("GET", "/v1/topics/ticker.long", &[&header], "");
        assert_eq!(answer.header("content-encoding"), "", "{accept}");
    }
    // The client's tag is repeated in its own form.
    let tag = get(&broker, "/v1/topics/ticker.long", &[])
        .header("etag")
        .to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let unchanged = get(
        &broker,
        "/v1/topics/ticker.long",
        &[&format!("If-None-Match: {tag}")],
    );
    assert_eq!(
        (
            unchanged.status,
            unchanged.header("etag"),
            unchanged.header("vary")
        ),
        (304, tag.as_str(), "Accept-Encoding")
    );
    let page = decoded(
        broker
            .connect_ops()
            .send("GET", "/metrics", &["Accept-Encoding: gzip"], ""),
    );
    assert_eq!(page.header("content-encoding"), "gzip");
    assert!(page.text().contains("\ntickwire_topics 3\n"));
}

/// Bytes from clients do not reach the library that inflates.
#[test]
fn without_compression_no_gzip_is_taken_or_given() {
    let broker = TestBroker::with("[compression]\nenabled = false\n", &[]);
    let answer = post(&mut broker.connect(), "/v1/topics/ticker.X", &[GZIP], &gzip(b"1"));
    assert_eq!(
        answer.refusal(),
        "415 bad_request: no content coding is taken: compression.enabled is false"
    );
    assert_eq!(answer.header("accept-encoding"), "identity");
    broker.publish("ticker.X", &format!("\"{}\"", "x".repeat(2_000)));
    let answer = get(&broker, "/v1/topics/ticker.X", &[]);
    assert_eq!(
        (answer.header("content-encoding"), answer.header("vary")),
        ("", "")
    );
}
