//! The dashboards for Grafana: every query of every panel, asked of a Prometheus that scrapes brokers under load.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::admin;
use crate::handshake::{GET, GOOD};
use crate::metrics::{Moved, compressed_reader, publish, send, slow_readers};
use crate::prometheus::{of_the_project, query, start};
use crate::support::{Authority, Broker, Frame, Opcode, Socket, Tool, get, poll, post};

/// The folder of the dashboards.
const FOLDER: &str = "deploy/grafana/dashboards";
/// The file that they are made from.
const SOURCE: &str = "deploy/grafana/dashboards.toml";
/// The time that Grafana puts in place of `$__rate_interval`: longer than the test, so that nothing is too old.
const RATE_INTERVAL: &str = "15m";
/// The settings of a broker at which many things happen. Readers that take nothing stay.
const SETTINGS: &str = r#"
anonymous_publish = [">"]
[limits]
outbox_bytes = 65537
stall_ms = 600000
ops_per_s = 100000
ops_burst = 100000
publishes_per_s = 1000000
publishes_burst = 1000000
connections_per_address = 20
exempt_addresses = []
[heartbeat]
ping_after_ms = 150000
pong_timeout_ms = 150000
[publish]
dedupe_keys = 1
[accounting]
enabled = true
[[kinds]]
pattern = "slow.>"
kind = "event"
history = 2
[[staleness]]
pattern = "quiet.>"
after_ms = 100
"#;
/// The settings of a broker with TLS that derives and has a journal.
const SECURE_SETTINGS: &str = "anonymous_publish = [\">\"]\n[[derive]]\nfrom = \"trade.>\"\n\
                               [journal]\nsync = \"interval\"\ncheckpoint_s = 1\n";

/// A query of a panel.
struct Query {
    /// The panel, for a message of failure.
    of: String,
    text: String,
    /// Whether it may give 0 in this test.
    may_be_zero: bool,
}

/// All dashboards.
fn dashboards() -> Vec<Value> {
    let folder = std::fs::read_dir(of_the_project(FOLDER)).expect("the folder is there");
    let files = folder.map(|file| std::fs::read_to_string(file.expect("a file").path()));
    files
        .map(|text| serde_json::from_str(&text.expect("it can be read")).expect("it is JSON"))
        .collect()
}

/// The panels that say when they are 0, as `dashboard: panel`.
fn calm_panels() -> BTreeSet<String> {
    let text = std::fs::read_to_string(of_the_project(SOURCE)).expect("the file is there");
    let source: toml::Table = text.parse().expect("it is TOML");
    let mut calm = BTreeSet::new();
    for dashboard in source["dashboard"].as_array().expect("a list") {
        for row in dashboard["row"].as_array().expect("a list") {
            for panel in row["panel"].as_array().expect("a list") {
                if panel.get("calm").is_some() {
                    let name = |of: &toml::Value| of["title"].as_str().expect("a title").to_owned();
                    calm.insert(format!("{}: {}", name(dashboard), name(panel)));
                }
            }
        }
    }
    calm
}

/// All queries, with the values of the variables for these brokers.
fn queries(dashboards: &[Value], brokers: &[SocketAddr]) -> Vec<Query> {
    let calm = calm_panels();
    // Grafana writes several values of a variable as a group.
    let instances: Vec<String> = brokers
        .iter()
        .map(|broker| broker.to_string().replace('.', r"\\."))
        .collect();
    let instances = format!("({})", instances.join("|"));
    let mut queries = Vec::new();
    for dashboard in dashboards {
        for panel in dashboard["panels"].as_array().expect("panels") {
            let of = format!("{}: {}", text(&dashboard["title"]), text(&panel["title"]));
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = text(&target["expr"]);
                queries.push(Query {
                    may_be_zero: calm.contains(&of),
                    of: of.clone(),
                    text: query
                        .replace("$job", "tickwire")
                        .replace("$instance", &instances)
                        .replace("$__rate_interval", RATE_INTERVAL),
                });
            }
        }
    }
    let known: BTreeSet<&str> = queries.iter().map(|query| query.of.as_str()).collect();
    assert!(calm.iter().all(|of| known.contains(of.as_str())), "{calm:?}");
    queries
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The sum of a metric over both shards.
fn sum_of_shards(broker: &Broker, metric: &str) -> f64 {
    let of_shard = |shard: u8| broker.metric(&format!("{metric}{{shard=\"{shard}\"}}"));
    (0..2).filter_map(of_shard).sum()
}

/// Makes the things happen at `broker` that panels show. Returns the connections that must stay open.
fn load(broker: &Broker) -> Vec<Socket> {
    let mut moved = Moved::default();
    let mut kept = vec![compressed_reader(broker)];
    kept.extend(slow_readers(&mut moved, broker));

    // Readers that take nothing lag: one until the end, and one until it leaves with what it is owed.
    let mut lagging = [(); 2].map(|()| Socket::open(broker));
    for socket in &mut lagging {
        send(socket, &json!({"op": "subscribe", "id": 1, "topics": ["slow.a"]}));
        assert_eq!(socket.message()["op"], "ack");
    }
    poll("both lag", || {
        assert_eq!(publish(broker, "slow.a", 200, 60_000), 200);
        (sum_of_shards(broker, "tickwire_lagging_sessions") >= 2.0).then_some(())
    });
    let [stays, leaves] = lagging;
    kept.push(stays);
    drop(leaves);
    poll("what was owed is dropped", || {
        (sum_of_shards(broker, "tickwire_ledger_dropped_total") > 0.0).then_some(())
    });

    let mut publisher = Socket::open(broker);
    let crossed = json!({"symbol": "x", "bids": [["2", "1"]], "asks": [["1", "1"]], "time": 0});
    for (topic, data) in [("quiet.a", json!("four")), ("book.x", crossed)] {
        send(
            &mut publisher,
            &json!({"op": "publish", "id": 1, "topic": topic, "data": data}),
        );
        assert_eq!(publisher.message()["op"], "ack");
    }
    send(&mut publisher, &json!({"op": "fly", "id": 2}));
    assert_eq!(publisher.message()["op"], "error");
    publisher.send(Frame::new(Opcode::Close, &1_000_u16.to_be_bytes()));
    assert_eq!(publisher.until_closed().1.0, 1_000);

    let line = |key: &str| json!({"topic": "chat.keys", "data": 1, "key": key}).to_string() + "\n";
    let body = [line("k1"), line("k2"), line("k2")].concat();
    assert_eq!(post(broker.listen, "/v1/publish", &body).status, 200);
    assert_eq!(publish(broker, "chat.gone", 1, 10), 200);
    let (_, gone) = Socket::request(broker, "DELETE /v1/topics/chat.gone HTTP/1.1", &[]);
    assert_eq!(gone.status, 200);

    let token = [&GOOD[..], &["Authorization: Bearer nonsense"]].concat();
    assert_eq!(Socket::request(broker, GET, &token).1.status, 401);
    let many: Vec<Socket> = (0..20).map(|_| Socket::connect(broker)).collect();
    broker.wait_for_metric(
        "tickwire_turned_away_total{reason=\"address_connections\"}",
        |count| count > 0.0,
    );
    drop(many);
    broker.signal("HUP");
    broker.wait_for_metric("tickwire_config_reloads_total{result=\"ok\"}", |count| {
        count > 0.0
    });
    kept
}

/// The same at a broker with TLS.
fn load_secure(broker: &Broker, authority: &Authority) {
    let mut publisher = Socket::secure(broker, authority.client())
        .expect("a handshake")
        .upgrade();
    let trade = json!({"price": 1, "size": 1, "time": 5_000_000});
    send(
        &mut publisher,
        &json!({"op": "publish", "id": 1, "topic": "trade.A", "data": trade}),
    );
    assert_eq!(publisher.message()["op"], "ack");
    for (path, body) in [
        ("close", json!({"address": "127.0.0.1"})),
        ("revocations", json!({"subject": "mallory"})),
    ] {
        assert_eq!(admin::admin(broker, "POST", path, &body).0, 200);
    }
    let mut plain = Socket::connect(broker);
    plain.send_bytes(b"GET /v1/topics HTTP/1.1\r\n\r\n");
    broker.wait_for_metric("tickwire_tls_handshakes_failed_total", |count| count > 0.0);
    authority.issue("broker");
    broker.wait_for_metric("tickwire_tls_reloads_total", |count| count > 0.0);
    std::fs::write(authority.path("broker.pem"), "half a certifi").expect("a file can be written");
    broker.wait_for_metric("tickwire_tls_reloads_failed_total", |count| count > 0.0);
}

#[test]
fn every_query_of_the_dashboards_has_a_value() {
    let test = "every_query_of_the_dashboards_has_a_value";
    let Some(prometheus) = Tool::Prometheus.find(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    };
    let settings = file("tickwire.toml", SETTINGS);
    let broker = Broker::start(&["--config", &settings, "--feed", "sim", "--shards", "2"]);
    let authority = Authority::new();
    let settings = file(
        "secure.toml",
        &(SECURE_SETTINGS.to_owned() + &admin::operator_lines()),
    );
    let journal = folder.path().join("journal").display().to_string();
    let args = [
        "--config",
        &settings,
        "--feed",
        "none",
        "--shards",
        "1",
        "--journal",
        &journal,
    ];
    let secure = authority.start(&args, &[]);

    let brokers = [broker.ops, secure.ops];
    let (_prometheus, address, _data) = start(&prometheus, &brokers);
    // A rate begins with the first scrape, so nothing happens before it.
    poll("both are scraped", || {
        query(address, "count(tickwire_build_info)").filter(|count| *count == 2.0)
    });
    let _open = load(&broker);
    load_secure(&secure, &authority);

    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 4);
    let queries = queries(&dashboards, &brokers);
    assert!(queries.len() > 80, "{}", queries.len());
    for Query {
        of,
        text,
        may_be_zero,
    } in &queries
    {
        // Neither NaN nor infinite.
        let comparison = if *may_be_zero { ">= 0" } else { "> 0" };
        let shown = format!("count(abs({text}) {comparison} < Inf)");
        poll(&format!("{of}: {text}"), || query(address, &shown));
    }
    for dashboard in &dashboards {
        the_variables_have_values(address, dashboard, &brokers);
    }
    broker.stop();
    secure.stop();
}

/// Checks that Prometheus knows values for each variable, and nothing else than brokers.
fn the_variables_have_values(prometheus: SocketAddr, dashboard: &Value, brokers: &[SocketAddr]) {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let instances: BTreeSet<String> = brokers.iter().map(ToString::to_string).collect();
    let jobs = BTreeSet::from(["tickwire".to_owned()]);
    let mut names = Vec::new();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let name = text(&variable["name"]);
        let asked = text(&variable["query"]["query"]).replace("$job", "tickwire");
        let inner = asked
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("a query");
        let escaped: String = series.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = get(
            prometheus,
            &format!("/api/v1/label/{label}/values?match[]={escaped}"),
        );
        let answer: Value = serde_json::from_str(&answer.body).expect("an answer is JSON");
        let values: BTreeSet<String> = answer["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|value| text(value).to_owned())
            .collect();
        let expected = if name == "job" { &jobs } else { &instances };
        assert_eq!(&values, expected, "{name}");
        names.push(name);
    }
    assert_eq!(names, ["job", "instance"]);
}
