//! Scenario: one reader behind a link that lets through far less than is published. How old is what it reads?
//!
//! A server and its publisher are on one side of a [link], the reader on the other; both sides have one clock. A server
//! that queues sends everything, ever later; one that conflates sends what is newest when there is room, and the age of what
//! arrives is bounded by the time that a message of each topic takes. Nothing here is judged: the figures are the outcome.
//! A server that is not installed is skipped. Fails when a reader's connection ends or a message is not understood.

mod link;
mod outcome;
mod reader;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::json;
use tickwire_wire::Micros;
use tickwire_wire::frame::Opcode;

use crate::compare::peers::{self, Message, Peer, Server};
use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::connections::{Endpoint, Swarm};
use crate::swarm::handshake::Handshake;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::payload::{Clock, Payload};
use crate::swarm::report::progress;
use crate::swarm::sockets;

use link::{Link, Side};
use outcome::Served;
pub(crate) use outcome::SlowLinkOutcome;
use reader::{Reader, Reading, Signals};

/// The connection that publishes.
const PUBLISHER: ConnId = ConnId(0);
/// Time that the reader has to subscribe.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longest turn of the publisher.
const TURN: Duration = Duration::from_millis(2);
/// Time between two looks at the kernel's queue.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// One reader behind a slow link: how old what it reads is, from Tickwire and from other servers. Needs root, ip and tc
#[derive(Debug, clap::Args)]
pub(crate) struct SlowLinkArgs {
    /// Servers to read from, one after the other
    #[arg(long = "peer", default_values = ["tickwire", "uwebsockets"], value_name = "NAME", value_parser = ["tickwire", "uwebsockets", "ws", "naive"])]
    peers: Vec<String>,
    /// What the link lets through to the reader
    #[arg(long, default_value_t = 10_000, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000_000))]
    bytes_per_s: u32,
    /// Topics; the reader has them all
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    topics: u32,
    /// Messages per second on each topic
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate_each: u32,
    /// How long to measure
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How long to publish before
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warmup: u64,
    /// The core that servers run on
    #[arg(long, default_value_t = 0, value_name = "N")]
    core: usize,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end, as without root or without `ip`.
pub(crate) fn run(args: &SlowLinkArgs, interrupt: &Interrupt) -> anyhow::Result<SlowLinkOutcome> {
    if let Some(missing) = link::missing() {
        bail!("{missing}");
    }
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let mut outcome = SlowLinkOutcome {
        scenario: "slowlink",
        bytes_per_s: args.bytes_per_s,
        topics: args.topics as usize,
        rate_each: args.rate_each,
        congestion_control: control.map_or("unknown".to_owned(), |text| text.trim().to_owned()),
        ..SlowLinkOutcome::default()
    };
    let link = Link::make(args.bytes_per_s)?;
    // Before this thread leaves the namespace that has the internet: a server is not installed from within.
    let chosen = peers::peers()
        .iter()
        .filter(|peer| args.peers.iter().any(|name| name == peer.name));
    link.enter(Side::Server)?;
    for peer in chosen {
        interrupt.check()?;
        match peer.missing() {
            Some(why) => outcome.skipped.push(format!("{}: {why}", peer.name)),
            None => match serve(args, peer, &link, interrupt) {
                Ok((served, fault)) => {
                    outcome.served.push(served);
                    if let Some(fault) = fault {
                        outcome
                            .faults
                            .add("message not understood", format_args!("{}: {fault}", peer.name));
                    }
                }
                Err(error) => {
                    interrupt.check()?;
                    outcome
                        .faults
                        .add("not served", format_args!("{}: {error:#}", peer.name));
                }
            },
        }
    }
    ensure!(
        !outcome.served.is_empty() || outcome.skipped.is_empty(),
        "no server is there: {}",
        outcome.skipped.join("; ")
    );
    Ok(outcome)
}

/// The publisher's connection: nothing that comes back matters but its end.
#[derive(Debug, Default)]
struct Publisher {
    ended: Option<String>,
}

impl Handler for Publisher {
    fn opened(&mut self, _: ConnId, reply: &mut Reply<'_>) {
        reply.settle();
    }

    fn message(&mut self, _: ConnId, _: &[u8], _: Micros, _: &mut Reply<'_>) {}

    fn ended(&mut self, _: ConnId, ending: &Ending) {
        self.ended = Some(ending.to_string());
    }
}

/// A server, its publisher, and what the kernel holds for the reader.
struct Run<'a> {
    args: &'a SlowLinkArgs,
    peer: &'a Peer,
    server: Server,
    swarm: Swarm<Publisher>,
    topics: Vec<String>,
    clock: Clock,
    published: u64,
    due: Instant,
    sample_at: Instant,
    /// Bytes that the kernel held, once for each look.
    queues: Vec<u64>,
}

fn serve(
    args: &SlowLinkArgs,
    peer: &Peer,
    link: &Link,
    interrupt: &Interrupt,
) -> anyhow::Result<(Served, Option<String>)> {
    progress(format_args!("{}: starting", peer.name));
    let settings = [("--anonymous-publish".to_owned(), "ticker.>".to_owned())];
    let server = peers::start(peer, args.core, &settings)?;
    let (path, subprotocol) = peer.protocol.endpoint();
    let endpoint = Endpoint {
        address: server.address(),
        client: None,
        handshake: Handshake {
            host: server.address().to_string(),
            path: path.to_owned(),
            subprotocol,
            deflate: false,
        },
    };
    let mut run = Run {
        args,
        peer,
        swarm: Swarm::new(&endpoint, 1, 1, interrupt.clone(), Publisher::default())?,
        server,
        topics: (0..args.topics).map(|topic| format!("ticker.T{topic}")).collect(),
        clock: Clock::start(),
        published: 0,
        due: Instant::now(),
        sample_at: Instant::now(),
        queues: Vec::new(),
    };
    let signals = Arc::new(Signals::default());
    std::thread::scope(|scope| {
        let reading = run.begin_reading(scope, link, &signals);
        let measured = run.measure(&signals, &reading);
        // The reader ends in any case, or the scope never would.
        signals.stop.store(true, Ordering::Relaxed);
        let Ok(reading) = reading.join() else {
            bail!("the reader's thread failed");
        };
        let (reading, seconds) = (reading?, measured?);
        Ok(run.served(reading, seconds))
    })
}

impl Run<'_> {
    fn begin_reading<'scope, 'env>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        link: &'env Link,
        signals: &Arc<Signals>,
    ) -> ScopedJoinHandle<'scope, anyhow::Result<Reading>> {
        let protocol = self.peer.protocol;
        let subscribe = match self.peer.name {
            "tickwire" => vec![conflated(&self.topics)],
            _ => protocol.subscribe(&self.topics),
        };
        let reader = Reader {
            protocol,
            address: self.server.address(),
            subscribe,
            topics: self.topics.len(),
            clock: self.clock,
            signals: signals.clone(),
        };
        scope.spawn(move || reader.run(link))
    }

    /// Publishes for the time of the run. Returns how long it was measured, in seconds.
    fn measure(
        &mut self,
        signals: &Signals,
        reading: &ScopedJoinHandle<'_, anyhow::Result<Reading>>,
    ) -> anyhow::Result<f64> {
        let until = Instant::now() + READY_WITHIN;
        while !signals.ready.load(Ordering::Relaxed) || !self.swarm.is_settled() {
            self.swarm.turn(TURN)?;
            if reading.is_finished() {
                // What it has to say is the error.
                return Ok(0.0);
            }
            ensure!(Instant::now() < until, "not subscribed within {READY_WITHIN:?}");
        }
        progress(format_args!("{}: publishing", self.peer.name));
        self.due = Instant::now();
        self.go_on(Duration::from_secs(self.args.warmup), reading)?;
        self.queues.clear();
        signals.measure.store(true, Ordering::Relaxed);
        let began = Instant::now();
        self.go_on(Duration::from_secs(self.args.seconds), reading)?;
        signals.measure.store(false, Ordering::Relaxed);
        Ok(began.elapsed().as_secs_f64())
    }

    fn go_on(
        &mut self,
        time: Duration,
        reading: &ScopedJoinHandle<'_, anyhow::Result<Reading>>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && !reading.is_finished() {
            self.publish();
            self.swarm.turn(TURN)?;
            if let Some(ended) = &self.swarm.handler.ended {
                bail!("the publisher's connection ended: {ended}");
            }
            if Instant::now() >= self.sample_at {
                self.sample_at = Instant::now() + SAMPLE_EVERY;
                self.queues.push(self.send_queue()?);
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let now = Instant::now();
        if self.due > now {
            return;
        }
        let every = Duration::from_secs(1) / (self.args.topics * self.args.rate_each);
        let (protocol, clock, topics) = (self.peer.protocol, self.clock, &self.topics);
        let (due, published) = (&mut self.due, &mut self.published);
        let (payload, mut data, mut message) = (Payload::new(), Vec::new(), Vec::new());
        self.swarm.send_all(PUBLISHER, |reply| {
            while *due <= now {
                let topic = &topics[(*published % topics.len() as u64) as usize];
                message.clear();
                let data = payload.write(clock.now(), *published, &mut data);
                let opcode = protocol.publish(topic, data, &mut message);
                reply.message(opcode, &message);
                *published += 1;
                *due += every;
            }
        });
    }

    /// What the kernel holds on the server's side for the reader.
    fn send_queue(&self) -> anyhow::Result<u64> {
        let sockets = sockets::all()?;
        let to_reader = sockets
            .iter()
            .filter(|socket| *socket.remote.ip() == link::READER && socket.local.port() == self.server.port);
        Ok(to_reader.map(|socket| socket.unacked_bytes).sum())
    }

    fn served(&self, reading: Reading, seconds: f64) -> (Served, Option<String>) {
        let age = |quantile| reading.age_us.value_at_quantile(quantile);
        let served = Served {
            peer: self.peer.name,
            version: self.server.version.clone(),
            seconds,
            published: self.published,
            messages: reading.messages,
            bytes: reading.bytes,
            age_us_p50: age(0.5),
            age_us_p99: age(0.99),
            age_us_max: reading.age_us.max(),
            age_us_last: reading.last_age_us,
            send_queue_mean_bytes: self.queues.iter().sum::<u64>() / self.queues.len().max(1) as u64,
            send_queue_max_bytes: self.queues.iter().copied().max().unwrap_or(0),
            round_us: None,
        };
        (served.with_round(self.topics.len()), reading.fault)
    }
}

/// Tickwire is asked for the newest of each topic.
fn conflated(topics: &[String]) -> Message {
    let request =
        json!({"op": "subscribe", "id": 1, "topics": topics, "mode": "conflate", "snapshot": false});
    Message {
        opcode: Opcode::Text,
        payload: request.to_string().into_bytes(),
    }
}
