//! HTTP and server-sent events, as curl sees them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, Broker, Client, Codec, Script, Tool};

const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", "chat.>"];

/// The answer that curl prints for `url`, with further `args`.
fn curl(curl: &Path, url: &str, args: &[&str]) -> Answer {
    // "Expect: 100-continue" would bring a second head. Bodies are small here.
    let output = Command::new(curl)
        .args(["-sS", "-i", "-H", "Expect:", "--max-time", "60"])
        .args(args)
        .arg(url)
        .output()
        .expect("curl starts");
    assert!(
        output.status.success(),
        "{url}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Answer::of(&String::from_utf8(output.stdout).expect("an answer is text"))
}

impl Answer {
    /// The body as JSON. The status must be `status`.
    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.head.contains("\r\ncontent-type: application/json\r\n"),
            "{self:?}"
        );
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header. Its name is in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .next()
    }
}

#[test]
fn curl_publishes_and_reads_values_histories_and_listings() {
    let Some(program) = Tool::Curl.find("curl_publishes_and_reads") else {
        return;
    };
    let broker = Broker::start(&OPEN);
    let call = |path: &str, args: &[&str]| curl(&program, &broker.http(path), args);
    let post = |path: &str, body: &str| call(path, &["--data-binary", body]);

    let unknown = call("/v1/topics/chat.a", &[]).json(404);
    assert!(unknown["error"]["reason"].is_string(), "{unknown}");
    assert_eq!(call("/v1/topics", &[]).json(200)["topics"], json!([]));

    let receipt = post("/v1/topics/chat.a", r#"{"text": "one"}"#).json(200);
    assert_eq!(
        (&receipt["topic"], &receipt["seq"]),
        (&json!("chat.a"), &json!(1))
    );
    let epoch = receipt["epoch"].as_str().expect("an epoch is text");
    let lines = "{\"topic\":\"chat.a\",\"data\":\"two\"}\n{\"topic\":\"chat.b\",\"data\":[3]}\n";
    assert_eq!(post("/v1/publish", lines).json(200), json!({"published": 2}));

    let answer = call("/v1/topics/chat.a", &[]);
    let value = answer.json(200);
    assert_eq!(
        (
            &value["op"],
            &value["topic"],
            &value["epoch"],
            &value["seq"],
            &value["data"]
        ),
        (
            &json!("snapshot"),
            &json!("chat.a"),
            &json!(epoch),
            &json!(2),
            &json!("two")
        )
    );
    let tag = format!("\"{epoch}:2\"");
    assert_eq!(answer.header("etag"), Some(tag.as_str()));
    let if_none_match = format!("If-None-Match: \"other\", {tag}");
    let same = call("/v1/topics/chat.a", &["-H", &if_none_match]);
    assert_eq!((same.status, same.body.as_str()), (304, ""), "{same:?}");
    post("/v1/topics/chat.a", "3");
    assert_eq!(
        call("/v1/topics/chat.a", &["-H", &if_none_match]).json(200)["data"],
        3
    );
    let head = call("/v1/topics/chat.a", &["--head"]);
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");

    reads_histories(&call);

    let listing = call("/v1/topics?match=chat.*", &[]).json(200);
    let listed = |topic: &str, seq: u64| json!({"topic": topic, "kind": "event", "epoch": epoch, "seq": seq, "subscribers": 0});
    assert_eq!(
        listing["topics"],
        json!([listed("chat.a", 3), listed("chat.b", 1)])
    );
    assert_eq!(
        call("/v1/topics?match=ticker.*", &[]).json(200)["topics"],
        json!([])
    );
    broker.stop();
}

/// Reads the history of `chat.a`, which has three publications.
fn reads_histories(call: &dyn Fn(&str, &[&str]) -> Answer) {
    let history = call("/v1/topics/chat.a/history", &[]).json(200);
    let data: Vec<_> = history["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| (&message["seq"], &message["data"]))
        .collect();
    assert_eq!(
        data,
        [
            (&json!(1), &json!({"text": "one"})),
            (&json!(2), &json!("two")),
            (&json!(3), &json!(3))
        ]
    );
    assert_eq!(
        (&history["oldest"], &history["newest"]),
        (&json!(1), &json!(3)),
        "{history}"
    );
    let page = call("/v1/topics/chat.a/history?since=1&limit=1", &[]).json(200);
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
    assert_eq!(page["messages"][0]["seq"], 2, "{page}");
}

#[test]
fn curl_is_told_what_is_wrong() {
    let Some(program) = Tool::Curl.find("curl_is_told_what_is_wrong") else {
        return;
    };
    let broker = Broker::start(&OPEN);
    let large = format!("\"{}\"", "x".repeat(65_536));
    let lines =
        "{\"topic\":\"chat.a\",\"data\":1}\n{\"topic\":\"chat..b\",\"data\":2}\n{\"topic\":\"chat.c\"}\n";
    for (path, args, status, code) in [
        ("/", vec![], 404, "bad_request"),
        ("/v1/topics/bad..topic", vec![], 400, "bad_topic"),
        ("/v1/topics/chat.*", vec![], 400, "bad_topic"),
        ("/v1/topics/chat.a/history?since=x", vec![], 400, "bad_request"),
        ("/v1/topics?match=a..b", vec![], 400, "bad_topic"),
        ("/v1/sse", vec![], 400, "bad_request"),
        ("/v1/sse?topic=a..b", vec![], 400, "bad_topic"),
        ("/v1/topics/trade.A", vec!["--data-binary", "1"], 403, "forbidden"),
        (
            "/v1/topics/chat.a",
            vec!["--data-binary", "{"],
            400,
            "bad_request",
        ),
        ("/v1/topics/chat.a", vec!["--data-binary", ""], 400, "bad_request"),
        (
            "/v1/topics/chat.a",
            vec!["--data-binary", &large],
            413,
            "too_large",
        ),
        ("/v1/topics/chat.a", vec!["-X", "DELETE"], 404, "bad_topic"),
        ("/v1/topics/trade.A", vec!["-X", "DELETE"], 403, "forbidden"),
        ("/v1/topics", vec!["-X", "DELETE"], 405, "bad_request"),
        ("/v1/topics", vec!["--data-binary", "1"], 405, "bad_request"),
        ("/v1/publish", vec!["--data-binary", lines], 400, "bad_topic"),
        ("/v1/publish", vec![], 405, "bad_request"),
    ] {
        let answer = curl(&program, &broker.http(path), &args);
        let error = answer.json(status)["error"].clone();
        assert_eq!(error["code"], code, "{path}: {answer:?}");
        let reason = error["reason"].as_str().expect("a reason");
        assert_eq!(
            reason.contains("line 2"),
            path == "/v1/publish" && status == 400,
            "{reason}"
        );
    }
    // None of the lines was published, although the first was valid.
    assert_eq!(
        curl(&program, &broker.http("/v1/topics?match=%3E"), &[]).json(200)["topics"],
        json!([])
    );
    broker.stop();
}

#[test]
fn what_curl_posts_reaches_websocket_subscribers() {
    let test = "what_curl_posts_reaches_websocket_subscribers";
    let Some([program, python]) = Tool::find_all([Tool::Curl, Tool::Python], test) else {
        return;
    };
    let broker = Broker::start(&OPEN);
    let mut clients = Codec::ALL.map(|codec| {
        let mut client = Client::python(&python, &broker, codec);
        client.subscribe(1, &json!(["chat.>"]));
        client
    });
    for seq in 1..=5 {
        let body = json!({ "number": seq, "text": "häh?" });
        let url = broker.http("/v1/topics/chat.a");
        assert_eq!(
            curl(&program, &url, &["--data-binary", &body.to_string()]).json(200)["seq"],
            seq
        );
        for client in &mut clients {
            if seq == 1 {
                let joined = client.next();
                assert_eq!((&joined["op"], &joined["seq"]), (&json!("joined"), &json!(0)));
            }
            let update = client.next();
            assert_eq!(
                (&update["op"], &update["seq"], &update["data"]),
                (&json!("update"), &json!(seq), &body)
            );
        }
    }
    let listing = curl(&program, &broker.http("/v1/topics?match=chat.a"), &[]).json(200);
    assert_eq!(listing["topics"][0]["subscribers"], 2, "{listing}");
    for client in clients {
        client.close(1000);
    }
    broker.stop();
}

/// A stream of server-sent events that curl prints.
struct Stream(Script);

/// An event: its name, id and data.
#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Stream {
    fn open(curl: &Path, url: &str, args: &[&str]) -> Self {
        let all = [&["-sSN", "--fail"], args, &[url]].concat();
        Self(Script::start(curl, &all))
    }

    /// The next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data) = (None, None, String::new());
        loop {
            let line = self.0.line()?;
            match line.trim_end_matches('\r').split_once(':') {
                Some(("event", value)) => name = Some(value.trim().to_owned()),
                Some(("id", value)) => id = Some(value.trim().to_owned()),
                Some(("data", value)) => data.push_str(value),
                Some(("" | "retry", _)) => {}
                Some(other) => panic!("no field of an event: {other:?}"),
                None if data.is_empty() => {}
                None if name.as_deref() == Some("synced") => (name, data) = (None, String::new()),
                None => {
                    return Some(Event {
                        name: name.unwrap_or_default(),
                        id,
                        data: serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}")),
                    });
                }
            }
        }
    }

    /// The next event, which must have the name `name`.
    fn expect(&mut self, name: &str) -> Event {
        let event = self.next().expect("the stream goes on");
        assert_eq!(
            (event.name.as_str(), &event.data["op"]),
            (name, &json!(name)),
            "{event:?}"
        );
        event
    }
}

#[test]
fn curl_follows_a_stream_of_events_and_resumes_it() {
    let Some(program) = Tool::Curl.find("curl_follows_a_stream_of_events") else {
        return;
    };
    let broker = Broker::start(&OPEN);
    let url = broker.http("/v1/topics/chat.a");
    let publish = |number: u64| {
        curl(&program, &url, &["--data-binary", &number.to_string()]).json(200);
    };
    let url = broker.http("/v1/sse?topic=chat.a&topic=chat.b");
    let mut stream = Stream::open(&program, &url, &[]);
    stream.expect("welcome");
    let ack = stream.expect("ack");
    assert_eq!(ack.data["results"].as_array().map(Vec::len), Some(2), "{ack:?}");
    let mut cursor = None;
    for number in 1..=3 {
        publish(number);
        let update = stream.expect("update");
        assert_eq!(
            (&update.data["topic"], &update.data["seq"], &update.data["data"]),
            (&json!("chat.a"), &json!(number), &json!(number))
        );
        cursor = update.id;
    }
    drop(stream);
    broker.wait_for_metric(r#"tickwire_connections{transport="sse"}"#, |open| open == 0.0);
    publish(4);
    publish(5);
    let header = format!("Last-Event-ID: {}", cursor.expect("updates have ids"));
    let mut stream = Stream::open(&program, &url, &["-H", &header]);
    stream.expect("welcome");
    let ack = stream.expect("ack");
    assert_eq!(ack.data["results"][0]["recovered"], true, "{ack:?}");
    publish(6);
    for number in 4..=6 {
        assert_eq!(stream.expect("update").data["seq"], number);
    }
    // The stream ends with the broker, and curl accepts how it ends.
    broker.stop();
    while stream.next().is_some() {}
    stream.0.finish();
}

#[test]
fn curl_finds_the_broker_alive_and_ready() {
    let Some(program) = Tool::Curl.find("curl_finds_the_broker_alive_and_ready") else {
        return;
    };
    let broker = Broker::start(&OPEN);
    let ops = |path: &str| curl(&program, &format!("http://{}{path}", broker.ops), &[]);
    for path in ["/livez", "/readyz"] {
        let answer = ops(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{answer:?}");
    }
    let metrics = ops("/metrics");
    assert_eq!(metrics.status, 200);
    let content_type = metrics.header("content-type").expect("a content type");
    assert!(
        content_type.starts_with("text/plain; version=0.0.4"),
        "{content_type}"
    );
    assert_eq!(
        ops("/v1/topics/chat.a").status,
        404,
        "operators' and clients' pages are apart"
    );
    for path in ["/metrics", "/livez"] {
        let answer = curl(&program, &broker.http(path), &[]);
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    broker.stop();
}
