//! Tests of the queue of a shard: one that has ended holds nobody up, and the metrics show how many messages wait.

use std::io::{Read, Write};
use std::rc::Rc;

use tickwire_router::{Ingress, Origin, Shard, ShardId, Transport};
use tickwire_wire::{Codec, Micros, Payload, Topic};

use super::*;
use crate::auth::sessions::AuthSessions;
use crate::config::EgressKind;
use crate::hub::{self, Hub, HubParts};
use crate::net::egress;
use crate::net::permit::ConnectionPermit;
use crate::net::poller::Poller;

/// A bulk publication that waits for such a queue would keep its thread, and so the broker, from ever ending.
#[test]
fn nobody_waits_for_the_queue_of_a_shard_that_has_ended() {
    let config = Config::default();
    let access = reload::load_access(&config, &Arc::default()).expect("no files are named");
    let common = Common::new(config, access, 1, (100, None)).expect("a broker").0;
    let (handles, shards) = common.start_shards().expect("a thread");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).expect("it listens");
    let (stream, peer) = listener.accept().expect("it is there");
    stream.set_nonblocking(true).expect("a socket");
    let permit = ConnectionPermit::take(&handles[0].connections, peer.into(), None);
    let served = handles[0]
        .commands
        .blocking_send(Command::Serve(stream, peer, permit));
    assert!(served.is_ok());
    let subscribe = br#"{"op":"subscribe","id":1,"topics":["chat.*"]}"#;
    let head = b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    // A mask of zeros changes nothing.
    let frame = [0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0];
    client
        .write_all(&[&head[..], &frame, subscribe].concat())
        .expect("it is taken");
    let (mut read, mut piece) = (Vec::new(), [0; 1_024]);
    while !String::from_utf8_lossy(&read).contains("\"ack\"") {
        let count = client.read(&mut piece).expect("it answers");
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
    }
    // A shard whose channel of commands is gone ends, even if it has a session.
    drop(handles);
    join(shards.into_iter());
    let topic: Topic = "chat.a".parse().expect("a topic");
    let payload = Payload::from_json(b"1").expect("JSON");
    let ingress = Ingress::new(common.directory.clone());
    let submitted = ingress.submit(Origin::Feed, &topic, payload, Micros(1));
    assert!(submitted.is_ok(), "there is room");
    assert_eq!(common.directory.queue(ShardId(0)).depth(), 0);
}

/// This is hard to see from outside: the queue is empty again before it can be read.
#[test]
fn what_waits_for_a_shard_is_shown() {
    let config = Config::default();
    let access = reload::load_access(&config, &Arc::default()).expect("no files are named");
    let common = Common::new(config, access, 1, (100, None)).expect("a broker").0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let (poller, _readiness) = Poller::new().expect("an epoll instance");
    let (egress, _) = egress::open(EgressKind::Plain, 1).expect("a way to write");
    let settings = common.config.shard_settings();
    let mut hub = Hub::new(HubParts {
        shard: Shard::new(ShardId(0), common.directory.clone(), settings),
        clock: common.clock,
        poller,
        egress,
        metrics: common.catalogue.local(),
        frame_limits: hub::frame_limits(&common.config),
        slow_write_bytes: 1_024,
        auth: AuthSessions::new(common.access.clone(), common.clock, common.catalogue.clone()),
        wake: common.wakes[0].clone(),
        lifecycle: common.lifecycle.clone(),
        may_panic: false,
        accounting: None,
    });
    let rights = Rc::new(common.access.anonymous().clone());
    let id = hub
        .shard
        .open(Codec::Json, Transport::WebSocket, rights, Micros(1));
    let subscribe = br#"{"op":"subscribe","id":1,"topics":["chat.a"]}"#;
    hub.shard
        .request(id, Codec::Json.decode_request(subscribe), Micros(1));
    let shown = |hub: &mut Hub| {
        hub.flush(Micros(2));
        let page = common.catalogue.render().expect("a page");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("tickwire_shard_queue_publications{shard=\"0\"} "));
        line.map(str::to_owned)
    };
    assert_eq!(shown(&mut hub).as_deref(), Some("0"));
    let topic: Topic = "chat.a".parse().expect("a topic");
    let payload = Payload::from_json(b"1").expect("JSON");
    let ingress = hub.shard.ingress();
    let submitted = ingress.submit(Origin::Feed, &topic, payload, Micros(2));
    assert!(submitted.is_ok(), "there is room");
    assert_eq!(shown(&mut hub).as_deref(), Some("1"));
}
