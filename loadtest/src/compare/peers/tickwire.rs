//! Tickwire itself, in JSON or MessagePack.
//!
//! Subscriptions ask for no snapshot, since no other peer sends the last value first. Updates in JSON, which are nearly
//! all that comes in, are read by their heads; everything else is decoded in full.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use tickwire_wire::codec::{Codec, DataOp};
use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::PUBLISH_RATE_MAX;
use tickwire_wire::message::{Control, ServerMessage, Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Mode, Payload, RequestId};

use super::{Delivered, Inbound, Message, Numbered, Protocol, Server, runs};
use crate::swarm::{Broker, Certificates, FREE_PUBLISHER, Head, Interrupt, program, scrape};

/// The drain of a broker that is stopped after a measurement, in milliseconds: the window over which connections are
/// closed, and the deadline.
const DRAIN_MS: [&str; 2] = ["100", "1200"];

pub(crate) struct Tickwire {
    pub(super) codec: Codec,
    pub(super) mode: Mode,
}

impl Protocol for Tickwire {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/v1/ws", Some(self.codec.subprotocol()))
    }

    fn subscribe(&self, topics: &[String], _: &str) -> Vec<Message> {
        let request = |(index, topics): (usize, &[String])| {
            let request = ClientMessage::Subscribe(Subscribe {
                id: RequestId(index as u64 + 1),
                topics: topics.iter().cloned().map(TopicRequest::Pattern).collect(),
                mode: Some(self.mode),
                conflate_ms: None,
                snapshot: false,
            });
            let mut payload = Vec::new();
            self.codec.encode_request(&request, &mut payload);
            Message {
                opcode: self.codec.opcode(),
                payload,
            }
        };
        runs(topics).enumerate().map(request).collect()
    }

    fn skips(&self) -> bool {
        self.mode == Mode::Conflate
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        if self.codec == Codec::Json {
            out.extend_from_slice(br#"{"op":"publish","topic":""#);
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(br#"","data":"#);
            out.extend_from_slice(payload);
            out.push(b'}');
        } else if let Ok(data) = Payload::from_json(payload) {
            // The payload is JSON by definition. If it were not, the server would get an empty message and refuse it.
            let request = ClientMessage::Publish {
                id: None,
                topic: topic.to_owned(),
                data,
                key: None,
                ts: None,
            };
            self.codec.encode_request(&request, out);
        }
        self.codec.opcode()
    }

    fn delivery<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], Numbered<'m>)> {
        let head = Head::of(message).filter(|head| head.op == DataOp::Update)?;
        Some((head.data, Some((head.topic, head.seq))))
    }

    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound {
        match self.codec.decode_server(message) {
            Ok(ServerMessage::Update { topic, seq, data, .. }) => {
                delivered(data.get().as_bytes(), Some((topic.as_bytes(), seq.0)));
                Inbound::default()
            }
            Ok(ServerMessage::Control(control)) => of_control(control, message),
            _ => Inbound::not_understood(message),
        }
    }
}

/// What is said to Tickwire by who reads server-sent events: the request names the topics, the rest is as over WebSocket.
pub(super) struct Events;

impl Protocol for Events {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        super::JSON.endpoint()
    }

    fn events(&self, topics: &[String]) -> Option<String> {
        let topics: Vec<String> = topics.iter().map(|topic| format!("topic={topic}")).collect();
        Some(format!("/v1/sse?mode=every&{}", topics.join("&")))
    }

    fn subscribe(&self, _topics: &[String], _: &str) -> Vec<Message> {
        Vec::new()
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        super::JSON.publish(topic, payload, out)
    }

    fn delivery<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], Numbered<'m>)> {
        super::JSON.delivery(message)
    }

    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound {
        super::JSON.inbound(message, delivered)
    }
}

fn of_control(control: Control, message: &[u8]) -> Inbound {
    match &control {
        Control::Ack { results, .. } => {
            let mut refusals = results
                .iter()
                .filter_map(|result| Some((&result.topic, result.error.as_ref()?)));
            match refusals.next() {
                Some((topic, refusal)) => {
                    Inbound::fault(format!("{topic:?} was refused: {}", refusal.reason))
                }
                None => Inbound {
                    confirmed: results.len(),
                    told: Some(control),
                    ..Inbound::default()
                },
            }
        }
        Control::Gap { .. } => Inbound {
            told: Some(control),
            ..Inbound::default()
        },
        Control::Error { reason, .. } => Inbound::fault(format!("a request was refused: {reason}")),
        Control::Welcome { .. } => Inbound::greeted(),
        Control::Heartbeat { .. } | Control::Joined { .. } | Control::Synced { .. } => Inbound::default(),
        Control::End { .. } | Control::Status { .. } | Control::Pong { .. } | Control::Drain { .. } => {
            Inbound::not_understood(message)
        }
    }
}

/// A build of the broker, and how it is run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Build {
    /// The path of the program; without it, the one beside this program.
    pub(super) program: Option<&'static Path>,
    pub(super) setting: Option<(&'static str, &'static str)>,
    /// Whether it may use the cores of this program besides its own.
    pub(super) shares_cores: bool,
}

impl Build {
    /// Starts the broker without a feed and with one shard, unless its settings give another number.
    pub(super) fn launch(
        &self,
        newest: bool,
        certificates: Option<&Certificates>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Server> {
        let program = self.program()?;
        // An older build would refuse a setting that it does not know.
        let known = knows(
            &program,
            "limits.publishes_per_s = 1\nlimits.first_request_ms = 600000",
        )?;
        // A build since then takes more than a million publications a second.
        let most = PUBLISH_RATE_MAX.to_string();
        let takes_most = knows(
            &program,
            &format!("limits.publishes_per_s = {most}\nlimits.publishes_burst = {most}"),
        )?;
        let rates = [
            "TICKWIRE_LIMITS__PUBLISHES_PER_S",
            "TICKWIRE_LIMITS__PUBLISHES_BURST",
        ];
        let mut command = Command::new(program);
        command
            .args(["serve", "--feed", "none", "--anonymous-publish", "bench.>"])
            .env("TICKWIRE_SHARDS", "1")
            .env("TICKWIRE_DRAIN__WINDOW_MS", DRAIN_MS[0])
            .env("TICKWIRE_DRAIN__DEADLINE_MS", DRAIN_MS[1])
            .envs(
                FREE_PUBLISHER
                    .into_iter()
                    .filter(|(name, _)| known || name.contains("OPS")),
            )
            .envs(
                rates
                    .map(|name| (name, most.clone()))
                    .into_iter()
                    .filter(|_| takes_most),
            )
            .envs(certificates.into_iter().flat_map(Certificates::settings))
            .envs(self.setting);
        let mut kinds = tempfile::NamedTempFile::new()?;
        if newest {
            writeln!(kinds, "[[kinds]]\npattern = \"bench.>\"\nkind = \"state\"")?;
            command.arg("--config").arg(kinds.path());
        }
        let broker = Broker::start(&mut command, interrupt)?;
        let (address, (process, ops)) = (broker.endpoint.address, broker.into_process());
        Ok(Server {
            process,
            address,
            version: version_in(&scrape::get(ops, "/metrics")?).context("the metrics tell no version")?,
            ops: Some(ops),
        })
    }

    /// Why the build cannot be started; `None` if it can.
    pub(super) fn missing(&self) -> Option<String> {
        self.program().err().map(|error| error.to_string())
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        program(self.program)
    }
}

/// Whether a build of the broker knows these settings.
fn knows(program: &Path, settings: &str) -> anyhow::Result<bool> {
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(file, "{settings}")?;
    let mut check = Command::new(program);
    check.arg("check-config").arg(file.path());
    let checked = check.stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(checked.context("the program cannot be run")?.success())
}

/// The version in `tickwire_build_info{version="…"} 1` of the metrics.
fn version_in(metrics: &str) -> Option<String> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with("tickwire_build_info{"))?;
    let (_, after) = line.split_once("version=\"")?;
    Some(after.split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tickwire_wire::codec::Stamp;
    use tickwire_wire::{Epoch, Micros, Seq};

    use super::super::JSON;
    use super::super::tests::{inbound, published, sent, topics};
    use super::*;

    const PACKED: &Tickwire = &Tickwire {
        codec: Codec::MessagePack,
        mode: Mode::Every,
    };

    #[test]
    fn what_is_sent() {
        expect![[r#"text "{\"op\":\"subscribe\",\"id\":1,\"topics\":[\"bench.t0\",\"bench.t1\"],\"mode\":\"every\",\"snapshot\":false}""#]].assert_eq(&sent(&JSON.subscribe(&topics(2), "")));
        expect![[r#"text "{\"op\":\"publish\",\"topic\":\"bench.t1\",\"data\":\"17.\"}""#]]
            .assert_eq(&published(JSON, "bench.t1", "\"17.\""));
        let mut out = Vec::new();
        assert_eq!(PACKED.publish("bench.t1", b"\"17.\"", &mut out), Opcode::Binary);
        // The server keeps MessagePack as it came, so the values are compared.
        let read = Codec::MessagePack.decode_request(&out).expect("a request");
        let mut text = Vec::new();
        Codec::Json.encode_request(&read, &mut text);
        expect![[r#"{"op":"publish","topic":"bench.t1","data":"17."}"#]]
            .assert_eq(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn many_topics_are_several_requests_with_ids_of_their_own() {
        let requests = JSON.subscribe(&topics(10_000), "");
        let id = |request: &Message| {
            assert!(request.payload.len() < tickwire_wire::limits::MESSAGE_BYTES_MAX);
            serde_json::from_slice::<serde_json::Value>(&request.payload).expect("JSON")["id"].as_u64()
        };
        let ids: Vec<Option<u64>> = requests.iter().map(id).collect();
        assert!(ids.len() > 1);
        assert_eq!(ids, (1..=requests.len() as u64).map(Some).collect::<Vec<_>>());
    }

    /// A publication, encoded by the broker's own codec.
    fn written(codec: Codec, op: DataOp) -> Vec<u8> {
        let (epoch, mut out) = (Epoch::from_number(7), Vec::new());
        let stamp = Stamp {
            topic: "bench.t1",
            epoch: &epoch,
            seq: Seq(58),
            ts: Micros(1_700_000_000_000_000),
        };
        let payload = Payload::from_json(b"\"17.\"").expect("a payload");
        codec.encode_data(op, stamp, &payload, &mut out);
        out
    }

    #[test]
    fn what_comes_in() {
        for protocol in [JSON, PACKED] {
            expect![[r#"delivered "\"17.\"" as 58 of bench.t1"#]]
                .assert_eq(&inbound(protocol, &written(protocol.codec, DataOp::Update)));
            assert!(inbound(protocol, &written(protocol.codec, DataOp::Snapshot)).starts_with("fault "));
        }
        for (message, expected) in [
            (&br#"{"op":"ack","id":1,"results":[{"topic":"a","seq":0,"mode":"every"},{"topic":"b"}]}"#[..], expect!["confirmed 2"]),
            (br#"{"op":"ack","id":1,"results":[{"topic":"a"},{"topic":"b..","error":{"code":"bad_topic","reason":"empty token at byte 2"}}]}"#, expect![[r#"fault "b.." was refused: empty token at byte 2"#]]),
            (br#"{"op":"error","code":"rate_limited","reason":"slow down","retryable":true}"#, expect!["fault a request was refused: slow down"]),
            (br#"{"op":"heartbeat","ts":1}"#, expect![[r#""#]]),
            (br#"{"op":"welcome","session":"x","server":"tickwire/0.1.0","ts":1,"heartbeat_ms":15000,"limits":{"subscriptions":1024,"message_bytes":65536,"ops_per_s":50}}"#, expect!["greeted"]),
            (br#"{"op":"update","seq":1,"topic":"a","ts":1,"data":"17."}"#, expect![[r#"delivered "\"17.\"" as 1 of a"#]]),
            (b"\"17.\"", expect![[r#"fault a message of 5 bytes is not understood: "\"17.\"""#]]),
        ] {
            expected.assert_eq(&inbound(JSON, message));
        }
    }

    #[test]
    fn the_version_is_in_the_metrics() {
        let metrics = "# TYPE tickwire_build_info gauge\ntickwire_build_info{version=\"0.1.0\"} 1\n";
        assert_eq!(version_in(metrics).as_deref(), Some("0.1.0"));
        assert_eq!(version_in("tickwire_topics 1\n"), None);
    }
}
