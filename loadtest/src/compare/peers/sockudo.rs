//! Sockudo: the Pusher protocol, version 7, over WebSocket.
//!
//! A client may publish only by a *client event*, which exists only on private channels and only for their subscribers. So
//! every topic is a private channel here. A subscription is signed with the app's secret and names the connection, as
//! the server has greeted it. What a client publishes comes to all other subscribers, but not to itself.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use ring::hmac;
use serde::Deserialize;
use serde_json::json;
use tickwire_wire::frame::Opcode;

use super::server::Server;
use super::{Delivered, Inbound, Message, Numbered, Protocol};
use crate::swarm::{Certificates, Process, free_address, installed_program, write_file};

/// The version that is compared.
const VERSION: &str = "5.2.0";
/// The key of the app, which the path of a connection names.
const KEY: &str = "bench";
/// The secret of the app. It protects nothing: the server listens on the loopback and lives as long as a measurement.
const SECRET: &str = "bench-secret";
/// The beginning of a private channel's name; a topic follows.
const PRIVATE: &str = "private-";
/// The beginning of a message with what a client has published, up to the name of the topic.
const DELIVERY: &[u8] = br#"{"event":"client-m","channel":"private-"#;

pub(super) struct Sockudo;

/// A message of the server that is not a delivery.
#[derive(Deserialize)]
struct Event<'m> {
    event: &'m str,
    /// JSON as a string in a greeting.
    #[serde(default)]
    data: serde_json::Value,
}

/// The data of the server's greeting.
#[derive(Deserialize)]
struct Established {
    socket_id: String,
}

impl Protocol for Sockudo {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/app/bench?protocol=7&client=tickwire-loadtest&version=1", None)
    }

    /// The server greets first, and a subscription needs the name that it gives the connection.
    fn awaits_greeting(&self) -> bool {
        true
    }

    fn subscribe(&self, topics: &[String], connection: &str) -> Vec<Message> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let request = |topic: &String| {
            let channel = format!("{PRIVATE}{topic}");
            let tag = hmac::sign(&secret, format!("{connection}:{channel}").as_bytes());
            let signature: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let auth = format!("{KEY}:{signature}");
            let data = json!({ "channel": channel, "auth": auth });
            Message::text(json!({ "event": "pusher:subscribe", "data": data }).to_string())
        };
        topics.iter().map(request).collect()
    }

    fn publishers_subscribe(&self) -> bool {
        true
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        out.extend_from_slice(DELIVERY);
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(br#"","data":"#);
        out.extend_from_slice(payload);
        out.push(b'}');
        Opcode::Text
    }

    fn delivery<'m>(&self, message: &'m [u8]) -> Option<(&'m [u8], Numbered<'m>)> {
        let topic = message.strip_prefix(DELIVERY)?;
        let end = topic.iter().position(|byte| *byte == b'"')?;
        let payload = topic[end..].strip_prefix(br#"","data":"#)?.strip_suffix(b"}")?;
        Some((payload, None))
    }

    fn inbound(&self, message: &[u8], _: Delivered<'_>) -> Inbound {
        let Ok(Event { event, data }) = serde_json::from_slice(message) else {
            return Inbound::not_understood(message);
        };
        match event {
            "pusher:connection_established" => {
                match serde_json::from_str(data.as_str().unwrap_or_default()) {
                    Ok(Established { socket_id }) => Inbound {
                        connection: Some(socket_id),
                        ..Inbound::greeted()
                    },
                    Err(_) => Inbound::not_understood(message),
                }
            }
            "pusher_internal:subscription_succeeded" => Inbound::confirmed(1),
            "pusher:ping" => Inbound {
                answer: Some(Message::text(r#"{"event":"pusher:pong","data":{}}"#)),
                ..Inbound::default()
            },
            _ => Inbound::not_understood(message),
        }
    }
}

/// Why Sockudo cannot be started; `None` if it is installed.
pub(super) fn missing() -> Option<String> {
    program().err().map(|error| error.to_string())
}

fn program() -> anyhow::Result<PathBuf> {
    installed_program("sockudo").with_context(|| {
        format!(
            "sockudo is not in PATH; `cargo install sockudo --version {VERSION} --locked` installs it (it needs the \
             Debian packages protobuf-compiler and libprotobuf-dev)"
        )
    })
}

/// Starts the server with one worker thread, without metrics and limits of rates.
pub(super) fn launch(certificates: Option<&Certificates>) -> anyhow::Result<Server> {
    let program = program()?;
    let address = free_address()?;
    let ssl = match certificates.map(Certificates::environment) {
        Some([(_, cert), (_, key)]) => json!({ "enabled": true, "cert_path": cert, "key_path": key }),
        None => json!({ "enabled": false }),
    };
    // The most client events per second are 0 where they are not limited.
    let limits = json!({ "max_connections": 1_000_000, "max_client_events_per_second": 0 });
    let features = json!({ "enable_client_messages": true });
    let policy = json!({ "limits": limits, "features": features });
    let app = json!({ "id": KEY, "key": KEY, "secret": SECRET, "enabled": true, "policy": policy });
    let configuration = json!({
        "host": "127.0.0.1",
        "port": address.port(),
        "ssl": ssl,
        "metrics": { "enabled": false },
        "rate_limiter": { "enabled": false },
        "app_manager": { "driver": "memory", "array": { "apps": [app] } },
    });
    // The server reads it only once. It tells the format by the name's end.
    let folder = tempfile::tempdir().context("no folder for the configuration")?;
    let path = folder.path().join("sockudo.json");
    write_file(&path, configuration.to_string())?;
    let mut command = Command::new(&program);
    command
        .arg("--config")
        .arg(&path)
        .current_dir(folder.path())
        .env("TOKIO_WORKER_THREADS", "1")
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command)?;
    process.wait_until(|| Ok(TcpStream::connect(address).ok()))?;
    Ok(Server {
        process,
        address,
        version: version(&program)?,
        ops: None,
    })
}

/// The version in a line such as `sockudo 5.2.0`.
fn version(program: &PathBuf) -> anyhow::Result<String> {
    let said = Command::new(program)
        .arg("--version")
        .output()
        .context("cannot run sockudo")?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    ensure!(!said.is_empty(), "sockudo does not say its version");
    Ok(said.replace("sockudo ", "Sockudo "))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::{inbound, published, sent, topics};
    use super::*;

    #[test]
    fn what_is_sent() {
        assert_eq!(sent(&Sockudo.greet()), "");
        expect![[r#"
            text "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"private-bench.t0\",\"auth\":\"bench:b6c6f777035c4af9367c681c1590028bd2f22a01fc50fd8b2b3d7e5ea1c3fb6a\"}}"
            text "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"private-bench.t1\",\"auth\":\"bench:5867f1edd2ca20d8ec3ee28b6ebdd758b3f01ece887cf0e4ef7207f743342b1b\"}}""#]].assert_eq(&sent(&Sockudo.subscribe(&topics(2), "123.456")));
        expect![[r#"text "{\"event\":\"client-m\",\"channel\":\"private-bench.t1\",\"data\":\"17.\"}""#]]
            .assert_eq(&published(&Sockudo, "bench.t1", "\"17.\""));
    }

    #[test]
    fn what_comes_in() {
        let established = br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#;
        expect!["greeted\ncalled 1.2"].assert_eq(&inbound(&Sockudo, established));
        let subscribed =
            br#"{"event":"pusher_internal:subscription_succeeded","channel":"private-bench.t0","data":"{}"}"#;
        expect!["confirmed 1"].assert_eq(&inbound(&Sockudo, subscribed));
        let delivery = br#"{"event":"client-m","channel":"private-bench.t0","data":"17."}"#;
        expect![[r#"delivered "\"17.\"""#]].assert_eq(&inbound(&Sockudo, delivery));
        expect![[r#"answer text "{\"event\":\"pusher:pong\",\"data\":{}}""#]]
            .assert_eq(&inbound(&Sockudo, br#"{"event":"pusher:ping","data":{}}"#));
        for strange in [
            "",
            r#"{"event":"pusher:error","data":"{\"code\":4009}"}"#,
            r#"{"event":"pusher:connection_established","data":"{}"}"#,
        ] {
            let found = inbound(&Sockudo, strange.as_bytes());
            assert!(found.starts_with("fault a message of "), "{strange:?}");
        }
    }
}
