//! Scenario: very many connections that have nothing to say, and what they cost the broker.
//!
//! Each connection subscribes to a topic on which nothing is published, and must then get its heartbeats. Heartbeats
//! count from the moment at which all connections are open, so each proves a connection alive among all the others.
//! Fails when one is refused, ends, or misses a heartbeat, or when the broker's own count differs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, Pattern, RequestId, ServerMessage};

use crate::broker::{Broker, BrokerArgs};
use crate::conn::{ConnId, Ending, Handler, Reply};
use crate::interrupt::Interrupt;
use crate::proc::{self, KernelMemory, Memory};
use crate::report::{Faults, Outcome, Table, byte_change, bytes, grouped, progress};
use crate::swarm::Swarm;

/// Files that the process has open besides its connections.
const OTHER_FILES: u64 = 64;
/// Time without a connection getting ready after which the rest is given up.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// Time that the broker's gauges get to tell what is so.
const GAUGE_WITHIN: Duration = Duration::from_secs(5);
/// Time that all connections get to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// Least time by which a heartbeat may be late, for a machine that is busy with other things.
const LATE_MS_MIN: u64 = 5_000;

/// Very many quiet connections: memory per connection, heartbeats, CPU time while idle.
#[derive(Debug, clap::Args)]
pub(crate) struct IdleArgs {
    /// Connections to open; each takes an open file here and one in the broker
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// The topic or pattern that each subscribes to; nothing should be published on it
    #[arg(long, default_value = "ticker.BTC-USD")]
    topic: Pattern,
    /// Heartbeats that each must get while all are open
    #[arg(long, default_value_t = 1)]
    heartbeats: u32,
    /// Time between two heartbeats, told to the broker that is started
    #[arg(long, default_value_t = 15_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    heartbeat_ms: u64,
    /// Connections that are on their way at a time
    #[arg(long, default_value_t = 256, value_name = "N")]
    connecting: usize,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    AwaitsWelcome,
    AwaitsAck,
    Ready,
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    step: Step,
    heartbeats: u32,
}

/// Everything that is known of the connections.
#[derive(Debug)]
struct Clients {
    subscribe: Vec<u8>,
    clients: Vec<Client>,
    /// As the welcomes say.
    heartbeat_ms: u64,
    /// Messages with data, of which none should come.
    data_messages: u64,
    faults: Faults,
}

impl Clients {
    fn new(count: usize, topic: &Pattern) -> Self {
        let mut subscribe = Vec::new();
        let request = ClientMessage::Subscribe(Subscribe {
            id: RequestId(1),
            topics: vec![TopicRequest::Pattern(topic.to_string())],
            mode: None,
            conflate_ms: None,
            snapshot: true,
        });
        Codec::Json.encode_request(&request, &mut subscribe);
        let client = Client {
            step: Step::AwaitsWelcome,
            heartbeats: 0,
        };
        Self {
            subscribe,
            clients: vec![client; count],
            heartbeat_ms: 0,
            data_messages: 0,
            faults: Faults::default(),
        }
    }

    fn control(&mut self, id: ConnId, control: &Control, reply: &mut Reply<'_>) {
        let client = &mut self.clients[id.0];
        match (client.step, control) {
            (Step::AwaitsWelcome, Control::Welcome { heartbeat_ms, .. }) => {
                self.heartbeat_ms = self.heartbeat_ms.max(*heartbeat_ms);
                client.step = Step::AwaitsAck;
                reply.text(&self.subscribe);
            }
            (Step::AwaitsAck, Control::Ack { id, results })
                if *id == RequestId(1) && results.len() == 1 && results[0].error.is_none() =>
            {
                client.step = Step::Ready;
                reply.settle();
            }
            (_, Control::Heartbeat { .. }) => client.heartbeats += 1,
            (_, Control::Synced { .. }) => {}
            (_, Control::Status { .. }) => {}
            (step, other) => {
                let number = id.0;
                self.faults.add(
                    "unexpected message",
                    format_args!("connection {number}, {step:?}: {other:?}"),
                );
            }
        }
    }

    /// Connections with at least `count` heartbeats.
    fn with_heartbeats(&self, count: u32) -> usize {
        self.clients
            .iter()
            .filter(|client| client.heartbeats >= count)
            .count()
    }
}

impl Handler for Clients {
    fn message(&mut self, id: ConnId, message: &[u8], _: Micros, reply: &mut Reply<'_>) {
        match Codec::Json.decode_server(message) {
            Ok(ServerMessage::Control(control)) => self.control(id, &control, reply),
            Ok(ServerMessage::Update { .. } | ServerMessage::Snapshot { .. }) => self.data_messages += 1,
            Ok(ServerMessage::Unknown(_)) => {}
            Err(error) => self.faults.add("unreadable message", error),
        }
    }

    fn ended(&mut self, id: ConnId, ending: &Ending) {
        let step = std::mem::replace(&mut self.clients[id.0].step, Step::Ended);
        if !matches!(ending, Ending::Finished) {
            let number = id.0;
            self.faults.add(
                "connection ended",
                format_args!("connection {number}, {step:?}: {ending}"),
            );
        }
    }
}

/// Memory at one moment.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Moment {
    broker: Memory,
    kernel: KernelMemory,
}

impl Moment {
    fn now(broker: &Broker) -> anyhow::Result<Self> {
        Ok(Self {
            broker: broker.memory()?,
            kernel: proc::kernel_memory()?,
        })
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct IdleOutcome {
    scenario: &'static str,
    broker: String,
    asked: usize,
    open: usize,
    connect_s: f64,
    heartbeat_ms: u64,
    heartbeats_asked: u32,
    heartbeats_min: u32,
    heartbeats_max: u32,
    pings_answered: u64,
    data_messages: u64,
    gauge: f64,
    before: Moment,
    connected: Moment,
    /// At the end of the idle time.
    idle: Moment,
    after: Moment,
    idle_s: f64,
    connect_cpu_s: f64,
    idle_cpu_s: f64,
    faults: Faults,
}

impl IdleOutcome {
    fn per_connection(&self, of: impl Fn(&Moment) -> u64) -> String {
        if self.open == 0 {
            return "unknown: no connection was open".to_owned();
        }
        let more = of(&self.idle).saturating_sub(of(&self.before));
        format!("{} B", grouped(more / self.open as u64))
    }
}

impl Outcome for IdleOutcome {
    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row("broker", &self.broker);
        table.row(
            "connections open",
            format_args!("{} of {}", grouped(self.open as u64), grouped(self.asked as u64)),
        );
        table.row("broker's own count", self.gauge);
        let rate = self.asked as f64 / self.connect_s.max(1e-6);
        table.row(
            "time to connect all",
            format_args!("{:.2} s ({rate:.0} per second)", self.connect_s),
        );
        table.row(
            "broker's CPU while connecting",
            format_args!("{:.2} s", self.connect_cpu_s),
        );
        table.row(
            "heartbeats per connection",
            format_args!(
                "{} to {} in {:.1} s, one each {} ms",
                self.heartbeats_min, self.heartbeats_max, self.idle_s, self.heartbeat_ms
            ),
        );
        table.row("pings answered", grouped(self.pings_answered));
        table.row(
            "broker's CPU while idle",
            format_args!("{:.3} s of {:.1} s", self.idle_cpu_s, self.idle_s),
        );
        let moments = [
            ("before", &self.before),
            ("connected", &self.connected),
            ("idle", &self.idle),
            ("after", &self.after),
        ];
        for (name, moment) in moments {
            let anon = moment.broker.anon_bytes.map_or("unknown".to_owned(), bytes);
            let rss = bytes(moment.broker.rss_bytes);
            table.row(
                format!("broker's RSS {name}"),
                format_args!("{rss} (anonymous {anon})"),
            );
        }
        table.row(
            "RSS per connection",
            self.per_connection(|moment| moment.broker.rss_bytes),
        );
        if self.idle.broker.anon_bytes.is_some() {
            let anon = |moment: &Moment| moment.broker.anon_bytes.unwrap_or_default();
            table.row("anonymous RSS per connection", self.per_connection(anon));
        }
        let (from, to) = (self.before.kernel, self.idle.kernel);
        table.row("kernel: TCP buffers", byte_change(from.tcp_bytes, to.tcp_bytes));
        table.row(
            "kernel: slab, both ends",
            format_args!(
                "{} (per connection {})",
                byte_change(from.slab_bytes, to.slab_bytes),
                self.per_connection(|moment| moment.kernel.slab_bytes)
            ),
        );
        table
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end; what the broker does wrong is in the outcome.
pub(crate) fn run(args: &IdleArgs, interrupt: &Interrupt) -> anyhow::Result<IdleOutcome> {
    let asked = args.connections as usize;
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        u64::from(args.connections) + OTHER_FILES <= limit,
        "{asked} connections need {} open files, the limit is {limit}: raise it (ulimit -Hn) or ask for fewer",
        u64::from(args.connections) + OTHER_FILES,
    );
    let settings = [("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", args.heartbeat_ms.to_string())];
    let feed = [("--feed", "none".to_owned())];
    let broker = Broker::open(&args.broker, &feed, &settings, interrupt)?;
    let clients = Clients::new(asked, &args.topic);
    let swarm = Swarm::new(
        broker.endpoint(),
        asked,
        args.connecting,
        interrupt.clone(),
        clients,
    )?;
    let mut outcome = IdleOutcome {
        scenario: "idle",
        broker: broker.description().to_owned(),
        asked,
        heartbeats_asked: args.heartbeats,
        ..IdleOutcome::default()
    };
    let mut run = Run { broker, swarm };
    run.measure(args, &mut outcome)?;
    let Run { broker, swarm } = run;
    outcome.faults = swarm.handler.faults;
    if let Err(error) = broker.stop() {
        outcome.faults.add("broker", format_args!("{error:#}"));
    }
    Ok(outcome)
}

/// The parts of a run.
struct Run {
    broker: Broker,
    swarm: Swarm<Clients>,
}

impl Run {
    fn measure(&mut self, args: &IdleArgs, outcome: &mut IdleOutcome) -> anyhow::Result<()> {
        let others = self.gauge()?;
        outcome.before = Moment::now(&self.broker)?;
        let cpu_before = self.broker.cpu_time()?;

        let began = Instant::now();
        self.connect()?;
        outcome.connect_s = began.elapsed().as_secs_f64();
        outcome.connected = Moment::now(&self.broker)?;
        let cpu_connected = self.broker.cpu_time()?;
        outcome.connect_cpu_s = cpu_connected.since(&cpu_before).total().as_secs_f64();

        self.idle(args.heartbeats)?;
        outcome.open = self.swarm.open();
        outcome.gauge = self.gauge_should_be(others + outcome.open as f64)? - others;
        outcome.idle = Moment::now(&self.broker)?;
        outcome.idle_s = began.elapsed().as_secs_f64() - outcome.connect_s;
        outcome.idle_cpu_s = self
            .broker
            .cpu_time()?
            .since(&cpu_connected)
            .total()
            .as_secs_f64();

        let clients = &self.swarm.handler.clients;
        let heartbeats = || clients.iter().map(|client| client.heartbeats);
        outcome.heartbeats_min = heartbeats().min().unwrap_or(0);
        outcome.heartbeats_max = heartbeats().max().unwrap_or(0);
        outcome.heartbeat_ms = self.swarm.handler.heartbeat_ms;
        outcome.pings_answered = self.swarm.pings();
        outcome.data_messages = self.swarm.handler.data_messages;
        if outcome.data_messages > 0 {
            let text = format_args!("{} came on {}", outcome.data_messages, args.topic);
            self.swarm.handler.faults.add("topic not quiet", text);
        }

        progress(format_args!("closing all"));
        let left = self.swarm.finish(CLOSE_WITHIN)?;
        if left > 0 {
            let text = format_args!("{left} connections were not closed within {CLOSE_WITHIN:?}");
            self.swarm.handler.faults.add("close not answered", text);
        }
        self.gauge_should_be(others)?;
        outcome.after = Moment::now(&self.broker)?;
        Ok(())
    }

    /// Opens all connections.
    fn connect(&mut self) -> anyhow::Result<()> {
        let (mut settled, mut since) = (0, Instant::now());
        while !self.swarm.is_settled() {
            self.swarm
                .turn_until(Instant::now() + Duration::from_secs(1), |swarm| {
                    swarm.is_settled()
                })?;
            let now = self.swarm.settled();
            progress(format_args!("{now} connections are settled"));
            if now > settled {
                (settled, since) = (now, Instant::now());
            } else if since.elapsed() > STUCK_AFTER {
                let text = format_args!("nothing for {STUCK_AFTER:?}, with {settled} connections settled");
                self.swarm.handler.faults.add("connecting is stuck", text);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until each connection has had its heartbeats.
    fn idle(&mut self, wanted: u32) -> anyhow::Result<()> {
        let clients = &mut self.swarm.handler;
        clients
            .clients
            .iter_mut()
            .for_each(|client| client.heartbeats = 0);
        let each_ms = clients.heartbeat_ms;
        let late_ms = LATE_MS_MIN.max(each_ms / 2);
        let until = Instant::now() + Duration::from_millis(each_ms * u64::from(wanted) + late_ms);
        while Instant::now() < until {
            let clients = &self.swarm.handler;
            let done = clients.with_heartbeats(wanted);
            progress(format_args!("{done} connections have had their heartbeats"));
            if done == clients.clients.len() {
                return Ok(());
            }
            let soon = until.min(Instant::now() + Duration::from_secs(2));
            self.swarm.turn_until(soon, |swarm| {
                let clients = &swarm.handler;
                clients.with_heartbeats(wanted) == clients.clients.len()
            })?;
        }
        let clients = &mut self.swarm.handler;
        for (number, client) in clients.clients.iter().enumerate() {
            if client.heartbeats < wanted && client.step != Step::Ended {
                let had = client.heartbeats;
                let text = format_args!(
                    "connection {number} has had {had} of {wanted} in time, {:?}",
                    client.step
                );
                clients.faults.add("heartbeat missed", text);
            }
        }
        Ok(())
    }

    fn gauge(&self) -> anyhow::Result<f64> {
        let page = self.broker.scrape()?;
        Ok(page.sum("tickwire_connections", "transport=\"websocket\""))
    }

    /// The broker's count of connections, once it is `expected` or the time for that is over.
    fn gauge_should_be(&mut self, expected: f64) -> anyhow::Result<f64> {
        let until = Instant::now() + GAUGE_WITHIN;
        loop {
            let gauge = self.gauge()?;
            if gauge == expected {
                return Ok(gauge);
            }
            if Instant::now() >= until {
                let text = format_args!("the broker counts {gauge}, {expected} are expected");
                self.swarm.handler.faults.add("connections miscounted", text);
                return Ok(gauge);
            }
            self.swarm
                .turn_until(Instant::now() + Duration::from_millis(100), |_| false)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client does on `messages`: its step and heartbeats, its faults, and what it sends.
    #[track_caller]
    fn check(messages: &[&str], expected: (Step, u32, u64, usize)) {
        let mut clients = Clients::new(1, &"ticker.A".parse().expect("a topic"));
        let (mut out, mut settled) = (Vec::new(), false);
        for message in messages {
            let mut reply = Reply::new(&mut out, &mut settled);
            clients.message(ConnId(0), message.as_bytes(), Micros(0), &mut reply);
        }
        let Client { step, heartbeats } = clients.clients[0];
        assert_eq!((step, heartbeats, clients.faults.count(), out.len()), expected);
        assert_eq!(settled, step == Step::Ready);
    }

    #[test]
    fn a_client_subscribes_and_counts_heartbeats() {
        const WELCOME: &str = r#"{"op":"welcome","session":"s","server":"t","ts":1,"heartbeat_ms":15000,
            "limits":{"subscriptions":8,"message_bytes":65536,"ops_per_s":50}}"#;
        const ACK: &str = r#"{"op":"ack","id":1,"results":[{"topic":"ticker.A","epoch":"e","seq":0}]}"#;
        const REFUSED: &str = r#"{"op":"ack","id":1,"results":[{"topic":"ticker.A","error":{"code":"forbidden","reason":""}}]}"#;
        const BEAT: &str = r#"{"op":"heartbeat","ts":1}"#;
        let request = r#"{"op":"subscribe","id":1,"topics":["ticker.A"]}"#.len() + 6;
        check(&[WELCOME], (Step::AwaitsAck, 0, 0, request));
        check(&[WELCOME, ACK, BEAT, BEAT], (Step::Ready, 2, 0, request));
        check(&[WELCOME, REFUSED], (Step::AwaitsAck, 0, 1, request));
        check(&[ACK], (Step::AwaitsWelcome, 0, 1, 0));
        check(&[WELCOME, WELCOME], (Step::AwaitsAck, 0, 1, request));
        check(&["nonsense"], (Step::AwaitsWelcome, 0, 1, 0));
    }
}
