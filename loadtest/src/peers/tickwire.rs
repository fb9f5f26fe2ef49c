//! Tickwire itself, in JSON.
//!
//! Subscriptions ask for no snapshot: no other peer sends the last value first. Updates, which are nearly all that comes
//! in, are read by hand in the order in which the broker writes their fields; everything else is decoded in full. An
//! update in another order would be a fault, never a delivery that is not counted.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Serialize;
use tickwire_wire::codec::Codec;
use tickwire_wire::frame::Opcode;
use tickwire_wire::message::{Control, ServerMessage};

use super::server::{Server, free_port, loopback, pinned};
use super::{Inbound, Message, Protocol, runs};
use crate::scrape;

/// Requests per second that a benchmark's connection may send; the default is meant for people.
const OPS_PER_S: &str = "4000000000";

/// Time in milliseconds that connections get to leave when the broker is stopped, which is after a measurement.
const SHUTDOWN_MS: &str = "100";

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
        Control::Heartbeat { .. } => Inbound::default(),
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
        let (seq, rest) = number(rest.strip_prefix(br#"","seq":"#)?)?;
        let (_, rest) = number(rest.strip_prefix(br#","ts":"#)?)?;
        let data = rest.strip_prefix(br#","data":"#)?.strip_suffix(b"}")?;
        Some(Self { topic, seq, data })
    }
}

/// The number that `bytes` begin with, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

/// Starts the broker beside this program, with one shard and no feed.
pub(super) fn launch(core: usize, settings: &[(String, String)]) -> anyhow::Result<Server> {
    let program = program()?;
    let (port, ops) = (free_port()?, loopback(free_port()?));
    let mut command = pinned(core, &program);
    command
        .args(["serve", "--feed", "none"])
        .args(["--anonymous-publish", "bench.>"])
        .args(["--listen", &loopback(port).to_string(), "--ops", &ops.to_string()])
        // In the environment, so that a flag among the settings goes first.
        .env("TICKWIRE_SHARDS", "1")
        .env("TICKWIRE_SHUTDOWN_MS", SHUTDOWN_MS)
        .env("TICKWIRE_LIMITS__OPS_PER_S", OPS_PER_S)
        .env("TICKWIRE_LIMITS__OPS_BURST", OPS_PER_S)
        .stdout(Stdio::null());
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

/// The broker beside this program.
fn program() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program's own folder")?;
    let program = own.with_file_name("tickwire");
    ensure!(
        program.exists(),
        "{} is not there: build it with cargo build --release -p tickwire",
        program.display()
    );
    Ok(program)
}

/// The version in the metrics' `tickwire_build_info{version="…"} 1`.
fn version_in(metrics: &str) -> Option<String> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with("tickwire_build_info{"))?;
    let (_, after) = line.split_once("version=\"")?;
    Some(after.split('"').next()?.to_owned())
}
