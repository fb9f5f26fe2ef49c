//! Requests and their answers, and what the client does by itself on a connection.

use std::time::{SystemTime, UNIX_EPOCH};

use fastwebsockets::{Frame, OpCode, Payload as FramePayload};
use serde_json::{Value, json};
use tickwire_client::{Event, RequestError, Subscription};
use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::{Codec, Epoch, ErrorCode, Micros, Payload, Seq};

use crate::peer::{Broker, ack, message, next, update, welcome_with, within};

fn payload(text: &str) -> Payload {
    Payload::from_json(text.as_bytes()).expect("JSON")
}

#[tokio::test]
async fn publishes_are_answered_in_order_though_pipelined() {
    let broker = Broker::start().await;
    let (client, events, mut peer) = broker.connect(broker.client()).await;
    // Nobody takes the events, but the answers come.
    drop(events);
    let publish = async {
        let mut waiting = Vec::new();
        for n in 0..100 {
            waiting.push(
                client
                    .begin_publish("chat.a", payload(&n.to_string()))
                    .await
                    .expect("room"),
            );
        }
        let mut seqs = Vec::new();
        for mut publishing in waiting {
            seqs.push(publishing.ack().await.expect("an ack").seq.0);
        }
        seqs
    };
    let serve = async {
        for n in 0..100 {
            let request = peer.hear("publish").await;
            assert_eq!(
                (&request["topic"], &request["data"]),
                (&json!("chat.a"), &json!(n))
            );
            peer.say(ack(
                &request,
                &json!([{"topic": "chat.a", "epoch": "k", "seq": n + 1}]),
            ))
            .await;
        }
    };
    let (seqs, ()) = within(async { tokio::join!(publish, serve) }).await;
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn refusals_reach_their_requests() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client()).await;
    let serve = async {
        let first = peer.hear("publish").await;
        let second = peer.hear("publish").await;
        let third = peer.hear("publish").await;
        peer.say(ack(&third, &json!([{"topic": "a"}]))).await;
        let refusal = json!({"op": "error", "id": first["id"], "code": "forbidden", "reason": "no", "retryable": false});
        peer.say(refusal).await;
        let error = json!({"code": "bad_topic", "reason": "empty"});
        peer.say(ack(&second, &json!([{"topic": "a", "error": error}])))
            .await;
    };
    let requests = async {
        let begun = [
            client.begin_publish("a", payload("1")).await,
            client.begin_publish("a", payload("2")).await,
            client.begin_publish("a", payload("3")).await,
        ];
        let mut found = Vec::new();
        for publishing in begun {
            found.push(publishing.expect("room").ack().await.expect_err("refused"));
        }
        found
    };
    let (found, ()) = within(async { tokio::join!(requests, serve) }).await;
    let codes: Vec<_> = found
        .iter()
        .map(|error| match error {
            RequestError::Refused(refusal) => Some(refusal.code),
            _ => None,
        })
        .collect();
    assert_eq!(
        codes,
        [Some(ErrorCode::Forbidden), Some(ErrorCode::BadTopic), None]
    );
    assert_eq!(found[2], RequestError::BadAnswer("the message's epoch and seq"));
}

#[tokio::test]
async fn a_request_over_the_limit_is_not_sent() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker
        .connect_told(broker.client(), welcome_with(15_000, 100))
        .await;
    let long = format!("{:?}", "x".repeat(100));
    let error = within(client.publish("a", payload(&long)))
        .await
        .expect_err("too long");
    assert!(
        matches!(error, RequestError::TooLarge { max: 100, .. }),
        "{error}"
    );
    let (_, request) =
        within(async { tokio::join!(client.begin_publish("a", payload("1")), peer.hear("publish")) }).await;
    assert_eq!(
        request["data"], 1,
        "the next one is the first that the broker hears"
    );
}

#[tokio::test]
async fn a_lost_connection_fails_what_was_sent_and_keeps_what_was_not() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let mut sent = client.begin_publish("a", payload("1")).await.expect("room");
    peer.hear("publish").await;
    peer.close(4002).await;
    assert_eq!(within(sent.ack()).await, Err(RequestError::Disconnected));
    assert!(matches!(next(&mut events).await, Event::Disconnected { .. }));

    let mut waiting = client.begin_publish("a", payload("2")).await.expect("room");
    let mut peer = broker.welcome().await;
    let request = peer.hear("publish").await;
    assert_eq!(request["data"], 2, "1 is not sent twice");
    peer.say(ack(&request, &json!([{"topic": "a", "epoch": "k", "seq": 5}])))
        .await;
    assert_eq!(within(waiting.ack()).await.expect("an ack").seq, Seq(5));
}

#[tokio::test]
async fn an_answer_that_never_comes_times_out() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client().request_timeout_ms(20)).await;
    let (result, _) = within(async { tokio::join!(client.ping(), peer.hear("ping")) }).await;
    assert_eq!(result, Err(RequestError::TimedOut { after_ms: 20 }));
}

/// The time by the system's clock, in microseconds since 1970.
fn wall_us() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(wall.as_micros()).expect("before the year 500000")
}

#[tokio::test]
async fn a_ping_tells_how_the_clocks_stand() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client()).await;
    // The broker's clock is in another century. An older broker does not say when it read the ping.
    let at = 4_000_000_000_000_000_u64;
    for (received, took) in [(json!(at - 700), 700), (Value::Null, 0)] {
        let before = wall_us();
        let serve = async {
            let request = peer.hear("ping").await;
            let mut pong = json!({"op": "pong", "id": request["id"], "ts": at});
            if !received.is_null() {
                pong["received"] = received.clone();
            }
            peer.say(pong).await;
        };
        let (clocks, ()) = within(async { tokio::join!(client.ping(), serve) }).await;
        let after = wall_us();
        let clocks = clocks.expect("a pong");
        assert_eq!(clocks.broker, Micros(at));
        // The local time lies between ping and pong, within half of the time that the broker says it took.
        let local = clocks.local(Micros(at)).0;
        assert!(
            before <= local && local <= after + took,
            "{before} {local} {after}"
        );
        assert!(clocks.round_trip_us <= after - before, "{clocks:?}");
    }
}

#[tokio::test]
async fn a_token_is_shown_again_before_the_subscriptions() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client()).await;
    let serve = async {
        let request = peer.hear("auth").await;
        peer.say(ack(&request, &json!([]))).await;
        peer.grant(0).await;
    };
    let requests = async {
        client.auth("t0ken").await.expect("an ack");
        client.subscribe(Subscription::to(["a"])).await.expect("an ack");
    };
    within(async { tokio::join!(requests, serve) }).await;
    peer.close(4003).await;
    let mut peer = broker.welcome().await;
    assert_eq!(peer.hear("auth").await["token"], "t0ken");
    peer.hear("subscribe").await;
}

#[tokio::test]
async fn pings_are_answered_and_fragments_put_together() {
    let broker = Broker::start().await;
    let (_client, mut events, mut peer) = broker.connect(broker.client()).await;
    let text = br#"{"op":"heartbeat","ts":1}"#;
    let part = |fin, opcode, bytes: &[u8]| Frame::new(fin, opcode, None, FramePayload::Owned(bytes.to_vec()));
    peer.frame(part(false, OpCode::Text, &text[..5])).await;
    peer.frame(part(true, OpCode::Ping, b"are you there")).await;
    peer.frame(part(false, OpCode::Continuation, &text[5..9])).await;
    peer.frame(part(true, OpCode::Continuation, &text[9..])).await;
    let pong = peer.hear_frame().await;
    assert_eq!(
        (pong.opcode, &*pong.payload),
        (OpCode::Pong, &b"are you there"[..])
    );
    message(&mut events, "heartbeat").await;
}

#[tokio::test]
async fn nothing_is_dropped_when_the_user_is_slow() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client().events_max(1)).await;
    let (results, _) =
        within(async { tokio::join!(client.subscribe(Subscription::to(["a"])), peer.grant(0)) }).await;
    results.expect("an ack");
    let send = async {
        for seq in 1..=5_000 {
            peer.say(update("a", seq)).await;
        }
    };
    let take = async {
        message(&mut events, "ack").await;
        for seq in 1..=5_000 {
            assert_eq!(message(&mut events, "update").await["seq"], seq);
        }
    };
    within(async { tokio::join!(send, take) }).await;
}

#[tokio::test]
async fn a_user_who_does_not_listen_can_still_unsubscribe() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client().events_max(1)).await;
    for _ in 0..200 {
        peer.say(json!({"op": "heartbeat", "ts": 1})).await;
    }
    let unsubscribe = tokio::spawn(async move { client.unsubscribe(["a"]).await });
    peer.hear("unsubscribe").await;
    unsubscribe.abort();
}

#[tokio::test]
async fn messagepack_carries_the_same() {
    let broker = Broker::start().await;
    let settings = broker.client().codec(Codec::MessagePack);
    let binary = |fill: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        fill(&mut bytes);
        Frame::binary(FramePayload::Owned(bytes))
    };
    let welcome: tickwire_wire::Control = serde_json::from_value(crate::peer::welcome()).expect("a welcome");
    let (connected, mut peer) = within(async {
        tokio::join!(settings.connect(), async {
            let mut peer = broker.accept().await;
            peer.frame(binary(&|out| Codec::MessagePack.encode_control(&welcome, out)))
                .await;
            peer
        })
    })
    .await;
    let (client, mut events) = connected.expect("a welcome");
    let begun = client
        .begin_publish("a", payload("[1,null]"))
        .await
        .expect("room");
    let frame = peer.hear_frame().await;
    assert_eq!(frame.opcode, OpCode::Binary);
    let request = Codec::MessagePack
        .decode_request(&frame.payload)
        .expect("a request");
    let tickwire_wire::ClientMessage::Publish {
        id: Some(_),
        topic,
        data,
        ..
    } = request
    else {
        panic!("{request:?}");
    };
    let mut json = Vec::new();
    data.write_json(&mut json);
    assert_eq!((topic.as_str(), &*json), ("a", &b"[1,null]"[..]));
    drop(begun);

    let (epoch, data) = (Epoch::from("k"), payload("{\"n\":7}"));
    let stamp = Stamp {
        topic: "a",
        epoch: &epoch,
        seq: Seq(7),
        ts: Micros(1),
    };
    peer.frame(binary(&|out| {
        Codec::MessagePack.encode_data(DataOp::Snapshot, stamp, &data, out);
    }))
    .await;
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    message(&mut events, "welcome").await;
    assert!(
        matches!(next(&mut events).await, Event::Broken(_)),
        "nobody subscribed to it"
    );
    assert_eq!(message(&mut events, "snapshot").await["seq"], 7);
}
