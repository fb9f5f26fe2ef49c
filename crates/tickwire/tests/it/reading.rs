//! The commands that read over HTTP, watch and measure: `topics`, `get`, `history`, `top`, `bench`, and what `sub` prints for people.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{Outcome, Serve, run, tickwire};
use crate::support::Broker;

/// Anyone may publish everything.
const OPEN: [&str; 4] = ["--feed", "none", "--anonymous-publish", ">"];

/// A broker with messages 1 to `count` in `chat.a`, and one in `ticker.X`.
fn broker(count: u64) -> Serve {
    let serve = Serve::start(&OPEN);
    let lines: String = (1..=count)
        .map(|number| format!("{{\"n\":{number}}}\n"))
        .collect();
    let published = run(&["pub", "--url", &serve.url, "chat.a"], &lines);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let published = run(
        &["pub", "--url", &serve.url, "ticker.X"],
        "{\"last\":\"1.50\",\"big\":18446744073709551616}",
    );
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    serve
}

/// The lines of the output, as JSON.
fn lines(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

#[test]
fn topics_are_listed_in_three_formats() {
    let serve = broker(3);
    let list = |arguments: &[&str]| run(&[&["topics", "--url", &serve.url], arguments].concat(), "");
    let human = list(&[]);
    assert_eq!(human.code, Some(0), "{}", human.stderr);
    assert_eq!(
        human.stdout,
        "kind          seq  subscribers  topic\nevent           3            0  chat.a\nstate           1            0  ticker.X\n"
    );
    assert_eq!(list(&["--format", "names", "chat.*"]).stdout, "chat.a\n");
    let listed = &lines(&list(&["--format", "json", "ticker.>"]))[0];
    assert_eq!(
        (&listed["topic"], &listed["seq"]),
        (&json!("ticker.X"), &json!(1))
    );
    let none = list(&["book.*"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""));
    assert_eq!(none.stderr, "tickwire: book.*: no topic matches it\n");
}

#[test]
fn more_topics_than_a_page_has_are_listed() {
    let serve = Serve::start(&OPEN);
    let count = 2_050;
    let body: String = (0..count)
        .map(|number| format!("{{\"topic\":\"t.{number:04}\",\"data\":1}}\n"))
        .collect();
    let address = serve.url.trim_start_matches("ws://").trim_end_matches("/v1/ws");
    let answer = crate::support::post(address.parse().expect("an address"), "/v1/publish", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let listed = run(&["topics", "--url", &serve.url, "--format", "names"], "");
    let names: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(
        (names.len(), names[0], names[count - 1]),
        (count, "t.0000", "t.2049")
    );
}

#[test]
fn topics_are_ended_and_their_subscribers_told() {
    let serve = broker(2);
    let end = |topics: &[&str]| run(&[&["end", "--url", &serve.url], topics].concat(), "");
    let mut subscriber = tickwire(&["sub", "--url", &serve.url, "--count", "3", "chat.a"]);
    let mut subscriber = subscriber.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut read = BufReader::new(subscriber.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        let line = read.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("a line is JSON")
    };
    let snapshot = next();
    assert_eq!(
        (&snapshot["op"], &snapshot["seq"]),
        (&json!("snapshot"), &json!(2))
    );
    let ended = end(&["chat.a", "chat.none"]);
    assert_eq!(ended.code, Some(1), "one does not exist");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert!(
        said[0].contains("chat.a: ended at ") && said[0].ends_with(":2"),
        "{}",
        ended.stderr
    );
    assert!(said[1].ends_with("chat.none: no such topic"), "{}", ended.stderr);
    let told = next();
    assert_eq!((&told["op"], &told["reason"]), (&json!("end"), &json!("deleted")));
    assert_eq!(run(&["get", "--url", &serve.url, "chat.a"], "").code, Some(1));
    let anew = run(&["pub", "--url", &serve.url, "chat.a"], "1");
    assert_eq!(anew.code, Some(0), "{}", anew.stderr);
    assert_eq!(next()["seq"], json!(1));
    assert!(subscriber.wait().expect("it ends").success());
    assert_eq!(end(&["ticker.X"]).code, Some(0));
}

#[test]
fn values_are_printed_as_the_broker_has_them() {
    let serve = broker(2);
    let get = |arguments: &[&str]| run(&[&["get", "--url", &serve.url], arguments].concat(), "");
    let both = get(&["ticker.X", "chat.a"]);
    assert_eq!(both.code, Some(0), "{}", both.stderr);
    let messages = lines(&both);
    assert_eq!(
        (&messages[0]["op"], &messages[0]["topic"]),
        (&json!("snapshot"), &json!("ticker.X"))
    );
    assert_eq!(messages[1]["data"], json!({"n": 2}));
    // No digit is lost.
    assert_eq!(
        get(&["--data", "ticker.X"]).stdout,
        "{\"last\":\"1.50\",\"big\":18446744073709551616}\n"
    );
    let missing = get(&["ticker.Y", "chat.a"]);
    assert_eq!(missing.code, Some(1));
    assert_eq!(missing.stdout.lines().count(), 1, "the other one is printed");
    assert_eq!(
        missing.stderr,
        "tickwire: ticker.Y: no such topic yet, or no message in it; there is ticker.X\n"
    );
}

#[test]
fn a_history_is_printed_page_by_page() {
    let serve = broker(1_030);
    let history = |arguments: &[&str]| run(&[&["history", "--url", &serve.url], arguments].concat(), "");
    let seqs = |outcome: &Outcome| -> Vec<u64> {
        let messages = lines(outcome);
        messages
            .iter()
            .filter_map(|message| message["seq"].as_u64())
            .collect()
    };
    // The history of an event topic has 1,024 messages.
    let all = history(&["chat.a"]);
    assert_eq!(seqs(&all), (7..=1_030).collect::<Vec<_>>(), "{}", all.stderr);
    assert_eq!(all.stderr, "");
    assert_eq!(seqs(&history(&["--last", "3", "chat.a"])), [1_028, 1_029, 1_030]);
    assert_eq!(
        seqs(&history(&["--since", "1000", "--count", "2", "chat.a"])),
        [1_001, 1_002]
    );
    assert_eq!(
        history(&["--last", "1", "--data", "chat.a"]).stdout,
        "{\"n\":1030}\n"
    );
    let gone = history(&["--since", "2", "--count", "1", "chat.a"]);
    assert_eq!((seqs(&gone), gone.code), (vec![7], Some(0)));
    assert_eq!(
        gone.stderr,
        "tickwire: chat.a: the history no longer has 3 to 6\n"
    );
    let end = history(&["--since", "1030", "chat.a"]);
    assert_eq!((end.code, end.stdout.as_str()), (Some(0), ""));
    let epoch = lines(&run(&["get", "--url", &serve.url, "chat.a"], ""))[0]["epoch"].clone();
    let epoch = epoch.as_str().expect("an epoch").to_owned();
    assert_eq!(
        seqs(&history(&["--since", &format!("{epoch}:1029"), "chat.a"])),
        [1_030]
    );
    let other = history(&["--since", "zz:1029", "chat.a"]);
    assert_eq!((other.code, other.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        other.stderr,
        format!("tickwire: chat.a: its lineage is {epoch} and not zz\n")
    );
    assert_eq!(history(&["chat.b"]).code, Some(1));
}

#[test]
fn lines_for_people_have_the_fields_and_no_colour_in_a_pipe() {
    let serve = broker(1);
    let outcome = run(
        &[
            "sub", "--url", &serve.url, "--pretty", "--report", "--mode", "snapshot", "ticker.X",
        ],
        "",
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let (time, rest) = outcome.stdout.split_once(' ').expect("a time");
    assert_eq!(
        (time.len(), rest),
        (15, "ticker.X 1 snapshot  last 1.50  big 18446744073709551616\n")
    );
    let report: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(
        report[0],
        "     updates   snapshots  superseded     missing  topic"
    );
    assert_eq!(
        report[1],
        "           0           1           0           0  ticker.X"
    );
    assert!(
        report[3].contains(" updates a second, 0 reconnects, 0 broken promises"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_report_tells_how_old_updates_were() {
    let broker = Broker::start(&["--feed", "sim", "--symbols", "1"]);
    let url = broker.url();
    let outcome = run(
        &["sub", "--url", &url, "--report", "--count", "50", "trade.>"],
        "",
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(" live updates: median "),
        "{}",
        outcome.stderr
    );
    broker.stop();
}

#[test]
fn a_small_load_arrives() {
    let serve = Serve::start(&OPEN);
    let load = ["--subscribers", "5", "--rate", "50", "--seconds", "1", "--json"];
    let outcome = run(&[&["bench", "--url", &serve.url], &load[..]].concat(), "");
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    let told: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(
        (
            &told["published"],
            &told["deliveries"],
            &told["missing"],
            &told["failed"]
        ),
        (&json!(50), &json!(250), &json!(0), &json!(0))
    );
    assert!(
        told["delay_us"]["p50"].as_u64() <= told["delay_us"]["max"].as_u64(),
        "{told}"
    );
    // What may not be published is not counted as arrived.
    let refused = Serve::start(&["--feed", "none"]);
    let outcome = run(&[&["bench", "--url", &refused.url], &load[..]].concat(), "");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("bench.load: refused: forbidden: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn top_reports_once_where_there_is_no_terminal() {
    let broker = Broker::start(&["--feed", "sim", "--symbols", "2", "--rate", "200"]);
    let ops = format!("http://{}", broker.ops);
    let top = || run(&["top", "--ops", &ops, "--rows", "1"], "");
    let quiet = top();
    assert_eq!(quiet.code, Some(0), "{}", quiet.stderr);
    assert!(
        quiet.stdout.contains("no update was handed out yet\n"),
        "{}",
        quiet.stdout
    );
    let url = broker.url();
    let mut reader = tickwire(&["sub", "--url", &url, "trade.>"]);
    let mut reader = reader.stdout(Stdio::null()).spawn().expect("the program starts");
    broker.wait_for_metric("tickwire_deliveries_total{op=\"update\"}", |count| count > 10.0);
    let lines: Vec<String> = top().stdout.lines().map(str::to_owned).collect();
    reader.kill().expect("it runs");
    reader.wait().expect("it can be waited for");
    assert!(lines[0].contains(" topics, 1 sessions, 0 lagging, "), "{lines:?}");
    assert!(lines[3].contains(" event  trade."), "{lines:?}");
    assert_eq!(lines[4], "", "one topic only: {lines:?}");
    let clients = run(&["top", "--ops", &format!("http://{}", broker.listen)], "");
    assert_eq!(clients.code, Some(1));
    assert!(
        clients.stderr.contains("this is no operators' listener"),
        "{}",
        clients.stderr
    );
    broker.stop();
}

#[test]
fn names_of_topics_are_completed_where_the_broker_answers() {
    let serve = broker(1);
    let complete = |line: &[&str]| {
        let index = (line.len() - 1).to_string();
        let mut command = tickwire(&[&["--"], line].concat());
        command
            .env("_TICKWIRE_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", &index);
        let variables = [
            ("_CLAP_COMPLETE_COMP_TYPE", "9"),
            ("_CLAP_IFS", "\n"),
            ("_CLAP_COMPLETE_SPACE", "false"),
        ];
        let output = command.envs(variables).output().expect("the program runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(
        complete(&["tickwire", "sub", "--url", &serve.url, "ch"]),
        "chat.a"
    );
    assert_eq!(
        complete(&["tickwire", "history", "--url", &serve.url, "ticker."]),
        "ticker.X"
    );
    // Values of flags need no broker, and names that cannot be asked for are no reason to wait.
    assert_eq!(complete(&["tickwire", "sub", "--mode", "ev"]), "every");
    assert_eq!(
        complete(&["tickwire", "get", "--url", "ws://127.0.0.1:1", "ch"]),
        ""
    );
}
