//! Trial: one reader behind a link that lets through far less than is published. How old is what it reads?
//!
//! A server and its publisher are on one side of a [link], the reader on the other; both sides have one clock. A server
//! that queues sends everything, ever later; one that conflates sends what is newest when there is room, and the age of what
//! arrives is bounded by the time that a message of each topic takes. Nothing here is judged: the figures are the outcome.
//! A server that is not installed is skipped. Fails when a reader's connection ends or a message is not understood.

mod link;
mod reader;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde::Serialize;
use tickwire_wire::Micros;

use crate::compare::peers::{self, Peer, Server};
use crate::swarm::conn::{ConnId, Handler, Reply};
use crate::swarm::connections::Swarm;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::payload::{Clock, Payload};
use crate::swarm::report::{Faults, Outcome, bytes, grouped, micros, progress};
use crate::swarm::sockets;

use link::{Link, Side};
use reader::{Reader, Signals};

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
}

/// Runs the trial.
///
/// # Errors
/// When it could not be run to its end, as without root or without `ip`.
pub(crate) fn run(args: &SlowLinkArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    if let Some(missing) = link::missing() {
        bail!("{missing}");
    }
    let mut outcome = Outcome::default();
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let control = control.map_or("unknown".to_owned(), |text| text.trim().to_owned());
    let rate = grouped(u64::from(args.bytes_per_s));
    outcome.row(
        "link",
        format_args!("{rate} bytes/s to the reader, TCP {control}"),
    );
    outcome.row(
        "published",
        format_args!("{} topics, {} messages/s on each", args.topics, args.rate_each),
    );
    let link = Link::make(args.bytes_per_s)?;
    let chosen: Vec<&Peer> = peers::peers()
        .iter()
        .filter(|peer| args.peers.iter().any(|name| name == peer.name))
        .collect();
    // Before this thread leaves the namespace that has the internet: a server is not installed from within.
    let missing: Vec<Option<String>> = chosen.iter().map(|peer| peer.missing()).collect();
    ensure!(
        missing.iter().any(Option::is_none),
        "no server is there: {missing:?}"
    );
    link.enter(Side::Server)?;
    let mut all = Vec::new();
    for (peer, missing) in chosen.into_iter().zip(missing) {
        interrupt.check()?;
        if let Some(why) = missing {
            outcome.row("skipped", format_args!("{}: {why}", peer.name));
            continue;
        }
        let served = serve(args, peer, &link, interrupt);
        interrupt.check()?;
        match served {
            Ok(served) => {
                served.tell(args.topics, &mut outcome);
                all.push(served);
            }
            Err(error) => outcome
                .faults
                .add("not served", format_args!("{}: {error:#}", peer.name)),
        }
    }
    outcome.figure("served", all);
    Ok(outcome)
}

/// What came over the link from one server.
#[derive(Debug, Serialize)]
struct Served {
    peer: &'static str,
    version: String,
    seconds: f64,
    published: u64,
    messages: u64,
    bytes: u64,
    age_us_p50: u64,
    age_us_p99: u64,
    age_us_max: u64,
    /// The last message's age; where it grows without end, this is about the largest.
    age_us_last: u64,
    /// What the kernel held for the connection on the server's side.
    send_queue_mean_bytes: u64,
    send_queue_max_bytes: u64,
}

impl Served {
    fn tell(&self, topics: u32, outcome: &mut Outcome) {
        let mut row = |label: &str, value: String| outcome.row(format!("{}: {label}", self.peer), value);
        row(
            "server",
            format!(
                "{}, {:.0} s, {} published",
                self.version,
                self.seconds,
                grouped(self.published)
            ),
        );
        let rate = self.bytes as f64 / self.seconds.max(1e-3) / 1e3;
        row(
            "received",
            format!("{} messages, {rate:.1} KB/s", grouped(self.messages)),
        );
        let ages = [
            self.age_us_p50,
            self.age_us_p99,
            self.age_us_max,
            self.age_us_last,
        ];
        let [p50, p99, max, last] = ages.map(micros);
        row(
            "age when received",
            format!("p50 {p50}, p99 {p99}, max {max}, last {last}"),
        );
        let round_us = self.seconds * 1e6 * f64::from(topics) / self.messages as f64;
        row("a message of each topic takes", micros(round_us as u64));
        let [mean, most] = [self.send_queue_mean_bytes, self.send_queue_max_bytes].map(bytes);
        row(
            "kernel's send queue",
            format!("{mean} in the mean, at most {most}"),
        );
    }
}

/// The publisher's connection: nothing that comes back matters but its end.
#[derive(Debug, Default)]
struct Publisher(Faults);

impl Handler for Publisher {
    fn opened(&mut self, _: ConnId, reply: &mut Reply<'_>) {
        reply.settle();
    }

    fn message(&mut self, _: ConnId, _: &[u8], _: Micros, _: &mut Reply<'_>) {}

    fn faults(&mut self) -> &mut Faults {
        &mut self.0
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

fn serve(args: &SlowLinkArgs, peer: &Peer, link: &Link, interrupt: &Interrupt) -> anyhow::Result<Served> {
    progress(format_args!("{}: starting", peer.name));
    let server = peers::start(peer, args.core, &["--anonymous-publish", "ticker.>"], interrupt)?;
    let endpoint = server.endpoint(peer.protocol);
    let mut run = Run {
        args,
        peer,
        swarm: Swarm::new(&endpoint, 1, interrupt, Publisher::default())?,
        server,
        topics: (0..args.topics).map(|topic| format!("ticker.T{topic}")).collect(),
        clock: Clock::start(),
        published: 0,
        due: Instant::now(),
        sample_at: Instant::now(),
        queues: Vec::new(),
    };
    // Tickwire is asked for the newest of each topic.
    let subscribe = match peer.name {
        "tickwire" => peers::tickwire_conflated(&run.topics),
        _ => peer.protocol.subscribe(&run.topics),
    };
    let signals = Arc::new(Signals::default());
    let reader = Reader::new(peer.protocol, subscribe, run.topics.len(), run.clock, &signals)?;
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| reader.run(link, &endpoint, interrupt));
        let measured = run.measure(&signals, &reading);
        // The reader ends in any case, or the scope never would.
        signals.stop.store(true, Ordering::Relaxed);
        let Ok(reader) = reading.join() else {
            bail!("the reader's thread failed");
        };
        let (reader, seconds) = (reader?, measured?);
        Ok(run.served(&reader, seconds))
    })
}

impl Run<'_> {
    /// Publishes for the time of the run. Returns how long it was measured, in seconds.
    fn measure(
        &mut self,
        signals: &Signals,
        reading: &ScopedJoinHandle<'_, anyhow::Result<Reader>>,
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
        reading: &ScopedJoinHandle<'_, anyhow::Result<Reader>>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && !reading.is_finished() {
            self.publish();
            self.swarm.turn(TURN)?;
            ensure!(
                self.swarm.handler.0.count() == 0,
                "the publisher: {}",
                self.swarm.handler.0
            );
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
        let to_reader = sockets.iter().filter(|socket| {
            *socket.remote.ip() == link::READER && socket.local.port() == self.server.address.port()
        });
        Ok(to_reader.map(|socket| socket.unacked_bytes).sum())
    }

    fn served(&self, reader: &Reader, seconds: f64) -> Served {
        let age = |quantile| reader.age_us.value_at_quantile(quantile);
        Served {
            peer: self.peer.name,
            version: self.server.version.clone(),
            seconds,
            published: self.published,
            messages: reader.messages,
            bytes: reader.bytes,
            age_us_p50: age(0.5),
            age_us_p99: age(0.99),
            age_us_max: reader.age_us.max(),
            age_us_last: reader.last_age_us,
            send_queue_mean_bytes: self.queues.iter().sum::<u64>() / self.queues.len().max(1) as u64,
            send_queue_max_bytes: self.queues.iter().copied().max().unwrap_or(0),
        }
    }
}
