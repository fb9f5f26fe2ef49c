//! A broker that runs out of file descriptors: it reports this, keeps serving its clients, and accepts others again
//! once it can.

use std::process::Command;

use crate::support::{Broker, Frame, Socket, poll, skip};

/// Sets how many files a broker may have open from now on. Returns whether there is a program for that.
fn allow_files(broker: &Broker, most: u64) -> bool {
    let pid = broker.pid().to_string();
    let limit = format!("--nofile={most}:");
    let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    set.is_ok_and(|status| status.success())
}

#[test]
fn a_broker_without_descriptors_says_so_and_recovers() {
    let broker = Broker::start(&["--feed", "none", "--shards", "1"]);
    let mut honest = Socket::open(&broker);
    let open = broker.metric("process_open_fds").expect("it is exported");
    // The request for this page used a descriptor, which is free again.
    let most = open as u64 + 8;
    if !allow_files(&broker, most) {
        skip::<()>("a_broker_without_descriptors", "prlimit is not installed");
        return;
    }
    let mut kept = Vec::new();
    let refused = poll("a connection is refused for want of descriptors", || {
        let (socket, answer) = Socket::request(&broker, "GET /v1/topics HTTP/1.1", &[]);
        kept.push(socket);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("retry-after: 5"), "{refused:?}");
    assert!(
        refused.body.contains("can open no more connections now"),
        "{refused:?}"
    );
    assert!(kept.len() < 20);
    // Earlier connections are served as before, and the next new one is told as well.
    honest.send(Frame::text(r#"{"op":"ping","id":1}"#));
    assert_eq!(honest.message()["op"], "pong");
    let (_, answer) = Socket::request(&broker, "GET /v1/topics HTTP/1.1", &[]);
    assert_eq!(answer.status, 503);
    // Some connections end, and there is room.
    kept.clear();
    poll("accepting goes on", || {
        let (_, answer) = Socket::request(&broker, "GET /v1/topics HTTP/1.1", &[]);
        (answer.status == 200).then_some(())
    });
    let told = broker.wait_for_metric(r#"tickwire_turned_away_total{reason="descriptors"}"#, |count| {
        count >= 2.0
    });
    assert!(told < 1_000.0, "one for each that came, no more: {told}");
    broker.stop();
}
