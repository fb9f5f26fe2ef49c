//! A machine whose clock was never set, simulated with `faketime`.

use crate::support::{Authority, Broker, Frame, Socket, get, post, skip};

/// The variables that give a broker another time, or `None` after printing that `test` is skipped without the library.
fn before_1970(test: &str) -> Option<[(&'static str, &'static str); 2]> {
    let libraries = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ];
    let found = libraries
        .into_iter()
        .find(|path| std::path::Path::new(path).is_file());
    let library = found.or_else(|| skip(test, "libfaketime is not installed"))?;
    // The monotonic clock is unchanged.
    Some([("LD_PRELOAD", library), ("FAKETIME", "@1969-06-01 00:00:00")])
}

#[test]
fn a_clock_before_1970_is_served_with() {
    let Some(time) = before_1970("a_clock_before_1970_is_served_with") else {
        return;
    };
    let authority = Authority::new();
    authority.issue("broker");
    let (cert, key) = (authority.file("broker.pem"), authority.file("broker.key"));
    let args = ["--feed", "none", "--anonymous-publish", "chat.>"];
    let broker = Broker::start_with(
        &args,
        &[&time[..], &[("FAKETIME_DONT_FAKE_MONOTONIC", "1")]].concat(),
    );
    for _ in 0..2 {
        assert_eq!(get(broker.ops, "/livez").status, 200);
    }
    assert_eq!(post(broker.listen, "/v1/topics/chat.a", "1").status, 200);
    let mut socket = Socket::open(&broker);
    socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#));
    assert_eq!(socket.message()["op"], "ack");
    assert_eq!(socket.message()["data"], 1);
    broker.stop();
    // TLS reads the clock too.
    let files = [
        ("TICKWIRE_TLS__CERT_FILE", cert.as_str()),
        ("TICKWIRE_TLS__KEY_FILE", key.as_str()),
    ];
    let broker = Broker::start_with(&args, &[&time[..], &files].concat());
    let socket = Socket::secure(&broker, authority.client());
    let mut socket = socket.expect("they trust each other").upgrade();
    socket.send(Frame::text(r#"{"op":"ping","id":1}"#));
    assert_eq!(socket.message()["op"], "pong");
    broker.stop();
}

#[test]
fn an_answer_has_the_date() {
    let broker = Broker::start(&["--feed", "none"]);
    for address in [broker.ops, broker.listen] {
        let answer = get(address, "/livez");
        assert_eq!(answer.head.matches("\r\ndate: ").count(), 1, "{}", answer.head);
        assert!(answer.head.contains(" gmt"), "{}", answer.head);
    }
    broker.stop();
}
