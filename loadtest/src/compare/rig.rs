//! A server, its subscribers and its publisher, ready to be measured.
//!
//! All connections are on the calling thread. During a measurement that thread never sleeps: a sleeping client makes
//! the server pay for waking it, which a client across a network does not. Only the time in which there is something to
//! do counts as busy. Messages that the server does not take yet stay due; at most [`WAITING_BYTES_MAX`] wait in
//! memory. Every wait has an end.

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;

use crate::compare::{Crowd, PUBLISHER, Protocol, Scenario, Schedule, Script, Server, Setup};
use crate::swarm::bare;
use crate::swarm::{
    Certificates, Clock, ConnId, Endpoint, Metrics, Nanos, Sample, Swarm, latencies, proc, scrape,
};

/// Most readiness events per turn. It is low, so that messages are sent in time.
const EVENTS_MAX: usize = 64;
/// Most bytes of messages that wait until the server takes them.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
const BATCH_MAX: u64 = 512;
/// After this time without a delivery, nothing more is expected.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// The time between two reads of a slow reader.
const SIP_EVERY: Duration = Duration::from_millis(50);

/// How slow readers read.
#[derive(Debug, Clone, Copy)]
struct Sips {
    bytes: usize,
    next: Nanos,
}

pub(crate) struct Rig {
    pub(crate) swarm: Swarm<Crowd>,
    pub(crate) clock: Clock,
    pub(crate) scenario: Scenario,
    /// The server's counters before any client connected.
    pub(crate) before: Sample,
    /// The time with something to do.
    pub(crate) busy: Duration,
    /// How late messages were sent, in microseconds.
    pub(crate) sent_late: Histogram<u64>,
    /// How many deliveries the messages sent so far must make.
    pub(crate) expected: u64,
    server: Server,
    pub(super) protocol: &'static dyn Protocol,
    writes_before: u64,
    pub(super) script: Rc<Script>,
    pub(super) topics: Vec<String>,
    audience: Vec<u64>,
    pub(crate) sent: u64,
    /// The number of messages that were sent before the schedule began.
    sent_before: u64,
    sent_at: Nanos,
    payload: Vec<u8>,
    message: Vec<u8>,
    /// How slow readers read, if there are any.
    sips: Option<Sips>,
    /// How long a turn waits for something to do. A client that measures never waits, unless others need its core.
    pub(super) rest: Duration,
}

impl Rig {
    /// Starts the server. No client is connected yet.
    pub(crate) fn start(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let (protocol, scenario, script) = (setup.protocol, setup.scenario, setup.script);
        let certificates = setup.certificates.filter(|_| scenario.tls);
        let server = setup.start(certificates)?;
        let clock = Clock::start();
        let mut endpoint = server.endpoint(protocol);
        endpoint.client = certificates.map(Certificates::compared_client).transpose()?;
        endpoint.handshake.deflate = scenario.deflate;
        endpoint.handshake.events = protocol.events(&scenario.wishes(0));
        endpoint.handshake.publishers = scenario.publishers as usize;
        endpoint.handshake.bare = protocol.bare();
        endpoint.handshake.posts = scenario.bulk.then_some(bare::answer);
        let crowd = Crowd::new(protocol, scenario, script.clone(), clock)?;
        let connections = (scenario.publishers + scenario.subscribers) as usize;
        let swarm = Swarm::new(&endpoint, connections, setup.interrupt, crowd)?.with_events_max(EVENTS_MAX);
        let before = Sample::take(server.pid())?;
        let writes_before = writes(&server)?;
        let mut rig = Self {
            swarm,
            clock,
            before,
            writes_before,
            server,
            protocol,
            script: script.clone(),
            topics: (0..scenario.topics).map(Scenario::topic).collect(),
            audience: Vec::new(),
            sent: 0,
            sent_before: 0,
            sent_at: Nanos(0),
            expected: 0,
            busy: Duration::ZERO,
            sent_late: latencies()?,
            payload: Vec::new(),
            message: Vec::new(),
            sips: None,
            rest: Duration::ZERO,
            scenario: scenario.clone(),
        };
        rig.leave_out(0..0);
        Ok(rig)
    }

    pub(crate) fn version(&self) -> &str {
        &self.server.version
    }

    /// The port of the server's WebSocket endpoint.
    pub(crate) fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// The way to connect to the server over WebSocket.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.server.endpoint(self.protocol)
    }

    pub(crate) fn sample(&self) -> anyhow::Result<Sample> {
        Sample::take(self.server.pid())
    }

    /// How many system calls the server has written with since its start; `None` if that is unknown.
    pub(crate) fn writes(&self) -> anyhow::Result<Option<u64>> {
        let now = writes(&self.server)?;
        Ok(now.checked_sub(self.writes_before).filter(|writes| *writes > 0))
    }

    /// How many messages the server says were published to it; `None` if it does not say.
    ///
    /// A busy server answers late, so do not call this in a measured time.
    pub(super) fn counted(&self) -> anyhow::Result<Option<u64>> {
        let Some(ops) = self.server.ops else {
            return Ok(None);
        };
        let page = Metrics::parse(&scrape::get(ops, "/metrics")?);
        Ok(Some(page.sum("tickwire_publications_total", "") as u64))
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.swarm.handler.tally.delivered
    }

    /// Connects all clients of the scenario and waits until they are subscribed.
    ///
    /// # Errors
    /// When not all of them could be.
    pub(crate) fn connect(&mut self) -> anyhow::Result<()> {
        self.swarm.connect()?;
        let crowd = &self.swarm.handler;
        if crowd.faults.count() > 0 {
            bail!("connecting failed: {}", crowd.faults);
        }
        Ok(())
    }

    /// Stops expecting and counting deliveries to these subscribers.
    pub(crate) fn leave_out(&mut self, subscribers: Range<u32>) {
        let scenario = &self.scenario;
        let readers = |topic| {
            let left_out = subscribers
                .clone()
                .filter(|number| scenario.slot(scenario.first_topic(*number), topic).is_some());
            u64::from(scenario.subscribers_of(topic)) - left_out.count() as u64
        };
        self.audience = (0..scenario.topics).map(readers).collect();
        self.swarm.handler.uncounted = self.scenario.connections_of(subscribers);
    }

    pub(crate) fn slow_down(&mut self, subscribers: Range<u32>, bytes_per_s: u32) {
        let connections = self.scenario.connections_of(subscribers.clone());
        self.leave_out(subscribers);
        self.swarm.stop_reading(connections);
        self.sips = (bytes_per_s > 0).then(|| Sips {
            bytes: (u64::from(bytes_per_s) * SIP_EVERY.as_millis() as u64 / 1_000).max(1) as usize,
            next: self.clock.now(),
        });
    }

    /// Makes all subscribers read again. Deliveries to those that did not are still not counted.
    pub(crate) fn read_on(&mut self) {
        self.sips = None;
        self.swarm.stop_reading(0..0);
    }

    /// Drops the connections of all subscribers and starts new ones.
    pub(crate) fn lose_all(&mut self) {
        self.swarm.handler.all_lost();
        self.swarm.reconnect(ConnId(self.scenario.publishers as usize));
    }

    /// Starts counting again: messages due from `from` until before `to`.
    pub(crate) fn measure(&mut self, from: Nanos, to: Nanos) {
        self.swarm.handler.tally.measure(from, to);
        self.sent_late.reset();
    }

    /// Does everything that is possible now. Returns whether there was something to do.
    pub(crate) fn turn(&mut self) -> anyhow::Result<bool> {
        let began = Instant::now();
        let mut any = self.swarm.turn(self.rest)?;
        if let Some(sips) = &mut self.sips
            && self.clock.now() >= sips.next
        {
            sips.next = sips.next.plus(SIP_EVERY);
            self.swarm.sip(sips.bytes);
            any = true;
        }
        if any {
            self.busy += began.elapsed();
        }
        Ok(any)
    }

    /// Sends one message that is due now. Returns that time.
    pub(crate) fn publish_now(&mut self) -> Nanos {
        let began = Instant::now();
        let due = self.clock.now();
        self.send(1, |_| due);
        self.busy += began.elapsed();
        due
    }

    /// A schedule from `begins` on: that of the script if it has one, otherwise this many deliveries per second.
    pub(crate) fn schedule(&mut self, begins: Nanos, deliveries_per_s: f64) -> Schedule {
        let Some(tempo) = self.script.tempo() else {
            self.sent_before = self.sent;
            return Schedule::even(begins, self.scenario.messages_per_s(deliveries_per_s));
        };
        // The first message due is the script's first message.
        self.sent = self.sent.next_multiple_of(self.script.messages());
        self.sent_before = self.sent;
        Schedule::recorded(begins, tempo)
    }

    /// How many deliveries the messages make that are due by `schedule` from `from` until before `to`.
    pub(crate) fn deliveries_due(&self, schedule: &Schedule, from: Nanos, to: Nanos) -> u64 {
        let numbers = schedule.before(from)..schedule.before(to);
        numbers
            .map(|number| self.readers(self.sent_before + number))
            .sum()
    }

    pub(super) fn readers(&self, number: u64) -> u64 {
        self.audience[self.script.topic(number) as usize]
    }

    /// Sends by `schedule` and reads, until the time `until` or until `done` returns true.
    pub(crate) fn run(
        &mut self,
        schedule: &Schedule,
        until: Nanos,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> anyhow::Result<()> {
        while self.clock.now() < until && !done(self) {
            self.publish_due(schedule);
            self.turn()?;
        }
        Ok(())
    }

    fn publish_due(&mut self, schedule: &Schedule) {
        let now = self.clock.now();
        let apart = Duration::from_micros(u64::from(self.scenario.publish_every_us));
        if now.since(self.sent_at) < apart || self.swarm.waiting(PUBLISHER) > WAITING_BYTES_MAX {
            return;
        }
        let first = self.sent - self.sent_before;
        let count = (schedule.before(now).saturating_sub(first)).min(BATCH_MAX);
        if count == 0 {
            return;
        }
        self.sent_at = now;
        for number in first..first + count {
            let late = now.since(schedule.due(number)).as_micros();
            let late = u64::try_from(late).unwrap_or(u64::MAX).max(1);
            self.sent_late.saturating_record(late);
        }
        self.send(count, |number| schedule.due(first + number));
        self.busy += self.clock.now().since(now);
    }

    /// Sends `count` messages, in one call if the kernel takes them.
    fn send(&mut self, count: u64, due: impl Fn(u64) -> Nanos) {
        let (swarm, message, payload) = (&mut self.swarm, &mut self.message, &mut self.payload);
        let (protocol, script, sent) = (self.protocol, &self.script, self.sent);
        swarm.send_all(PUBLISHER, |reply| {
            for number in 0..count {
                message.clear();
                let topic = &self.topics[script.topic(sent + number) as usize];
                let bytes = script.write(due(number), sent + number, payload);
                let opcode = protocol.publish(topic, bytes, message);
                reply.message(opcode, message);
            }
        });
        for number in sent..sent + count {
            self.expected += self.readers(number);
        }
        self.sent += count;
    }

    /// Reads until everything sent has come, nothing comes any more, or `within` is over. Returns how many deliveries
    /// are missing. Each of them counts with the latency that it would have if it came now.
    pub(crate) fn drain(&mut self, within: Duration) -> anyhow::Result<u64> {
        let end = self.clock.now().plus(within);
        let (mut delivered, mut since) = (self.delivered(), self.clock.now());
        while self.delivered() < self.expected {
            self.turn()?;
            let now = self.clock.now();
            if self.delivered() > delivered {
                (delivered, since) = (self.delivered(), now);
            } else if now.since(since) > QUIET {
                break;
            }
            if now > end {
                break;
            }
        }
        let missed = self.expected.saturating_sub(self.delivered());
        let now = self.clock.now();
        self.swarm.handler.tally.never_came(missed, now);
        Ok(missed)
    }
}

/// How many system calls a server has written with so far: from its metrics or, if it has none, from the kernel.
///
/// A busy server answers late, so do not call this in a measured time.
fn writes(server: &Server) -> anyhow::Result<u64> {
    let Some(ops) = server.ops else {
        return proc::writes(server.pid());
    };
    let page = Metrics::parse(&scrape::get(ops, "/metrics")?);
    Ok(page.sum("tickwire_socket_writes_total", "") as u64)
}
