//! The metrics as Prometheus sees them.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Broker, Client, Codec, Script, Tool, get, poll};

#[test]
fn promtool_finds_nothing_to_object_to() {
    let test = "promtool_finds_nothing_to_object_to";
    let Some(promtool) = Tool::Promtool.find(test) else {
        return;
    };
    let broker = Broker::start(&["--feed", "sim"]);
    broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > 0.0);
    let page = get(broker.ops, "/metrics").body;
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = check.stdin.take().expect("its input is piped");
    input.write_all(page.as_bytes()).expect("promtool reads");
    drop(input);
    let output = check.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success(), "{}", output.status);
    broker.stop();
}

/// Starts a Prometheus that scrapes `target`. Returns its address as well.
fn start(prometheus: &std::path::Path, target: SocketAddr) -> (Script, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let configuration = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 200ms}}\n\
         scrape_configs: [{{job_name: tickwire, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    std::fs::write(&configuration, text).expect("a file can be written");
    // Prometheus cannot tell which port it took for port 0. So it gets a port that was free a moment ago, several times
    // if necessary.
    for _ in 0..5 {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let args = [
            format!("--config.file={}", configuration.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let mut script = Script::start(prometheus, &args);
        let ready = poll("Prometheus is ready or has ended", || {
            if script.has_ended() {
                return Some(false);
            }
            TcpStream::connect(address).ok()?;
            (get(address, "/-/ready").status == 200).then_some(true)
        });
        if ready {
            return (script, address, folder);
        }
    }
    panic!("Prometheus does not start");
}

/// The value of the query's only series, if it has one.
fn query(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = get(prometheus, &format!("/api/v1/query?query={escaped}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).expect("an answer is JSON");
    match body["data"]["result"].as_array().expect("a result").as_slice() {
        [] => None,
        [one] => one["value"][1].as_str()?.parse().ok(),
        more => panic!("{query} has {} series", more.len()),
    }
}

#[test]
fn prometheus_scrapes_what_the_broker_counts() {
    let test = "prometheus_scrapes_what_the_broker_counts";
    let Some([prometheus, python]) = Tool::find_all([Tool::Prometheus, Tool::Python], test) else {
        return;
    };
    let broker = Broker::start(&["--feed", "sim", "--symbols", "3"]);
    let (_prometheus, address, _folder) = start(&prometheus, broker.ops);
    let wait = |what: &str, enough: &dyn Fn(f64) -> bool| {
        poll(what, || query(address, what).filter(|value| enough(*value)))
    };
    wait(r#"up{job="tickwire"}"#, &|up| up == 1.0);
    wait("tickwire_topics", &|topics| topics == 18.0);
    wait("sum(tickwire_publications_total)", &|count| count > 1_000.0);
    let connections = r#"tickwire_connections{transport="websocket"}"#;
    wait(connections, &|open| open == 0.0);
    let mut client = Client::python(&python, &broker, Codec::Json);
    client.subscribe(1, &serde_json::json!(["trade.*", "ticker.*"]));
    wait(connections, &|open| open == 1.0);
    wait("sum(tickwire_subscriptions)", &|count| count == 6.0);
    wait(r#"tickwire_deliveries_total{op="update"}"#, &|count| {
        count > 100.0
    });
    wait(
        "histogram_quantile(0.5, tickwire_delivery_latency_seconds_bucket)",
        &|seconds| seconds > 0.0,
    );
    // The difference in the page about operating is 0, whatever was delivered.
    let page = std::fs::read_to_string(format!("{}/../../docs/OPERATING.md", env!("CARGO_MANIFEST_DIR")));
    let page = page.expect("the page is there");
    let (_, query) = page.split_once("```promql\n").expect("a query");
    let (query, _) = query.split_once("```").expect("the end of the query");
    wait(query, &|difference| difference == 0.0);
    client.close(1000);
    wait(connections, &|open| open == 0.0);
    wait(r#"tickwire_closes_total{code="1000"}"#, &|count| count == 1.0);
    // A rate can be queried as soon as there are two scrapes.
    wait("sum(rate(tickwire_feed_ticks_total[1m]))", &|rate| rate > 0.0);
    broker.stop();
    wait(r#"up{job="tickwire"}"#, &|up| up == 0.0);
}
