//! Access rules that change while the broker runs.

use tickwire_server::Config;
use tickwire_server::config::KeyHash;
use tickwire_server::config::Overrides;

use crate::support::TestBroker;

/// Settings with these keys, each of which may do everything.
fn keys(keys: &[&str]) -> String {
    let entry = |(at, key): (usize, &&str)| {
        let hash = KeyHash::of(key);
        format!(
            "[[auth.keys]]\nname = \"{at}\"\nsha256 = \"{hash}\"\nsubscribe = [\">\"]\npublish = [\">\"]\n"
        )
    };
    keys.iter().enumerate().map(entry).collect()
}

fn settings(file: &str) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.toml");
    std::fs::write(&path, file).expect("a file");
    Config::load(Some(&path), [], &Overrides::default()).expect("a valid configuration")
}

#[test]
fn a_key_that_is_withdrawn_ends_its_sessions_and_no_others() {
    let broker = TestBroker::publishing("", &keys(&["first", "second"]), &[]);
    let stream = |line: &str| {
        let mut client = broker.connect();
        client.write(format!("GET /v1/sse?topic=a HTTP/1.1\r\nHost: test\r\n{line}\r\n\r\n").as_bytes());
        assert_eq!(client.head().0, 200, "{line}");
        client
    };
    let mut withdrawn = stream("Authorization: Bearer first");
    let mut kept = stream("Authorization: Bearer second");
    let mut anonymous = stream("X-No-Token: 1");
    broker.reload(settings(&keys(&["second"])));
    let mut said = String::new();
    while let Some(chunk) = withdrawn.chunk() {
        said += std::str::from_utf8(&chunk).expect("text");
    }
    let close = "event: close\ndata: {\"code\":4003,\"reason\":\"the key was withdrawn\"}";
    assert!(said.contains(close), "{said}");
    // The others go on: a message that is published now reaches them.
    let publish = |key: &str| {
        let bearer = format!("Authorization: Bearer {key}");
        broker
            .connect()
            .send("POST", "/v1/topics/a", &[&bearer], "\"news\"")
            .status
    };
    assert_eq!((publish("first"), publish("second")), (401, 200));
    for client in [&mut kept, &mut anonymous] {
        let mut said = String::new();
        while !said.contains("\"data\":\"news\"") {
            let chunk = client.chunk().expect("the stream goes on");
            said += std::str::from_utf8(&chunk).expect("text");
        }
    }
}

#[test]
fn other_rules_hold_for_who_comes_later() {
    let broker = TestBroker::publishing("", &keys(&["first"]), &[]);
    assert_eq!(broker.get("/v1/topics").status, 200);
    broker.reload(settings(&format!(
        "[auth]\nrequired = true\n{}",
        keys(&["first"])
    )));
    broker.wait_until("a token is required", || broker.get("/v1/topics").status == 401);
}

/// Rights are checked when a message is published, not only when its request begins.
#[test]
fn a_body_that_ends_after_its_key_was_withdrawn_is_not_published() {
    let broker = TestBroker::publishing("", &keys(&["first", "second"]), &[]);
    let line = "{\"topic\":\"a\",\"data\":1}\n";
    let begin = |target: &str, body: &str, key: &str| {
        let mut client = broker.connect();
        let length = body.len();
        client.write(
            format!(
                "POST {target} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\
                 Expect: 100-continue\r\n\r\n"
            )
            .as_bytes(),
        );
        // From here on the request is under way.
        assert_eq!(client.head().0, 100, "{target}");
        client.write(&body.as_bytes()[..3]);
        client
    };
    let requests = [("/v1/topics/a", "\"news\""), ("/v1/publish", line)];
    let begun = |key: &str| requests.map(|(target, body)| (begin(target, body, key), body));
    let (withdrawn, kept) = (begun("first"), begun("second"));
    broker.reload(settings(&keys(&["second"])));
    let status = |client: &mut crate::support::Http| {
        client.send("POST", "/v1/publish", &["Authorization: Bearer first"], "")
    };
    broker.wait_until("the key is withdrawn on all shards", || {
        (0..8).all(|_| status(&mut broker.connect()).status == 401)
    });
    for (mut client, body) in withdrawn {
        client.write(&body.as_bytes()[3..]);
        assert_eq!(
            client.answer(false).refusal(),
            "401 unauthenticated: no such key",
            "{body}"
        );
    }
    assert_eq!(broker.get("/v1/topics/a").status, 404, "nothing was published");
    for (mut client, body) in kept {
        client.write(&body.as_bytes()[3..]);
        assert_eq!(client.answer(false).status, 200, "{body}");
    }
    // This also holds if the key only gets other rights.
    let narrowed = begun("second");
    broker.reload(settings(
        &keys(&["second"]).replace("publish = [\">\"]", "publish = [\"b\"]"),
    ));
    broker.wait_until("the rights are others on all shards", || {
        (0..8).all(|_| {
            let bearer = "Authorization: Bearer second";
            broker
                .connect()
                .send("POST", "/v1/topics/a", &[bearer], "]")
                .status
                == 403
        })
    });
    for (mut client, body) in narrowed {
        client.write(&body.as_bytes()[3..]);
        let refusal = client.answer(false).refusal();
        assert!(refusal.contains("forbidden: "), "{refusal}");
    }
    let value = broker.get("/v1/topics/a");
    assert_eq!(value.json()["seq"], 2, "{}", value.text());
}

/// A client that may publish to a wide pattern cannot fill the broker for all others.
#[test]
fn a_key_an_address_and_no_other_are_told_when_they_made_their_most_topics() {
    let file = format!("{}[limits]\ntopics_per_key = 3\n", keys(&["first", "second"]));
    let broker = TestBroker::publishing(">", &file, &[]);
    let post = |address: &str, key: Option<&str>, topic: &str| {
        let bearer = key.map(|key| format!("Authorization: Bearer {key}"));
        let lines: Vec<&str> = bearer.as_deref().into_iter().collect();
        let mut client = broker.connect_from(address);
        client.send("POST", &format!("/v1/topics/{topic}"), &lines, "1")
    };
    for (key, name) in [(Some("first"), "x"), (None, "y")] {
        for n in 0..3 {
            assert_eq!(post("127.0.0.2", key, &format!("{name}.{n}")).status, 200);
        }
        let refused = post("127.0.0.2", key, &format!("{name}.3"));
        assert_eq!(
            refused.refusal(),
            "503 limit_exceeded: whoever publishes this has made as many topics as one key, subject or address may (3); publish \
             to an existing one or raise limits.topics_per_key"
        );
        assert_eq!(
            post("127.0.0.2", key, &format!("{name}.0")).status,
            200,
            "it exists"
        );
    }
    // A key is the same from every address, and another address counts apart.
    assert_eq!(post("127.0.0.3", Some("first"), "x.3").status, 503);
    assert_eq!(post("127.0.0.3", Some("second"), "x.3").status, 200);
    assert_eq!(post("127.0.0.3", None, "y.3").status, 200);
    // A body is published as a whole or not at all.
    let lines: String = (0..3)
        .map(|n| format!("{{\"topic\":\"z.{n}\",\"data\":1}}\n"))
        .collect();
    let bearer = "Authorization: Bearer second";
    let refused = broker.connect().send("POST", "/v1/publish", &[bearer], &lines);
    assert!(
        refused.refusal().starts_with("400 limit_exceeded: line 3: "),
        "{}",
        refused.text()
    );
    assert_eq!(
        broker.get("/v1/topics?match=z.*").json()["topics"],
        serde_json::json!([])
    );
    broker.wait_for_metric("tickwire_topics", 8.0);
}

/// A refused publication makes no topic, whatever the reason; nor does a request about one.
#[test]
fn what_is_refused_or_not_found_over_http_makes_no_topic() {
    let broker = TestBroker::start();
    let requests = [
        (
            "POST",
            "/v1/topics/book.A",
            "{\"symbol\":\"A\",\"bids\":[[\"-1\",\"1\"]],\"time\":0}",
            400,
        ),
        ("POST", "/v1/topics/book.A", "{\"hello\":1}", 400),
        ("POST", "/v1/topics/a", "]", 400),
        (
            "POST",
            "/v1/publish",
            "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"book.A\",\"data\":{\"symbol\":\"A\",\"bids\":[[\"1\",\"-1\"]],\"time\":0}}",
            400,
        ),
        ("GET", "/v1/topics/a", "", 404),
        ("GET", "/v1/topics/a/history", "", 404),
    ];
    for (method, target, body, status) in requests {
        let answer = broker.connect().send(method, target, &[], body);
        assert_eq!(answer.status, status, "{target} {body}: {}", answer.text());
    }
    let long = "x".repeat(70_000);
    let answer = broker
        .connect()
        .send("POST", "/v1/topics/a", &[], &format!("\"{long}\""));
    assert_eq!(answer.status, 413);
    assert_eq!(broker.get("/v1/topics").json()["topics"], serde_json::json!([]));
    broker.publish("last", "1");
    broker.wait_for_metric("tickwire_topics", 1.0);
}
