//! The measurements, one for each kind of scenario; those of slow readers and of storms are in `slow` and `storm`.
//!
//! Each starts a server of its own, warms it up, measures and stops it, and takes a time that the scenario bounds. What a
//! server does wrong is in the outcome; an error means that there is nothing to tell.

use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use crate::compare::figures::{Figure, Figures};
use crate::compare::pace::Search;
use crate::compare::rig::Rig;
use crate::compare::sample::{Sample, Used};
use crate::interrupt::Interrupt;
use crate::payload::Nanos;
use crate::peers::Peer;
use crate::proc::{self, KernelMemory};
use crate::report::Faults;
use crate::scenario::{Kind, Scenario};

/// Time that what was sent gets to arrive after the end of a measured time.
pub(super) const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// The same while the highest rate is searched, when much is expected never to arrive in time.
const PROBE_DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// Time that a message gets until all have it.
const FANOUT_WITHIN: Duration = Duration::from_secs(10);
/// Share of what is offered that must arrive for a rate to hold.
const DELIVERED_MIN: f64 = 0.99;
/// Longest fan-out that is told apart, in microseconds.
const FANOUT_US_MAX: u64 = 60_000_000;
/// Share of its core from which on the client may be what limits.
pub(crate) const CLIENT_BUSY_MAX: f64 = 90.0;

/// Share of the time in which others may have the client's core before that is worth a note.
const NOISE_MAX: f64 = 3.0;

/// What a measurement found.
pub(crate) struct Measured {
    pub(crate) version: String,
    pub(crate) figures: Figures,
    /// Microseconds: of deliveries or, message by message, until all have it.
    pub(crate) latency: Histogram<u64>,
    /// Deliveries per step of time.
    pub(crate) timeline: Vec<u64>,
    pub(crate) faults: Faults,
    /// What else one should know to read the figures.
    pub(crate) notes: Vec<String>,
}

/// What a measurement needs.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'s> {
    pub(crate) peer: &'s Peer,
    pub(crate) scenario: &'s Scenario,
    /// The server's.
    pub(crate) core: usize,
    pub(crate) interrupt: &'s Interrupt,
}

impl Setup<'_> {
    pub(super) fn open(&self) -> anyhow::Result<Rig> {
        Rig::open(self.peer, self.scenario, self.core, self.interrupt)
    }

    pub(super) fn seconds(&self) -> Duration {
        Duration::from_secs(u64::from(self.scenario.seconds))
    }

    pub(super) fn warmup(&self) -> Duration {
        Duration::from_secs(u64::from(self.scenario.warmup_seconds))
    }

    /// Measures.
    ///
    /// # Errors
    /// When the server could not be started or its clients not be connected, the server went away, or a signal came.
    pub(crate) fn measure(&self) -> anyhow::Result<Measured> {
        match self.scenario.kind {
            Kind::Hot => self.hot(),
            Kind::Open => {
                let mut rig = self.open()?;
                let figures = self.open_loop(&mut rig, f64::from(self.scenario.rate), DRAIN_WITHIN)?;
                measured(rig, figures)
            }
            Kind::Max => self.max(),
            Kind::Slow => self.slow(),
            Kind::Storm => self.storm(),
            Kind::Idle => self.idle(),
        }
    }

    /// One message at a time.
    fn hot(&self) -> anyhow::Result<Measured> {
        let mut rig = self.open()?;
        let mut fanouts = Histogram::new_with_bounds(1, FANOUT_US_MAX, 3).context("a histogram's bounds")?;
        one_at_a_time(&mut rig, self.warmup(), &mut fanouts)?;
        fanouts.reset();
        let from = rig.clock.now();
        rig.measure(from, from.plus(self.seconds()));
        let begin = Begin::now(&rig)?;
        one_at_a_time(&mut rig, self.seconds(), &mut fanouts)?;
        let mut figures = begin.end(&rig)?;
        figures.set(Figure::FanoutP50, fanouts.value_at_quantile(0.5) as f64);
        figures.set(Figure::FanoutP99, fanouts.value_at_quantile(0.99) as f64);
        let mut measured = measured(rig, figures)?;
        measured.latency = fanouts;
        Ok(measured)
    }

    /// Messages at `rate` deliveries per second.
    pub(super) fn open_loop(&self, rig: &mut Rig, rate: f64, drain: Duration) -> anyhow::Result<Figures> {
        let begins = rig.clock.now();
        let schedule = rig.schedule(begins, rate);
        let from = begins.plus(self.warmup());
        let to = from.plus(self.seconds());
        rig.measure(from, to);
        rig.run(&schedule, from, |_| false)?;
        let begin = Begin::now(rig)?;
        rig.run(&schedule, to, |_| false)?;
        let mut figures = begin.end(rig)?;
        let missed = rig.drain(drain)?;
        figures.set(Figure::Offered, rate);
        figures.set(Figure::Missed, missed as f64);
        latencies(rig, &mut figures);
        Ok(figures)
    }

    /// The highest rate whose p99 keeps the bound.
    fn max(&self) -> anyhow::Result<Measured> {
        let mut search = Search::new(f64::from(self.scenario.rate));
        let (mut best, mut last) = (None, None);
        let mut notes = Vec::new();
        for _ in 0..self.scenario.probes {
            let Some(rate) = search.next() else { break };
            let mut rig = self.open()?;
            let probed = self.open_loop(&mut rig, rate, PROBE_DRAIN_WITHIN);
            self.interrupt.check()?;
            let figures = match probed {
                Ok(figures) => figures,
                Err(error) => {
                    notes.push(format!("at {rate:.0} per second: {error:#}"));
                    search.tell(false);
                    continue;
                }
            };
            let of = |figure| figures.get(figure).unwrap_or(0.0);
            let holds = of(Figure::LatencyP99) < f64::from(self.scenario.p99_ms_max) * 1e3
                && of(Figure::Delivered) >= rate * DELIVERED_MIN;
            if !holds && of(Figure::ClientBusy) > CLIENT_BUSY_MAX {
                notes.push(format!(
                    "at {rate:.0} per second the client may have been the limit"
                ));
            }
            search.tell(holds);
            let probe = measured(rig, figures)?;
            match holds {
                true => best = Some(probe),
                false => last = Some(probe),
            }
        }
        let Some(mut measured) = best.or(last) else {
            bail!("no rate was tried");
        };
        measured
            .figures
            .set(Figure::MaxRate, search.best().unwrap_or(0.0));
        measured.notes.extend(notes);
        Ok(measured)
    }

    /// Nothing is sent.
    fn idle(&self) -> anyhow::Result<Measured> {
        let kernel_before = proc::kernel_memory()?;
        let mut rig = self.open()?;
        settle(&mut rig, self.warmup())?;
        let begin = rig.sample()?;
        settle(&mut rig, self.seconds())?;
        let end = rig.sample()?;
        let mut figures = Figures::default();
        of_server(&mut figures, end.since(&begin), &end);
        let bytes = |kernel: KernelMemory| (kernel.tcp_bytes + kernel.slab_bytes) as f64;
        let kernel = bytes(proc::kernel_memory()?) - bytes(kernel_before);
        // Less than before is what others gave back meanwhile, and says nothing of these connections.
        if kernel > 0.0 {
            let connections = f64::from(self.scenario.subscribers);
            figures.set(Figure::KernelPerConnection, kernel / connections);
        }
        measured(rig, figures)
    }
}

/// Turns without haste.
fn settle(rig: &mut Rig, time: Duration) -> anyhow::Result<()> {
    rig.swarm
        .turn_until(std::time::Instant::now() + time, |_| false)?;
    Ok(())
}

/// Sends a message, waits until all have it, and so on for `time`.
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
                    serde_json::to_string(&rig.swarm.handler.faults)?
                );
            }
        }
        let taken = rig.clock.now().since(due);
        fanouts.saturating_record((micros(taken) as u64).max(1));
    }
    Ok(())
}

/// How things stood when the measured time began.
struct Begin {
    server: Sample,
    client: Sample,
    delivered: u64,
    busy: Duration,
    at: Nanos,
}

impl Begin {
    fn now(rig: &Rig) -> anyhow::Result<Self> {
        Ok(Self {
            server: rig.sample()?,
            client: Sample::take(std::process::id(), rig.clock)?,
            delivered: rig.delivered(),
            busy: rig.busy,
            at: rig.clock.now(),
        })
    }

    /// The figures of the time from then until now.
    fn end(&self, rig: &Rig) -> anyhow::Result<Figures> {
        let time = rig.clock.now().since(self.at);
        let client = Sample::take(std::process::id(), rig.clock)?.since(&self.client);
        // The client never sleeps, so that what it did not get of its core others had. Of what it was busy for by the
        // clock, it really had that share.
        let had = (client.cpu.as_secs_f64() / client.time.as_secs_f64()).min(1.0);
        let busy = rig.busy.saturating_sub(self.busy).mul_f64(had);
        let delivered = (rig.delivered() - self.delivered) as f64;
        let server = rig.sample()?;
        let used = server.since(&self.server);
        let mut figures = Figures::default();
        figures.set(Figure::ServerCpuPerDelivery, micros(used.cpu) / delivered);
        figures.set(Figure::Delivered, delivered / time.as_secs_f64());
        figures.set(Figure::ClientCpuPerDelivery, micros(busy) / delivered);
        figures.set(
            Figure::ClientBusy,
            busy.as_secs_f64() / client.cpu.as_secs_f64() * 100.0,
        );
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
    for (figure, quantile) in [
        (Figure::LatencyP50, 0.5),
        (Figure::LatencyP99, 0.99),
        (Figure::LatencyP999, 0.999),
        (Figure::LatencyMax, 1.0),
    ] {
        figures.set(figure, latency.value_at_quantile(quantile) as f64);
    }
    figures.set(Figure::SentLateP99, rig.sent_late.value_at_quantile(0.99) as f64);
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Takes a rig apart.
pub(super) fn measured(rig: Rig, mut figures: Figures) -> anyhow::Result<Measured> {
    if let (Some(writes), 1..) = (rig.writes()?, rig.delivered()) {
        figures.set(Figure::WritesPerDelivery, writes as f64 / rig.delivered() as f64);
    }
    if let Some(rss) = figures.get(Figure::Rss) {
        let more = rss - rig.before.rss_bytes as f64;
        let connections = f64::from(rig.scenario.subscribers);
        figures.set(Figure::RssPerConnection, more.max(0.0) / connections);
    }
    let version = rig.version().to_owned();
    let crowd = rig.swarm.handler;
    let mut faults = crowd.faults;
    if crowd.tally.damaged > 0 {
        faults.add("damaged payload", format_args!("{} of them", crowd.tally.damaged));
    }
    let mut notes = Vec::new();
    if figures.get(Figure::ClientBusy) > Some(CLIENT_BUSY_MAX) {
        notes.push("the client was busy all the time: it may have been the limit".to_owned());
    }
    if let Some(waited) = figures
        .get(Figure::ClientWaited)
        .filter(|waited| *waited > NOISE_MAX)
    {
        notes.push(format!(
            "noise: other programs had the client's core for {waited:.0} % of the time"
        ));
    }
    if crowd.gapped > 0 {
        notes.push(format!("{} messages were named in gaps", crowd.gapped));
    }
    Ok(Measured {
        version,
        figures,
        latency: crowd.tally.latency,
        timeline: crowd.tally.timeline,
        faults,
        notes,
    })
}
