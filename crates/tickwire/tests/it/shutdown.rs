//! How the broker stops, and how it fails to start.

use std::collections::HashSet;
use std::net::TcpStream;

use serde_json::json;

use crate::support::{Broker, Frame, Opcode, Script, Socket, Tool, get, poll, refused_to_start, test_file};

/// The code and reason of every close of a drain.
const DRAINED: &str = "4000 the broker is draining; reconnect";

#[test]
fn sigterm_closes_two_hundred_connections_with_4000() {
    let Some(python) = Tool::Python.find("sigterm_closes_two_hundred_connections") else {
        return;
    };
    let broker = Broker::start(&["--feed", "sim"]);
    let mut crowd = Script::start(
        &python,
        &[test_file("python/crowd.py"), broker.url(), "200".to_owned()],
    );
    assert_eq!(crowd.next(), json!({ "open": 200 }));
    broker.stop();
    let end = crowd.next();
    assert_eq!(end["closes"], json!({ DRAINED: 200 }));
    assert_eq!(end["told"], 200, "all are told before they are closed");
    let times: HashSet<u64> = end["reconnect_after_ms"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|after| after.as_u64().expect("a number of milliseconds"))
        .collect();
    assert!(
        times.iter().all(|after| *after < 500),
        "within the window: {times:?}"
    );
    // In 500 milliseconds, 200 clients may share a few moments.
    assert!(times.len() > 100, "each has a time of its own: {times:?}");
    crowd.finish();
}

#[test]
fn sigterm_does_not_wait_for_who_does_not_answer() {
    // A first request is awaited as long as its head may take.
    let variables = [("TICKWIRE_LIMITS__HANDSHAKE_MS", "2000")];
    let broker = Broker::start_with(&["--feed", "none"], &variables);
    let mut silent: Vec<Socket> = (0..3).map(|_| Socket::open(&broker)).collect();
    // This client has not even finished its handshake.
    let mut early = Socket::connect(&broker);
    early.send_bytes(b"GET /v1/ws HTTP/1.1\r\n");
    broker.stop();
    for socket in &mut silent {
        assert_eq!(socket.message()["op"], "drain");
        let (code, reason) = socket.close_frame();
        assert_eq!(format!("{code} {reason}"), DRAINED);
        socket.ended();
    }
}

/// A load balancer sends no more clients to a broker that leaves. Its clients are served to their end.
#[test]
fn a_broker_that_drains_is_not_ready_and_goes_on_publishing() {
    let broker = Broker::start_with(
        &["--feed", "none", "--anonymous-publish", "chat.>"],
        &[("TICKWIRE_DRAIN__WINDOW_MS", "3000"), ("TICKWIRE_SHARDS", "1")],
    );
    // Enough clients for a window of three seconds. The last of them to be closed is asked below.
    let mut sockets: Vec<Socket> = (0..30).map(|_| Socket::open(&broker)).collect();
    for socket in &mut sockets {
        socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#));
        assert_eq!(socket.message()["op"], "ack");
    }
    let mut keeps = Socket::connect(&broker);
    let request = |body: &str| {
        let length = body.len();
        format!("POST /v1/topics/chat.a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    keeps.send_bytes(request("1").as_bytes());
    assert!(!keeps.read_answer().head.contains("connection: close"));
    broker.terminate();
    let ready = poll("/readyz fails", || {
        Some(get(broker.ops, "/readyz")).filter(|answer| answer.status == 503)
    });
    assert_eq!(ready.body, "draining\n");
    poll("connections are refused", || {
        TcpStream::connect(broker.listen).err()
    });
    // Connections are refused a moment before the shard drains. Once its clients are told, it does.
    for socket in &mut sockets {
        assert_eq!(socket.message()["seq"], 1);
        assert_eq!(socket.message()["op"], "drain");
    }
    // A kept connection gets one more answer.
    keeps.send_bytes(request("2").as_bytes());
    let last = keeps.read_answer();
    assert_eq!(last.status, 200, "{last:?}");
    assert!(last.head.contains("connection: close"), "{last:?}");
    keeps.ended();
    let mut both = 0;
    for socket in &mut sockets {
        let (opcode, _) = socket.frame();
        // A client that was closed before the second message knows its position, and resumes after the first.
        if opcode == Opcode::Text as u8 {
            both += 1;
            assert_eq!(socket.close_frame().0, 4000);
        } else {
            assert_eq!(opcode, Opcode::Close as u8);
        }
        socket.ended();
    }
    assert!(both > 0, "nobody got what was published while the broker drained");
    broker.wait_stopped();
}

#[test]
fn a_stream_of_events_is_told_of_the_drain() {
    let broker = Broker::start(&["--feed", "none"]);
    let mut stream = Socket::connect(&broker);
    stream.send_bytes(b"GET /v1/sse?topic=chat.a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stream.read_answer().status, 200);
    broker.stop();
    let text = stream.read_to_end();
    let place = |event: &str| {
        text.find(event)
            .unwrap_or_else(|| panic!("no {event:?} in {text}"))
    };
    assert!(place("event: ack") < place("event: drain"), "{text}");
    assert!(place("event: drain") < place("event: close"), "{text}");
    assert!(text.contains(r#"data: {"code":4000,"#), "{text}");
}

#[test]
fn a_second_signal_ends_at_once_with_the_code_of_custom() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let variables = [
            ("TICKWIRE_DRAIN__WINDOW_MS", "600000"),
            ("TICKWIRE_DRAIN__DEADLINE_MS", "601000"),
        ];
        let broker = Broker::start_with(&["--feed", "none"], &variables);
        let _sockets: Vec<Socket> = (0..50).map(|_| Socket::open(&broker)).collect();
        broker.signal(signal);
        broker.wait_for_log("draining");
        broker.signal(signal);
        assert_eq!(broker.wait_code(), Some(code));
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let broker = Broker::start(&["--feed", "none"]);
    let (listen, ops) = (broker.listen.to_string(), broker.ops.to_string());
    for (flag, address, free) in [("--listen", &listen, "--ops"), ("--ops", &ops, "--listen")] {
        let (status, said) = refused_to_start(&["--feed", "none", flag, address, free, "127.0.0.1:0"]);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("cannot listen on {address}")) && said.contains("in use"),
            "{said}"
        );
    }
    broker.stop();
}
