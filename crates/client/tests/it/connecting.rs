//! Making connections and ending them.

use tickwire_client::{BackoffBounds, Client, ConnectError, Event, Loss, UrlError};
use tokio::io::AsyncWriteExt;

use crate::peer::{Broker, handshake_answer, header, message, next, update, within};

/// The error of a client whose handshake gets the answer that `answer` makes of the request's head.
async fn refused_with(answer: impl Fn(&str) -> String) -> ConnectError {
    let broker = Broker::start().await;
    let serve = async {
        let (mut stream, head) = broker.accept_raw().await;
        stream
            .write_all(answer(&head).as_bytes())
            .await
            .expect("a reader");
        stream.shutdown().await.expect("an open socket");
    };
    let (result, ()) = within(async { tokio::join!(broker.client().connect(), serve) }).await;
    result.expect_err("no handshake")
}

#[tokio::test]
async fn the_handshake_says_what_it_must() {
    let broker = Broker::start().await;
    let settings = broker.client().header("Authorization", "Bearer abc");
    let connect = tokio::spawn(settings.connect());
    let (_stream, head) = broker.accept_raw().await;
    connect.abort();
    assert!(head.starts_with("GET /v1/ws HTTP/1.1\r\n"), "{head}");
    assert!(broker.url.contains(header(&head, "Host")), "{head}");
    for (name, value) in [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "tickwire.v1.json"),
        ("Authorization", "Bearer abc"),
    ] {
        assert_eq!(header(&head, name), value, "{head}");
    }
}

#[tokio::test]
async fn http_refusals_keep_status_and_body() {
    let busy = |_: &str| "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nfull".to_owned();
    let error = refused_with(busy).await;
    assert!(error.is_retryable());
    let ConnectError::Refused {
        status: 503,
        body,
        retry_after_s: Some(7),
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(body, "full");
    let error = refused_with(|_| "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    assert!(
        !error.is_retryable() && matches!(error, ConnectError::Refused { status: 401, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn answers_that_are_no_handshake() {
    let error = refused_with(|head| handshake_answer(head).replace("Accept: ", "Accept: x")).await;
    assert!(matches!(error, ConnectError::BadHandshake { .. }), "{error}");
    let error = refused_with(|_| "220 mail.example ESMTP\r\n\r\n".to_owned()).await;
    assert!(matches!(error, ConnectError::BadHandshake { .. }), "{error}");
    let error = refused_with(handshake_answer).await;
    assert!(
        matches!(
            error,
            ConnectError::Lost {
                loss: Loss::Broke(_),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_during_the_handshake_is_tried_again() {
    for answer in ["", "HTTP/1.1 101 Switching Pro"] {
        let error = refused_with(|_| answer.to_owned()).await;
        assert!(
            error.is_retryable() && matches!(error, ConnectError::Lost { .. }),
            "{answer:?}: {error}"
        );
    }
}

#[tokio::test]
async fn the_first_message_must_be_the_welcome() {
    let broker = Broker::start().await;
    let serve = async {
        let mut peer = broker.accept().await;
        peer.say(update("a", 1)).await;
        peer
    };
    let (result, _peer) = within(async { tokio::join!(broker.client().connect(), serve) }).await;
    let error = result.expect_err("no welcome");
    assert!(
        error.to_string().ends_with("its first message is no welcome"),
        "{error}"
    );
}

#[tokio::test]
async fn a_broker_that_does_not_welcome_times_out() {
    let broker = Broker::start().await;
    let settings = broker.client().connect_timeout_ms(20);
    let error = within(settings.connect()).await.expect_err("no answer");
    assert!(
        matches!(error, ConnectError::TimedOut { after_ms: 20, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let url = Broker::start().await.url;
    let error = within(Client::builder(url).connect()).await.expect_err("nobody");
    assert!(
        error.is_retryable() && matches!(error, ConnectError::Unreachable { .. }),
        "{error}"
    );
    let error = within(Client::builder("http://localhost/").connect())
        .await
        .expect_err("no WebSocket");
    assert!(
        matches!(error, ConnectError::Url(UrlError::UnsupportedScheme { .. })),
        "{error}"
    );
    let settings = Client::builder("ws://localhost/").header("a b", "c");
    let error = within(settings.connect()).await.expect_err("no header");
    assert_eq!(
        error.to_string(),
        "header \"a b\" has a name or value that HTTP does not allow"
    );
}

#[tokio::test]
async fn attempts_go_on_while_it_makes_sense() {
    let broker = Broker::start().await;
    let (_client, mut events, mut peer) = broker.connect(broker.client()).await;
    peer.close(1001).await;
    assert!(matches!(
        next(&mut events).await,
        Event::Disconnected {
            retry_in: Some(_),
            ..
        }
    ));
    for (status, goes_on) in [(503, true), (429, true), (403, false)] {
        let (mut stream, _) = broker.accept_raw().await;
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("a reader");
        let event = next(&mut events).await;
        let Event::ConnectFailed { retry_in, error } = event else {
            panic!("{event:?}");
        };
        assert_eq!(retry_in.is_some(), goes_on, "{error}");
    }
    assert!(within(events.next()).await.is_none(), "403 is final");
}

/// If the client reconnected and resumed, the broker would send the same message again.
#[tokio::test]
async fn a_message_that_cannot_be_read_ends_the_client_and_not_only_its_connections() {
    let broker = Broker::start().await;
    let (_client, mut events, mut peer) = broker.connect(broker.client()).await;
    for goes_on in [true, true, false] {
        let mut unreadable = update("trade.A", 1);
        unreadable["seq"] = "one".into();
        peer.say(unreadable).await;
        let event = next(&mut events).await;
        let Event::Disconnected {
            loss: loss @ Loss::Protocol(_),
            retry_in,
        } = event
        else {
            panic!("{event:?}");
        };
        assert!(loss.to_string().contains("integer"), "{loss}");
        assert_eq!(retry_in.is_some(), goes_on, "{loss}");
        if goes_on {
            peer = broker.welcome().await;
            assert!(matches!(next(&mut events).await, Event::Connected { .. }));
            message(&mut events, "welcome").await;
        }
    }
    assert!(within(events.next()).await.is_none(), "it has ended");
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let broker = Broker::start().await;
    let (client, mut events, mut peer) = broker.connect(broker.client()).await;
    drop(client.clone());
    peer.say(serde_json::json!({"op": "heartbeat", "ts": 1})).await;
    message(&mut events, "heartbeat").await;
    drop(client);
    assert_eq!(peer.hear_close().await, 1000);
    assert!(within(events.next()).await.is_none());
}

#[tokio::test]
async fn close_waits_until_the_connection_is_closed() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client()).await;
    within(client.close()).await;
    assert_eq!(peer.hear_close().await, 1000);
}

#[tokio::test]
async fn the_first_connection_tries_each_url() {
    let (gone, broker) = (Broker::start().await, Broker::start().await);
    let (first, settings) = (gone.url.clone(), gone.client().or_url(&broker.url));
    drop(gone);
    let (client, ..) = broker.connect(settings).await;
    client.close().await;
    let second = broker.url.clone();
    drop(broker);
    let failed = within(Client::builder(&first).or_url(&second).connect()).await;
    let error = failed.expect_err("nobody is there").to_string();
    assert!(error.contains(&first) || error.contains(&second), "{error}");
}

#[tokio::test]
async fn a_broker_that_refuses_the_first_connection_is_not_the_last_one() {
    let (refusing, broker) = (Broker::start().await, Broker::start().await);
    let refusing_url = refusing.url.clone();
    let refuse = tokio::spawn(async move {
        loop {
            let (mut stream, _) = refusing.accept_raw().await;
            let answer = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("a reader");
        }
    });
    let settings = Client::builder(refusing_url).or_url(&broker.url);
    for _ in 0..8 {
        let (client, ..) = broker.connect(settings.clone()).await;
        client.close().await;
    }
    refuse.abort();
}

#[tokio::test]
async fn a_url_that_is_named_twice_is_one_broker() {
    let broker = Broker::start().await;
    let authority = broker.url.trim_end_matches("/v1/ws").to_owned();
    let settings = broker
        .client()
        .or_url(&broker.url)
        .or_url(format!("{authority}/#a"));
    let settings = settings.backoff(BackoffBounds {
        first_ms: 3_600_000,
        max_ms: 3_600_000,
    });
    let (client, mut events, mut peer) = broker.connect(settings).await;
    peer.close(1001).await;
    let event = next(&mut events).await;
    let Event::Disconnected { retry_in, .. } = event else {
        panic!("{event:?}");
    };
    assert!(
        retry_in.is_some_and(|wait| !wait.is_zero()),
        "it waits: {retry_in:?}"
    );
    client.close().await;
}

#[tokio::test]
async fn a_url_among_several_that_is_none_is_named() {
    let builder = Client::builder("ws://localhost/").or_url("localhost:7400");
    let error = within(builder.connect()).await.expect_err("no URL");
    assert!(error.to_string().contains("localhost:7400"), "{error}");
    let builder = Client::builder("ws://localhost/").or_url("wss://other/");
    let error = within(builder.ca_file("ca.pem").connect())
        .await
        .expect_err("one is not encrypted");
    assert!(
        error.to_string().contains("ws://localhost/"),
        "certificates are for all of them: {error}"
    );
}
