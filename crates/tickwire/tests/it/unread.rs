//! Requests that were not read yet when settings changed or the broker left: each is answered.

use std::net::TcpStream;
use std::thread;

use serde_json::json;

use crate::handshake::{GET, GOOD};
use crate::support::{Broker, Frame, Socket, get, poll, post};

const PUBLISHING: [&str; 4] = ["--feed", "none", "--anonymous-publish", ">"];

fn request(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1/topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Sends SIGHUP and waits until the broker has reloaded.
fn reload(broker: &Broker) {
    let series = "tickwire_config_reloads_total{result=\"ok\"}";
    let before = broker.metric(series).expect("a metric");
    broker.signal("HUP");
    broker.wait_for_metric(series, |reloads| reloads > before);
}

#[test]
fn a_reload_closed_connections_whose_first_request_was_unread() {
    let broker = Broker::start(&PUBLISHING);
    let (mut silent, mut begun, mut shakes) = (
        Socket::connect(&broker),
        Socket::connect(&broker),
        Socket::connect(&broker),
    );
    let (first, rest) = (request("1"), request("2"));
    begun.send_bytes(&rest[..10]);
    // The broker has accepted these connections, since it answered a later one.
    assert_eq!(post(broker.listen, "/v1/topics/a", "0").status, 200);
    reload(&broker);
    silent.send_bytes(&first);
    begun.send_bytes(&rest[10..]);
    for socket in [&mut silent, &mut begun] {
        let answer = socket.read_answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("connection: close"), "{answer:?}");
        socket.ended();
    }
    shakes.shake_hands();
    assert_eq!(
        broker.metric("tickwire_publications_total{kind=\"event\"}"),
        Some(3.0)
    );
    broker.stop();
}

/// Not even a request sent at the moment of the reload is lost, so no connection is closed before its answer.
#[test]
fn a_kept_connection_is_told_of_its_end_by_an_answer() {
    let broker = Broker::start(&PUBLISHING);
    let mut kept = Socket::connect(&broker);
    kept.send_bytes(&request("1"));
    let answer = kept.read_answer();
    assert!(answer.head.contains("connection: keep-alive"), "{answer:?}");
    assert!(answer.head.contains("keep-alive: timeout=5"), "{answer:?}");
    reload(&broker);
    kept.send_bytes(&request("2"));
    let answer = kept.read_answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    kept.ended();
    broker.stop();
}

#[test]
fn every_post_under_reloads_is_answered_and_published_as_the_answer_says() {
    const THREADS: usize = 6;
    const EACH: usize = 150;
    let broker = Broker::start(&PUBLISHING);
    let ask = || {
        for number in 0..EACH {
            let mut socket = Socket::connect(&broker);
            if number % 5 == 4 {
                socket.shake_hands();
            } else {
                socket.send_bytes(&request("1"));
                assert_eq!(socket.read_answer().status, 200);
            }
        }
    };
    let reloads = thread::scope(|scope| {
        let asking: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        let mut reloads = 0;
        while !asking.iter().all(thread::ScopedJoinHandle::is_finished) {
            broker.signal("HUP");
            reloads += 1;
        }
        reloads
    });
    assert!(reloads > 5, "{reloads}");
    assert_eq!(
        broker.metric("tickwire_publications_total{kind=\"event\"}"),
        Some((THREADS * EACH / 5 * 4) as f64)
    );
}

#[test]
fn the_end_of_a_drain_closed_connections_whose_first_request_was_unread() {
    let broker = Broker::start_with(&PUBLISHING, &[("TICKWIRE_SHARDS", "1")]);
    let mut session = Socket::open(&broker);
    let (mut silent, mut shakes) = (Socket::connect(&broker), Socket::connect(&broker));
    assert_eq!(post(broker.listen, "/v1/topics/a", "0").status, 200);
    broker.terminate();
    // Then their shard drains, since nothing else keeps it.
    assert_eq!(session.message()["op"], "drain");
    assert_eq!(session.close_frame().0, 4000);
    drop(session);
    silent.send_bytes(&request("1"));
    let answer = silent.read_answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    let answer = shakes.ask(GET, &GOOD);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    broker.wait_stopped();
}

/// The client had sent the request before it could know.
#[test]
fn the_end_of_a_drain_closed_kept_connections_whose_next_request_was_on_its_way() {
    let broker = Broker::start(&PUBLISHING);
    let mut kept = Socket::connect(&broker);
    kept.send_bytes(&request("1"));
    assert_eq!(kept.read_answer().status, 200);
    broker.terminate();
    // There is no session to wait for, so this is the end too.
    poll("connections are refused", || {
        TcpStream::connect(broker.listen).err()
    });
    kept.send_bytes(&request("2"));
    let answer = kept.read_answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    broker.wait_stopped();
}

/// Closing a listener resets all connections that it has not accepted.
#[test]
fn connections_that_were_not_accepted_yet_are_served_before_the_listener_closes() {
    let broker = Broker::start(&PUBLISHING);
    broker.signal("STOP");
    let mut waiting: Vec<Socket> = (0..300)
        .map(|number| {
            let mut socket = Socket::connect(&broker);
            socket.send_bytes(&request(&number.to_string()));
            socket
        })
        .collect();
    broker.terminate();
    broker.signal("CONT");
    for socket in &mut waiting {
        assert_eq!(socket.read_answer().status, 200);
    }
    broker.wait_stopped();
}

/// A load balancer that checks `/readyz` every few seconds sends clients here until its next check.
#[test]
fn a_broker_that_is_to_stop_later_takes_clients_until_then() {
    let broker = Broker::start_with(&PUBLISHING, &[("TICKWIRE_DRAIN__DELAY_MS", "600000")]);
    broker.terminate();
    broker.wait_for_log("clients are still taken");
    assert_eq!(get(broker.ops, "/readyz").body, "draining\n");
    let mut socket = Socket::open(&broker);
    let subscribe = json!({"op": "subscribe", "id": 1, "topics": ["a"]}).to_string();
    socket.send(Frame::text(&subscribe));
    assert_eq!(socket.message()["op"], "ack");
    assert_eq!(post(broker.listen, "/v1/topics/a", "1").status, 200);
    assert_eq!(socket.message()["data"], 1);
    // A second signal ends the delay.
    broker.terminate();
    assert_eq!(broker.wait_code(), Some(143));
}

#[test]
fn a_broker_that_is_to_stop_later_drains_then() {
    let broker = Broker::start_with(&PUBLISHING, &[("TICKWIRE_DRAIN__DELAY_MS", "200")]);
    let mut socket = Socket::open(&broker);
    broker.terminate();
    assert_eq!(socket.message()["op"], "drain");
    assert_eq!(socket.close_frame().0, 4000);
    assert!(broker.has_log("clients are still taken"));
    broker.wait_stopped();
}
