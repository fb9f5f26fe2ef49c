//! Rules of access that change while the broker runs.

use tickwire_server::Config;
use tickwire_server::access::KeyHash;
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
    // The others go on: what is published now reaches them.
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
