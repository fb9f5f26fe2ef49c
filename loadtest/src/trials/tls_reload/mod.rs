//! Scenario: very many connections over TLS, and the certificate replaced under them, again and again.
//!
//! Every reader checks the number of every message. Fails when a connection ends, a message is missing, or a new connection
//! is not shown the new certificate in time. Tells how long that took, and what a connection costs the broker in memory.

mod outcome;
mod readers;

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::swarm::broker::{Broker, BrokerArgs};
use crate::swarm::certificates::{Certificates, shown};
use crate::swarm::connections::Swarm;
use crate::swarm::interrupt::Interrupt;
use crate::swarm::report::{grouped, progress};
use crate::swarm::tls::TlsClient;

pub(crate) use outcome::TlsReloadOutcome;
use readers::{PUBLISHER, Readers, topic_name};

/// Files that the process has open besides its connections.
const OTHER_FILES: u64 = 64;
/// Connections that are on their way at a time.
const CONNECTING: usize = 128;
/// Time that all connections get to subscribe.
const CONNECT_WITHIN: Duration = Duration::from_secs(300);
/// Time that a new certificate gets to be shown: what the broker promises is 1 s, on a machine that is not busy.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// Time between two looks at the certificate.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Time that everything on its way gets to arrive.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// Time that all connections get to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// Longest turn of the connections while something is to be published.
const TURN: Duration = Duration::from_millis(5);

/// Very many connections over TLS, and the certificate replaced under them: none may notice
#[derive(Debug, clap::Args)]
pub(crate) struct TlsReloadArgs {
    /// Connections; each takes an open file here and one in the broker
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How often the certificate is replaced
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    reloads: u32,
    /// Time before each replacement, and after the last one
    #[arg(long, default_value_t = 3, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every_s: u64,
    /// Topics; each connection has one of them, of which every message counts
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    topics: u32,
    /// Messages per second, over all topics
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Also write the outcome to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Runs the scenario.
///
/// # Errors
/// When it could not be run to its end; what the broker does wrong is in the outcome.
pub(crate) fn run(args: &TlsReloadArgs, interrupt: &Interrupt) -> anyhow::Result<TlsReloadOutcome> {
    let connections = args.connections as usize;
    let limit = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        connections as u64 + OTHER_FILES <= limit,
        "{connections} connections need {} open files, the limit is {limit}: raise it (ulimit -Hn) or ask for fewer",
        connections as u64 + OTHER_FILES
    );
    let certificates = Certificates::new()?;
    let flags = [
        ("--feed", "none".to_owned()),
        ("--anonymous-publish", "load.>".to_owned()),
    ];
    let mut settings = vec![
        ("TICKWIRE_LIMITS__OPS_PER_S", "1000000".to_owned()),
        ("TICKWIRE_LIMITS__OPS_BURST", "1000000".to_owned()),
        ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "1000000".to_owned()),
        ("TICKWIRE_LIMITS__PUBLISHES_BURST", "1000000".to_owned()),
        // The publisher waits for the others to connect.
        ("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "600000".to_owned()),
    ];
    settings.extend(certificates.settings());
    let client = TlsClient(certificates.client()?);
    let broker = Broker::open(&args.broker, &flags, &settings, interrupt)?.with_tls(client);
    ensure!(
        broker.is_ours(),
        "the broker must be started here, with certificates that can be replaced: leave --url out"
    );
    let readers = Readers::new(connections, args.topics as usize);
    let swarm = Swarm::new(
        broker.endpoint(),
        connections + 1,
        CONNECTING,
        interrupt.clone(),
        readers,
    )?;
    let mut run = Run {
        args,
        certificates,
        broker,
        swarm,
        published: 0,
        due: Instant::now(),
    };
    let mut outcome = run.measure()?;
    let Run { broker, swarm, .. } = run;
    let readers = swarm.handler;
    outcome.dropped = readers.dropped;
    outcome.published = readers.published;
    outcome.updates = readers.updates;
    outcome.missing = readers.missing;
    outcome.faults = readers.faults;
    if let Err(error) = broker.stop() {
        outcome.faults.add("broker", format_args!("{error:#}"));
    }
    Ok(outcome)
}

/// The parts of a run.
struct Run<'a> {
    args: &'a TlsReloadArgs,
    certificates: Certificates,
    broker: Broker,
    swarm: Swarm<Readers>,
    published: u64,
    /// When the next message is.
    due: Instant,
}

impl Run<'_> {
    fn measure(&mut self) -> anyhow::Result<TlsReloadOutcome> {
        let before = self.broker.memory()?;
        let begun = Instant::now();
        if !self
            .swarm
            .turn_until(begun + CONNECT_WITHIN, |swarm| swarm.is_settled())?
        {
            let text = format_args!("{} connections are settled", self.swarm.settled());
            self.swarm.handler.faults.add("connecting is stuck", text);
        }
        let connected = begun.elapsed();
        let count = self.args.connections;
        progress(format_args!("{} connections", grouped(u64::from(count))));
        let with_all = self.broker.memory()?;
        self.due = Instant::now();
        let mut served_ms = Vec::new();
        for number in 1..=self.args.reloads {
            self.go_on()?;
            progress(format_args!(
                "replacing the certificate, {number} of {}",
                self.args.reloads
            ));
            served_ms.push(self.replace()?);
        }
        self.go_on()?;
        let published = self.published;
        self.swarm.turn_until(Instant::now() + ARRIVE_WITHIN, |swarm| {
            swarm.handler.have_all(published)
        })?;
        self.swarm.handler.settle();
        let at_end = self.broker.memory()?;
        self.compare_counts()?;
        if self.swarm.finish(CLOSE_WITHIN)? > 0 {
            let text = format_args!("within {CLOSE_WITHIN:?}");
            self.swarm.handler.faults.add("close not answered", text);
        }
        Ok(TlsReloadOutcome {
            scenario: "tls-reload",
            broker: self.broker.description().to_owned(),
            connections: count as usize,
            connected_ms: millis(connected),
            served_ms,
            rss_before_bytes: before.rss_bytes,
            rss_connected_bytes: with_all.rss_bytes,
            rss_end_bytes: at_end.rss_bytes,
            ..TlsReloadOutcome::default()
        })
    }

    /// Publishes and reads for the time between two replacements.
    fn go_on(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(self.args.every_s);
        while Instant::now() < until {
            self.turn()?;
        }
        Ok(())
    }

    /// Publishes what is due, and lets the connections do what they can.
    fn turn(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let (topics, every) = (self.args.topics as usize, Duration::from_secs(1) / self.args.rate);
        if self.due <= now {
            let (due, published) = (&mut self.due, &mut self.published);
            self.swarm.send_all(PUBLISHER, |reply| {
                while *due <= now {
                    let topic = topic_name((*published % topics as u64) as usize);
                    *published += 1;
                    let publish = format!(
                        r#"{{"op":"publish","id":{published},"topic":"{topic}","data":{published}}}"#
                    );
                    reply.text(publish.as_bytes());
                    *due += every;
                }
            });
        }
        self.swarm.turn(TURN).map(drop)
    }

    /// Replaces the certificate. Returns how long it took until a new connection was shown it, in milliseconds.
    fn replace(&mut self) -> anyhow::Result<Option<u64>> {
        let expected = self.certificates.replace()?;
        let look = self.look_for(expected)?;
        loop {
            self.turn()?;
            match look.try_recv() {
                Ok(served) => {
                    if served.is_none() {
                        let text = format_args!("not within {SERVED_WITHIN:?}");
                        self.swarm.handler.faults.add("certificate not shown", text);
                    }
                    return Ok(served.map(millis));
                }
                Err(mpsc::TryRecvError::Empty) => {}
                Err(gone @ mpsc::TryRecvError::Disconnected) => {
                    return Err(gone).context("nobody looks at the certificate any more");
                }
            }
        }
    }

    /// Looks, on a thread of its own, until new connections are shown `expected`.
    fn look_for(&self, expected: Vec<u8>) -> anyhow::Result<Receiver<Option<Duration>>> {
        let (found, look) = mpsc::channel();
        let (address, client) = (self.broker.endpoint().address, self.certificates.client()?);
        thread::Builder::new()
            .name("look".to_owned())
            .spawn(move || {
                let begun = Instant::now();
                let served = loop {
                    // A handshake that fails is none in which the certificate is shown.
                    if shown(address, client.clone()).is_ok_and(|shown| shown == expected) {
                        break Some(begun.elapsed());
                    }
                    if begun.elapsed() > SERVED_WITHIN {
                        break None;
                    }
                    thread::sleep(LOOK_EVERY);
                };
                // Nobody waits when the run was interrupted.
                found.send(served).unwrap_or_default();
            })
            .context("cannot start a thread")?;
        Ok(look)
    }

    /// The broker must have read each pair, and none of them in vain; and have written what was read here.
    fn compare_counts(&mut self) -> anyhow::Result<()> {
        let metrics = self.broker.scrape()?;
        let faults = &mut self.swarm.handler.faults;
        let reloads = metrics.sum("tickwire_tls_reloads_total", "");
        if reloads != f64::from(self.args.reloads) {
            let text = format_args!("{reloads} by the broker's count, {} here", self.args.reloads);
            faults.add("replacements", text);
        }
        for name in [
            "tickwire_tls_reloads_failed_total",
            "tickwire_tls_handshakes_failed_total",
        ] {
            let count = metrics.sum(name, "");
            if count > 0.0 {
                faults.add("broker's count", format_args!("{name} {count}"));
            }
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
