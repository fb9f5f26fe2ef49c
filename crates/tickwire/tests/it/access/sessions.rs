//! Rights during a connection: renewed, refused, expired.

use serde_json::json;

use super::*;

fn subscribe(id: u64, topics: &[&str]) -> Value {
    json!({"op": "subscribe", "id": id, "topics": topics})
}

#[test]
fn a_connection_ends_with_4003_when_its_token_does() {
    let guarded = Guarded::start_with("", &["--anonymous-publish", ">"]);
    let expires = now_s() + 1.5;
    let token =
        signed(&json!({"sub": "a", "aud": "tickwire", "exp": expires, "tickwire": {"subscribe": [">"]}}));
    let mut socket = guarded.open(&token);
    let ack = ask(&mut socket, &subscribe(1, &["chat.a"]));
    assert_eq!(ack["results"][0]["seq"], 0, "{ack}");
    // Another client publishes all the time, until the reader has seen its end.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let mut publisher = Socket::open(&guarded.broker);
    let publishing = std::thread::spawn(move || {
        let mut id = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            id += 1;
            // Each request waits for its answer, so the broker sets the pace.
            let answer = ask(
                &mut publisher,
                &json!({"op": "publish", "id": id, "topic": "chat.a", "data": id}),
            );
            assert!(
                ["ack", "error"].contains(&answer["op"].as_str().expect("an op")),
                "{answer}"
            );
            if answer["code"] == "rate_limited" {
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        }
    });
    let (messages, closed) = socket.until_closed();
    let ended = now_s();
    assert_eq!(closed, (4003, "the token has expired".to_owned()));
    assert!(ended >= expires, "{} s too early", expires - ended);
    let last = messages
        .iter()
        .rfind(|message| message["op"] == "update")
        .expect("it got messages");
    assert!(
        last["ts"].as_f64().expect("a time") <= expires * 1e6,
        "nothing from after the end: {last}"
    );
    socket.ended();
    stop.send(()).expect("the publisher waits for it");
    publishing.join().expect("the publisher goes on to the end");
    let (_socket, answer) = guarded.handshake(&[&format!("Authorization: Bearer {token}")]);
    assert_eq!(refusal(&answer), "401 token_expired: the token has expired");
}

#[test]
fn a_renewal_in_band_puts_the_end_off() {
    let guarded = Guarded::start("");
    let grants = json!({"subscribe": ["chat.>"]});
    let mut socket = guarded.open(&token("a", 1.0, &grants));
    let renewed = now_s();
    let ack = ask(&mut socket, &auth(1, &token("a", 2.5, &grants)));
    assert_eq!(ack, json!({"op": "ack", "id": 1, "results": []}));
    let (_, closed) = socket.until_closed();
    assert_eq!(closed.0, 4003);
    assert!(now_s() - renewed >= 2.4, "the first token's end passed by");
}

#[test]
fn a_renewal_replaces_the_rights() {
    let guarded = Guarded::start_with("", &["--anonymous-publish", ">"]);
    let mut socket = guarded.open(&token("a", 60.0, &json!({"subscribe": [">"]})));
    ask(&mut socket, &subscribe(1, &["chat.>", "ticker.A", "secret.x"]));
    let ack = ask(
        &mut socket,
        &auth(
            2,
            &token(
                "a",
                60.0,
                &json!({"subscribe": [">"], "deny_subscribe": ["secret.>"]}),
            ),
        ),
    );
    assert_eq!(ack["op"], "ack", "{ack}");
    let told = socket.message();
    assert_eq!(
        (&told["op"], &told["code"]),
        (&json!("error"), &json!("forbidden")),
        "{told}"
    );
    assert!(
        told["reason"]
            .as_str()
            .expect("a reason")
            .starts_with("secret.x is no longer subscribed"),
        "{told}"
    );
    let mut publisher = Socket::open(&guarded.broker);
    for topic in ["secret.x", "chat.a", "ticker.A"] {
        let answer = ask(
            &mut publisher,
            &json!({"op": "publish", "id": 1, "topic": topic, "data": 1}),
        );
        assert_eq!(answer["op"], "ack", "{answer}");
    }
    let got = [(); 3].map(|()| socket.message()["topic"].clone());
    assert_eq!(
        got,
        ["chat.a", "chat.a", "ticker.A"],
        "one joined, nothing of secret.x"
    );
    let ack = ask(&mut socket, &subscribe(3, &["secret.x", ">"]));
    for result in ack["results"].as_array().expect("results") {
        assert_eq!(result["error"]["code"], "forbidden", "{ack}");
    }
}

#[test]
fn a_token_of_someone_else_is_forbidden() {
    let guarded = Guarded::start("");
    let grants = json!({"subscribe": [">"]});
    let mut socket = guarded.open(&token("a", 60.0, &grants));
    for other in [token("b", 60.0, &grants), DESK_KEY.to_owned()] {
        let error = ask(&mut socket, &auth(1, &other));
        assert_eq!(
            (&error["op"], &error["code"]),
            (&json!("error"), &json!("forbidden")),
            "{error}"
        );
    }
    let ack = ask(&mut socket, &auth(2, &token("a", 60.0, &grants)));
    assert_eq!(ack["op"], "ack", "{ack}");
    // A client that came without a token may show one, and is then its holder.
    let mut anonymous = Socket::open(&guarded.broker);
    assert_eq!(ask(&mut anonymous, &auth(1, DESK_KEY))["op"], "ack");
    assert_eq!(
        ask(&mut anonymous, &auth(2, &token("a", 60.0, &grants)))["code"],
        "forbidden"
    );
    let published = ask(
        &mut anonymous,
        &json!({"op": "publish", "id": 3, "topic": "chat.desk", "data": 1}),
    );
    assert_eq!(published["op"], "ack", "{published}");
}

#[test]
fn tokens_that_are_not_taken_in_band() {
    let guarded = Guarded::start("");
    let mut socket = Socket::open(&guarded.broker);
    let expired = token("a", -1.0, &json!({}));
    for (token, code) in [
        ("x", "unauthenticated"),
        (&*expired, "token_expired"),
        ("a.b.c", "unauthenticated"),
        ("", "unauthenticated"),
    ] {
        let error = ask(&mut socket, &auth(1, token));
        assert_eq!(
            (&error["op"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{token}: {error}"
        );
    }
    // An accepted token starts the count again. Five refusals in a row are then too many.
    assert_eq!(ask(&mut socket, &auth(2, DESK_KEY))["op"], "ack");
    for _ in 0..5 {
        assert_eq!(ask(&mut socket, &auth(3, "guess"))["code"], "unauthenticated");
    }
    assert_eq!(
        socket.close_frame(),
        (4501, "5 tokens in a row were not taken".to_owned())
    );
    socket.ended();
}

#[test]
fn a_stream_of_events_ends_with_its_token() {
    let guarded = Guarded::start("required = true");
    let bearer = format!(
        "Authorization: Bearer {}",
        token("a", 1.0, &json!({"subscribe": ["chat.*"]}))
    );
    let mut socket = Socket::connect(&guarded.broker);
    socket.send_bytes(
        format!(
            "GET /v1/sse?topic=chat.a HTTP/1.1\r\nHost: tickwire\r\nConnection: close\r\n{bearer}\r\n\r\n"
        )
        .as_bytes(),
    );
    let text = socket.read_to_end();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let events: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(events, ["welcome", "ack", "synced", "error", "close"], "{text}");
    assert!(
        text.contains("\"code\":\"token_expired\"") && text.contains("\"code\":4003"),
        "{text}"
    );
    let refused = guarded.http(
        "GET /v1/sse?topic=ticker.a HTTP/1.1",
        &[&format!(
            "Authorization: Bearer {}",
            token("a", 9.0, &json!({"subscribe": ["chat.*"]}))
        )],
        "",
    );
    assert_eq!(
        refusal(&refused),
        "403 forbidden: this connection may not subscribe to ticker.a"
    );
}

/// Both ways of publishing over HTTP: a request whose token ends before its body does is not published.
#[test]
fn a_body_that_ends_after_its_token_is_not_published() {
    let guarded = Guarded::start("");
    let token = token("a", 1.0, &json!({"subscribe": [">"], "publish": [">"]}));
    let bearer = format!("Authorization: Bearer {token}");
    let line = "{\"topic\":\"chat.late\",\"data\":1}\n";
    let begun = [("/v1/topics/chat.late", "\"late\""), ("/v1/publish", line)].map(|(target, body)| {
        let mut socket = Socket::connect(&guarded.broker);
        let length = body.len();
        socket.send_bytes(
            format!("POST {target} HTTP/1.1\r\nHost: tickwire\r\n{bearer}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{}", &body[..3])
                .as_bytes(),
        );
        (socket, body)
    });
    poll("the token is over", || {
        let answer = guarded.http("GET /v1/topics HTTP/1.1", &[&bearer], "");
        (refusal(&answer) == "401 token_expired: the token has expired").then_some(())
    });
    for (mut socket, body) in begun {
        socket.send_bytes(&body.as_bytes()[3..]);
        let answer = socket.read_answer();
        assert_eq!(
            refusal(&answer),
            "401 token_expired: the token has expired",
            "{body}"
        );
    }
    let answer = guarded.http("GET /v1/topics/chat.late HTTP/1.1", &[], "");
    assert_eq!(answer.status, 404, "{answer:?}");
}

#[test]
fn a_welcome_tells_the_publication_rate_of_its_token() {
    let guarded = Guarded::start("");
    let limits = |token: Option<&str>| {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
        let lines: Vec<&str> = bearer.as_deref().into_iter().collect();
        let welcome = guarded.handshake(&lines).0.message();
        (
            welcome["limits"]["publishes_per_s"].clone(),
            welcome["limits"]["publishes_burst"].clone(),
        )
    };
    assert_eq!(limits(None), (json!(10_000), json!(20_000)));
    let grants = json!({"publish": ["chat.>"], "publishes_per_s": 3, "publishes_burst": 4});
    let token = token("a", 60.0, &grants);
    assert_eq!(limits(Some(&token)), (json!(3), json!(4)));
    let mut socket = guarded.open(&token);
    let publish = json!({"op": "publish", "topic": "chat.a", "data": 1}).to_string();
    for _ in 0..50 {
        socket.send(Frame::text(&publish));
    }
    let told = socket.message();
    assert_eq!(told["code"], "rate_limited", "{told}");
    let reason = told["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("more than 3 publications per second after a burst of 4; wait "),
        "{reason}"
    );
}
