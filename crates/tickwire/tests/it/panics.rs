//! A panic of the broker, which `test.panic` lets clients cause: it costs only what it must, and no other client
//! notices.

use crate::support::{Authority, Broker, Frame, Socket, get};

const ARGS: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];
const RESTARTS: [&str; 2] = [
    r#"tickwire_shard_restarts_total{shard="0"}"#,
    r#"tickwire_shard_restarts_total{shard="1"}"#,
];
const FAILED: &str = "tickwire_sessions_failed_total";
const REASON: &str = "a fault of the broker; reconnect";

fn start(egress: &str, shards: &str) -> Broker {
    Broker::start_with(
        &ARGS,
        &[
            ("TICKWIRE_TEST__PANIC", "true"),
            ("TICKWIRE_SHARDS", shards),
            ("TICKWIRE_SOCKET__EGRESS", egress),
        ],
    )
}

/// A connection in shard number `shard`, subscribed to `chat.>`.
fn subscriber(broker: &Broker, shard: usize) -> Socket {
    // Connections that another shard got. Each new one goes to the shard with the fewest.
    let mut others = Vec::new();
    loop {
        let mut socket = Socket::dial(broker);
        let welcome = socket.message();
        let session = welcome["session"].as_str().expect("it has a name");
        if session.starts_with(&format!("{shard}-")) {
            socket.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":["chat.>"]}"#));
            assert_eq!(socket.message()["op"], "ack");
            return socket;
        }
        others.push(socket);
    }
}

fn publish(socket: &mut Socket, data: u64) {
    let message = format!(r#"{{"op":"publish","id":9,"topic":"chat.a","data":{data}}}"#);
    socket.send(Frame::text(&message));
}

/// Reads updates up to the one with `data`. Each must follow the one before. Returns their number.
fn updates_up_to(socket: &mut Socket, mut last: u64, data: u64) -> u64 {
    let before = last;
    loop {
        let message = socket.message();
        if message["op"] == "update" {
            assert_eq!(message["seq"], last + 1, "{message}");
            last += 1;
            if message["data"] == data {
                return last - before;
            }
        }
    }
}

/// The sums of all shards' ledgers: what was owed, and what became of it.
fn owed_and_settled(broker: &Broker) -> (f64, f64) {
    let sum = |name: &str| -> f64 {
        let of = |shard| broker.metric(&format!(r#"tickwire_ledger_{name}{{shard="{shard}"}}"#));
        (0..2).map(|shard| of(shard).expect("it is exported")).sum()
    };
    let settled = [
        "delivered_total",
        "conflated_total",
        "gapped_total",
        "dropped_total",
        "pending",
    ];
    (sum("owed_total"), settled.map(sum).iter().sum())
}

#[test]
fn a_panic_costs_the_sessions_of_its_shard_and_nothing_else() {
    for (egress, words) in [("auto", "panic"), ("plain", "panic later")] {
        let broker = start(egress, "2");
        let [mut panics, mut beside] = [(); 2].map(|()| subscriber(&broker, 0));
        let [mut elsewhere, mut publisher] = [(); 2].map(|()| subscriber(&broker, 1));
        publish(&mut publisher, 1);
        for socket in [&mut panics, &mut beside, &mut elsewhere] {
            assert_eq!(socket.message()["op"], "joined");
            assert_eq!(socket.message()["data"], 1);
        }
        panics.send(Frame::text(words));
        broker.wait_for_metric(RESTARTS[0], |restarts| restarts > 0.0);
        // The sessions of the shard are told. One that was in the middle of something may not be.
        let (missed, close) = beside.until_closed();
        assert_eq!((missed.len(), close), (0, (1011, REASON.to_owned())));
        beside.ended();
        drop(panics);
        publish(&mut publisher, 2);
        publish(&mut publisher, 3);
        assert_eq!(updates_up_to(&mut elsewhere, 1, 3), 2, "nothing is missing");
        // The shard serves new clients, and its lists hold only those.
        let mut again = subscriber(&broker, 0);
        publish(&mut publisher, 4);
        assert_eq!(updates_up_to(&mut elsewhere, 3, 4), 1);
        assert_eq!(again.message()["op"], "snapshot");
        assert_eq!(updates_up_to(&mut again, 3, 4), 1);
        broker.wait_for_metric(r#"tickwire_sessions{shard="0"}"#, |sessions| sessions >= 1.0);
        broker.wait_for_log("a shard begins anew after a panic");
        assert!(broker.has_log("panicked: test.panic"), "it says where");
        assert_eq!(broker.metric(RESTARTS[0]), Some(1.0));
        assert_eq!(broker.metric(RESTARTS[1]), Some(0.0));
        let failed = broker.metric(FAILED).expect("it is exported");
        assert!(failed >= 2.0, "{failed}");
        let topics = get(broker.listen, "/v1/topics").body;
        assert!(topics.contains(r#""subscribers":3"#), "{topics}");
        let (owed, settled) = crate::support::poll("the ledger adds up", || {
            Some(owed_and_settled(&broker)).filter(|(owed, settled)| owed == settled)
        });
        assert!(owed > 0.0, "{owed} {settled}");
        broker.stop();
    }
}

#[test]
fn a_stream_of_events_is_told_of_a_panic() {
    let broker = start("auto", "1");
    let mut stream = Socket::connect(&broker);
    stream.send_bytes(b"GET /v1/sse?topic=chat.a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stream.read_answer().status, 200);
    let mut panics = subscriber(&broker, 0);
    panics.send(Frame::text("panic"));
    let text = stream.read_to_end();
    assert!(text.contains("event: close"), "{text}");
    assert!(text.contains(r#"data: {"code":1011,"#), "{text}");
    assert_eq!(broker.metric(FAILED), Some(2.0));
    assert_eq!(
        broker.metric(r#"tickwire_connections{transport="sse"}"#),
        Some(0.0)
    );
    broker.stop();
}

#[test]
fn sessions_over_tls_are_told_of_a_panic() {
    let authority = Authority::new();
    let variables = [("TICKWIRE_TEST__PANIC", "true"), ("TICKWIRE_SHARDS", "1")];
    let broker = authority.start(&ARGS, &variables);
    let connect = || {
        let socket = Socket::secure(&broker, authority.client());
        socket.expect("they trust each other").upgrade()
    };
    let [mut panics, mut beside] = [(); 2].map(|()| connect());
    panics.send(Frame::text("panic later"));
    assert_eq!(beside.close_frame(), (1011, REASON.to_owned()));
    let mut after = connect();
    after.send(Frame::text(r#"{"op":"ping","id":1}"#));
    assert_eq!(after.message()["op"], "pong");
    broker.stop();
}

#[test]
fn a_panic_in_a_request_over_http_costs_its_connection() {
    let broker = start("auto", "1");
    let mut beside = subscriber(&broker, 0);
    let mut panics = Socket::connect(&broker);
    panics.send_bytes(b"GET /v1/panic HTTP/1.1\r\nHost: a\r\n\r\n");
    panics.ended();
    assert_eq!(broker.wait_for_metric(FAILED, |failed| failed > 0.0), 1.0);
    assert_eq!(broker.metric(RESTARTS[0]), Some(0.0));
    assert_eq!(get(broker.listen, "/v1/topics").status, 200);
    publish(&mut beside, 1);
    assert_eq!(updates_up_to(&mut beside, 0, 1), 1);
    broker.stop();
}

#[test]
fn a_panic_while_the_broker_drains_does_not_keep_it() {
    let broker = Broker::start_with(
        &ARGS,
        &[
            ("TICKWIRE_TEST__PANIC", "true"),
            ("TICKWIRE_SHARDS", "1"),
            ("TICKWIRE_DRAIN__WINDOW_MS", "600000"),
            ("TICKWIRE_DRAIN__DEADLINE_MS", "601000"),
        ],
    );
    let mut sockets: Vec<Socket> = (0..50).map(|_| Socket::open(&broker)).collect();
    broker.terminate();
    for socket in &mut sockets {
        assert_eq!(socket.message()["op"], "drain");
    }
    // Without the second signal, the last of them would have five seconds.
    sockets[0].send(Frame::text("panic later"));
    assert_eq!(broker.wait_code(), Some(0));
}

#[test]
fn nobody_may_ask_for_a_panic_by_default() {
    let broker = Broker::start_with(&ARGS, &[("TICKWIRE_SHARDS", "1")]);
    let mut socket = Socket::open(&broker);
    socket.send(Frame::text("panic"));
    assert_eq!(socket.message()["op"], "error");
    assert_eq!(get(broker.listen, "/v1/panic").status, 404);
    assert_eq!(broker.metric(FAILED), Some(0.0));
    broker.stop();
}
