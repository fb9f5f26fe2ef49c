//! The scenario `peers`: each server is started and must deliver a few messages, before anybody measures it.
//!
//! Three subscribers and a publisher, one blocking connection each. What is published to a topic must reach each of its
//! subscribers once and in order, and what is published to another topic none of them. Nothing is measured. A server that
//! is not there is said to be skipped, and is not a failure.

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};
use tickwire_wire::frame::{Opcode, client_frame};

use super::{Message, Peer, Protocol, peers, start};
use crate::swarm::frame::{Frame, FrameReader};
use crate::swarm::handshake::Handshake;
use crate::swarm::interrupt::Interrupt;

const SUBSCRIBERS: usize = 3;
const MESSAGES: usize = 10;
/// The topic that is watched, another that is subscribed to, and one that is not.
const WATCHED: &str = "bench.t0";
const QUIET: &str = "bench.t1";
const UNHEARD: &str = "bench.t2";
/// Time that a server has for its next message.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Any mask: see `conn`.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Check the servers that Tickwire is compared with, and install those that come from npm
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// The servers to check [default: all]
    #[arg(value_name = "PEER", value_parser = clap::builder::PossibleValuesParser::new(peers().iter().map(|peer| peer.name)))]
    only: Vec<String>,
    /// The core that they run on [default: the first that this program may use]
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Install nothing: skip what is not there
    #[arg(long)]
    no_install: bool,
}

/// Checks each peer and says one line about it. Returns whether all that are there work.
///
/// # Errors
/// When interrupted, or when nothing can be said.
pub(crate) fn run(args: &CheckArgs, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let core = match args.core {
        Some(core) => core,
        None => first_core()?,
    };
    let mut all_work = true;
    for peer in peers() {
        interrupt.check()?;
        let wanted = args.only.is_empty() || args.only.iter().any(|name| name == peer.name);
        if !wanted {
            continue;
        }
        let name = peer.name;
        let missing = if args.no_install {
            peer.missing()
        } else {
            peer.unavailable()
        };
        match missing {
            Some(why) => say(format_args!("skipped: {name}: {why}"))?,
            None => match check(peer, core) {
                Ok(version) => say(format_args!("{name}: {version}: all messages delivered"))?,
                Err(error) => {
                    all_work = false;
                    say(format_args!("FAILED {name}: {error:#}"))?;
                }
            },
        }
    }
    Ok(all_work)
}

fn first_core() -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(None).context("cannot find out which cores may be used")?;
    (0..CpuSet::MAX_CPU)
        .find(|core| allowed.is_set(*core))
        .context("no core may be used")
}

fn say(line: Arguments<'_>) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("cannot write the outcome")
}

/// Starts `peer` and sends messages through it. Returns its version.
fn check(peer: &Peer, core: usize) -> anyhow::Result<String> {
    let server = start(peer, core, &[])?;
    let connect = || Client::open(server.address(), peer.protocol);
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut subscriber = connect()?;
        subscriber.subscribe(&[WATCHED.to_owned(), QUIET.to_owned()])?;
        subscribers.push(subscriber);
    }
    let published: Vec<String> = (0..MESSAGES).map(payload).collect();
    let mut publisher = connect()?;
    for payload in &published {
        publisher.publish(UNHEARD, payload)?;
        publisher.publish(WATCHED, payload)?;
    }
    for subscriber in &mut subscribers {
        let mut delivered = Vec::new();
        while delivered.len() < MESSAGES {
            delivered.push(subscriber.next_delivery()?);
        }
        ensure!(
            delivered == published,
            "published were {published:?}, delivered {delivered:?}"
        );
    }
    Ok(server.version.clone())
}

/// The payload of this number, of the benchmarks' length.
fn payload(number: usize) -> String {
    format!("\"{number:0126}\"")
}

/// A blocking connection.
struct Client {
    protocol: &'static dyn Protocol,
    stream: TcpStream,
    reader: FrameReader,
    /// Bytes that were read with the handshake's answer.
    early: Vec<u8>,
    greeted: bool,
    confirmed: usize,
    delivered: VecDeque<String>,
    /// The last delivery's sequence, where the protocol has them.
    last: Option<u64>,
}

impl Client {
    /// Connects and greets.
    fn open(address: SocketAddr, protocol: &'static dyn Protocol) -> anyhow::Result<Self> {
        let (mut stream, early) = upgraded(address, protocol)?;
        stream.set_nodelay(true)?;
        send(&mut stream, &protocol.greet())?;
        let mut client = Self {
            protocol,
            stream,
            reader: FrameReader::default(),
            early,
            greeted: false,
            confirmed: 0,
            delivered: VecDeque::new(),
            last: None,
        };
        while protocol.awaits_greeting() && !client.greeted {
            client.read()?;
        }
        Ok(client)
    }

    fn subscribe(&mut self, topics: &[String]) -> anyhow::Result<()> {
        send(&mut self.stream, &self.protocol.subscribe(topics))?;
        while self.confirmed < topics.len() {
            self.read()?;
        }
        let (confirmed, asked) = (self.confirmed, topics.len());
        ensure!(
            confirmed == asked,
            "{asked} subscriptions were confirmed {confirmed} times"
        );
        Ok(())
    }

    fn publish(&mut self, topic: &str, payload: &str) -> anyhow::Result<()> {
        let mut out = Vec::new();
        let opcode = self.protocol.publish(topic, payload.as_bytes(), &mut out);
        send(&mut self.stream, &[Message { opcode, payload: out }])
    }

    fn next_delivery(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(payload) = self.delivered.pop_front() {
                return Ok(payload);
            }
            self.read()?;
        }
    }

    /// Reads once, and takes what came.
    fn read(&mut self) -> anyhow::Result<()> {
        let mut bytes = std::mem::take(&mut self.early);
        if bytes.is_empty() {
            bytes = read_some(&mut self.stream)?;
        }
        let (mut messages, mut answers) = (Vec::new(), Vec::new());
        self.reader.feed(&bytes, |Frame { opcode, payload, .. }| {
            messages.push((opcode, payload.to_vec()));
        })?;
        for (opcode, payload) in messages {
            match opcode {
                Opcode::Text | Opcode::Binary | Opcode::Continuation => answers.extend(self.take(&payload)?),
                Opcode::Ping => answers.push(Message {
                    opcode: Opcode::Pong,
                    payload,
                }),
                Opcode::Pong => {}
                Opcode::Close => bail!("the server closed the connection"),
            }
        }
        send(&mut self.stream, &answers)
    }

    /// Takes a message, and returns what to answer.
    fn take(&mut self, message: &[u8]) -> anyhow::Result<Option<Message>> {
        let found = self.protocol.inbound(message, &mut |payload| {
            self.delivered
                .push_back(String::from_utf8_lossy(payload).into_owned());
        });
        if let Some(fault) = found.fault {
            bail!(fault);
        }
        ensure!(found.missing == 0, "{} messages will not come", found.missing);
        self.greeted |= found.greeted;
        self.confirmed += found.confirmed;
        if let Some((topic, seq)) = self.protocol.sequence(message) {
            let topic = String::from_utf8_lossy(topic);
            let expected = self.last.map_or(seq, |last| last + 1);
            ensure!(
                topic == WATCHED && seq == expected,
                "number {seq} of {topic:?} came where number {expected} of {WATCHED:?} was due"
            );
            self.last = Some(seq);
        }
        Ok(found.answer)
    }
}

/// A connection with the handshake done, and what came after its answer.
fn upgraded(address: SocketAddr, protocol: &dyn Protocol) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let (path, subprotocol) = protocol.endpoint();
    let handshake = Handshake {
        host: address.to_string(),
        path: path.to_owned(),
        subprotocol,
        deflate: false,
    };
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).context("cannot connect")?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(handshake.request().as_bytes())?;
    let mut answer = Vec::new();
    loop {
        answer.extend(read_some(&mut stream)?);
        if let Some(end) = handshake.check(&answer)? {
            return Ok((stream, answer.split_off(end)));
        }
    }
}

fn read_some(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; 16 * 1024];
    let read = stream
        .read(&mut bytes)
        .with_context(|| format!("nothing more came within {ANSWER_WITHIN:?}"))?;
    ensure!(read > 0, "the server ended the connection");
    bytes.truncate(read);
    Ok(bytes)
}

fn send(stream: &mut TcpStream, messages: &[Message]) -> anyhow::Result<()> {
    for Message { opcode, payload } in messages {
        stream
            .write_all(&client_frame(true, *opcode, MASK, payload))
            .context("cannot send")?;
    }
    Ok(())
}
