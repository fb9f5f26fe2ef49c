//! The console: who may look at what, its page, and its screens in a browser.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::handshake::GOOD;
use crate::program::run;
use crate::support::{Answer, Broker, Frame, Script, Socket, Tool, get, poll, skip};

const FEED: [&str; 6] = ["--feed", "sim", "--symbols", "50", "--rate", "1500"];
/// The number of its topics: six for each symbol.
const TOPICS: usize = 300;
/// A static key that may close sessions.
const CLOSER: &str = "tw_closer-of-the-tests-0123456789abcdef";
/// One that may not.
const READER: &str = "tw_reader-of-the-tests-0123456789abcdef";

/// A broker with the two keys and these further settings.
fn start(settings: &str, args: &[&str]) -> (Broker, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = |key| run(&["hash-key"], key).stdout;
    let file = format!(
        "{settings}\n[[auth.keys]]\nname = \"night-shift\"\n{}subscribe = [\">\"]\nclose_sessions = true\n\
         [[auth.keys]]\nname = \"reader\"\n{}subscribe = [\"ticker.>\"]\npublish = [\"chat.>\"]\n",
        hash(CLOSER),
        hash(READER)
    );
    let path = folder.path().join("tickwire.toml");
    std::fs::write(&path, file).expect("a file");
    let config = path.display().to_string();
    (Broker::start(&[args, &["--config", &config]].concat()), folder)
}

/// Sends a request with these lines to the operators' listener, at the host `host`.
fn ask(ops: SocketAddr, first: &str, host: &str, lines: &[&str]) -> (Socket, Answer) {
    let mut socket = Socket::over(TcpStream::connect(ops).expect("the broker listens"));
    let host = format!("Host: {host}");
    let head = [&[first, &host], lines].concat();
    socket.send_bytes(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes());
    let answer = socket.read_answer();
    (socket, answer)
}

/// A handshake at the operators' listener with these further lines.
fn handshake(ops: SocketAddr, lines: &[&str]) -> (Socket, Answer) {
    let lines = [&GOOD, lines].concat();
    ask(ops, "GET /v1/ws HTTP/1.1", &ops.to_string(), &lines)
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

#[test]
fn the_console_reads_with_a_clients_rights_and_never_publishes() {
    let settings = "anonymous_publish = [\">\"]\n[auth]\nanonymous_subscribe = [\"trade.>\"]";
    let (broker, _folder) = start(settings, &["--feed", "none"]);
    for (lines, topic, allowed) in [
        (vec![], "trade.A", true),
        (vec![], "ticker.A", false),
        (vec![bearer(READER)], "ticker.A", true),
        (vec![bearer(READER)], "trade.A", false),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (mut socket, answer) = handshake(broker.ops, &lines);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(socket.message()["op"], "welcome");
        socket.send(Frame::text(&format!(
            r#"{{"op":"subscribe","id":1,"topics":["{topic}"]}}"#
        )));
        let ack = socket.message();
        assert_eq!(ack["results"][0]["error"].is_null(), allowed, "{topic}: {ack}");
        // At the clients' listener both may publish to it.
        socket.send(Frame::text(
            r#"{"op":"publish","id":2,"topic":"chat.a","data":1}"#,
        ));
        let refused = socket.message();
        assert_eq!(refused["code"], "forbidden", "{refused}");
    }
    let refused = handshake(broker.ops, &["Authorization: Bearer tw_unknown"]).1;
    assert_eq!(refused.status, 401, "{refused:?}");
    broker.stop();
}

#[test]
fn a_page_of_another_site_gets_nothing_of_the_console() {
    let (broker, _folder) = start("", &["--feed", "none"]);
    let own = broker.ops.to_string();
    let port = broker.ops.port();
    let rebound = format!("evil.example:{port}");
    let evil = format!("Origin: http://{rebound}");
    let same = format!("Origin: http://{own}");
    for (host, origin, status) in [
        (&own, &same, 101),
        (&own, &evil, 403),
        // Its name was made to lead to the broker's address.
        (&rebound, &evil, 403),
    ] {
        let lines = [&GOOD[..], &[origin.as_str()]].concat();
        let (_, answer) = ask(broker.ops, "GET /v1/ws HTTP/1.1", host, &lines);
        assert_eq!(answer.status, status, "{host} {origin}: {answer:?}");
    }
    for path in ["/v1/topics", "/console/about"] {
        let (_, answer) = ask(broker.ops, &format!("GET {path} HTTP/1.1"), &rebound, &[&evil]);
        assert_eq!(answer.status, 403, "{path}");
    }
    broker.stop();
}

#[test]
fn a_session_is_closed_only_by_a_key_with_that_right() {
    let (broker, _folder) = start("", &["--feed", "none"]);
    let (mut victim, answer) = Socket::request(&broker, "GET /v1/ws HTTP/1.1", &GOOD);
    assert_eq!(answer.status, 101, "{answer:?}");
    let session = victim.message()["session"].as_str().expect("a name").to_owned();
    let close = |name: &str, lines: &[&str]| {
        let first = format!("POST /console/close?session={name} HTTP/1.1");
        let lines = [&["Content-Length: 0"], lines].concat();
        ask(broker.ops, &first, &broker.ops.to_string(), &lines).1
    };
    let (closer, reader) = (bearer(CLOSER), bearer(READER));
    assert_eq!(close(&session, &[]).status, 401);
    assert_eq!(close(&session, &[&reader]).status, 403);
    assert_eq!(
        close(&session, &[&closer, "Origin: http://evil.example"]).status,
        403
    );
    for unknown in ["0-ffff", "9-1", "nothing"] {
        assert_eq!(close(unknown, &[&closer]).status, 404, "{unknown}");
    }
    let answer = close(&session, &[&closer]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let (_, (code, reason)) = victim.until_closed();
    assert_eq!((code, reason.as_str()), (1001, "closed by an operator"));
    poll("the session is gone", || {
        (close(&session, &[&closer]).status == 404).then_some(())
    });
    broker.wait_for_log("an operator closed a session");
    broker.stop();
}

#[test]
fn operators_do_not_fill_the_broker_with_connections_of_the_console() {
    let broker = Broker::start(&["--feed", "none"]);
    let open: Vec<Socket> = (0..16)
        .map(|_| {
            let (socket, answer) = handshake(broker.ops, &[]);
            assert_eq!(answer.status, 101, "{answer:?}");
            socket
        })
        .collect();
    let refused = handshake(broker.ops, &[]).1;
    assert_eq!(refused.status, 503, "{refused:?}");
    drop(open);
    poll("there is room again", || {
        (handshake(broker.ops, &[]).1.status == 101).then_some(())
    });
    broker.stop();
}

#[test]
fn the_page_is_compressed_for_those_who_accept_it() {
    let broker = Broker::start(&["--feed", "none"]);
    let page = get(broker.ops, "/");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'; script-src 'self';"),
        "{}",
        page.head
    );
    let script = |coding: &str| {
        let mut socket = Socket::over(TcpStream::connect(broker.ops).expect("the broker listens"));
        let request = format!(
            "HEAD /console.js HTTP/1.1\r\nHost: {}\r\n{coding}\r\n",
            broker.ops
        );
        socket.send_bytes(request.as_bytes());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head += &socket.line().to_ascii_lowercase();
        }
        head
    };
    let length = |head: &str| -> usize {
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        found
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no length in {head}"))
    };
    let (plain, coded) = (script(""), script("Accept-Encoding: gzip, br\r\n"));
    assert!(coded.contains("content-encoding: gzip"), "{coded}");
    assert!(2 * length(&coded) < length(&plain), "{coded}");
    broker.stop();
}

/// The folder of the page's sources.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/console")
}

/// The sources in a folder of their own, with the packages that `cargo xtask test` has installed.
fn checkout(test: &str) -> Option<TempDir> {
    let Some(modules) = std::env::var_os("TICKWIRE_TEST_CONSOLE_MODULES") else {
        return skip(
            test,
            "TICKWIRE_TEST_CONSOLE_MODULES is not set; cargo xtask test sets it",
        );
    };
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["src", "test", "package.json", "build.mjs", "tsconfig.json"] {
        copy(&sources().join(part), &folder.path().join(part));
    }
    symlink(modules, folder.path().join("node_modules")).expect("a link");
    Some(folder)
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).expect("a file");
        return;
    }
    std::fs::create_dir(to).expect("a folder");
    for entry in from.read_dir().expect("a folder") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

#[test]
fn the_page_in_the_program_is_the_one_that_its_sources_make() {
    const NAME: &str = "the_page_in_the_program_is_the_one_that_its_sources_make";
    let (Some(node), Some(folder)) = (Tool::Node.find(NAME), checkout(NAME)) else {
        return;
    };
    node_runs(&node, folder.path(), &["build.mjs", "made"]);
    node_runs(
        &node,
        folder.path(),
        &["node_modules/typescript/bin/tsc", "--noEmit"],
    );
    let committed = sources().join("../../crates/server/console");
    for file in ["index.html", "console.js", "console.css"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).expect(file);
        let same = read(&committed) == read(&folder.path().join("made"));
        assert!(
            same,
            "{file} is not what the sources make: run `npm ci && npm run build` in clients/console"
        );
    }
}

#[test]
fn the_parts_of_the_page_do_what_they_say() {
    const NAME: &str = "the_parts_of_the_page_do_what_they_say";
    let (Some(node), Some(folder)) = (Tool::Node.find(NAME), checkout(NAME)) else {
        return;
    };
    node_runs(&node, folder.path(), &["--test", "test/unit.mjs"]);
}

/// Runs Node.js with `args` in `folder`, and checks that it succeeds.
fn node_runs(node: &Path, folder: &Path, args: &[&str]) {
    let output = Command::new(node).args(args).current_dir(folder).output();
    let output = output.expect("Node.js starts");
    let told = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&told)
    );
}

/// Set this to a folder to get a picture of each screen there, as those in `docs/img`.
const PICTURES: &str = "TICKWIRE_CONSOLE_PICTURES";

#[test]
fn every_screen_shows_the_broker_and_a_slow_session_is_closed_from_it() {
    const NAME: &str = "every_screen_shows_the_broker_and_a_slow_session_is_closed_from_it";
    let tools = Tool::find_all([Tool::Node, Tool::Chromium], NAME);
    let (Some([node, chromium]), Some(folder)) = (tools, checkout(NAME)) else {
        return;
    };
    // A reader that stops is not closed while the browser looks at it.
    let settings = "[limits]\nstall_ms = 3600000\noutbox_bytes = 131072\n[heartbeat]\nping_after_ms = 150000\npong_timeout_ms = 150000\n\
                    [socket]\nsend_buffer_bytes = 16384\nuser_timeout_ms = 600000";
    let (broker, _settings) = start(settings, &FEED);
    let (mut slow, answer) = Socket::request(
        &broker,
        "GET /v1/ws HTTP/1.1",
        &[&GOOD[..], &[&bearer(CLOSER)]].concat(),
    );
    assert_eq!(answer.status, 101, "{answer:?}");
    let session = slow.message()["session"].as_str().expect("a name").to_owned();
    slow.send(Frame::text(r#"{"op":"subscribe","id":1,"topics":[">"]}"#));
    let lagging = |broker: &Broker| {
        let page: Value = serde_json::from_str(&get(broker.ops, "/debug/sessions").body).expect("JSON");
        (page["lagging"] == 1).then_some(())
    };
    poll("a session that lags", || lagging(&broker));
    let shown = bearer(READER);
    let lines = [&GOOD[..], &[shown.as_str()]].concat();
    let (mut idle, answer) = Socket::request(&broker, "GET /v1/ws HTTP/1.1", &lines);
    assert_eq!(answer.status, 101, "{answer:?}");
    idle.send(Frame::text(
        r#"{"op":"subscribe","id":1,"topics":["ticker.NONE"]}"#,
    ));
    poll("a message in each topic", || {
        let page: Value = serde_json::from_str(&get(broker.listen, "/v1/topics").body).expect("JSON");
        (page["topics"].as_array().map(Vec::len) == Some(TOPICS)).then_some(())
    });
    let url = format!("http://{}/", broker.ops);
    let mut args = vec![
        folder.path().join("test/screens.mjs").display().to_string(),
        format!("--chromium={}", chromium.display()),
        format!("--url={url}"),
        format!("--slow={session}"),
        format!("--key={CLOSER}"),
    ];
    if let Some(pictures) = std::env::var_os(PICTURES) {
        args.push(format!("--pictures={}", Path::new(&pictures).display()));
    }
    let mut script = Script::start(&node, &args);
    let mut seen = Vec::new();
    while let Some(line) = script.line() {
        let report: Value = serde_json::from_str(&line).expect("JSON");
        if report["until"].is_string() {
            continue;
        }
        for fault in ["violations", "complaints"] {
            let none = report[fault].as_array().is_none_or(Vec::is_empty);
            assert!(none, "{}: {}", report["screen"], report[fault]);
        }
        check(&report, &session);
        seen.push(report["screen"].as_str().expect("a name").to_owned());
    }
    script.finish();
    assert_eq!(
        seen.join(", "),
        "start, market, topics, close, sessions, health, market on a phone, topics on a phone, sessions on a phone, health on a phone"
    );
    let (_, (code, reason)) = slow.until_closed();
    assert_eq!((code, reason.as_str()), (1001, "closed by an operator"));
    drop((idle, slow));
    broker.stop();
}

#[test]
fn a_hostile_message_broke_a_screen_or_was_shown_as_another() {
    const NAME: &str = "a_hostile_message_broke_a_screen_or_was_shown_as_another";
    let tools = Tool::find_all([Tool::Node, Tool::Chromium], NAME);
    let (Some([node, chromium]), Some(folder)) = (tools, checkout(NAME)) else {
        return;
    };
    let broker = Broker::start(&["--feed", "none", "--anonymous-publish", ">"]);
    let args = [
        folder.path().join("test/hostile.mjs").display().to_string(),
        format!("--chromium={}", chromium.display()),
        format!("--url=http://{}/", broker.ops),
        format!("--publish=http://{}", broker.listen),
    ];
    let mut script = Script::start(&node, &args);
    let mut report = || -> Value { serde_json::from_str(&script.line().expect("a report")).expect("JSON") };
    let none = serde_json::json!([]);
    assert_eq!(
        report(),
        serde_json::json!({"screen": "topics", "wrong": none, "violations": none, "overflow": 0, "complaints": none})
    );
    assert_eq!(
        report(),
        serde_json::json!({
            "screen": "market",
            "symbols": ["GOOD-USD"],
            "notices": [
                "Left out: 3 messages that are no tickers, the last one in ticker.B3",
                "Left out: 2 messages that are no trades, the last one in trade.GOOD-USD"
            ],
            "foreign": 0,
            "complaints": none
        })
    );
    script.finish();
    broker.stop();
}

/// Checks what the script saw of a screen. `slow` is the session that lags.
fn check(report: &Value, slow: &str) {
    let facts = &report["facts"];
    match report["screen"].as_str().expect("a name") {
        "market" => {
            let first = facts["first"].as_str().expect("a symbol");
            assert!(first.ends_with("-USD") && facts["notices"] == 0, "{facts}");
            let ladder = facts["ladder"].as_array().expect("levels");
            let price = |level: &Value| level[1].as_f64().expect("a price");
            // From the highest ask down to the lowest bid.
            assert!(
                ladder.windows(2).all(|pair| price(&pair[0]) > price(&pair[1])),
                "{facts}"
            );
            let asks = ladder.iter().filter(|level| level[0] == "ask").count();
            assert!(asks > 2 && ladder.len() - asks > 2, "{facts}");
            assert!(
                facts["candles"]
                    .as_str()
                    .is_some_and(|text| text.contains("last ")),
                "{facts}"
            );
        }
        "topics" => {
            assert_eq!(
                (&facts["listed"], &facts["pausedSame"]),
                (&TOPICS.into(), &true.into()),
                "{facts}"
            );
            // The fourth row of the table is the third topic.
            assert_eq!(
                (&facts["arrows"], &facts["left"]),
                (&"4".into(), &true.into()),
                "{facts}"
            );
            assert!(
                facts["message"]["topic"]
                    .as_str()
                    .is_some_and(|topic| topic.starts_with("trade.")),
                "{facts}"
            );
        }
        "sessions" => {
            let cell = |at: usize| facts["cells"][at].as_str().expect("a cell");
            assert_eq!((cell(0), cell(3)), (slow, "night-shift"), "{facts}");
            assert!(["lagging", "catching up"].contains(&cell(1)), "{facts}");
            assert!(cell(2).contains("topics behind") && cell(5) != "0", "{facts}");
            assert_eq!(facts["buttonsBefore"], 0, "without the right there is no button");
        }
        "health" => {
            let of = |name: &str| facts["ledger"][name].as_i64().expect(name);
            assert!(of("delivered") > 0 && of("pending") >= 0, "{facts}");
            assert!(
                facts["figures"]["Memory"]
                    .as_str()
                    .is_some_and(|text| text.ends_with("MiB")),
                "{facts}"
            );
        }
        "start" => {}
        "close" => assert_eq!(report["holder"], "night-shift"),
        _ => {
            let overflow = report["overflow"].as_i64().expect("pixels");
            let narrow = report["narrow"].as_array().expect("columns");
            let beyond = report["beyond"].as_f64().expect("pixels");
            assert!(overflow <= 0 && beyond <= 0.0 && narrow.is_empty(), "{report}");
            // More than this is what its makers call a poor page (web.dev/articles/cls).
            assert!(report["moved"].as_f64().expect("a part") < 0.1, "{report}");
        }
    }
}

/// The charts begin with closed candles from before the page was opened, with the rights of a client.
#[test]
fn the_console_gets_stored_candles() {
    let settings = "anonymous_publish = [\">\"]\n[auth]\nanonymous_subscribe = [\"candle.>\"]";
    let (broker, _folder) = start(settings, &["--feed", "none"]);
    let candle = |second: u64, closed: bool| {
        format!(
            r#"{{"topic":"candle.1s.A","data":{{"start":{second}000000,"open":"1","high":"1","low":"1","close":"1","volume":"1","trades":1,"closed":{closed}}}}}"#
        )
    };
    let lines = (1..=300).flat_map(|second| [candle(second, false), candle(second, true)]);
    let body = lines.collect::<Vec<_>>().join("\n");
    let answer = crate::support::post(broker.listen, "/v1/publish", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let history = |topic: &str, lines: &[&str]| {
        let first = format!("GET /console/history?topic={topic} HTTP/1.1");
        let lines = [lines, &["Connection: close"]].concat();
        ask(broker.ops, &first, &broker.ops.to_string(), &lines).1
    };
    let answer = history("candle.1s.A", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let history_of: Value = serde_json::from_str(&answer.body).expect("JSON");
    let starts: Vec<u64> = history_of["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter(|message| message["data"]["closed"] == true)
        .map(|message| message["data"]["start"].as_u64().expect("a time") / 1_000_000)
        .collect();
    assert_eq!(starts, (1..=300).collect::<Vec<_>>());
    for (topic, lines, status) in [
        ("candle.1s.B", vec![], 200),
        ("trade.A", vec![], 403),
        ("a%20b", vec![], 400),
        (
            "candle.1s.A",
            vec!["Authorization: Bearer nonsense".to_owned()],
            401,
        ),
        ("candle.1s.A", vec![bearer(READER)], 403),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let answer = history(topic, &lines);
        assert_eq!(answer.status, status, "{topic}: {}", answer.body);
    }
    broker.stop();
}
