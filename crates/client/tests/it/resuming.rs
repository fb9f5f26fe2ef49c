//! What becomes of subscriptions when connections end, and that broken promises surface.

use serde_json::json;
use tickwire_client::promise::BrokenPromise;
use tickwire_client::{Event, Loss, Subscription};
use tickwire_wire::{CloseCode, Mode, Seq};

use crate::peer::{Broker, ack, message, next, snapshot, update, welcome_with, within};

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
    for seq in 59..=61 {
        assert_eq!(message(&mut events, "update").await["seq"], seq);
    }
}

#[tokio::test]
async fn topics_of_a_pattern_resume_one_by_one_before_it() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let trades = Subscription::to(["trade.*"]).mode(Mode::Every);
    let (results, _) = within(async { tokio::join!(client.subscribe(trades), peer.grant(0)) }).await;
    assert_eq!(results.expect("an ack")[0].matched, Some(1));
    peer.say(snapshot("trade.A", 7)).await;
    peer.close(4002).await;

    let mut peer = broker.welcome().await;
    let first = peer.grant(9).await;
    assert_eq!(
        first["topics"],
        json!([{"topic": "trade.A", "since": {"epoch": "k", "seq": 7}}])
    );
    assert_eq!(first["mode"], "every");
    let second = peer.grant(0).await;
    assert_eq!(second["topics"], json!(["trade.*"]));
    peer.say(update("trade.A", 8)).await;

    // The extra subscription ends with its pattern.
    let unsubscribe = async {
        let request = peer.hear("unsubscribe").await;
        assert_eq!(request["topics"], json!(["trade.*", "trade.A"]));
        peer.say(ack(
            &request,
            &json!([{"topic": "trade.*"}, {"topic": "trade.A"}]),
        ))
        .await;
    };
    let (results, ()) = within(async { tokio::join!(client.unsubscribe(["trade.*"]), unsubscribe) }).await;
    assert_eq!(
        results.expect("an ack").len(),
        1,
        "the user sees what the user named"
    );
    let mut ops = Vec::new();
    for _ in 0..8 {
        ops.push(match next(&mut events).await {
            Event::Message(message) => format!("{message:?}").chars().take(10).collect(),
            Event::Disconnected { loss, .. } => loss.to_string(),
            Event::Connected { .. } => "connected".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    assert!(
        ops.contains(&"closed by the broker with code 4002 (told to)".to_owned()),
        "{ops:?}"
    );
}

#[tokio::test]
async fn what_a_pattern_missed_is_told() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    let trades = Subscription::to(["trade.*"]).mode(Mode::Every);
    let (results, _) = within(async { tokio::join!(client.subscribe(trades), peer.grant(0)) }).await;
    results.expect("an ack");
    peer.say(snapshot("trade.A", 7)).await;
    peer.close(4000).await;

    let mut peer = broker.welcome().await;
    let request = peer.hear("subscribe").await;
    let refusal = json!({"code": "limit_exceeded", "reason": "too many"});
    peer.say(ack(&request, &json!([{"topic": "trade.A", "error": refusal}])))
        .await;
    peer.grant(0).await;
    peer.say(snapshot("trade.A", 12)).await;

    loop {
        match next(&mut events).await {
            Event::Unresumed { topic, last, now } => {
                assert_eq!((topic.as_str(), last.seq, now), ("trade.A", Seq(7), Seq(12)));
                break;
            }
            Event::Broken(broken) => panic!("{broken}"),
            _ => {}
        }
    }
    assert_eq!(message(&mut events, "snapshot").await["seq"], 12);
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
    assert_eq!(
        within(client.ping()).await,
        Err(tickwire_client::RequestError::Closed)
    );
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
