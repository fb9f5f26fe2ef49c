//! The matrix of grants and requests, sent through the broker: over WebSocket and HTTP the verdicts are those of the
//! list.

use serde_json::json;

use super::*;

/// A grant of the list and the requests made with it: verdict, kind of request, topic or pattern.
struct Block<'l> {
    allow: Vec<&'l str>,
    deny: Vec<&'l str>,
    cases: Vec<(bool, &'l str, &'l str)>,
}

fn blocks() -> Vec<Block<'static>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in include_str!("../../../../router/tests/rights.txt").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] | ["#", ..] => {}
            ["grant", ref words @ ..] => blocks.push(Block {
                allow: words
                    .iter()
                    .copied()
                    .filter(|word| !word.starts_with('-'))
                    .collect(),
                deny: words.iter().filter_map(|word| word.strip_prefix('-')).collect(),
                cases: Vec::new(),
            }),
            [verdict, kind, name] => {
                let block = blocks.last_mut().expect("a grant comes first");
                block.cases.push((verdict == "yes", kind, name));
            }
            _ => panic!("{line}"),
        }
    }
    blocks
}

/// The code with which the broker refuses `socket` to publish to `name` or to subscribe to it.
fn code_of(socket: &mut Socket, id: usize, kind: &str, name: &str) -> Value {
    if kind == "publish" {
        let request = json!({"op": "publish", "id": id, "topic": name, "data": {"price": "1"}});
        return ask(socket, &request)["code"].clone();
    }
    let request = json!({"op": "subscribe", "id": id, "topics": [name], "mode": "snapshot"});
    ask(socket, &request)["results"][0]["error"]["code"].clone()
}

#[test]
fn every_grant_holds_over_websocket_and_http() {
    let guarded = Guarded::start("required = true");
    let mut seen = 0;
    for (number, block) in blocks().iter().enumerate() {
        let token = token(
            &format!("holder-{number}"),
            600.0,
            &json!({
                "subscribe": block.allow, "deny_subscribe": block.deny,
                "publish": block.allow, "deny_publish": block.deny,
            }),
        );
        let mut socket = guarded.open(&token);
        let bearer = format!("Authorization: Bearer {token}");
        for (id, (allowed, kind, name)) in block.cases.iter().enumerate() {
            let code = code_of(&mut socket, id, kind, name);
            let expected = if *allowed { Value::Null } else { json!("forbidden") };
            assert_eq!(
                code, expected,
                "{kind} {name} by {:?} but {:?}",
                block.allow, block.deny
            );
            seen += 1;
        }
        for (allowed, kind, name) in block
            .cases
            .iter()
            .filter(|(_, _, name)| !name.contains(['*', '>']))
        {
            let (first, body) = match *kind {
                "publish" => (format!("POST /v1/topics/{name} HTTP/1.1"), "{\"price\":\"1\"}"),
                _ => (format!("GET /v1/topics/{name} HTTP/1.1"), ""),
            };
            let status = guarded.http(&first, &[&bearer], body).status;
            // The topic may be read but may have no message yet.
            let fine = if *allowed {
                status == 200 || status == 404
            } else {
                status == 403
            };
            assert!(
                fine,
                "{first}: {status} by {:?} but {:?}",
                block.allow, block.deny
            );
        }
        let listing = guarded.http("GET /v1/topics HTTP/1.1", &[&bearer], "");
        let listing: Value = serde_json::from_str(&listing.body).expect("a listing");
        for topic in listing["topics"].as_array().expect("topics") {
            let readable = block
                .cases
                .iter()
                .any(|(allowed, kind, name)| *allowed && *kind == "subscribe" && topic["topic"] == *name);
            assert!(
                readable,
                "{topic} is listed by {:?} but {:?}",
                block.allow, block.deny
            );
        }
    }
    assert!(seen >= 300, "{seen} cases");
}
