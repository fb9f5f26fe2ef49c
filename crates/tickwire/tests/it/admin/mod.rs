//! The admin API as operators see it: who may use it, what it closes, and what it keeps away.

mod refusals;
mod revoking;
mod tools;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::{Guarded, signed};
use crate::program::run;
use crate::support::{Answer, Broker, Socket};

/// The key of an operator.
pub(crate) const OPERATOR: &str = "tw_night-shift-of-the-tests-0123456789";
/// The static key of a client, which is called desk.
const DESK: &str = "tw_desk-of-the-tests-0123456789abcdef";

/// The lines of a configuration that make [`OPERATOR`] the key of `night-shift`.
pub(crate) fn operator_lines() -> String {
    format!(
        "[[admin.keys]]\nname = \"night-shift\"\n{}",
        run(&["hash-key"], OPERATOR).stdout
    )
}

/// A broker on two shards with an admin API, and with the static keys desk and other.
struct Administered {
    broker: Broker,
    _folder: TempDir,
}

impl Administered {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = |name: &str, key: &str| {
            let hash = run(&["hash-key"], key).stdout;
            format!("[[auth.keys]]\nname = \"{name}\"\n{hash}subscribe = [\">\"]\npublish = [\">\"]\n")
        };
        let file = [
            key("desk", DESK),
            key("other", OTHER),
            operator_lines(),
            "[limits]\nfirst_request_ms = 300000\n".to_owned(),
        ];
        let path = folder.path().join("tickwire.toml");
        std::fs::write(&path, file.concat()).expect("a file");
        let path = path.display().to_string();
        let args = [
            &["--feed", "none", "--shards", "2", "--anonymous-publish", ">"],
            &["--config", &path][..],
            args,
        ];
        Self {
            broker: Broker::start(&args.concat()),
            _folder: folder,
        }
    }

    /// Opens a connection that shows `token`, without waiting for its welcome.
    fn dial(&self, token: &str) -> (Socket, Answer) {
        let bearer = format!("Authorization: Bearer {token}");
        let lines = [&crate::handshake::GOOD[..], &[&bearer]].concat();
        Socket::request(&self.broker, crate::handshake::GET, &lines)
    }

    /// Opens a connection that shows `token`. Returns it with its session's name.
    fn open(&self, token: &str) -> (Socket, String) {
        let (mut socket, answer) = self.dial(token);
        assert_eq!(answer.status, 101, "{answer:?}");
        let session = socket.message()["session"].as_str().expect("a name").to_owned();
        (socket, session)
    }

    /// The answer of the admin API to a request of the operator.
    fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        admin(&self.broker, method, path, body)
    }

    /// The sessions that a query selects.
    fn sessions(&self, query: &str) -> Vec<String> {
        let (status, page) = self.admin("GET", &format!("sessions?limit=1000&{query}"), &Value::Null);
        assert_eq!(status, 200, "{page}");
        let listed = page["sessions"].as_array().expect("a list").iter();
        listed
            .map(|session| session["session"].as_str().expect("a name").to_owned())
            .collect()
    }
}

/// The static key of another client.
const OTHER: &str = "tw_other-of-the-tests-0123456789abcdef";

/// The answer of a broker's admin API to a request of the operator. A body of `null` is none.
pub(crate) fn admin(broker: &Broker, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let bearer = format!("Authorization: Bearer {OPERATOR}");
    let answer = ask(broker, method, &format!("/admin/v1/{path}"), &[&bearer], body);
    let page = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"));
    (answer.status, page)
}

/// The answer of the operators' listener to a request with these lines.
fn ask(broker: &Broker, method: &str, target: &str, lines: &[&str], body: &Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let head = [
        &[
            &format!("{method} {target} HTTP/1.1"),
            &format!("Host: {}", broker.ops),
            &format!("Content-Length: {}", body.len()),
            "Connection: close",
        ],
        lines,
    ];
    let mut socket = Socket::to(broker.ops);
    socket.send_bytes(format!("{}\r\n\r\n{body}", head.concat().join("\r\n")).as_bytes());
    socket.read_answer()
}

#[test]
fn sessions_are_listed_by_every_condition_and_page_by_page() {
    let served = Administered::start(&[]);
    let (mut desk, desk_name) = served.open(DESK);
    let (_other, other_name) = served.open(OTHER);
    let mut anonymous = Socket::dial(&served.broker);
    let anonymous_name = anonymous.message()["session"]
        .as_str()
        .expect("a name")
        .to_owned();
    crate::access::ask(
        &mut desk,
        &json!({"op": "subscribe", "id": 1, "topics": ["ticker.*"]}),
    );

    let mut all = vec![desk_name.clone(), other_name.clone(), anonymous_name];
    let by_number = |name: &String| {
        let (shard, number) = name.split_once('-').expect("two parts");
        (shard.to_owned(), u32::from_str_radix(number, 16).expect("digits"))
    };
    all.sort_by_key(by_number);
    assert_eq!(served.sessions(""), all);
    assert_eq!(served.sessions("address=127.0.0.0/8"), all);
    assert_eq!(served.sessions("address=192.0.2.1"), [""; 0]);
    assert_eq!(served.sessions("key=desk"), [desk_name.as_str()]);
    assert_eq!(
        served.sessions("key=other&address=127.0.0.1"),
        [other_name.as_str()]
    );
    assert_eq!(served.sessions("key=other&topic=ticker.A"), [""; 0]);
    assert_eq!(served.sessions("topic=ticker.A"), [desk_name.as_str()]);
    assert_eq!(served.sessions("topic=trade.A"), [""; 0]);
    assert_eq!(served.sessions("subject=desk"), [""; 0]);

    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let (status, page) = served.admin("GET", &format!("sessions?limit=2{after}"), &Value::Null);
        assert_eq!(status, 200, "{page}");
        let names = page["sessions"].as_array().expect("a list").iter();
        paged.extend(names.map(|session| session["session"].as_str().expect("a name").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);

    let (_, page) = served.admin("GET", "sessions?key=desk", &Value::Null);
    let row = json!({
        "session": desk_name, "address": desk.local_addr().to_string(), "key": "desk", "subject": null, "jti": null,
        "transport": "websocket", "codec": "json", "state": "live", "subscriptions": 0,
    });
    assert_eq!(page["sessions"], json!([row]));
    served.broker.stop();
}

#[test]
fn sessions_are_closed_by_name_and_by_condition_with_a_reason() {
    let served = Administered::start(&[]);
    let (mut one, name) = served.open(DESK);
    let (mut two, _) = served.open(DESK);
    let (mut three, _) = served.open(OTHER);
    let path = format!("sessions/{name}");
    assert_eq!(
        served.admin("DELETE", &path, &Value::Null),
        (200, json!({"closed": 1}))
    );
    assert_eq!(one.close_frame(), (1001, "closed by an operator".to_owned()));
    assert_eq!(served.admin("DELETE", &path, &Value::Null).0, 404, "it is closed");
    for unknown in ["9-1", "0-zz", "nothing"] {
        let answer = served.admin("DELETE", &format!("sessions/{unknown}"), &Value::Null);
        assert_eq!(answer.0, 404, "{unknown}");
    }
    let body = json!({"key": "desk", "reason": "the desk moves"});
    assert_eq!(served.admin("POST", "close", &body), (200, json!({"closed": 1})));
    assert_eq!(two.close_frame(), (1001, "the desk moves".to_owned()));
    // The client may come back: nothing is revoked.
    let (mut again, _) = served.open(DESK);
    assert_eq!(
        served.admin("POST", "close", &json!({"address": "127.0.0.1", "topic": "t"})),
        (200, json!({"closed": 0}))
    );
    assert_eq!(
        served.admin("POST", "close", &json!({"address": "127.0.0.0/8"})),
        (200, json!({"closed": 2}))
    );
    for socket in [&mut again, &mut three] {
        assert_eq!(socket.close_frame().0, 1001);
    }
    served
        .broker
        .wait_for_metric("tickwire_sessions_closed_by_operators_total", |count| {
            count == 4.0
        });
    served.broker.stop();
}

#[test]
fn a_broker_that_an_operator_drains_stops_as_by_a_signal() {
    let served = Administered::start(&[]);
    let (mut client, _) = served.open(DESK);
    assert_eq!(
        served.admin("POST", "drain", &json!({})),
        (202, json!({"draining": true}))
    );
    assert_eq!(client.message()["op"], "drain");
    assert_eq!(client.close_frame().0, 4000);
    drop(client);
    served.broker.wait_stopped();
}

#[test]
fn audit_lines_say_who_did_what_and_no_secret() {
    let served = Administered::start(&[]);
    let (_client, _) = served.open(DESK);
    served.admin("POST", "revocations", &json!({"key": "desk"}));
    served.admin("POST", "close", &json!({"key": DESK}));
    let bearer = format!("Authorization: Bearer {DESK}");
    let refused = ask(
        &served.broker,
        "POST",
        "/admin/v1/drain",
        &[&bearer],
        &Value::Null,
    );
    assert_eq!(refused.status, 401);
    served.broker.wait_for_log("POST /admin/v1/drain");
    let log = served.broker.logged();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["target"] == "tickwire_audit")
        .collect();
    let shown = lines.iter().map(|line| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        assert!(text("from").starts_with("127.0.0.1:"), "{line}");
        let [by, call, what, outcome] = ["by", "call", "what", "outcome"].map(text);
        format!("{by}|{call}|{what}|{}|{outcome}", line["status"])
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "night-shift|POST /admin/v1/revocations|key=\"desk\"|200|revoked as id 1, closed 1",
            "night-shift|POST /admin/v1/close||400|key must be the name of a static key in auth.keys",
            "|POST /admin/v1/drain||401|no such key",
        ]
    );
    for secret in [OPERATOR, DESK] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    served.broker.stop();
}

/// A broker with an admin API that accepts JSON Web Tokens.
fn guarded() -> Guarded {
    Guarded::start_under(&operator_lines(), "", &["--shards", "2"])
}

/// A token of `subject` with this `jti`, for everything.
fn token(subject: &str, jti: &str) -> String {
    signed(&json!({
        "sub": subject, "jti": jti, "aud": "tickwire", "exp": crate::access::now_s() + 600.0,
        "tickwire": {"subscribe": [">"], "publish": [">"]},
    }))
}
