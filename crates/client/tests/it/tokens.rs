//! Tokens at the handshake, and which token the next handshake shows.

use serde_json::json;
use tickwire_client::{ConnectError, Subscription};

use crate::peer::{Broker, ack, header, welcome, within};

#[tokio::test]
async fn the_newest_token_is_shown_at_the_next_handshake() {
    let broker = Broker::start().await;
    let (client, _events, mut peer) = broker.connect(broker.client().token("first")).await;
    let serve = async {
        let request = peer.hear("auth").await;
        peer.say(ack(&request, &json!([]))).await;
        peer.grant(0).await;
    };
    let requests = async {
        client.auth("second").await.expect("an ack");
        client.subscribe(Subscription::to(["a"])).await.expect("an ack");
    };
    within(async { tokio::join!(requests, serve) }).await;
    peer.close(4003).await;
    let (stream, head) = broker.accept_raw().await;
    assert_eq!(header(&head, "Authorization"), "Bearer second");
    // The next handshake shows it as well, and no `auth` request repeats it.
    drop(stream);
    let (mut peer, head) = broker.accept_with_head().await;
    assert_eq!(header(&head, "Authorization"), "Bearer second");
    peer.say(welcome()).await;
    peer.hear("subscribe").await;
}

#[tokio::test]
async fn a_file_is_read_again_for_each_connection() {
    let broker = Broker::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").expect("a file");
    let (_client, _events, mut peer) = broker.connect(broker.client().token_file(&path)).await;
    // Windows programs write the byte order mark and CR LF.
    std::fs::write(&path, "\u{feff}second\r\n").expect("a file");
    peer.close(4003).await;
    let (_stream, head) = broker.accept_raw().await;
    assert_eq!(header(&head, "Authorization"), "Bearer second");
}

#[tokio::test]
async fn tokens_that_cannot_be_shown() {
    let broker = Broker::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let missing = broker.client().token_file(folder.path().join("none"));
    let error = within(missing.connect()).await.expect_err("there is no file");
    assert!(matches!(error, ConnectError::TokenUnreadable { .. }) && !error.is_retryable());
    for token in ["", "two words", "line\nbreak", "t\u{f6}ken"] {
        let error = within(broker.client().token(token).connect())
            .await
            .expect_err(token);
        assert!(matches!(error, ConnectError::BadToken), "{token:?}: {error}");
        assert!(token.is_empty() || !error.to_string().contains(token));
    }
    let settings = format!("{:?}", broker.client().token("t0ken"));
    assert!(!settings.contains("t0ken"), "{settings}");
}
