//! Trial: the certificate is replaced several times under very many TLS connections.
//!
//! Every reader checks the number of every message. The trial fails when a connection ends, a message is missing, or a
//! new connection is not shown the new certificate in time. It reports how long that took, and how much memory a
//! connection costs the broker.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tickwire_wire::Mode;

use crate::swarm::{
    Broker, BrokerArgs, Certificates, FREE_PUBLISHER, Interrupt, Layout, Outcome, Publisher, Readers, Swarm,
    byte_change, bytes, grouped, progress, shown,
};

/// The number of topics. Each connection has one of them, and every message counts.
const TOPICS: usize = 20;
const RATE: u32 = 40;
/// How long it may take until a new certificate is shown. The broker promises 1 s on a machine that is not busy.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// How often the certificate is replaced.
const RELOADS: u32 = 5;
/// The time before each replacement, and after the last one.
const PAUSE: Duration = Duration::from_secs(3);
/// The time between two looks at the certificate.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long everything on its way may take to arrive.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// Longest turn of the connections while messages are to be published.
const TURN: Duration = Duration::from_millis(5);

/// Replace the certificate under very many TLS connections: none may notice
#[derive(Debug, clap::Args)]
pub(crate) struct TlsReloadArgs {
    /// Connections; each takes one open file here and one in the broker
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Runs the trial.
///
/// # Errors
/// When the trial could not be run to its end. What the broker does wrong is part of the outcome.
pub(crate) fn run(args: &TlsReloadArgs, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let certificates = Certificates::new()?;
    let mut command = args.broker.command()?;
    command
        .args(["--feed", "none", "--anonymous-publish", "load.>"])
        .envs(FREE_PUBLISHER)
        .envs(certificates.settings());
    let broker = Broker::start(&mut command, interrupt)?.with_tls(certificates.client()?);
    let layout = Layout {
        readers: args.connections as usize,
        topics: (0..TOPICS).map(|topic| format!("load.T{topic}")).collect(),
        topics_each: 1,
        apart: 1,
        publishes: true,
        mode: Some(Mode::Every),
    };
    let mut run = Run {
        connections: args.connections,
        swarm: broker.readers(layout, (), interrupt)?,
        certificates,
        broker,
        publisher: Publisher::new(RATE, "1".to_owned()),
    };
    let mut outcome = run.measure()?;
    let readers = run.swarm.handler;
    outcome.count("dropped", "connections dropped", readers.counts.closes);
    let counts = [readers.published, readers.counts.updates, readers.counts.missing];
    let [published, received, missing] = counts.map(grouped);
    let text = format!("{published} published, {received} received, {missing} missing");
    outcome.row("messages", text);
    outcome.figure("published", readers.published);
    outcome.figures(readers.counts);
    outcome.faults = readers.faults;
    outcome.expect("broker", run.broker.stop());
    Ok(outcome)
}

struct Run {
    connections: u32,
    certificates: Certificates,
    broker: Broker,
    swarm: Swarm<Readers<()>>,
    publisher: Publisher,
}

impl Run {
    fn measure(&mut self) -> anyhow::Result<Outcome> {
        let before = self.broker.memory()?.rss_bytes;
        let begun = Instant::now();
        self.swarm.connect()?;
        let connected_ms = millis(begun.elapsed());
        let count = u64::from(self.connections);
        progress!("{} connections", grouped(count));
        let with_all = self.broker.memory()?.rss_bytes;
        self.publisher.begin();
        let mut served_ms = Vec::new();
        for number in 1..=RELOADS {
            self.publisher.turn_for(&mut self.swarm, PAUSE)?;
            progress!("replacing the certificate, {number} of {RELOADS}");
            served_ms.push(self.replace()?);
        }
        self.publisher.turn_for(&mut self.swarm, PAUSE)?;
        let published = self.publisher.count;
        self.swarm.turn_until(Instant::now() + ARRIVE_WITHIN, |swarm| {
            swarm.handler.have_all(published)
        })?;
        self.swarm.handler.settle();
        let at_end = self.broker.memory()?.rss_bytes;
        self.compare_counts()?;
        self.swarm.finish()?;
        let mut outcome = Outcome::of_broker(&self.broker.description);
        let [all, within] = [count, connected_ms].map(grouped);
        let text = format!("{all} over TLS, subscribed within {within} ms");
        outcome.row("connections", text);
        outcome.figure("connections", count);
        outcome.figure("connected_ms", connected_ms);
        let served: Vec<String> = served_ms
            .iter()
            .map(|served| served.map_or("never".to_owned(), |ms| format!("{ms} ms")))
            .collect();
        let text = format_args!("{} ({} replacements)", served.join(", "), served.len());
        outcome.row("new certificate is shown after", text);
        outcome.figure("served_ms", served_ms);
        let [without, with, each] = [before, with_all, with_all.saturating_sub(before) / count].map(bytes);
        let end = byte_change(with_all, at_end);
        let text = format!(
            "{without} without connections, {with} with all ({each} per connection), {end} at the end"
        );
        outcome.row("broker's RSS", text);
        outcome.figure("rss_bytes", [before, with_all, at_end]);
        Ok(outcome)
    }

    /// Replaces the certificate. Returns after how many milliseconds a new connection was shown it.
    fn replace(&mut self) -> anyhow::Result<Option<u64>> {
        let expected = self.certificates.replace()?;
        let (address, client) = (self.broker.endpoint.address, self.certificates.client()?);
        let look = thread::spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < SERVED_WITHIN {
                // A failed handshake does not show the certificate.
                if shown(address, &client).is_ok_and(|shown| shown == expected) {
                    return Some(begun.elapsed());
                }
                thread::sleep(LOOK_EVERY);
            }
            None
        });
        while !look.is_finished() {
            self.publisher.turn(&mut self.swarm, TURN)?;
        }
        let served = look
            .join()
            .map_err(|_| anyhow!("the look at the certificate panicked"))?;
        if served.is_none() {
            let text = format_args!("not within {SERVED_WITHIN:?}");
            self.swarm.handler.faults.add("certificate not shown", text);
        }
        Ok(served.map(millis))
    }

    /// Checks that the broker has read each pair without a failure, and has written what was read here.
    fn compare_counts(&mut self) -> anyhow::Result<()> {
        let metrics = self.broker.scrape()?;
        let faults = &mut self.swarm.handler.faults;
        for (name, expected) in [
            ("tickwire_tls_reloads_total", RELOADS),
            ("tickwire_tls_reloads_failed_total", 0),
            ("tickwire_tls_handshakes_failed_total", 0),
        ] {
            let count = metrics.sum(name, "");
            if count != f64::from(expected) {
                let text = format_args!("{name} is {count} and not {expected}");
                faults.add("broker's count", text);
            }
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
