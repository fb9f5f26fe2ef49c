//! Trial: one reader behind a link that lets through far less than is published. How old are the messages that it
//! reads?
//!
//! A server and its publisher are on one side of a [link], the reader on the other. A server that queues sends
//! everything, later and later. A server that conflates sends the newest when there is room. The age of its messages is
//! bounded by the time that one message of each topic takes. Nothing is judged here: the figures are the outcome. A
//! server that is not installed is skipped. The trial fails when a connection ends or a message is not understood.

mod link;

use std::fs;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{bail, ensure};
use serde::Serialize;

use crate::compare::{Peer, Rig, Scenario, Script, Setup, peers};
use crate::swarm::{Interrupt, Latency, Outcome, PAYLOAD_BYTES, bytes, grouped, micros, progress};

use link::{Link, Side};

/// The rate of the link towards the reader, in bytes per second.
const BYTES_PER_S: u32 = 10_000;
/// The number of topics. The reader has all of them.
const TOPICS: u32 = 200;
const RATE_EACH: u32 = 50;
/// The time between two readings of the kernel's queue.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// The arguments of `slowlink`.
#[derive(Debug, clap::Args)]
pub(crate) struct SlowLinkArgs {
    /// Servers to read from, one after the other
    #[arg(long = "peer", default_values = ["tickwire", "uwebsockets"], value_name = "NAME", value_parser = ["tickwire", "uwebsockets", "ws", "naive"])]
    peers: Vec<String>,
    /// How many seconds to measure
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How many seconds to publish before that
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    warmup: u64,
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end, for example without root or without `ip`.
pub(crate) fn run(args: &SlowLinkArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    if let Some(missing) = link::missing() {
        bail!("{missing}");
    }
    let mut outcome = Outcome::default();
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let control = control.map_or("unknown".to_owned(), |text| text.trim().to_owned());
    let rate = grouped(u64::from(BYTES_PER_S));
    let text = format_args!("{rate} bytes/s to the reader, TCP {control}");
    outcome.row("link", text);
    let text = format_args!("{TOPICS} topics, {RATE_EACH} messages/s on each");
    outcome.row("published", text);
    let link = Link::make(BYTES_PER_S)?;
    let chosen: Vec<&Peer> = peers::peers()
        .iter()
        .filter(|peer| args.peers.iter().any(|name| name == peer.name))
        .collect();
    // This comes before the thread leaves the namespace with the internet: a server cannot be installed from within.
    let missing: Vec<Option<String>> = chosen.iter().map(|peer| peer.missing(false)).collect();
    ensure!(
        missing.iter().any(Option::is_none),
        "no server is there: {missing:?}"
    );
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
                served.tell(TOPICS, &mut outcome);
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

#[derive(Debug, Serialize)]
struct Served {
    peer: &'static str,
    version: String,
    seconds: f64,
    published: u64,
    /// The bytes of the payloads that came.
    bytes: u64,
    age_us: Latency,
    /// The age of the last message. If it grows without end, this is about the largest.
    age_us_last: u64,
    /// The bytes that the kernel held for the connection on the server's side.
    send_queue_mean_bytes: u64,
    send_queue_max_bytes: u64,
}

impl Served {
    fn tell(&self, topics: u32, outcome: &mut Outcome) {
        let mut row = |label: &str, value: String| outcome.row(format!("{}: {label}", self.peer), value);
        let (version, seconds, last) = (&self.version, self.seconds, micros(self.age_us_last));
        let [published, messages] = [self.published, self.age_us.count].map(grouped);
        row(
            "server",
            format!("{version}, {seconds:.0} s, {published} published"),
        );
        let rate = self.bytes as f64 / seconds.max(1e-3) / 1e3;
        row("received", format!("{messages} messages, {rate:.1} KB/s"));
        row("age when received", format!("{}, last {last}", self.age_us));
        let round_us = self.seconds * 1e6 * f64::from(topics) / self.age_us.count as f64;
        row("a message of each topic takes", micros(round_us as u64));
        let [mean, most] = [self.send_queue_mean_bytes, self.send_queue_max_bytes].map(bytes);
        row(
            "kernel's send queue",
            format!("{mean} in the mean, at most {most}"),
        );
    }
}

fn serve(args: &SlowLinkArgs, peer: &Peer, link: &Link, interrupt: &Interrupt) -> anyhow::Result<Served> {
    progress!("{}: starting", peer.name);
    let (topics, rate) = (TOPICS, TOPICS * RATE_EACH);
    let text = format!(
        "about = 'a slow link'\nkind = 'open'\nsubscribers = 1\ntopics = {topics}\ntopics_each = {topics}\nrate = {rate}\nseconds = 1"
    );
    let scenario = Scenario::parse("slowlink", &text, false)?;
    let setup = Setup {
        peer,
        // Tickwire is asked for the newest message of each topic.
        protocol: match peer.name {
            "tickwire" => peers::newest(),
            _ => peer.protocol,
        },
        scenario: &scenario,
        script: &Rc::new(Script::plain(topics)),
        certificates: None,
        core: 0,
        interrupt,
    };
    link.enter(Side::Server)?;
    let mut rig = Rig::start(&setup)?;
    // The publisher is on the server's side. A socket stays on the side where it was made.
    rig.swarm.begin_some(1)?;
    link.enter(Side::Reader)?;
    rig.swarm.begin_some(2)?;
    link.enter(Side::Server)?;
    rig.connect()?;

    progress!("{}: publishing", peer.name);
    let begins = rig.clock.now();
    let schedule = rig.schedule(begins, f64::from(rate));
    let from = begins.plus(Duration::from_secs(args.warmup));
    let to = from.plus(Duration::from_secs(args.seconds));
    rig.run(&schedule, from, |_| false)?;
    // All messages that come from now on count, whenever they were due.
    rig.measure(begins, to);
    let mut queues = Vec::new();
    while rig.clock.now() < to {
        let next = rig.clock.now().plus(SAMPLE_EVERY).min(to);
        rig.run(&schedule, next, |_| false)?;
        queues.push(send_queue(rig.port())?);
    }
    rig.swarm.reset_when_dropped();
    let crowd = &rig.swarm.handler;
    ensure!(crowd.faults.count() == 0, "{}", crowd.faults);
    let ages = &crowd.tally.latency;
    Ok(Served {
        peer: peer.name,
        version: rig.version().to_owned(),
        seconds: rig.clock.now().since(from).as_secs_f64(),
        published: rig.sent,
        bytes: ages.len() * PAYLOAD_BYTES as u64,
        age_us: Latency::of(ages),
        age_us_last: crowd.tally.last_us,
        send_queue_mean_bytes: queues.iter().sum::<u64>() / queues.len().max(1) as u64,
        send_queue_max_bytes: queues.iter().copied().max().unwrap_or(0),
    })
}

/// The bytes that the kernel holds on the server's side for the reader.
fn send_queue(port: u16) -> anyhow::Result<u64> {
    let sockets = procfs::net::tcp()?;
    let to_reader = sockets
        .iter()
        .filter(|socket| socket.remote_address.ip() == link::READER && socket.local_address.port() == port);
    Ok(to_reader.map(|socket| u64::from(socket.tx_queue)).sum())
}
