//! A topic's history from a moment on, and as an export.

use std::io::Cursor;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::support::{Answer, Http, TestBroker, list, number, request, text};

/// A message as a row: its number, its time, its data.
type Row = (u64, u64, Value);

fn row(message: &Value) -> Row {
    (
        number(&message["seq"]),
        number(&message["ts"]),
        message["data"].clone(),
    )
}

/// The rows of a page.
fn page(broker: &TestBroker, query: &str) -> Vec<Row> {
    let page = broker.get(&format!("/v1/topics/trade.X/history?{query}"));
    assert_eq!(page.status, 200, "{query}: {}", page.text());
    list(&page.json()["messages"]).iter().map(row).collect()
}

fn export(broker: &TestBroker, format: &str, query: &str) -> Answer {
    let answer = broker.get(&format!("/v1/topics/trade.X/history?format={format}{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// The rows of an answer as CSV, as Python's `csv` would read them.
fn rows_of_csv(text: &str) -> Vec<Row> {
    let body = text.strip_prefix("seq,ts,data\r\n").expect("a head");
    let row = |line: &str| {
        let mut fields = line.splitn(3, ',');
        let mut field = || fields.next().expect("three fields");
        let (seq, ts, data) = (field(), field(), field());
        let quoted = data.strip_prefix('"').and_then(|data| data.strip_suffix('"'));
        let data = quoted.expect("quotes").replace("\"\"", "\"");
        (
            seq.parse().expect("a number"),
            ts.parse().expect("a time"),
            serde_json::from_str(&data).expect("JSON"),
        )
    };
    body.split_terminator("\r\n").map(row).collect()
}

/// The rows of an Arrow IPC stream.
fn rows_of_arrow(bytes: &[u8]) -> Vec<Row> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None).expect("a stream");
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.expect("a batch");
        let column = |name: &str| batch.column_by_name(name).expect("a column");
        let seqs = column("seq").as_primitive::<UInt64Type>();
        let times = column("ts").as_primitive::<TimestampMicrosecondType>();
        let data = column("data").as_string::<i32>();
        for at in 0..batch.num_rows() {
            let time = u64::try_from(times.value(at)).expect("after 1970");
            let data = serde_json::from_str(data.value(at)).expect("JSON");
            rows.push((seqs.value(at), time, data));
        }
    }
    rows
}

#[test]
fn every_format_has_the_messages_of_the_page() {
    let broker = TestBroker::start();
    for data in [
        "1",
        r#""a,\"b\"\n""#,
        "{\n \"price\":\r\n\"1.10\",\"size\":2}",
        "[]",
        "null",
    ] {
        broker.publish("trade.X", data);
    }
    let page = broker.get("/v1/topics/trade.X/history");
    let rows: Vec<Row> = list(&page.json()["messages"]).iter().map(row).collect();
    assert_eq!(rows.len(), 5);
    let ndjson = export(&broker, "ndjson", "");
    assert_eq!(json!(lines(ndjson.text())), page.json()["messages"]);
    assert_eq!(ndjson.header("content-type"), "application/x-ndjson");
    assert_eq!(rows_of_csv(export(&broker, "csv", "").text()), rows);
    let arrow = export(&broker, "arrow", "");
    assert_eq!(rows_of_arrow(&arrow.body), rows);
    let reader = StreamReader::try_new(Cursor::new(&arrow.body), None).expect("a stream");
    let told = reader.schema().metadata().clone();
    let epoch = page.json()["epoch"].clone();
    assert_eq!(
        json!([
            told.get("tickwire.topic"),
            told.get("tickwire.kind"),
            told.get("tickwire.epoch")
        ]),
        json!(["trade.X", "event", epoch])
    );
    for answer in [&page, &ndjson, &arrow] {
        let ends = ["epoch", "oldest", "newest"].map(|name| answer.header(&format!("tickwire-{name}")));
        assert_eq!(ends, [text(&epoch), "1", "5"]);
    }
}

#[test]
fn from_a_moment_to_a_moment() {
    let broker = TestBroker::start();
    // Times are microseconds, so each message gets one of its own sooner or later.
    let mut times: Vec<u64> = Vec::new();
    while times.len() < 4 {
        broker.publish("trade.X", "1");
        let all = page(&broker, "limit=1024");
        times = all.iter().map(|(_, ts, _)| *ts).collect();
        times.dedup();
    }
    let all = page(&broker, "limit=1024");
    let expected = |from: u64, to: u64| -> Vec<Row> {
        let within = all.iter().filter(|(_, ts, _)| (from..to).contains(ts));
        within.cloned().collect()
    };
    let [first, second, third, last] = [times[0], times[1], times[2], times[times.len() - 1]];
    for (from, to) in [
        (first, last),
        (second, third),
        (second, second),
        (first + 1, u64::MAX),
        (last, u64::MAX),
        (last + 1, u64::MAX),
        (0, first),
        (third, second),
    ] {
        let query = format!("from={from}&to={to}&limit=1024");
        let expected = expected(from, to);
        assert_eq!(page(&broker, &query), expected, "{query}");
        let query = format!("&{query}");
        assert_eq!(
            rows_of_csv(export(&broker, "csv", &query).text()),
            expected,
            "{query}"
        );
        assert_eq!(
            rows_of_arrow(&export(&broker, "arrow", &query).body),
            expected,
            "{query}"
        );
    }
    assert_eq!(page(&broker, "from=2020-01-01T00:00:00Z&limit=1024"), all);
    assert_eq!(
        page(&broker, "from=2020-01-01T00:00:00%2B02:00&limit=1"),
        all[..1]
    );
    assert_eq!(page(&broker, "from=2999-01-01T00:00:00Z"), []);
    // The later beginning counts.
    let number_of_last = all[all.len() - 1].0;
    assert_eq!(
        page(&broker, &format!("since={}&from=0", number_of_last - 1)),
        all[all.len() - 1..]
    );
    assert_eq!(
        page(&broker, &format!("since=0&from={last}&limit=1024")),
        expected(last, u64::MAX)
    );
    let two = export(&broker, "ndjson", &format!("&from={second}&limit=2"));
    assert_eq!(lines(two.text()).len(), 2);
}

#[test]
fn refused_exports() {
    let broker = TestBroker::start();
    broker.publish("trade.X", "1");
    for (query, refusal) in [
        (
            "format=parquet",
            "400 bad_request: format=\"parquet\" in the query must be json, ndjson, csv or arrow",
        ),
        (
            "from=yesterday",
            "400 bad_request: from in the query: \"yesterday\" is no moment: write microseconds since 1970, such as 1723161253000000, or a date and a time, such as 2024-08-08T23:54:13Z (in a query a + is written %2B)",
        ),
        (
            "to=1969-12-31T00:00:00Z",
            "400 bad_request: to in the query: \"1969-12-31T00:00:00Z\" is before 1970 (in a query a + is written %2B)",
        ),
        (
            "format=csv&limit=0",
            "400 bad_request: limit=\"0\" in the query must be a whole number, at least 1",
        ),
    ] {
        let answer = broker.get(&format!("/v1/topics/trade.X/history?{query}"));
        assert_eq!(answer.refusal(), refusal, "{query}");
    }
    let missing = broker.get("/v1/topics/trade.Y/history?format=csv");
    assert!(missing.refusal().starts_with("404 bad_topic: no such topic"));
}

#[test]
fn what_the_history_has_let_go_of_is_told() {
    let broker = TestBroker::with(
        "[[kinds]]\npattern = \"trade.*\"\nkind = \"event\"\nhistory = 4\n",
        &[],
    );
    for number in 1..=10 {
        broker.publish("trade.X", &number.to_string());
    }
    let epoch = broker.get("/v1/topics/trade.X/history").json()["epoch"].clone();
    let from_the_start = lines(export(&broker, "ndjson", "&since=2").text());
    assert_eq!(
        from_the_start[0],
        json!({"op":"gap","topic":"trade.X","epoch":epoch,"from":3,"to":6,"reason":"history"})
    );
    let seqs: Vec<u64> = from_the_start[1..]
        .iter()
        .map(|line| number(&line["seq"]))
        .collect();
    assert_eq!(seqs, [7, 8, 9, 10]);
    // Nobody has asked for the messages that are gone here.
    assert_eq!(lines(export(&broker, "ndjson", "").text()).len(), 4);
    let csv = export(&broker, "csv", "&since=2");
    assert_eq!(rows_of_csv(csv.text())[0].0, 7);
    assert_eq!(csv.header("tickwire-oldest"), "7");
}

#[test]
fn exports_that_are_not_read_have_places_among_the_waiting_answers() {
    let broker = TestBroker::with("", &[("LIMITS__ANSWER_BYTES", "1048576")]);
    for _ in 0..60 {
        broker.publish("trade.X", &format!("\"{}\"", "x".repeat(60_000)));
    }
    let ask = request("GET", "/v1/topics/trade.X/history?format=ndjson", &[], "");
    let mut clients: Vec<Http> = Vec::new();
    let refused = (0..20).find_map(|_| {
        let mut client = broker.connect_narrow();
        client.write(&ask);
        let (status, _) = client.head();
        clients.push(client);
        (status != 200).then_some(status)
    });
    assert_eq!(refused, Some(503));
    assert!(clients.len() > 1);
}

#[test]
fn an_export_of_a_topic_that_ends_breaks_off_and_holds_nothing_of_it() {
    let broker = TestBroker::start();
    for _ in 0..100 {
        broker.publish("trade.X", &format!("\"{}\"", "x".repeat(60_000)));
    }
    let mut client = broker.connect_narrow();
    client.write(&request(
        "GET",
        "/v1/topics/trade.X/history?format=ndjson",
        &[],
        "",
    ));
    assert_eq!(client.head().0, 200);
    let ended = broker.connect().send("DELETE", "/v1/topics/trade.X", &[], "");
    assert_eq!(ended.status, 200);
    broker.wait_for_metric("tickwire_topics", 0.0);
    broker.wait_for_metric("tickwire_history_bytes", 0.0);
    let mut bytes = 0;
    while let Some(chunk) = client.chunk_or_cut() {
        bytes += chunk.expect("no regular end").len();
    }
    assert!(bytes < 6_000_000, "{bytes}");
}

/// The rest of an export whose client has read nothing while the history went on: the rows, and whether it was whole.
fn late(broker: &TestBroker, format: &str) -> (u64, String, bool) {
    const LONG: usize = 40_000;
    for _ in 0..100 {
        broker.publish("trade.X", &format!("\"{}\"", "x".repeat(LONG)));
    }
    let mut client: Http = broker.connect_narrow();
    let target = format!("/v1/topics/trade.X/history?since=0&format={format}");
    client.write(&request("GET", &target, &[], ""));
    let (status, headers) = client.head();
    assert_eq!(status, 200);
    let newest = headers["tickwire-newest"].parse().expect("a number");
    for _ in 0..200 {
        broker.publish("trade.X", "1");
    }
    let mut text = String::new();
    loop {
        match client.chunk_or_cut() {
            None => return (newest, text, false),
            Some(None) => return (newest, text, true),
            Some(Some(chunk)) => text += std::str::from_utf8(&chunk).expect("text"),
        }
    }
}

#[test]
fn a_client_that_reads_too_slowly_learns_what_it_has_missed() {
    let file = "[[kinds]]\npattern = \"trade.*\"\nkind = \"event\"\nhistory = 100\n";
    let broker = TestBroker::with(file, &[]);
    let (newest, text, whole) = late(&broker, "ndjson");
    assert!(whole);
    let mut next = 1;
    let mut gaps = 0;
    for line in lines(&text) {
        match line["op"].as_str() {
            Some("gap") => {
                assert_eq!(number(&line["from"]), next);
                next = number(&line["to"]) + 1;
                gaps += 1;
            }
            _ => {
                assert_eq!(number(&line["seq"]), next);
                next += 1;
            }
        }
    }
    assert_eq!((next, gaps), (newest + 1, 1));
    let broker = TestBroker::with(file, &[]);
    let (_, text, whole) = late(&broker, "csv");
    assert!(!whole, "a table with a hole looked whole: {} bytes", text.len());
}
