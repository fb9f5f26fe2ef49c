//! How the broker ends, and how it does not begin.

use serde_json::json;

use crate::support::{Broker, Script, Socket, Tool, refused_to_start, test_file};

#[test]
fn sigterm_closes_two_hundred_connections_with_1001() {
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
    assert_eq!(
        crowd.next(),
        json!({"closes": {"1001 the broker is shutting down": 200}})
    );
    crowd.finish();
}

#[test]
fn sigterm_does_not_wait_for_who_does_not_answer() {
    let broker = Broker::start(&["--feed", "none"]);
    let mut silent: Vec<Socket> = (0..3).map(|_| Socket::open(&broker)).collect();
    // One that has not even finished its handshake.
    let mut early = Socket::connect(&broker);
    early.send_bytes(b"GET /v1/ws HTTP/1.1\r\n");
    broker.stop();
    for socket in &mut silent {
        assert_eq!(socket.close_frame().0, 1001);
        socket.ended();
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
