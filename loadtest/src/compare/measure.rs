//! The measurements, one for each kind of scenario. Those of slow readers and of storms are in `slow` and `storm`.
//!
//! Each starts its own server, warms it up, measures and stops it, within a time that the scenario bounds. What a
//! server does wrong is part of the outcome. An error means that there is no result.

use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::compare::{Figure, Figures, Kind, Peer, Protocol, Rig, Scenario, Script, Search, Server, peers};
use crate::swarm::{Certificates, Faults, Interrupt, Nanos, Sample, Used, grouped, progress};

/// How long sent messages may take to arrive after the measured time.
pub(super) const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// The same during the search for the highest rate, where many are expected never to arrive in time.
const PROBE_DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// How long a message may take to reach all subscribers.
const FANOUT_WITHIN: Duration = Duration::from_secs(10);
/// The share of offered messages that must arrive for a rate to hold.
const DELIVERED_MIN: f64 = 0.99;
/// If the client uses more than this percentage of its core, it may be the limit.
pub(crate) const CLIENT_BUSY_MAX: f64 = 90.0;

/// Percentage of messages that must come compressed if that was negotiated. Answers to requests do not.
const DEFLATED_MIN: f64 = 90.0;
/// If others use the client's core for more than this percentage of the time, a note says so.
const NOISE_MAX: f64 = 3.0;

/// The results of one measurement; none if it failed.
#[derive(Default, Serialize)]
pub(crate) struct Measured {
    /// The server's version, if it could be measured.
    pub(crate) version: Option<String>,
    /// Version, cipher suite and key exchange of TLS, if it was used.
    pub(crate) tls: Option<String>,
    pub(crate) figures: Figures,
    pub(crate) faults: Faults,
    /// Deliveries with a wrong number or content, which no load excuses.
    #[serde(skip)]
    pub(crate) misdelivered: u64,
    /// What else one should know to understand the figures.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Copy)]
pub(crate) struct Setup<'s> {
    pub(crate) peer: &'s Peer,
    pub(crate) protocol: &'static dyn Protocol,
    pub(crate) scenario: &'s Scenario,
    pub(crate) script: &'s Rc<Script>,
    /// The certificates of servers with TLS.
    pub(crate) certificates: Option<&'s Certificates>,
    pub(crate) core: usize,
    pub(crate) interrupt: &'s Interrupt,
}

impl Setup<'_> {
    /// Starts the server, with TLS if there are `certificates`.
    pub(super) fn start(&self, certificates: Option<&Certificates>) -> anyhow::Result<Server> {
        let newest = self.protocol.skips();
        peers::start(self.peer, self.core, newest, certificates, self.interrupt)
    }

    pub(super) fn open(&self) -> anyhow::Result<Rig> {
        let mut rig = Rig::start(self)?;
        rig.connect()?;
        Ok(rig)
    }

    pub(super) fn seconds(&self) -> Duration {
        Duration::from_secs(u64::from(self.scenario.seconds))
    }

    pub(super) fn warmup(&self) -> Duration {
        Duration::from_secs(u64::from(self.scenario.warmup_seconds))
    }

    /// Measures the scenario.
    ///
    /// # Errors
    /// When the server cannot be started, its clients cannot be connected, the server ends, or a signal comes.
    pub(crate) fn measure(&self) -> anyhow::Result<Measured> {
        match self.scenario.kind {
            Kind::Hot => self.hot(),
            Kind::Open | Kind::Replay => {
                let mut rig = self.open()?;
                let figures = self.open_loop(&mut rig, f64::from(self.scenario.rate), DRAIN_WITHIN)?;
                measured(rig, figures)
            }
            Kind::Max => self.max(),
            Kind::Slow => self.slow(),
            Kind::Storm => self.storm(),
            Kind::Idle => self.idle(),
            Kind::Handshakes => self.handshakes(),
            Kind::Rush => self.rush(),
            Kind::Publish => self.publish(),
        }
    }

    /// Sends one message at a time.
    fn hot(&self) -> anyhow::Result<Measured> {
        let mut rig = self.open()?;
        let mut fanouts = crate::swarm::latencies()?;
        one_at_a_time(&mut rig, self.warmup(), &mut fanouts)?;
        fanouts.reset();
        let from = rig.clock.now();
        rig.measure(from, from.plus(self.seconds()));
        let begin = Begin::now(&rig, Per::Delivery)?;
        one_at_a_time(&mut rig, self.seconds(), &mut fanouts)?;
        let mut figures = begin.end(&rig)?;
        figures.set(Figure::FanoutP50, fanouts.value_at_quantile(0.5) as f64);
        figures.set(Figure::FanoutP99, fanouts.value_at_quantile(0.99) as f64);
        measured(rig, figures)
    }

    /// Sends messages by the script, or `rate` deliveries per second if the script does not say when they are due.
    pub(super) fn open_loop(&self, rig: &mut Rig, rate: f64, drain: Duration) -> anyhow::Result<Figures> {
        let begins = rig.clock.now();
        let schedule = rig.schedule(begins, rate);
        let from = begins.plus(self.warmup());
        let to = from.plus(self.seconds());
        rig.measure(from, to);
        rig.run(&schedule, from, |_| false)?;
        let begin = Begin::now(rig, Per::Delivery)?;
        rig.run(&schedule, to, |_| false)?;
        let mut figures = begin.end(rig)?;
        let missed = rig.drain(drain)?;
        let offered = match self.scenario.kind {
            Kind::Replay => rig.deliveries_due(&schedule, from, to) as f64 / self.seconds().as_secs_f64(),
            _ => rate,
        };
        figures.set(Figure::Offered, offered);
        figures.set(Figure::Missed, missed as f64);
        latencies(rig, &mut figures);
        Ok(figures)
    }

    /// Searches the highest rate that holds: see [`Self::verdict`]. Each rate is tried with its own server for a
    /// bounded time. A rate at which the server fails altogether does not hold.
    fn max(&self) -> anyhow::Result<Measured> {
        let mut search = Search::new(f64::from(self.scenario.rate));
        let (mut best, mut last) = (None, None);
        let (mut notes, mut faults) = (Vec::new(), Faults::default());
        for number in 1..=self.scenario.probes {
            let Some(rate) = search.next() else { break };
            let probed = self.probe(rate);
            self.interrupt.check()?;
            let (verdict, probe) = match probed {
                Ok(probe) => (self.verdict(rate, &probe), Some(probe)),
                Err(error) => (Err(format!("{error:#}")), None),
            };
            let held = verdict.is_ok();
            search.tell(held);
            let outcome = verdict.map_or_else(|why| format!("does not hold: {why}"), |()| "holds".to_owned());
            let at = format!("{} per second {outcome}", grouped(rate as u64));
            progress!(
                "    probe {number} of {}: {}: {at}",
                self.scenario.probes,
                self.peer.name
            );
            let Some(probe) = probe else {
                notes.push(at);
                continue;
            };
            if held {
                best = Some(probe);
                continue;
            }
            // At any rate, what comes must be in order and intact.
            if probe.misdelivered > 0 {
                let text = format_args!("at {rate:.0} per second: {}", probe.faults);
                faults.add("delivered wrongly", text);
            }
            notes.push(at);
            last = Some(probe);
        }
        let Some(mut measured) = best.or(last) else {
            bail!("no rate could be measured: {}", notes.join("; "));
        };
        if let Some(best) = search.held {
            measured.figures.set(Figure::MaxRate, best);
        }
        measured.notes.push(search.to_string());
        measured.notes.extend(notes);
        if faults.count() > 0 {
            measured.faults = faults;
        }
        Ok(measured)
    }

    fn probe(&self, rate: f64) -> anyhow::Result<Measured> {
        let mut rig = self.open()?;
        let figures = self.open_loop(&mut rig, rate, PROBE_DRAIN_WITHIN)?;
        measured(rig, figures)
    }

    /// Checks whether a rate holds: nothing was lost, refused or broken, as much was delivered as offered, and the p99
    /// is below the bound. If it does not hold, the error says why.
    fn verdict(&self, rate: f64, probe: &Measured) -> Result<(), String> {
        let of = |figure| probe.figures.get(figure).unwrap_or(0.0);
        let (p99, bound) = (of(Figure::LatencyP99), f64::from(self.scenario.p99_ms_max) * 1e3);
        let why = if probe.faults.count() > 0 {
            format!("FAULTS {}", probe.faults)
        } else if of(Figure::Missed) > 0.0 {
            format!("{} deliveries were missed", of(Figure::Missed))
        } else if of(Figure::Delivered) < rate * DELIVERED_MIN {
            let delivered = Figure::Delivered.show(of(Figure::Delivered));
            format!("only {delivered} were delivered")
        } else if !probe.figures.has(Figure::LatencyP99) || p99 >= bound {
            format!("the p99 is {}", Figure::LatencyP99.show(p99))
        } else {
            return Ok(());
        };
        match of(Figure::ClientBusy) > CLIENT_BUSY_MAX {
            true => Err(format!("{why}; the client may have been the limit")),
            false => Err(why),
        }
    }

    /// Sends nothing.
    fn idle(&self) -> anyhow::Result<Measured> {
        let mut rig = self.open()?;
        rig.swarm.turn_for(self.warmup())?;
        let begin = rig.sample()?;
        rig.swarm.turn_for(self.seconds())?;
        let end = rig.sample()?;
        let mut figures = Figures::default();
        of_server(&mut figures, end.since(&begin), &end);
        measured(rig, figures)
    }
}

/// Sends a message and waits until all subscribers have it, again and again for `time`.
fn one_at_a_time(rig: &mut Rig, time: Duration, fanouts: &mut Histogram<u64>) -> anyhow::Result<()> {
    let end = rig.clock.now().plus(time);
    while rig.clock.now() < end {
        let due = rig.publish_now();
        let latest = due.plus(FANOUT_WITHIN);
        while rig.delivered() < rig.expected {
            rig.turn()?;
            if rig.clock.now() > latest {
                let missing = rig.expected - rig.delivered();
                bail!(
                    "after {FANOUT_WITHIN:?}, {missing} deliveries of a message are missing; faults: {}",
                    rig.swarm.handler.faults
                );
            }
        }
        let taken = rig.clock.now().since(due);
        fanouts.saturating_record((micros(taken) as u64).max(1));
    }
    Ok(())
}

/// What the cost is divided by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Per {
    Delivery,
    Message,
}

impl Per {
    fn count(self, rig: &Rig) -> u64 {
        match self {
            Self::Delivery => rig.delivered(),
            Self::Message => rig.sent,
        }
    }

    /// The figures of the server's cost, of the client's, and of the count per second.
    fn figures(self) -> [Figure; 3] {
        use Figure::{
            ClientCpuPerDelivery, ClientCpuPerMessage, Delivered, PublishedPerSecond, ServerCpuPerDelivery,
            ServerCpuPerMessage,
        };
        match self {
            Self::Delivery => [ServerCpuPerDelivery, ClientCpuPerDelivery, Delivered],
            Self::Message => [ServerCpuPerMessage, ClientCpuPerMessage, PublishedPerSecond],
        }
    }
}

/// The counters at the beginning of the measured time.
pub(super) struct Begin {
    per: Per,
    server: Sample,
    client: Sample,
    count: u64,
    busy: Duration,
    at: Nanos,
}

impl Begin {
    pub(super) fn now(rig: &Rig, per: Per) -> anyhow::Result<Self> {
        Ok(Self {
            per,
            server: rig.sample()?,
            client: Sample::take(std::process::id())?,
            count: per.count(rig),
            busy: rig.busy,
            at: rig.clock.now(),
        })
    }

    /// The figures of the time from the beginning until now.
    pub(super) fn end(&self, rig: &Rig) -> anyhow::Result<Figures> {
        let time = rig.clock.now().since(self.at);
        let client = Sample::take(std::process::id())?.since(&self.client);
        // The client never sleeps, so others had the rest of its core. Of its busy time by the clock, it had the core
        // only for its own share.
        let had = (client.cpu.as_secs_f64() / client.time.as_secs_f64()).min(1.0);
        let busy = rig.busy.saturating_sub(self.busy).mul_f64(had);
        let count = (self.per.count(rig) - self.count) as f64;
        let server = rig.sample()?;
        let used = server.since(&self.server);
        let mut figures = Figures::default();
        let [of_server_each, of_client_each, per_second] = self.per.figures();
        figures.set(of_server_each, micros(used.cpu) / count);
        figures.set(of_client_each, micros(busy) / count);
        figures.set(per_second, count / time.as_secs_f64());
        figures.set(Figure::ClientToServer, busy.div_duration_f64(used.cpu));
        figures.set(Figure::ClientBusy, busy.div_duration_f64(client.cpu) * 100.0);
        figures.set(Figure::ClientWaited, (1.0 - had) * 100.0);
        of_server(&mut figures, used, &server);
        Ok(figures)
    }
}

pub(super) fn of_server(figures: &mut Figures, used: Used, now: &Sample) {
    let seconds = used.time.as_secs_f64();
    figures.set(Figure::ServerBusy, used.cpu.as_secs_f64() / seconds * 100.0);
    figures.set(Figure::ServerWaited, used.waited.as_secs_f64() / seconds * 100.0);
    figures.set(Figure::VoluntarySwitches, used.voluntary as f64 / seconds);
    figures.set(Figure::InvoluntarySwitches, used.involuntary as f64 / seconds);
    figures.set(Figure::Threads, now.threads as f64);
    figures.set(Figure::Rss, now.rss_bytes as f64);
}

pub(super) fn latencies(rig: &Rig, figures: &mut Figures) {
    let latency = &rig.swarm.handler.tally.latency;
    if latency.is_empty() {
        return;
    }
    quantiles(latency, figures);
    figures.set(Figure::SentLateP99, rig.sent_late.value_at_quantile(0.99) as f64);
}

pub(super) fn quantiles(latency: &Histogram<u64>, figures: &mut Figures) {
    for (figure, quantile) in [
        (Figure::LatencyP50, 0.5),
        (Figure::LatencyP99, 0.99),
        (Figure::LatencyP999, 0.999),
        (Figure::LatencyMax, 1.0),
    ] {
        figures.set(figure, latency.value_at_quantile(quantile) as f64);
    }
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Takes the rig apart and completes the figures.
pub(super) fn measured(rig: Rig, mut figures: Figures) -> anyhow::Result<Measured> {
    // Hardly anything is delivered where publishing is measured.
    let delivers = rig.scenario.kind != Kind::Publish;
    if let (true, Some(writes), 1..) = (delivers, rig.writes()?, rig.delivered()) {
        figures.set(Figure::WritesPerDelivery, writes as f64 / rig.delivered() as f64);
    }
    if let (true, Some(rss)) = (delivers, figures.get(Figure::Rss)) {
        let more = rss - rig.before.rss_bytes as f64;
        let connections = f64::from(rig.scenario.subscribers);
        figures.set(Figure::RssPerConnection, more.max(0.0) / connections);
    }
    let version = Some(rig.version().to_owned());
    let tls = rig.swarm.secured().agreed.clone();
    let came = rig.swarm.compressed();
    if came.messages > 0 {
        let share = 100.0 * came.deflated as f64 / came.messages as f64;
        figures.set(Figure::Deflated, share);
        figures.set(Figure::WireBytes, came.bytes as f64 / came.messages as f64);
        figures.set(Figure::PlainBytes, came.plain_bytes as f64 / came.messages as f64);
    }
    rig.swarm.reset_when_dropped();
    let crowd = rig.swarm.handler;
    let misdelivered = crowd.misnumbered + crowd.tally.damaged;
    let mut faults = crowd.faults;
    if crowd.tally.damaged > 0 {
        faults.add("damaged payload", format_args!("{} of them", crowd.tally.damaged));
    }
    if figures.get(Figure::Deflated) < Some(DEFLATED_MIN) && came.messages > 0 {
        let text = format_args!("{} of {} messages came compressed", came.deflated, came.messages);
        faults.add("not compressed", text);
    }
    let mut notes = Vec::new();
    if came.deflated > 0 {
        let (each, of) = (grouped(came.inflated), grouped(came.deflated));
        notes.push(format!(
            "the client inflated {each} of {of} compressed messages and knew the others"
        ));
    }
    if figures.get(Figure::ClientBusy) > Some(CLIENT_BUSY_MAX) {
        notes.push("the client was busy all the time: it may have been the limit".to_owned());
    }
    let waited = figures.get(Figure::ClientWaited).unwrap_or(0.0);
    if waited > NOISE_MAX {
        let text = format!("noise: other programs had the client's core for {waited:.0} % of the time");
        notes.push(text);
    }
    if crowd.gapped > 0 {
        notes.push(format!("{} messages were named in gaps", crowd.gapped));
    }
    Ok(Measured {
        version,
        tls,
        figures,
        faults,
        misdelivered,
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a probe at 1,000,000 deliveries per second that is good except for `changes`.
    #[track_caller]
    fn check(changes: &[(Figure, f64)], faults: &[&'static str], expected: &str) {
        let mut probe = Measured::default();
        let good = [
            (Figure::LatencyP99, 49_999.0),
            (Figure::Delivered, 990_001.0),
            (Figure::Missed, 0.0),
            (Figure::ClientBusy, 80.0),
        ];
        for (figure, value) in good.iter().chain(changes) {
            probe.figures.set(*figure, *value);
        }
        for fault in faults {
            probe.faults.add(fault, "one");
        }
        let scenario = Scenario::load("market-max", false).expect("is there");
        let setup = Setup {
            peer: &peers()[0],
            protocol: peers()[0].protocol,
            scenario: &scenario,
            script: &Rc::new(Script::plain(scenario.topics)),
            certificates: None,
            core: 0,
            interrupt: &Interrupt::default(),
        };
        let verdict = setup.verdict(1e6, &probe);
        assert_eq!(verdict.map_or_else(|why| why, |()| "holds".to_owned()), expected);
    }

    #[test]
    fn a_rate_holds_only_without_loss_faults_and_lateness() {
        use Figure::{ClientBusy, Delivered, LatencyP99, Missed};
        check(&[], &[], "holds");
        check(&[(LatencyP99, 50_000.0)], &[], "the p99 is 50.00 ms");
        check(&[(Delivered, 980_000.0)], &[], "only 980,000 were delivered");
        check(&[(Missed, 3.0)], &[], "3 deliveries were missed");
        check(&[], &["connection ended"], "FAULTS 1 × connection ended (one)");
        let late = "the p99 is 70.00 ms; the client may have been the limit";
        check(&[(LatencyP99, 70_000.0), (ClientBusy, 95.0)], &[], late);
    }
}
