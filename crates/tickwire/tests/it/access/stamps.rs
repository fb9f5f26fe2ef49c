//! The time of messages: only who has the right sets it, and it never goes back.

use serde_json::{Value, json};

use super::{Guarded, ask, now_s, refusal, token};
use crate::support::Socket;

/// A moment in November 2023, in microseconds.
const PAST: u64 = 1_700_000_000_000_000;

fn publish(topic: &str, ts: u64) -> Value {
    json!({"op": "publish", "id": 1, "topic": topic, "data": ts, "ts": ts})
}

/// The times of the messages in the history of `topic`.
fn times(guarded: &Guarded, bearer: &str, topic: &str) -> Vec<u64> {
    let first = format!("GET /v1/topics/{topic}/history HTTP/1.1");
    let answer = guarded.http(&first, &[bearer], "");
    let history: Value = serde_json::from_str(&answer.body).expect("JSON");
    let messages = history["messages"].as_array().expect("messages").iter();
    messages
        .map(|message| message["ts"].as_u64().expect("a time"))
        .collect()
}

#[test]
fn who_may_sets_the_time_of_messages_and_it_never_goes_back() {
    let guarded = Guarded::start("");
    let grants = json!({"subscribe": [">"], "publish": ["t.>"], "stamp": true});
    let exchange = token("exchange", 60.0, &grants);
    let bearer = format!("Authorization: Bearer {exchange}");
    let mut socket = guarded.open(&exchange);
    for ts in [PAST, PAST + 5, PAST + 3, u64::MAX] {
        assert_eq!(ask(&mut socket, &publish("t.a", ts))["op"], "ack");
    }
    let stamps = times(&guarded, &bearer, "t.a");
    assert_eq!(stamps[..3], [PAST, PAST + 5, PAST + 5], "the third would go back");
    let now = (now_s() * 1e6) as u64;
    assert!(
        stamps[3] > PAST + 5 && stamps[3] <= now,
        "no message is of a time to come: {stamps:?}"
    );
    // Lines of a body, too.
    let lines = format!(
        "{{\"topic\":\"t.b\",\"data\":1,\"ts\":{PAST}}}\n{{\"ts\":{},\"topic\":\"t.b\",\"data\":2,\"key\":\"k\"}}",
        PAST + 1
    );
    let answer = guarded.http("POST /v1/publish HTTP/1.1", &[&bearer], &lines);
    assert_eq!(answer.body, r#"{"published":2}"#);
    assert_eq!(times(&guarded, &bearer, "t.b"), [PAST, PAST + 1]);
    guarded.broker.stop();
}

#[test]
fn who_may_not_set_the_time_is_refused() {
    let guarded = Guarded::start("");
    let grants = json!({"subscribe": [">"], "publish": ["t.>"]});
    let desk = token("desk", 60.0, &grants);
    let mut socket: Socket = guarded.open(&desk);
    let answer = ask(&mut socket, &publish("t.a", PAST));
    assert_eq!(
        (&answer["op"], &answer["code"]),
        (&json!("error"), &json!("forbidden")),
        "{answer}"
    );
    let bearer = format!("Authorization: Bearer {desk}");
    let line = format!("{{\"topic\":\"t.a\",\"data\":1,\"ts\":{PAST}}}");
    let answer = guarded.http("POST /v1/publish HTTP/1.1", &[&bearer], &line);
    assert!(
        refusal(&answer).starts_with("400 forbidden: line 1: "),
        "{}",
        answer.body
    );
    guarded.broker.stop();
}
