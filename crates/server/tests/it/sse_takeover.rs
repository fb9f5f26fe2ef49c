//! Streams whose connection leaves HTTP: bytes that were on their way, bytes that come later, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::stream::Stream;
use crate::support::{DEADLINE, Http, TestBroker, number, request};

const STREAMS: &str = "tickwire_connections{transport=\"sse\"}";

#[test]
fn bytes_behind_the_request_are_thrown_away_and_the_stream_goes_on() {
    let broker = TestBroker::start();
    let mut connection = broker.connect();
    // The next request comes in one piece with the request of the stream, and then once more.
    let next = request("GET", "/v1/topics", &[], "");
    connection.write(&next);
    assert_eq!(connection.answer(false).status, 200);
    let begun = [&request("GET", "/v1/sse?topic=trade.X", &[], "")[..], &next].concat();
    connection.write(&begun);
    let mut stream = Stream::go_on(connection);
    stream.expect_ack();
    stream.connection().write(&next);
    for seq in 1..=3 {
        broker.publish("trade.X", "1");
        assert_eq!(stream.expect("update").data["seq"], seq);
    }
    broker.wait_for_metric(
        "tickwire_http_requests_total{route=\"/v1/topics\",status=\"2xx\"}",
        1.0,
    );
}

#[test]
fn a_client_that_sends_without_end_is_not_read_and_has_its_stream() {
    let broker = TestBroker::start();
    let mut stream = Stream::open(broker.connect(), "topic=trade.X", &[]);
    stream.expect_ack();
    // This is many times as much as a kernel buffers: one side must stop.
    let sender = stream.connection().sender();
    let sending = std::thread::spawn(move || {
        let mut sender = sender;
        let (piece, mut sent) = ([b'x'; 64 * 1024], 0_usize);
        while sent < 256 * 1024 * 1024 && sender.write_all(&piece).is_ok() {
            sent += piece.len();
        }
        sent
    });
    for seq in 1..=3 {
        broker.publish("trade.X", "1");
        assert_eq!(stream.expect("update").data["seq"], seq);
    }
    stream.connection().finish();
    let sent = sending.join().expect("it ends");
    drop(stream);
    // Its end is behind everything that it sent, so it is noticed at the next write.
    broker.wait_until("the end of the stream", || {
        broker.publish("trade.X", "1");
        broker.metric(STREAMS) < 0.5
    });
    assert!(sent < 256 * 1024 * 1024, "all of it was read");
}

#[test]
fn a_client_that_has_ended_its_side_is_gone() {
    let broker = TestBroker::start();
    let mut stream = Stream::open(broker.connect(), "topic=trade.X", &[]);
    stream.expect_ack();
    broker.wait_for_metric(STREAMS, 1.0);
    stream.connection().finish();
    broker.wait_for_metric(STREAMS, 0.0);
    broker.wait_for_metric("tickwire_sse_streams_dropped_total", 0.0);
}

/// A connection whose first answer is longer than the kernels buffer, followed by a request for a stream. Nothing was
/// read.
fn behind_an_answer(broker: &TestBroker) -> Http {
    let long = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..50 {
        broker.publish("chat.long", &long);
    }
    let mut connection = broker.connect_narrow();
    let both = [
        request("GET", "/v1/topics/chat.long/history?limit=50", &[], ""),
        request("GET", "/v1/sse?topic=trade.X", &[], ""),
    ];
    connection.write(&both.concat());
    connection
}

fn broker_of_narrow_sockets() -> TestBroker {
    TestBroker::with("[socket]\nsend_buffer_bytes = 16384\n", &[])
}

#[test]
fn a_stream_begins_behind_the_whole_answer_to_an_earlier_request() {
    let broker = broker_of_narrow_sockets();
    let mut connection = behind_an_answer(&broker);
    let answer = connection.answer(false);
    let messages = answer.json()["messages"].as_array().map(Vec::len);
    assert_eq!((answer.status, messages), (200, Some(50)));
    let mut stream = Stream::go_on(connection);
    stream.expect_ack();
    broker.publish("trade.X", "1");
    assert_eq!(stream.expect("update").data["seq"], 1);
}

#[test]
fn a_client_of_http_1_0_has_events_without_chunks_up_to_the_end_of_the_connection() {
    let broker = TestBroker::start();
    broker.publish("trade.X", "1");
    for query in ["topic=trade.X", "topic=trade.*"] {
        let mut connection = broker.connect();
        connection.write(format!("GET /v1/sse?{query} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes());
        let mut text = String::new();
        while !text.contains("\"op\":\"snapshot\"") {
            text += &connection.some();
        }
        let (head, events) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert!(
            events.starts_with("retry: 2000\n\nevent: welcome\ndata: {"),
            "{events}"
        );
        assert!(!events.contains('\r'), "{events}");
    }
}

#[test]
fn the_head_of_a_stream_is_that_of_any_answer() {
    let broker = TestBroker::start();
    let begin = SystemTime::now();
    let mut connection = broker.connect();
    let (status, headers) = {
        connection.write(&request(
            "GET",
            "/v1/sse?topic=trade.X",
            &["Origin: https://a.example"],
            "",
        ));
        connection.head()
    };
    assert_eq!(status, 200);
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "access-control-allow-origin",
            "access-control-expose-headers",
            "cache-control",
            "connection",
            "content-type",
            "date",
            "transfer-encoding",
            "x-accel-buffering",
        ]
    );
    let elapsed = begin.elapsed().expect("a clock that goes forwards").as_secs();
    let is_of_now = |after| HttpDate::from(begin + Duration::from_secs(after)).to_string() == headers["date"];
    assert!(
        (0..=elapsed + 1).any(is_of_now),
        "{headers:?}, {elapsed} s after {begin:?}"
    );
    assert_eq!(headers["connection"], "close");
}

#[test]
fn an_id_is_in_front_of_its_event_and_of_no_other_streams() {
    let broker = TestBroker::start();
    let mut first = Stream::open(broker.connect(), "topic=trade.X", &[]);
    let epoch_of = |stream: &mut Stream| {
        stream.expect("welcome");
        let id = stream.expect("ack").id.expect("an id");
        id.split(':').next().expect("an epoch").to_owned()
    };
    let epoch = epoch_of(&mut first);
    broker.publish("trade.X", "1");
    assert_eq!(first.expect("update").id, Some(format!("{epoch}:1")));
    // The same events come, at other positions.
    let mut both = Stream::open(broker.connect(), "topic=trade.Y&topic=trade.X", &[]);
    let mut all = Stream::open(broker.connect(), "topic=trade.*", &[]);
    epoch_of(&mut both);
    all.expect("welcome");
    all.expect("ack");
    for stream in [&mut both, &mut all] {
        assert_eq!(stream.expect("snapshot").data["seq"], 1);
    }
    for seq in 2..=5 {
        broker.publish("trade.X", "1");
        for (stream, id) in [
            (&mut first, Some(format!("{epoch}:{seq}"))),
            (&mut both, Some(format!("{epoch}:0,{seq}"))),
            (&mut all, None),
        ] {
            let update = stream.expect("update");
            assert_eq!((number(&update.data["seq"]), update.id), (seq, id));
        }
    }
}

/// A client's TLS connection, and the bytes that have come over it.
struct Secure {
    stream: StreamOwned<ClientConnection, TcpStream>,
    text: String,
}

impl Secure {
    /// Reads until `mark` has come. Returns everything up to and including it.
    fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.text.find(mark) {
                return self.text.drain(..at + mark.len()).collect();
            }
            let mut piece = [0; 16 * 1024];
            let count = self.stream.read(&mut piece).expect("bytes");
            assert_ne!(count, 0, "no {mark:?} before the end: {}", self.text);
            self.text += std::str::from_utf8(&piece[..count]).expect("text");
        }
    }
}

#[test]
fn a_stream_goes_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let certificate = write("certificate.pem", made.cert.pem());
    let key = write("key.pem", made.signing_key.serialize_pem());
    let broker = TestBroker::with(
        &format!("[tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\n"),
        &[],
    );
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(made.cert.der().to_vec()))
        .expect("it is well-formed");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let trusting = Arc::new(trusting);
    let connect = || {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let client = ClientConnection::new(trusting.clone(), name).expect("a client");
        let socket = TcpStream::connect(broker.address()).expect("a connection");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Secure {
            stream: StreamOwned::new(client, socket),
            text: String::new(),
        }
    };
    // One stream has positions, and one has none.
    let mut streams = ["topic=chat.X", "topic=chat.*"].map(|query| {
        let mut secure = connect();
        let asked = request("GET", &format!("/v1/sse?{query}"), &[], "");
        secure.stream.write_all(&asked).expect("it takes it");
        secure.until("event: synced\n");
        secure
    });
    let mut publisher = connect();
    // The message is longer than a TLS record.
    let long = format!("\"{}\"", "x".repeat(50_000));
    for (seq, data) in [(1, "1"), (2, long.as_str()), (3, "3")] {
        let publication = request("POST", "/v1/topics/chat.X", &[], data);
        publisher.stream.write_all(&publication).expect("it takes it");
        publisher.until(&format!("\"seq\":{seq}}}"));
        for (secure, id) in streams.iter_mut().zip([true, false]) {
            let came = secure.until(&format!("\"data\":{data}}}\n\n"));
            assert_eq!(came.contains(&format!(":{seq}\n")), id, "{seq}");
            assert!(came.contains("event: update\ndata: {"), "{came}");
        }
    }
    drop(broker);
    for secure in &mut streams {
        secure.until("event: close\ndata: {\"code\":4000,");
        secure.until("0\r\n\r\n");
        assert_eq!(secure.stream.read(&mut [0; 16]).expect("the end is said"), 0);
    }
}

#[test]
fn a_stream_that_is_read_slowly_loses_and_repeats_nothing_of_its_ids() {
    let broker = TestBroker::with(
        "[socket]\nsend_buffer_bytes = 16384\n[limits]\noutbox_bytes = 131072\n[[kinds]]\npattern = \"trade.*\"\nkind = \"event\"\nhistory = 1000\n",
        &[],
    );
    let mut stream = Stream::open(broker.connect_narrow(), "topic=trade.X&topic=trade.Y", &[]);
    stream.expect_ack();
    let long = format!("\"{}\"", "x".repeat(20_000));
    for _ in 0..40 {
        broker.publish("trade.X", &long);
        broker.publish("trade.Y", "1");
    }
    let mut seen = [0, 0];
    while seen != [40, 40] {
        let update = stream.expect("update");
        let at = usize::from(update.data["topic"] == json!("trade.Y"));
        seen[at] += 1;
        assert_eq!(number(&update.data["seq"]), seen[at]);
        let id = update.id.expect("an id");
        assert!(
            id.ends_with(&format!(":{},{}", seen[0], seen[1])),
            "{id} at {seen:?}"
        );
    }
}
