//! Tickwire itself, in JSON.
//!
//! Subscriptions ask for no snapshot: no other peer sends the last value first. Updates, which are nearly all that comes
//! in, are read by hand in the order in which the broker writes their fields; everything else is decoded in full. An
//! update in another order would be a fault, never a delivery that is not counted.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::Serialize;
use tickwire_wire::codec::Codec;
use tickwire_wire::frame::Opcode;
use tickwire_wire::message::{Control, ServerMessage};

use super::server::{Server, free_port, loopback, pinned};
use super::{Inbound, Message, Protocol, runs};
use crate::swarm::scrape;

/// Requests, and publications, per second that a benchmark's connection may send: the most that the broker lets one set.
const OPS_PER_S: &str = "1000000";

/// Times in milliseconds that connections get to leave when the broker is stopped, which is after a measurement: over how long
/// they are closed, and when it is over in any case.
const DRAIN_MS: [&str; 2] = ["100", "1200"];

/// What is said to Tickwire.
pub(super) struct Tickwire;

impl Protocol for Tickwire {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/v1/ws", Some(Codec::Json.subprotocol()))
    }

    fn subscribe(&self, topics: &[String]) -> Vec<Message> {
        #[derive(Serialize)]
        struct Subscribe<'a> {
            op: &'static str,
            id: usize,
            topics: &'a [String],
            mode: &'static str,
            snapshot: bool,
        }
        runs(topics)
            .enumerate()
            .map(|(index, topics)| {
                let subscribe = Subscribe {
                    op: "subscribe",
                    id: index + 1,
                    topics,
                    mode: "every",
                    snapshot: false,
                };
                Message::text(serde_json::to_vec(&subscribe).unwrap_or_default())
            })
            .collect()
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        out.extend_from_slice(br#"{"op":"publish","topic":""#);
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(br#"","data":"#);
        out.extend_from_slice(payload);
        out.push(b'}');
        Opcode::Text
    }

    fn inbound(&self, message: &[u8], delivered: &mut dyn FnMut(&[u8])) -> Inbound {
        if let Some(update) = Update::read(message) {
            delivered(update.data);
            return Inbound::default();
        }
        match Codec::Json.decode_server(message) {
            Ok(ServerMessage::Control(control)) => of_control(control, message),
            _ => Inbound::not_understood(message),
        }
    }

    fn sequence<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], u64)> {
        let update = Update::read(message)?;
        Some((update.topic, update.seq))
    }
}

fn of_control(control: Control, message: &[u8]) -> Inbound {
    match control {
        Control::Ack { results, .. } => {
            match results
                .iter()
                .find_map(|result| Some((&result.topic, result.error.as_ref()?)))
            {
                None => Inbound::confirmed(results.len()),
                Some((topic, error)) => Inbound::fault(format!("{topic:?} was refused: {}", error.reason)),
            }
        }
        Control::Error { reason, .. } => Inbound::fault(format!("a request was refused: {reason}")),
        Control::Gap { from, to, .. } => Inbound {
            missing: to.0.saturating_sub(from.0) + 1,
            ..Inbound::default()
        },
        Control::Welcome { .. } => Inbound::greeted(),
        Control::Heartbeat { .. } | Control::Joined { .. } | Control::Synced { .. } => Inbound::default(),
        Control::Status { .. } | Control::Pong { .. } | Control::Drain { .. } => {
            Inbound::not_understood(message)
        }
    }
}

/// An `update`, as the broker writes it.
struct Update<'m> {
    topic: &'m [u8],
    seq: u64,
    data: &'m [u8],
}

impl<'m> Update<'m> {
    fn read(message: &'m [u8]) -> Option<Self> {
        let rest = message.strip_prefix(br#"{"op":"update","topic":""#)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let (topic, rest) = rest.split_at(end);
        let (seq, rest) = leading_number(rest.strip_prefix(br#"","seq":"#)?)?;
        let (_, rest) = leading_number(rest.strip_prefix(br#","ts":"#)?)?;
        let data = rest.strip_prefix(br#","data":"#)?.strip_suffix(b"}")?;
        Some(Self { topic, seq, data })
    }
}

/// The number that `bytes` begin with, and what follows it.
fn leading_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

/// A build of the broker, and how it is run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Build {
    /// The program; the one beside this program if none is named.
    pub(super) program: Option<&'static Path>,
    /// Variables of its environment.
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// Whether it may use the cores of this program besides its own.
    pub(super) shares_cores: bool,
}

impl Build {
    /// Starts it with one shard, unless its settings say another number, and no feed.
    pub(super) fn launch(&self, core: usize, settings: &[(String, String)]) -> anyhow::Result<Server> {
        let (port, ops) = (free_port()?, loopback(free_port()?));
        let mut command = pinned(&self.cores(core)?, &self.program()?);
        command
            .args(["serve", "--feed", "none"])
            .args(["--anonymous-publish", "bench.>"])
            .args(["--listen", &loopback(port).to_string(), "--ops", &ops.to_string()])
            // In the environment, so that a flag among the settings goes first.
            .env("TICKWIRE_SHARDS", "1")
            .env("TICKWIRE_DRAIN__WINDOW_MS", DRAIN_MS[0])
            .env("TICKWIRE_DRAIN__DEADLINE_MS", DRAIN_MS[1])
            .env("TICKWIRE_LIMITS__OPS_PER_S", OPS_PER_S)
            .env("TICKWIRE_LIMITS__OPS_BURST", OPS_PER_S)
            .envs(self.settings.iter().copied())
            .stdout(Stdio::null());
        if self.knows("limits.publishes_per_s = 1")? {
            command
                .env("TICKWIRE_LIMITS__PUBLISHES_PER_S", OPS_PER_S)
                .env("TICKWIRE_LIMITS__PUBLISHES_BURST", OPS_PER_S);
        }
        // Its warnings are worth seeing, its greeting is not.
        if env::var_os("TICKWIRE_LOG_LEVEL").is_none() {
            command.env("TICKWIRE_LOG_LEVEL", "warn");
        }
        apply(settings, &mut command);
        let mut server = Server::spawn(command, port)?;
        server.wait_until(|| Ok(scrape::get(ops, "/readyz").ok()))?;
        server.ops = Some(ops);
        server.version = version_in(&scrape::get(ops, "/metrics")?).context("the metrics tell no version")?;
        Ok(server)
    }

    /// Whether it knows a setting: other builds, of other days, are refused for one that they do not know.
    fn knows(&self, setting: &str) -> anyhow::Result<bool> {
        let mut file = tempfile::NamedTempFile::new()?;
        writeln!(file, "{setting}")?;
        let mut check = Command::new(self.program()?);
        check.arg("check-config").arg(file.path());
        let checked = check.stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(checked.context("the program cannot be run")?.success())
    }

    /// Why it cannot be started, if it is not built.
    pub(super) fn missing(&self) -> Option<String> {
        self.program().err().map(|error| error.to_string())
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        let program = match self.program {
            Some(program) => program.to_owned(),
            None => env::current_exe()
                .context("cannot find this program's own folder")?
                .with_file_name("tickwire"),
        };
        ensure!(
            program.is_file(),
            "{} is not there: build it with cargo build --release -p tickwire",
            program.display()
        );
        Ok(program)
    }

    /// What it is bound to when its own core is `core`.
    fn cores(&self, core: usize) -> anyhow::Result<Vec<usize>> {
        let mut cores = vec![core];
        if self.shares_cores {
            let ours = sched_getaffinity(None).context("cannot find out which cores may be used")?;
            cores.extend((0..CpuSet::MAX_CPU).filter(|other| *other != core && ours.is_set(*other)));
        }
        Ok(cores)
    }
}

/// Appends the flags and sets the variables among `settings`.
fn apply(settings: &[(String, String)], command: &mut Command) {
    for (name, value) in settings {
        match name.starts_with("--") {
            false => {
                command.env(name, value);
            }
            true => {
                command.arg(name).args((!value.is_empty()).then_some(value));
            }
        }
    }
}

/// The version in the metrics' `tickwire_build_info{version="…"} 1`.
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
    use tickwire_wire::codec::{DataOp, Stamp};
    use tickwire_wire::{Epoch, Micros, Payload, Seq};

    use super::super::tests::{inbound, published, sent, topics};
    use super::*;

    #[test]
    fn what_is_sent() {
        expect![[r#"text "{\"op\":\"subscribe\",\"id\":1,\"topics\":[\"bench.t0\",\"bench.t1\"],\"mode\":\"every\",\"snapshot\":false}""#]].assert_eq(&sent(&Tickwire.subscribe(&topics(2))));
        expect![[r#"text "{\"op\":\"publish\",\"topic\":\"bench.t1\",\"data\":\"17.\"}""#]]
            .assert_eq(&published(&Tickwire, "bench.t1", "\"17.\""));
    }

    #[test]
    fn many_topics_are_several_requests_with_ids_of_their_own() {
        let requests = Tickwire.subscribe(&topics(10_000));
        let ids: Vec<u64> = requests
            .iter()
            .map(|request| {
                assert!(request.payload.len() < tickwire_wire::limits::MESSAGE_BYTES_MAX);
                serde_json::from_slice::<serde_json::Value>(&request.payload).unwrap()["id"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(ids, (1..=requests.len() as u64).collect::<Vec<_>>());
        assert!(ids.len() > 1);
    }

    /// What the broker's own codec makes of a publication.
    fn written(op: DataOp) -> Vec<u8> {
        let (epoch, mut out) = (Epoch::from_number(7), Vec::new());
        let stamp = Stamp {
            topic: "bench.t1",
            epoch: &epoch,
            seq: Seq(58),
            ts: Micros(1_700_000_000_000_000),
        };
        let payload = Payload::from_json(b"\"17.\"").expect("a payload");
        Codec::Json.encode_data(op, stamp, &payload, &mut out);
        out
    }

    #[test]
    fn an_update_as_the_broker_writes_it() {
        let update = written(DataOp::Update);
        expect![[r#"delivered "\"17.\"""#]].assert_eq(&inbound(&Tickwire, &update));
        assert_eq!(Tickwire.sequence(&update), Some((&b"bench.t1"[..], 58)));
    }

    #[test]
    fn what_else_comes_in() {
        for (message, expected) in [
            (&br#"{"op":"ack","id":1,"results":[{"topic":"a","seq":0,"mode":"every"},{"topic":"b"}]}"#[..], expect!["confirmed 2"]),
            (br#"{"op":"ack","id":1,"results":[{"topic":"a"},{"topic":"b..","error":{"code":"bad_topic","reason":"empty token at byte 2"}}]}"#, expect![[r#"fault "b.." was refused: empty token at byte 2"#]]),
            (br#"{"op":"error","code":"rate_limited","reason":"slow down","retryable":true}"#, expect!["fault a request was refused: slow down"]),
            (br#"{"op":"gap","topic":"a","epoch":"k3v9","from":62,"to":70,"reason":"slow"}"#, expect!["missing 9"]),
            (br#"{"op":"heartbeat","ts":1}"#, expect![[r#""#]]),
            (br#"{"op":"welcome","session":"x","server":"tickwire/0.1.0","ts":1,"heartbeat_ms":15000,"limits":{"subscriptions":1024,"message_bytes":65536,"ops_per_s":50}}"#, expect!["greeted"]),
            (br#"{"op":"update","seq":1,"topic":"a","ts":1,"data":"17."}"#, expect![[r#"fault a message of 55 bytes is not understood: "{\"op\":\"update\",\"seq\":1,\"topic\":\"a\",\"ts\":1,\"data\":\"17.\"}""#]]),
            (b"\"17.\"", expect![[r#"fault a message of 5 bytes is not understood: "\"17.\"""#]]),
        ] {
            expected.assert_eq(&inbound(&Tickwire, message));
        }
        assert!(inbound(&Tickwire, &written(DataOp::Snapshot)).starts_with("fault "));
    }

    #[test]
    fn the_version_is_in_the_metrics() {
        let metrics = "# TYPE tickwire_build_info gauge\ntickwire_build_info{version=\"0.1.0\"} 1\n";
        assert_eq!(version_in(metrics).as_deref(), Some("0.1.0"));
        assert_eq!(version_in("tickwire_topics 1\n"), None);
    }

    #[test]
    fn two_shards_may_use_this_programs_cores() {
        let ours = sched_getaffinity(None).expect("cores");
        let own = (0..CpuSet::MAX_CPU)
            .find(|core| !ours.is_set(*core))
            .expect("a core that is not there");
        let cores = |shares_cores| {
            let build = Build {
                shares_cores,
                ..Build::default()
            };
            build.cores(own).expect("cores")
        };
        assert_eq!(cores(false), [own]);
        assert_eq!(cores(true).len(), 1 + ours.count() as usize);
    }

    #[test]
    fn settings_are_flags_or_variables() {
        let mut command = Command::new("tickwire");
        let settings = [
            ("--shards", "2"),
            ("TICKWIRE_SOCKET__EGRESS", "plain"),
            ("--quiet", ""),
        ];
        apply(
            &settings.map(|(name, value)| (name.to_owned(), value.to_owned())),
            &mut command,
        );
        assert_eq!(
            command.get_args().collect::<Vec<_>>(),
            ["--shards", "2", "--quiet"]
        );
        let variables: Vec<_> = command.get_envs().collect();
        assert_eq!(
            variables,
            [("TICKWIRE_SOCKET__EGRESS".as_ref(), Some("plain".as_ref()))]
        );
    }
}
