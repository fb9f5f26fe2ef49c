//! Who may not use the admin API, and which requests it refuses.

use super::*;

/// Every method and path of the admin API.
const CALLS: [(&str, &str); 7] = [
    ("GET", "sessions"),
    ("DELETE", "sessions/0-1"),
    ("POST", "close"),
    ("GET", "revocations"),
    ("POST", "revocations"),
    ("DELETE", "revocations/1"),
    ("POST", "drain"),
];

#[test]
fn without_a_key_in_the_settings_there_is_no_admin_api() {
    let broker = Broker::start(&["--feed", "none"]);
    let bearer = format!("Authorization: Bearer {OPERATOR}");
    let unknown = ask(&broker, "GET", "/admin/v2", &[&bearer], &Value::Null);
    for (method, path) in CALLS {
        let target = format!("/admin/v1/{path}");
        let answer = ask(&broker, method, &target, &[&bearer], &Value::Null);
        assert_eq!(answer.status, 404, "{target}");
        assert_eq!(
            answer.body.replace(&target, "/admin/v2"),
            unknown.body,
            "{target}"
        );
    }
    broker.stop();
}

#[test]
fn each_call_needs_an_operators_key() {
    let served = Administered::start(&[]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let (right, wrong, client) = (bearer(OPERATOR), bearer("tw_wrong"), bearer(DESK));
    for (method, path) in CALLS {
        let target = format!("/admin/v1/{path}");
        let asked = |lines: &[&str]| ask(&served.broker, method, &target, lines, &Value::Null);
        for (lines, challenge) in [
            (&[][..], "www-authenticate: bearer\r\n"),
            (
                &[wrong.as_str()],
                "www-authenticate: bearer error=\"invalid_token\"",
            ),
            (
                &[client.as_str()],
                "www-authenticate: bearer error=\"invalid_token\"",
            ),
            (&[right.as_str(), right.as_str()], "www-authenticate: bearer"),
            (&["Authorization: Basic dHc6dHc="], "www-authenticate: bearer\r\n"),
        ] {
            let answer = asked(lines);
            assert_eq!(answer.status, 401, "{method} {target} {lines:?}: {answer:?}");
            let head = format!("{}\r\n", answer.head);
            assert!(head.contains(challenge), "{lines:?}: {head}");
        }
        // A browser that shows another site's page does nothing here, not even with the key.
        let foreign = asked(&[&right, "Origin: http://evil.example"]);
        assert_eq!(foreign.status, 403, "{method} {target}: {foreign:?}");
    }
    // Nothing of it has had an effect.
    let (mut client, _) = served.open(DESK);
    assert_eq!(
        crate::access::ask(&mut client, &json!({"op": "ping", "id": 1}))["op"],
        "pong"
    );
    // An operator's key is no client's key.
    assert_eq!(served.dial(OPERATOR).1.status, 401);
    served.broker.stop();
}

#[test]
fn other_methods_and_bodies_are_refused() {
    let served = Administered::start(&[]);
    for (path, wrong, allowed) in [
        ("sessions", "POST", "allow: get"),
        ("sessions/0-1", "GET", "allow: delete"),
        ("close", "GET", "allow: post"),
        ("revocations", "DELETE", "allow: get, post"),
        ("revocations/1", "POST", "allow: delete"),
        ("drain", "GET", "allow: post"),
    ] {
        let bearer = format!("Authorization: Bearer {OPERATOR}");
        let target = format!("/admin/v1/{path}");
        let answer = ask(&served.broker, wrong, &target, &[&bearer], &Value::Null);
        assert_eq!(answer.status, 405, "{wrong} {path}: {answer:?}");
        assert!(answer.head.contains(allowed), "{}", answer.head);
    }
    let none = Value::Null;
    for (method, path, body, status) in [
        ("POST", "close", json!({}), 400),
        ("POST", "close", json!({"everybody": true}), 400),
        ("POST", "close", none.clone(), 400),
        ("POST", "close", json!({"key": "nobody"}), 400),
        ("POST", "close", json!({"key": "x".repeat(10_000)}), 413),
        ("POST", "revocations", json!({"key": "desk", "subject": "a"}), 400),
        ("POST", "revocations", json!({"subject": "a", "until": 1}), 400),
        ("POST", "drain", json!({"now": true}), 400),
        ("GET", "sessions?address=here", none.clone(), 400),
        ("GET", "sessions?limit=1001", none.clone(), 400),
        ("GET", "sessions?after=next", none.clone(), 400),
        ("GET", "sessions?key=nobody", none.clone(), 400),
        ("GET", "revocations?after=x", none.clone(), 400),
        ("DELETE", "revocations/1", none.clone(), 404),
        ("DELETE", "revocations/x", none.clone(), 404),
        ("DELETE", "sessions/", none.clone(), 404),
        ("DELETE", "sessions/0-1/x", none, 404),
    ] {
        let (got, page) = served.admin(method, path, &body);
        assert_eq!(got, status, "{method} {path} {body}: {page}");
    }
    served.broker.stop();
}
