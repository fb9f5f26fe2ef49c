//! SIGHUP: a broker takes new settings, or refuses all of them.

use std::path::PathBuf;

use serde_json::json;

use crate::support::{Broker, Frame, Opcode, Socket, get, poll};

/// A broker with a settings file that can be changed.
struct Changing {
    broker: Broker,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Changing {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tickwire.toml");
        std::fs::write(&file, text).expect("a file can be written");
        let path = file.to_str().expect("a path is text");
        let broker = Broker::start(&["--feed", "none", "--config", path]);
        Self {
            broker,
            file,
            _folder: folder,
        }
    }

    /// Writes `text` to the file, sends SIGHUP and waits until `count` reloads had this `result`.
    fn reload(&self, text: &str, result: &str, count: f64) {
        std::fs::write(&self.file, text).expect("a file can be written");
        self.broker.signal("HUP");
        let series = format!("tickwire_config_reloads_total{{result=\"{result}\"}}");
        self.broker.wait_for_metric(&series, |reloads| reloads >= count);
    }
}

fn subscribe(socket: &mut Socket, id: u64, topic: &str) -> serde_json::Value {
    let request = json!({"op": "subscribe", "id": id, "topics": [topic]}).to_string();
    socket.send(Frame::text(&request));
    socket.message()["results"][0].clone()
}

/// Waits until the welcome of a new connection tells the limit `wanted`.
fn wait_for_limit(broker: &Broker, wanted: u64) {
    poll("the welcome tells of the other limit", || {
        let mut socket = Socket::dial(broker);
        let welcome = socket.message();
        socket.send(Frame::new(Opcode::Close, &[]));
        (welcome["limits"]["subscriptions"] == wanted).then_some(())
    });
}

#[test]
fn other_limits_hold_for_those_who_are_there_too() {
    let changing = Changing::start("[limits]\nsubscriptions = 2");
    let broker = &changing.broker;
    let mut socket = Socket::open(broker);
    assert_eq!(subscribe(&mut socket, 1, "a.1")["mode"], "every");
    assert_eq!(subscribe(&mut socket, 2, "a.2")["mode"], "every");
    assert_eq!(
        subscribe(&mut socket, 3, "a.3")["error"]["code"],
        "limit_exceeded"
    );
    changing.reload("[limits]\nsubscriptions = 3", "ok", 1.0);
    wait_for_limit(broker, 3);
    assert_eq!(subscribe(&mut socket, 4, "a.3")["mode"], "every");
    assert_eq!(
        subscribe(&mut socket, 5, "a.4")["error"]["code"],
        "limit_exceeded"
    );
    let loaded = broker.metric("tickwire_config_last_success_timestamp_seconds");
    assert!(loaded.is_some_and(|at| at > 1_700_000_000.0), "{loaded:?}");
}

/// Not even the valid settings of the file apply.
#[test]
fn a_bad_file_is_refused_whole() {
    let changing = Changing::start("[limits]\nsubscriptions = 2");
    let broker = &changing.broker;
    let faults = [
        ("[limits]\nsubscriptions = 3\nstall_ms = 1", "limits.stall_ms = 1"),
        ("[limits]\nsubscriptions = 3\nsubs = 1", "limits.subs"),
        ("[limits]\nsubscriptions = ", "is not TOML"),
    ];
    for (count, (text, named)) in faults.into_iter().enumerate() {
        changing.reload(text, "refused", count as f64 + 1.0);
        broker.wait_for_log(named);
        wait_for_limit(broker, 2);
    }
    std::fs::remove_file(&changing.file).expect("the file is there");
    broker.signal("HUP");
    broker.wait_for_log("cannot read the configuration file");
    wait_for_limit(broker, 2);
    assert_eq!(
        broker.metric("tickwire_config_reloads_total{result=\"ok\"}"),
        Some(0.0)
    );
    // A valid file is accepted afterwards.
    changing.reload("[limits]\nsubscriptions = 3", "ok", 1.0);
    wait_for_limit(broker, 3);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_holds() {
    let changing = Changing::start("shards = 1\n[limits]\nsubscriptions = 2");
    let broker = &changing.broker;
    changing.reload("shards = 2\n[limits]\nsubscriptions = 3", "ok", 1.0);
    broker.wait_for_log("\"key\":\"shards\"");
    wait_for_limit(broker, 3);
    assert!(broker.metric("tickwire_sessions{shard=\"0\"}").is_some());
    assert_eq!(broker.metric("tickwire_sessions{shard=\"1\"}"), None);
}

#[test]
fn kinds_are_those_of_topics_that_come_later() {
    let changing = Changing::start("anonymous_publish = [\"a.>\"]");
    let broker = &changing.broker;
    let mut socket = Socket::open(broker);
    let publish = |socket: &mut Socket, topic: &str| {
        let request = json!({"op": "publish", "id": 1, "topic": topic, "data": 1}).to_string();
        socket.send(Frame::text(&request));
        assert_eq!(socket.message()["results"][0]["seq"], 1);
    };
    publish(&mut socket, "a.old");
    let rules = "anonymous_publish = [\"a.>\"]\n[limits]\nsubscriptions = 7\n[[kinds]]\npattern = \"a.>\"\nkind = \"state\"";
    changing.reload(rules, "ok", 1.0);
    wait_for_limit(broker, 7);
    publish(&mut socket, "a.new");
    let kind = |topic: &str| {
        let page = get(broker.listen, &format!("/v1/topics?match={topic}")).body;
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        page["topics"][0]["kind"].clone()
    };
    assert_eq!(kind("a.old"), "event");
    assert_eq!(kind("a.new"), "state");
    // The right to publish is checked again at each request.
    changing.reload("[limits]\nsubscriptions = 8", "ok", 2.0);
    wait_for_limit(broker, 8);
    let request = json!({"op": "publish", "id": 2, "topic": "a.new", "data": 1}).to_string();
    socket.send(Frame::text(&request));
    let answer = socket.message();
    assert_eq!(answer["code"], "forbidden", "{answer}");
}

#[test]
fn the_log_says_more_when_it_is_told_to() {
    let changing = Changing::start("[log]\nlevel = \"info\"");
    changing.reload("[log]\nlevel = \"debug\"", "ok", 1.0);
    // At that level, a connection that breaks off is logged.
    poll("a line at level debug", || {
        let mut socket = Socket::connect(&changing.broker);
        socket.send_bytes(b"nonsense\r\n\r\n");
        socket.shut();
        changing.broker.has_log("\"level\":\"DEBUG\"").then_some(())
    });
}

#[test]
fn flags_stay_stronger_than_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickwire.toml");
    std::fs::write(&file, "anonymous_publish = [\"a.>\"]").expect("a file can be written");
    let path = file.to_str().expect("a path is text");
    let broker = Broker::start(&["--feed", "none", "--config", path, "--anonymous-publish", "b.>"]);
    broker.signal("HUP");
    let series = "tickwire_config_reloads_total{result=\"ok\"}";
    broker.wait_for_metric(series, |reloads| reloads >= 1.0);
    let mut socket = Socket::open(&broker);
    let request = json!({"op": "publish", "id": 1, "topic": "a.x", "data": 1}).to_string();
    socket.send(Frame::text(&request));
    assert_eq!(socket.message()["code"], "forbidden");
    broker.stop();
}

/// A static key, and the setting that accepts it.
fn key(folder: &str) -> (String, String) {
    let key = format!("tw_{folder}_0123456789abcdef0123456789abcdef");
    let hash = crate::program::run(&["hash-key"], &key).stdout;
    (
        key,
        format!("[[auth.keys]]\nname = \"{folder}\"\n{hash}subscribe = [\">\"]\n"),
    )
}

#[test]
fn keys_origins_and_the_files_of_keys_are_taken_or_refused_with_the_rest() {
    let (old, old_entry) = key("old");
    let (new, new_entry) = key("new");
    let changing = Changing::start(&format!("[auth]\nrequired = true\n{old_entry}"));
    let broker = &changing.broker;
    let status = |lines: &[&str]| {
        let lines: Vec<&str> = crate::handshake::GOOD.iter().chain(lines).copied().collect();
        Socket::request(broker, crate::handshake::GET, &lines).1.status
    };
    let (old, new) = (
        format!("Authorization: Bearer {old}"),
        format!("Authorization: Bearer {new}"),
    );
    let lines: Vec<&str> = crate::handshake::GOOD.iter().copied().chain([&*old]).collect();
    let (mut holder, answer) = Socket::request(broker, crate::handshake::GET, &lines);
    assert_eq!(answer.status, 101);
    assert_eq!(holder.message()["op"], "welcome");
    assert_eq!((status(&[&new]), status(&[])), (401, 401));
    // A key file is missing: none of the settings applies.
    let bad = format!(
        "[auth]\nallowed_origins = [\"https://a.example\"]\n{new_entry}\
         [auth.jwt]\nalgorithms = [\"EdDSA\"]\npublic_key_files = [\"/nowhere/key.pem\"]\n"
    );
    changing.reload(&bad, "refused", 1.0);
    broker.wait_for_log("/nowhere/key.pem");
    assert_eq!((status(&[&new]), status(&[&old])), (401, 101));
    // Removing a key ends the connection of its holder.
    let good = format!("[auth]\nrequired = true\nallowed_origins = [\"https://a.example\"]\n{new_entry}");
    changing.reload(&good, "ok", 1.0);
    assert_eq!(holder.close_frame().0, 4003);
    assert_eq!((status(&[&new]), status(&[&old])), (101, 401));
    let origin = |name: &'static str| status(&[&new, name]);
    assert_eq!(
        (
            origin("Origin: https://a.example"),
            origin("Origin: https://b.example")
        ),
        (101, 403)
    );
}

/// Rights that an operator takes from a key are taken from its connections, too.
#[test]
fn other_rights_of_a_key_hold_for_those_who_are_there() {
    let (key, entry) = key("desk");
    let rules = |denied: &str| format!("anonymous_publish = [\"a.>\"]\n{entry}deny_subscribe = [{denied}]\n");
    let changing = Changing::start(&rules(""));
    let broker = &changing.broker;
    let bearer = format!("Authorization: Bearer {key}");
    let lines: Vec<&str> = crate::handshake::GOOD.iter().copied().chain([&*bearer]).collect();
    let (mut holder, answer) = Socket::request(broker, crate::handshake::GET, &lines);
    assert_eq!(answer.status, 101);
    assert_eq!(holder.message()["op"], "welcome");
    for (id, topic) in [(1, "a.kept"), (2, "a.lost")] {
        assert_eq!(subscribe(&mut holder, id, topic)["mode"], "every");
    }
    changing.reload(&rules("\"a.lost\""), "ok", 1.0);
    let error = holder.message();
    assert_eq!(error["code"], "forbidden", "{error}");
    let reason = error["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("a.lost is no longer subscribed"), "{reason}");
    // Two messages are published. Only the one that the holder may still have comes.
    let mut publisher = Socket::open(broker);
    for (id, topic) in [(1, "a.lost"), (2, "a.kept")] {
        let request = json!({"op": "publish", "id": id, "topic": topic, "data": 1}).to_string();
        publisher.send(Frame::text(&request));
        assert_eq!(publisher.message()["op"], "ack");
    }
    let update = holder.message();
    assert_eq!(
        (&update["op"], &update["topic"]),
        (&json!("update"), &json!("a.kept"))
    );
    assert_eq!(subscribe(&mut holder, 3, "a.lost")["error"]["code"], "forbidden");
    // The right is given back.
    changing.reload(&rules(""), "ok", 2.0);
    poll("the right is back", || {
        (subscribe(&mut holder, 4, "a.lost")["mode"] == "every").then_some(())
    });
}

#[test]
fn a_certificate_that_cannot_be_used_has_the_settings_refused() {
    let authority = crate::support::Authority::new();
    authority.issue("one");
    authority.issue("two");
    let text = |cert: &str, key: &str, subscriptions: u32| {
        let (cert, key) = (authority.file(cert), authority.file(key));
        format!(
            "[limits]\nsubscriptions = {subscriptions}\n[tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n"
        )
    };
    let changing = Changing::start(&text("one.pem", "one.key", 2));
    let broker = &changing.broker;
    let welcome = || {
        let mut socket = Socket::secure(broker, authority.client()).expect("they trust each other");
        let shown = socket.certificate();
        let answer = socket.ask(crate::handshake::GET, &crate::handshake::GOOD);
        assert_eq!(answer.status, 101);
        (socket.message()["limits"]["subscriptions"].clone(), shown)
    };
    let (limit, first) = welcome();
    assert_eq!(limit, 2);
    changing.reload(&text("two.pem", "one.key", 3), "refused", 1.0);
    assert_eq!(welcome(), (json!(2), first.clone()));
    changing.reload(&text("two.pem", "two.key", 3), "ok", 1.0);
    let (limit, second) = welcome();
    assert_eq!(limit, 3);
    assert_ne!(first, second);
}
