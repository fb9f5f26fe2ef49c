//! Requests and messages as text, so that a test is one line.
//!
//! A trace is a list of steps with `;` between them.
//!
//! Sent: `sub ID TOPIC… [since TOPIC=EPOCH:SEQ] [each PATTERN=EPOCH,TOPIC:SEQ…] [from TOPIC] [mode M] [nosnap]`, `positions ID
//! EPOCH,TOPIC:SEQ…`, `unsub ID TOPIC…`, `resync ID TOPIC`, `ping ID`.
//!
//! Received: `ack ID RESULT…`, `synced ID`, `joined TOPIC@EPOCH:SEQ`, `snap TOPIC@EPOCH:SEQ`, `up TOPIC SEQ`, `gap
//! TOPIC@EPOCH FROM TO REASON`, `status TOPIC`, `caught TOPIC SEQ`, `pong ID [READ]`, `error ID`, `welcome`.
//!
//! A result is `TOPIC@EPOCH:SEQ/MODE`, with `+` for `recovered:true` and `-` for `recovered:false`, or `PATTERN/MODE`,
//! with `=RESUMED,NOT`, or `TOPIC!` for a refusal. A replay up to a number is `TOPIC@EPOCH:SEQ..TO/MODE`.
//!
//! `cut` begins a new connection.

use expect_test::Expect;
use serde_json::value::RawValue;
use tickwire_wire::message::{
    AckResult, AnnouncedLimits, Positions, ReplayRange, Since, Subscribe, TopicRequest, TopicState,
};
use tickwire_wire::{ErrorCode, Micros, Moment, Refusal};

use super::super::*;

pub(super) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn mode(text: &str) -> Mode {
    serde_json::from_str(&format!("{text:?}")).unwrap_or_else(|_| panic!("{text:?} is no mode"))
}

/// Parses a position such as `k:57`.
fn position(text: &str) -> Position {
    let (epoch, seq) = text.split_once(':').expect("EPOCH:SEQ");
    Position {
        epoch: Epoch::from(epoch),
        seq: Seq(number(seq)),
    }
}

/// Parses positions such as `k,trade.A:57,trade.B:9`.
fn positions(text: &str) -> Vec<Positions> {
    let mut words = text.split(',');
    let epoch = Epoch::from(words.next().expect("EPOCH"));
    let seqs = words.map(|word| {
        let (topic, seq) = word.split_once(':').expect("TOPIC:SEQ");
        (topic.to_owned(), Seq(number(seq)))
    });
    let seqs = seqs.collect();
    vec![Positions { epoch, seqs }]
}

/// Parses a result such as `A@k:57/every+`, `trade.*/every=2,1` or `A!`.
fn result(text: &str) -> AckResult {
    let mut result = AckResult::default();
    let mut text = text;
    if let Some(topic) = text.strip_suffix('!') {
        result.topic = topic.to_owned();
        result.error = Some(Refusal::new(ErrorCode::Forbidden, "no"));
        return result;
    }
    if let Some((rest, counts)) = text.split_once('=') {
        text = rest;
        let (resumed, not) = counts.split_once(',').expect("RESUMED,NOT");
        result.resumed = resumed.parse().ok();
        result.not_resumed = not.parse().ok();
    }
    for (sign, recovered) in [('+', true), ('-', false)] {
        if let Some(rest) = text.strip_suffix(sign) {
            text = rest;
            result.recovered = Some(recovered);
        }
    }
    if let Some((rest, granted)) = text.split_once('/') {
        text = rest;
        result.mode = Some(mode(granted));
    }
    if let Some((topic, at)) = text.split_once('@') {
        text = topic;
        let (at, to) = at.split_once("..").map_or((at, None), |(at, to)| (at, Some(to)));
        let at = position(at);
        result.replay = to.map(|to| ReplayRange {
            from_seq: at.seq.next(),
            to_seq: Seq(number(to)),
        });
        (result.epoch, result.seq) = (Some(at.epoch), Some(at.seq));
    }
    result.topic = text.to_owned();
    result
}

fn subscribe(id: u64, words: &[&str]) -> ClientMessage {
    let mut subscribe = Subscribe {
        id: RequestId(id),
        topics: Vec::new(),
        mode: None,
        conflate_ms: None,
        snapshot: true,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "since" => {
                let (topic, at) = words
                    .next()
                    .and_then(|w| w.split_once('='))
                    .expect("TOPIC=EPOCH:SEQ");
                subscribe.topics.push(TopicRequest::Since {
                    topic: topic.to_owned(),
                    since: Some(position(at).into()),
                });
            }
            "each" => {
                let (pattern, since) = words
                    .next()
                    .and_then(|w| w.split_once('='))
                    .expect("PATTERN=POSITIONS");
                subscribe.topics.push(TopicRequest::Since {
                    topic: pattern.to_owned(),
                    since: Some(Since::Many(positions(since))),
                });
            }
            "from" => subscribe.topics.push(TopicRequest::From {
                topic: (*words.next().expect("TOPIC")).to_owned(),
                from: Moment(Micros(1)),
                speed: None,
            }),
            "mode" => subscribe.mode = words.next().map(|word| mode(word)),
            "nosnap" => subscribe.snapshot = false,
            topic => subscribe.topics.push(TopicRequest::Pattern(topic.to_owned())),
        }
    }
    ClientMessage::Subscribe(subscribe)
}

pub(super) fn welcome() -> ServerMessage {
    ServerMessage::Control(Control::Welcome {
        session: "s".to_owned(),
        server: "tickwire/0".to_owned(),
        ts: Micros(1),
        heartbeat_ms: 15_000,
        limits: AnnouncedLimits {
            subscriptions: 8,
            message_bytes: 65_536,
            ops_per_s: 50,
            ops_burst: 200,
            publishes_per_s: 10_000,
            publishes_burst: 20_000,
        },
    })
}

fn names(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn status(topic: &str, state: TopicState, seq: Option<&str>) -> Control {
    Control::Status {
        topic: topic.to_owned(),
        state,
        reason: None,
        seq: seq.map(|seq| Seq(number(seq))),
    }
}

fn received(words: &[&str]) -> ServerMessage {
    let (ts, id) = (Micros(1), |text: &str| RequestId(number(text)));
    let control = match words {
        ["welcome"] => return welcome(),
        ["up", topic, seq] => {
            return ServerMessage::Update {
                topic: (*topic).to_owned(),
                seq: Seq(number(seq)),
                ts,
                data: raw("1"),
            };
        }
        ["snap", place] => {
            let (topic, at) = place.split_once('@').expect("TOPIC@EPOCH:SEQ");
            let Position { epoch, seq } = position(at);
            let (topic, data) = (topic.to_owned(), raw("1"));
            return ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                ts,
                data,
            };
        }
        ["ack", request, results @ ..] => Control::Ack {
            id: id(request),
            results: results.iter().map(|word| result(word)).collect(),
        },
        ["gap", place, from, to, reason] => {
            let (topic, epoch) = place.split_once('@').expect("TOPIC@EPOCH");
            Control::Gap {
                topic: topic.to_owned(),
                epoch: Epoch::from(epoch),
                from: Seq(number(from)),
                to: Seq(number(to)),
                reason: serde_json::from_str(&format!("{reason:?}")).expect("a reason"),
            }
        }
        ["status", topic] => status(topic, TopicState::Stale, None),
        ["caught", topic, seq] => status(topic, TopicState::CaughtUp, Some(seq)),
        ["pong"] => Control::Pong {
            id: None,
            ts,
            received: None,
        },
        ["pong", request, read @ ..] => Control::Pong {
            id: Some(id(request)),
            received: read.first().map(|read| Micros(number(read))),
            ts,
        },
        ["synced", request] => Control::Synced { id: id(request) },
        ["joined", place] => {
            let (topic, at) = place.split_once('@').expect("TOPIC@EPOCH:SEQ");
            let Position { epoch, seq } = position(at);
            Control::Joined {
                topic: topic.to_owned(),
                epoch,
                seq,
            }
        }
        ["error", request] => Control::error(Some(id(request)), Refusal::bad_request("no")),
        other => panic!("{other:?} is no step"),
    };
    ServerMessage::Control(control)
}

/// Runs `trace`. Returns the promises that it breaks, one line per fault, with the step that shows it.
pub(super) fn run(checker: &mut Checker, trace: &str) -> String {
    let mut faults = Vec::new();
    for step in trace.split(';').map(str::trim) {
        let words: Vec<_> = step.split_whitespace().collect();
        match &words[..] {
            [] => {}
            ["cut"] => {
                checker.reconnected();
                assert_eq!(checker.received(&welcome()), Ok(()));
            }
            ["sub", id, rest @ ..] => checker.sent(&subscribe(number(id), rest)),
            ["positions", id, since] => checker.sent(&ClientMessage::Positions {
                id: RequestId(number(id)),
                since: positions(since),
            }),
            ["unsub", id, topics @ ..] => checker.sent(&ClientMessage::Unsubscribe {
                id: RequestId(number(id)),
                topics: names(topics),
            }),
            ["resync", id, topic] => checker.sent(&ClientMessage::Resync {
                id: RequestId(number(id)),
                topic: (*topic).to_owned(),
            }),
            ["ping", id] => checker.sent(&ClientMessage::Ping {
                id: Some(RequestId(number(id))),
            }),
            words => {
                if let Err(broken) = checker.received(&received(words)) {
                    faults.push(format!("{step}: {broken}"));
                }
            }
        }
    }
    faults.join("\n")
}

pub(super) fn kept(trace: &str) {
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    assert_eq!(run(&mut checker, trace), "", "{trace}");
}

/// Checks that `trace` breaks a promise with its last step and only there.
pub(super) fn broken(trace: &str, expected: &Expect) {
    let mut checker = Checker::new();
    assert_eq!(checker.received(&welcome()), Ok(()));
    let (before, last) = trace.rsplit_once(';').expect("several steps");
    assert_eq!(run(&mut checker, before), "", "{before}");
    expected.assert_eq(
        run(&mut checker, last)
            .split_once(": ")
            .map_or("kept", |(_, fault)| fault),
    );
}
