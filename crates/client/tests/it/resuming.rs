//! Subscriptions whose connections end, and broken promises that are reported.

use serde_json::json;
use tickwire_client::promise::BrokenPromise;
use tickwire_client::{Event, Events, Loss, RequestError, Subscription};
use tickwire_wire::message::Position;
use tickwire_wire::{CloseCode, Mode, Seq};

use crate::peer::{Broker, ack, joined, message, next, snapshot, update, welcome_with, within};

#[tokio::test]
async fn a_topic_resumes_where_a_cut_frame_left_it() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let (results, _) =
        within(async { tokio::join!(client.subscribe(Subscription::to(["trade.A"])), peer.grant(57)) }).await;
    assert_eq!(results.expect("an ack")[0].seq, Some(Seq(57)));
    peer.say(snapshot("trade.A", 57)).await;
    peer.say(update("trade.A", 58)).await;
    peer.cut_mid_frame().await;

    let mut peer = broker.welcome().await;
    let request = peer.grant(60).await;
    assert_eq!(
        request["topics"],
        json!([{"topic": "trade.A", "since": {"epoch": "k", "seq": 58}}])
    );
    for seq in 59..=61 {
        peer.say(update("trade.A", seq)).await;
    }

    message(&mut events, "ack").await;
    assert_eq!(message(&mut events, "snapshot").await["seq"], 57);
    assert_eq!(message(&mut events, "update").await["seq"], 58);
    let lost = next(&mut events).await;
    let Event::Disconnected {
        loss: Loss::Broke(_),
        retry_in: Some(_),
    } = lost
    else {
        panic!("{lost:?}");
    };
    assert!(matches!(
        next(&mut events).await,
        Event::Connected { reconnects: 1, .. }
    ));
    message(&mut events, "welcome").await;
    message(&mut events, "ack").await;
    let restored = next(&mut events).await;
    assert!(
        matches!(
            restored,
            Event::Restored {
                resumed: 1,
                not_resumed: 0,
                ..
            }
        ),
        "{restored:?}"
    );
    for seq in 59..=61 {
        assert_eq!(message(&mut events, "update").await["seq"], seq);
    }
}

/// An ack of a pattern that resumed topics, with its counts. The pattern is the only result.
fn resumed(request: &serde_json::Value, resumed: usize, not_resumed: usize) -> serde_json::Value {
    let topic = &request["topics"][0]["topic"];
    let result = json!({"topic": topic, "matched": resumed + not_resumed, "mode": "every", "resumed": resumed,
        "not_resumed": not_resumed});
    ack(request, &json!([result]))
}

/// The next event that is not a message of the broker.
async fn told(events: &mut Events) -> Event {
    loop {
        match next(events).await {
            Event::Message(_) => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn a_pattern_resumes_every_topic_that_it_brought() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let trades = Subscription::to(["trade.*"]).mode(Mode::Every);
    let (results, _) = within(async { tokio::join!(client.subscribe(trades), peer.grant(0)) }).await;
    assert_eq!(results.expect("an ack")[0].matched, Some(1));
    peer.say(snapshot("trade.A", 7)).await;
    // The topic appears later: only `joined` tells its epoch.
    peer.say(joined("trade.late", "z", 0)).await;
    peer.say(update("trade.late", 1)).await;
    peer.close(4002).await;

    let mut peer = broker.welcome().await;
    let request = peer.hear("subscribe").await;
    let since = json!([{"epoch": "k", "seqs": {"trade.A": 7}}, {"epoch": "z", "seqs": {"trade.late": 1}}]);
    assert_eq!(request["topics"], json!([{"topic": "trade.*", "since": since}]));
    assert_eq!(request["mode"], "every");
    peer.say(resumed(&request, 2, 0)).await;
    peer.say(update("trade.A", 8)).await;
    peer.say(update("trade.late", 2)).await;
    peer.say(json!({"op": "synced", "id": request["id"]})).await;

    assert!(matches!(told(&mut events).await, Event::Disconnected { .. }));
    assert!(matches!(told(&mut events).await, Event::Connected { .. }));
    let restored = told(&mut events).await;
    let Event::Restored {
        topic,
        resumed: 2,
        not_resumed: 0,
    } = restored
    else {
        panic!("{restored:?}");
    };
    assert_eq!(topic, "trade.*");
    assert_eq!(message(&mut events, "update").await["seq"], 8);
    assert_eq!(message(&mut events, "update").await["seq"], 2);
    message(&mut events, "synced").await;
    let synced = next(&mut events).await;
    assert!(
        matches!(&synced, Event::Synced { topics } if *topics == ["trade.*"]),
        "{synced:?}"
    );
}

#[tokio::test]
async fn positions_that_do_not_fit_in_the_request_go_ahead_of_it() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker
        .connect_told(broker.client(), welcome_with(15_000, 1_024))
        .await;
    let (results, _) =
        within(async { tokio::join!(client.subscribe(Subscription::to(["trade.*"])), peer.grant(0)) }).await;
    results.expect("an ack");
    for n in 0..100 {
        peer.say(snapshot(&format!("trade.{n:03}"), n + 1)).await;
    }
    peer.close(4002).await;

    let mut peer = broker.accept().await;
    peer.say(welcome_with(15_000, 1_024)).await;
    let mut given = 0;
    let request = loop {
        let frame = peer.hear_frame().await;
        assert!(frame.payload.len() <= 1_024, "{} bytes", frame.payload.len());
        let request: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
        if request["op"] == "subscribe" {
            break request;
        }
        assert_eq!(request["op"], "positions");
        given += request["since"][0]["seqs"]
            .as_object()
            .expect("numbers by topic")
            .len();
        peer.say(ack(&request, &json!([]))).await;
    };
    assert_eq!((given, &request["topics"]), (100, &json!(["trade.*"])));
    let result =
        json!({"topic": "trade.*", "matched": 100, "mode": "every", "resumed": 100, "not_resumed": 0});
    peer.say(ack(&request, &json!([result]))).await;
    loop {
        match next(&mut events).await {
            Event::Restored { resumed, .. } => break assert_eq!(resumed, 100),
            Event::Broken(broken) => panic!("{broken}"),
            _ => {}
        }
    }
}

/// A broker keeps positions only as long as the connection on which they were sent.
#[tokio::test]
async fn positions_that_went_ahead_go_again_where_their_request_goes() {
    let broker = Broker::start().await;
    let mut slow = welcome_with(15_000, 512);
    // The first message goes at once. The others wait for longer than the connection lasts.
    slow["limits"]["ops_per_s"] = json!(1);
    slow["limits"]["ops_burst"] = json!(1);
    let (client, _events, mut peer) = broker.connect_told(broker.client(), slow).await;
    let topics: Vec<String> = (0..20).map(|n| format!("trade.{n:02}")).collect();
    let at = Position {
        epoch: "k".into(),
        seq: Seq(7),
    };
    let positions = topics.iter().map(|topic| (topic.clone(), at.clone()));
    let trades = Subscription::to(Vec::<String>::new()).resume_each("trade.*", positions);
    let subscribing = tokio::spawn(async move { client.subscribe(trades).await });
    let first = peer.hear("positions").await;
    peer.close(4002).await;

    let mut peer = broker.accept().await;
    peer.say(welcome_with(15_000, 512)).await;
    let mut given = Vec::new();
    let request = loop {
        let frame = peer.hear_frame().await;
        let request: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
        if request["op"] != "positions" {
            break request;
        }
        let seqs = request["since"][0]["seqs"].as_object().expect("a map");
        given.extend(seqs.keys().cloned());
        peer.say(ack(&request, &json!([]))).await;
    };
    assert_eq!(request["topics"], json!(["trade.*"]));
    given.sort();
    assert_eq!(given, topics, "the first were {}", first["since"]);
    let result = json!({"topic": "trade.*", "matched": 20, "mode": "every", "resumed": 20, "not_resumed": 0});
    peer.say(ack(&request, &json!([result]))).await;
    let results = within(subscribing).await.expect("no panic").expect("an ack");
    assert_eq!(results[0].resumed, Some(20));
}

/// Positions that the broker holds for the next subscribe must not be taken by the subscribe of another pattern.
#[tokio::test]
async fn positions_that_are_with_the_broker_have_their_request_follow_though_its_user_gave_up() {
    let broker = Broker::start().await;
    let mut slow = welcome_with(15_000, 512);
    slow["limits"]["ops_per_s"] = json!(4);
    slow["limits"]["ops_burst"] = json!(1);
    let (client, _events, mut peer) = broker.connect_told(broker.client(), slow).await;
    let at = Position {
        epoch: "k".into(),
        seq: Seq(7),
    };
    let positions = (0..36).map(|n| (format!("trade.{n:02}"), at.clone()));
    let trades = Subscription::to(Vec::<String>::new()).resume_each("trade.*", positions);
    let subscribing = within(client.begin_subscribe(trades))
        .await
        .expect("there is room");
    peer.hear("positions").await;
    drop(subscribing);
    let other = client.begin_subscribe(Subscription::to([">"])).await;
    let mut asked = Vec::new();
    while asked.last() != Some(&json!([">"])) {
        let request = peer.hear_frame().await;
        let request: serde_json::Value = serde_json::from_slice(&request.payload).expect("JSON");
        if request["op"] == "subscribe" {
            asked.push(request["topics"].clone());
        }
    }
    assert_eq!(asked, [json!(["trade.*"]), json!([">"])]);
    drop(other);
}

#[tokio::test]
async fn what_a_pattern_missed_is_told() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let trades = Subscription::to(["trade.*"]).mode(Mode::Every);
    let (results, _) = within(async { tokio::join!(client.subscribe(trades), peer.grant(0)) }).await;
    results.expect("an ack");
    for topic in ["trade.A", "trade.B", "trade.C", "trade.D"] {
        peer.say(snapshot(topic, 7)).await;
    }
    peer.close(4000).await;

    let mut peer = broker.welcome().await;
    let request = peer.hear("subscribe").await;
    peer.say(resumed(&request, 1, 3)).await;
    // No gap names what is missing where a snapshot comes instead.
    peer.say(snapshot("trade.A", 12)).await;
    let gap = json!({"op": "gap", "topic": "trade.B", "epoch": "k", "from": 8, "to": 9, "reason": "history"});
    peer.say(gap).await;
    peer.say(update("trade.B", 10)).await;
    peer.say(snapshot("trade.C", 8)).await;
    peer.say(update("trade.D", 8)).await;
    peer.say(json!({"op": "synced", "id": request["id"]})).await;

    let mut unresumed = Vec::new();
    loop {
        match next(&mut events).await {
            Event::Unresumed { topic, last, now } => unresumed.push((topic, last.seq, now)),
            Event::Broken(broken) => panic!("{broken}"),
            Event::Synced { .. } => break,
            _ => {}
        }
    }
    assert_eq!(unresumed, [("trade.A".to_owned(), Seq(7), Seq(12))]);
}

#[tokio::test]
async fn of_conflated_topics_nothing_is_told_to_be_missed() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let subscribe = async {
        let request = peer.hear("subscribe").await;
        let modes = json!({"state": "conflate", "event": "every"});
        peer.say(ack(
            &request,
            &json!([{"topic": ">", "matched": 1, "modes": modes}]),
        ))
        .await;
    };
    let (results, ()) =
        within(async { tokio::join!(client.subscribe(Subscription::to([">"])), subscribe) }).await;
    results.expect("an ack");
    peer.say(snapshot("ticker.A", 7)).await;
    peer.close(4000).await;

    let mut peer = broker.welcome().await;
    let request = peer.hear("subscribe").await;
    peer.say(resumed(&request, 0, 1)).await;
    peer.say(snapshot("ticker.A", 700)).await;
    peer.say(json!({"op": "synced", "id": request["id"]})).await;
    loop {
        match told(&mut events).await {
            Event::Synced { .. } => break,
            Event::Disconnected { .. } | Event::Connected { .. } | Event::Restored { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn positions_that_are_refused_leave_nothing_untold() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker
        .connect_told(broker.client(), welcome_with(15_000, 400))
        .await;
    let trades = Subscription::to(["trade.*"]).mode(Mode::Every);
    let (results, _) = within(async { tokio::join!(client.subscribe(trades), peer.grant(0)) }).await;
    results.expect("an ack");
    for n in 0..6 {
        peer.say(snapshot(&format!("trade.{n}"), 7)).await;
    }
    peer.close(4002).await;

    let mut peer = broker.accept().await;
    peer.say(welcome_with(15_000, 400)).await;
    let mut given = Vec::new();
    let request = loop {
        let frame = peer.hear_frame().await;
        let request: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
        if request["op"] == "subscribe" {
            break request;
        }
        let seqs = request["since"][0]["seqs"].as_object().expect("numbers by topic");
        given.extend(seqs.keys().cloned());
        let refusal = json!({"op": "error", "id": request["id"], "code": "limit_exceeded", "reason": "no"});
        peer.say(refusal).await;
    };
    assert_eq!(given.len(), 6);
    let result = json!({"topic": "trade.*", "matched": 6, "mode": "every", "resumed": 0, "not_resumed": 6});
    peer.say(ack(&request, &json!([result]))).await;
    for topic in &given {
        peer.say(snapshot(topic, 12)).await;
    }
    peer.say(json!({"op": "synced", "id": request["id"]})).await;
    let mut unresumed = Vec::new();
    loop {
        match next(&mut events).await {
            Event::Unresumed {
                topic, now: Seq(12), ..
            } => unresumed.push(topic),
            Event::Broken(broken) => panic!("{broken}"),
            Event::Synced { .. } => break,
            _ => {}
        }
    }
    assert_eq!(unresumed, given);
}

#[tokio::test]
async fn a_subscription_tells_when_all_that_it_begins_with_has_come() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let subscribing = client.begin_subscribe(Subscription::to(["trade.*", "no"]));
    let (subscribing, request) = within(async { tokio::join!(subscribing, peer.hear("subscribe")) }).await;
    let mut subscribing = subscribing.expect("room");
    let refusal = json!({"code": "forbidden", "reason": "no"});
    let results =
        json!([{"topic": "trade.*", "matched": 1, "mode": "every"}, {"topic": "no", "error": refusal}]);
    peer.say(ack(&request, &results)).await;
    assert_eq!(within(subscribing.ack()).await.expect("an ack").len(), 2);
    peer.say(snapshot("trade.A", 7)).await;
    message(&mut events, "ack").await;
    message(&mut events, "snapshot").await;
    assert!(events.next_now().is_none());
    peer.say(json!({"op": "synced", "id": request["id"]})).await;
    assert_eq!(within(subscribing.synced()).await, Ok(()));
    message(&mut events, "synced").await;
    let synced = next(&mut events).await;
    assert!(
        matches!(&synced, Event::Synced { topics } if *topics == ["trade.*"]),
        "what was granted: {synced:?}"
    );

    // A request that waits when the connection is lost is told so. Its subscription is restored all the same.
    let subscribing = client.begin_subscribe(Subscription::to(["b"]));
    let (subscribing, _) = within(async { tokio::join!(subscribing, peer.grant(7)) }).await;
    peer.close(4002).await;
    let waiting = subscribing.expect("room").synced();
    assert_eq!(within(waiting).await, Err(RequestError::Disconnected));
}

#[tokio::test]
async fn refused_restores_are_retried_or_told() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let (results, _) =
        within(async { tokio::join!(client.subscribe(Subscription::to(["a", "b", "c"])), peer.grant(0)) })
            .await;
    results.expect("an ack");
    peer.close(1012).await;

    let mut peer = broker.welcome().await;
    let request = peer.hear("subscribe").await;
    let error = |code: &str| json!({"code": code, "reason": "no"});
    let results = json!([
        {"topic": "a", "error": error("rate_limited")},
        {"topic": "b", "error": error("forbidden")},
        {"topic": "c", "epoch": "k", "seq": 0, "mode": "every", "recovered": true},
    ]);
    peer.say(ack(&request, &results)).await;
    loop {
        if let Event::SubscriptionLost { topic, refusal } = next(&mut events).await {
            assert_eq!(
                (topic.as_str(), refusal.to_string().as_str()),
                ("b", "forbidden: no")
            );
            break;
        }
    }
    let again = peer.grant(0).await;
    assert_eq!(
        again["topics"],
        json!([{"topic": "a", "since": {"epoch": "k", "seq": 0}}])
    );
}

#[tokio::test]
async fn a_drain_is_left_when_it_says_so() {
    let broker = Broker::start().await;
    let (_client, mut events, mut peer) = broker.connect(broker.client()).await;
    peer.say(json!({"op": "drain", "reconnect_after_ms": 1, "deadline_ms": 60_000}))
        .await;
    message(&mut events, "drain").await;
    let left = next(&mut events).await;
    assert!(
        matches!(
            left,
            Event::Disconnected {
                loss: Loss::Drained,
                retry_in: Some(_)
            }
        ),
        "{left:?}"
    );
    assert_eq!(peer.hear_close().await, CloseCode::GOING_AWAY.0);
    let _peer = broker.welcome().await;
    assert!(matches!(
        next(&mut events).await,
        Event::Connected { reconnects: 1, .. }
    ));
}

#[tokio::test]
async fn a_broker_that_closes_a_drain_early_is_not_rushed() {
    let broker = Broker::start().await;
    let (_client, mut events, mut peer) = broker.connect(broker.client()).await;
    peer.say(json!({"op": "drain", "reconnect_after_ms": 3_000_000, "deadline_ms": 60_000}))
        .await;
    peer.close(4000).await;
    message(&mut events, "drain").await;
    let Event::Disconnected {
        retry_in: Some(wait), ..
    } = next(&mut events).await
    else {
        panic!("4000 says to reconnect");
    };
    assert!(
        wait.as_secs() > 2_000,
        "the drain's time and not the shorter bounds: {wait:?}"
    );
}

#[tokio::test]
async fn a_silent_broker_is_given_up() {
    let broker = Broker::start().await;
    let settings = broker.client().quiet_margin_ms(10);
    let (connected, mut peer) = within(async {
        tokio::join!(settings.connect(), async {
            let mut peer = broker.accept().await;
            peer.say(welcome_with(20, 65_536)).await;
            peer
        })
    })
    .await;
    let (_client, mut events) = connected.expect("a welcome");
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    message(&mut events, "welcome").await;
    let lost = next(&mut events).await;
    assert!(
        matches!(
            lost,
            Event::Disconnected {
                loss: Loss::Silent { after_ms: 50 },
                ..
            }
        ),
        "{lost:?}"
    );
    assert_eq!(peer.hear_close().await, CloseCode::GOING_AWAY.0);
    let _peer = broker.welcome().await;
    assert!(matches!(
        next(&mut events).await,
        Event::Connected { reconnects: 1, .. }
    ));
}

#[tokio::test]
async fn a_final_close_code_stops_the_client() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    peer.close(4501).await;
    let Event::Disconnected { loss, retry_in: None } = next(&mut events).await else {
        panic!("4501 says not to reconnect");
    };
    assert_eq!(loss.close_code(), Some(CloseCode::BAD_TOKEN));
    assert!(within(events.next()).await.is_none(), "nothing follows");
    assert_eq!(within(client.ping()).await, Err(RequestError::Closed));
    assert_eq!(
        peer.hear_close().await,
        4501,
        "RFC 6455 §5.5.1: the close is answered"
    );
}

#[tokio::test]
async fn a_broken_promise_surfaces_before_its_message() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let (results, _) =
        within(async { tokio::join!(client.subscribe(Subscription::to(["trade.A"])), peer.grant(57)) }).await;
    results.expect("an ack");
    peer.say(update("trade.A", 60)).await;
    message(&mut events, "ack").await;
    let Event::Broken(broken) = next(&mut events).await else {
        panic!("58 and 59 are missing");
    };
    let expected = BrokenPromise::Hole {
        topic: "trade.A".to_owned(),
        expected: Seq(58),
        got: Seq(60),
    };
    assert_eq!(broken, expected);
    assert_eq!(message(&mut events, "update").await["seq"], 60);
}
