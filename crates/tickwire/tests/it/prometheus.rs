//! The metrics as Prometheus sees them.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Broker, Client, Codec, Script, Tool, get, poll};

/// The rules for Prometheus.
const RULES: &str = "deploy/prometheus/alerts.yml";
/// The tests of the rules.
const RULE_TESTS: &str = "deploy/prometheus/alerts_test.yml";

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

/// The path of a file of the project.
pub(crate) fn of_the_project(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts a Prometheus that scrapes `targets` and has the project's rules. Returns its address as well.
pub(crate) fn start(
    prometheus: &std::path::Path,
    targets: &[SocketAddr],
) -> (Script, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let configuration = folder.path().join("prometheus.yml");
    let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
    let text = format!(
        "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}\n\
         rule_files: ['{}']\n\
         scrape_configs: [{{job_name: tickwire, static_configs: [{{targets: [{}]}}]}}]\n",
        of_the_project(RULES),
        targets.join(", ")
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
pub(crate) fn query(prometheus: SocketAddr, query: &str) -> Option<f64> {
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
    let (_prometheus, address, _folder) = start(&prometheus, &[broker.ops]);
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
    let page = std::fs::read_to_string(of_the_project("docs/OPERATING.md"));
    let page = page.expect("the page is there");
    let (_, query) = page.split_once("```promql\n").expect("a query");
    let (query, _) = query.split_once("```").expect("the end of the query");
    wait(query, &|difference| difference == 0.0);
    the_rules_work_and_nothing_is_wrong(address);
    client.close(1000);
    wait(connections, &|open| open == 0.0);
    wait(r#"tickwire_closes_total{code="1000"}"#, &|count| count == 1.0);
    // A rate can be queried as soon as there are two scrapes.
    wait("sum(rate(tickwire_feed_ticks_total[1m]))", &|rate| rate > 0.0);
    broker.stop();
    wait(r#"up{job="tickwire"}"#, &|up| up == 0.0);
}

/// Checks that every sum has a value, and that no alert is on its way.
fn the_rules_work_and_nothing_is_wrong(prometheus: SocketAddr) {
    let rules = std::fs::read_to_string(of_the_project(RULES)).expect("the file is there");
    let sums = values(&rules, "record: ");
    assert!(sums.len() > 4, "{sums:?}");
    for sum in sums {
        poll(sum, || query(prometheus, sum).filter(|value| value.is_finite()));
    }
    assert_eq!(query(prometheus, "count(ALERTS)"), None);
}

#[test]
fn each_alert_fires_and_keeps_quiet_as_its_tests_say() {
    let test = "each_alert_fires_and_keeps_quiet_as_its_tests_say";
    let Some(promtool) = Tool::Promtool.find(test) else {
        return;
    };
    let ran = Command::new(promtool)
        .args(["test", "rules", &of_the_project(RULE_TESTS)])
        .output()
        .expect("promtool starts");
    let said = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The values behind `key` in the lines of a file.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let lines = text
        .lines()
        .map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)).collect()
}

#[test]
fn each_alert_has_tests_and_a_section_that_says_what_to_do() {
    let read = |path: &str| std::fs::read_to_string(of_the_project(path)).expect("the file is there");
    let (rules, tests, page) = (read(RULES), read(RULE_TESTS), read("docs/ALERTS.md"));
    let alerts = values(&rules, "alert: ");
    assert!(alerts.len() >= 18, "{alerts:?}");
    let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(
        sections, alerts,
        "the sections of the page, in the order of the rules"
    );
    let runbooks: Vec<String> = alerts
        .iter()
        .map(|alert| format!("docs/ALERTS.md#{}", alert.to_lowercase()))
        .collect();
    assert_eq!(values(&rules, "runbook: "), runbooks);
    let tested: Vec<String> = alerts
        .iter()
        .flat_map(|alert| [format!("{alert} fires"), format!("{alert} quiet")])
        .collect();
    assert_eq!(values(&tests, "name: "), tested);
    let quiet = tests.matches("exp_alerts: []").count();
    assert_eq!(quiet, alerts.len(), "as many tests expect nothing");
    // Each metric that a rule names is one that the broker has.
    let known = read("docs/METRICS.md");
    let words = rules.split(|byte: char| !(byte.is_ascii_alphanumeric() || byte == '_' || byte == ':'));
    for metric in words.filter(|word| word.starts_with("tickwire_") || word.starts_with("process_")) {
        let base = metric.strip_suffix("_bucket").unwrap_or(metric);
        assert!(known.contains(&format!("| `{base}` |")), "{metric} is no metric");
    }
}
