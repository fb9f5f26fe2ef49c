//! What is done to the brokers and to NATS, and for how long nobody gets an answer then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

use super::Node;
use super::clients::Run;
use super::store::Nats;
use crate::swarm::{Interrupt, Outcome, progress};

/// The time between two faults.
const BETWEEN: Duration = Duration::from_secs(5);
/// The time between two looks at whether publishers get answers.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KilledBroker,
    KilledWriter,
    StoppedBroker,
    CutBoth,
    CutTo,
    CutFrom,
    KilledNats,
    SetBackNats,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::KilledBroker,
        Self::KilledWriter,
        Self::StoppedBroker,
        Self::CutBoth,
        Self::CutTo,
        Self::CutFrom,
        Self::KilledNats,
        Self::SetBackNats,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::KilledBroker => "a broker killed",
            Self::KilledWriter => "the writer killed",
            Self::StoppedBroker => "a broker stopped for a while",
            Self::CutBoth => "a broker cut off from NATS",
            Self::CutTo => "nothing goes from a broker to NATS",
            Self::CutFrom => "nothing comes from NATS to a broker",
            Self::KilledNats => "NATS killed",
            Self::SetBackNats => "NATS set back by seconds",
        }
    }
}

/// Does harm to a cluster.
pub(super) struct Harm {
    random: ChaCha8Rng,
    nats: Nats,
    nodes: Vec<Node>,
    run: Arc<Run>,
    /// For how long nobody had an answer, by fault.
    pauses: BTreeMap<Fault, Vec<Duration>>,
}

impl Harm {
    pub(super) fn new(seed: u64, nats: Nats, nodes: Vec<Node>, run: Arc<Run>) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            nats,
            nodes,
            run,
            pauses: BTreeMap::new(),
        }
    }

    /// The addresses of the brokers, for clients.
    pub(super) fn urls(&self) -> Vec<String> {
        let urls = self
            .nodes
            .iter()
            .map(|node| format!("ws://{}/v1/ws", node.broker.endpoint.address));
        urls.collect()
    }

    /// Does harm for this time. Afterwards everything is whole, and nothing more is published.
    ///
    /// # Errors
    /// When something does not come back.
    pub(super) fn run(&mut self, time: Duration, interrupt: &Interrupt) -> anyhow::Result<()> {
        let harmed = self.harm(time, interrupt);
        self.run.is_enough.store(true, Ordering::Relaxed);
        harmed
    }

    fn harm(&mut self, time: Duration, interrupt: &Interrupt) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        // Each kind comes once before any comes again.
        let mut left = Vec::new();
        self.watch(BETWEEN, interrupt)?;
        while Instant::now() < until {
            if left.is_empty() {
                left.extend(Fault::ALL);
            }
            let fault = left.swap_remove(self.below(left.len()));
            let pause = self.cause(fault, interrupt)?;
            progress!("{}: no answer for {:.2} s", fault.as_str(), pause.as_secs_f64());
            self.pauses.entry(fault).or_default().push(pause);
        }
        self.watch(BETWEEN, interrupt)?;
        Ok(())
    }

    fn below(&mut self, most: usize) -> usize {
        (self.random.next_u64() % most.max(1) as u64) as usize
    }

    /// Watches the answers for this time. Returns the longest time without one.
    fn watch(&self, time: Duration, interrupt: &Interrupt) -> anyhow::Result<Duration> {
        let (until, mut longest) = (Instant::now() + time, Duration::ZERO);
        let (mut acked, mut since) = (self.run.acked.load(Ordering::Relaxed), Instant::now());
        while Instant::now() < until {
            interrupt.check()?;
            std::thread::sleep(LOOK_EVERY);
            let now = self.run.acked.load(Ordering::Relaxed);
            if now != acked {
                longest = longest.max(since.elapsed());
                (acked, since) = (now, Instant::now());
            }
        }
        Ok(longest.max(since.elapsed()))
    }

    /// The broker that numbers the messages.
    fn writer(&self) -> usize {
        let writes = |node: &Node| {
            let metrics = node.broker.scrape().ok();
            metrics.is_some_and(|metrics| metrics.sum("tickwire_lane_state", "state=\"writing\"") > 0.0)
        };
        self.nodes.iter().position(writes).unwrap_or(0)
    }

    /// Causes a fault and mends it. Returns for how long nobody had an answer.
    fn cause(&mut self, fault: Fault, interrupt: &Interrupt) -> anyhow::Result<Duration> {
        let at = match fault {
            Fault::KilledWriter => self.writer(),
            _ => self.below(self.nodes.len()),
        };
        let lasts = Duration::from_millis(500 + self.random.next_u64() % 4_000);
        match fault {
            Fault::KilledBroker | Fault::KilledWriter => {
                let run = self.run.clone();
                let watching = Watching::begin(&run);
                let node = &mut self.nodes[at];
                node.broker.kill_and_restart(&mut node.command, interrupt)?;
                let pause = watching.end();
                return Ok(pause.max(self.watch(BETWEEN, interrupt)?));
            }
            Fault::StoppedBroker => {
                self.nodes[at].broker.signal(Signal::STOP)?;
                let pause = self.watch(lasts, interrupt);
                self.nodes[at].broker.signal(Signal::CONT)?;
                return Ok(pause?.max(self.watch(BETWEEN, interrupt)?));
            }
            Fault::CutBoth | Fault::CutTo | Fault::CutFrom => {
                self.nodes[at]
                    .way
                    .cut(fault != Fault::CutFrom, fault != Fault::CutTo);
                let pause = self.watch(lasts, interrupt);
                self.nodes[at].way.cut(false, false);
                return Ok(pause?.max(self.watch(BETWEEN, interrupt)?));
            }
            Fault::KilledNats => {
                self.nats.kill()?;
                let pause = self.watch(lasts.min(Duration::from_secs(1)), interrupt)?;
                self.nats.begin()?;
                return Ok(pause.max(self.watch(BETWEEN, interrupt)?));
            }
            Fault::SetBackNats => {
                self.nats.kill()?;
                self.nats.keep()?;
                self.nats.begin()?;
                self.watch(BETWEEN, interrupt)?;
                self.nats.kill()?;
                self.nats.set_back()?;
                self.nats.begin()?;
            }
        }
        self.watch(BETWEEN, interrupt)
    }

    /// Says what was done, and for how long nobody had an answer.
    pub(super) fn tell(&self, outcome: &mut Outcome) {
        for (fault, pauses) in &self.pauses {
            let mut sorted = pauses.clone();
            sorted.sort_unstable();
            let (middle, longest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            let text = format_args!(
                "{} times; no answer for {:.2} s (median), {:.2} s (longest)",
                sorted.len(),
                middle.as_secs_f64(),
                longest.as_secs_f64()
            );
            outcome.row(fault.as_str(), text);
        }
    }
}

/// Watches the answers beside something else.
struct Watching {
    thread: std::thread::JoinHandle<Duration>,
    over: Arc<std::sync::atomic::AtomicBool>,
}

impl Watching {
    fn begin(run: &Arc<Run>) -> Self {
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (run, is_over) = (run.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            let (mut acked, mut since) = (run.acked.load(Ordering::Relaxed), Instant::now());
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
                let now = run.acked.load(Ordering::Relaxed);
                if now != acked {
                    longest = longest.max(since.elapsed());
                    (acked, since) = (now, Instant::now());
                }
            }
            longest.max(since.elapsed())
        });
        Self { thread, over }
    }

    fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        // A panic there has been printed; it only costs the figure.
        self.thread.join().unwrap_or_default()
    }
}
