//! The honest subscribers during an attack: they must miss nothing, and report what they missed.
//!
//! Each has the trades and the book of one symbol, gets every message of both, and checks that each number follows the
//! one before. They have their own thread, which is told what is being measured and when to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use hdrhistogram::Histogram;
use tickwire_wire::Mode;

use crate::swarm::{Came, Endpoint, Faults, Interrupt, Layout, Readers, Swarm, Watch, conn, latencies};

/// The channels of each subscriber's symbol. Every message of both counts.
const CHANNELS: [&str; 2] = ["trade", "book"];
/// How long connecting all of them may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long all of them may take to read what was published before.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Messages are checked, and their latency is not counted.
    Unmeasured,
    Quiet,
    Attacked,
}

#[derive(Debug, Default)]
struct Told {
    phase: AtomicU8,
    stop: AtomicBool,
    settled: AtomicUsize,
    /// When the newest message of the slowest subscriber was published, in microseconds.
    oldest: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Lateness {
    told: Arc<Told>,
    /// When the last message of each subscriber was published.
    newest: Vec<u64>,
    pub(super) quiet_us: Histogram<u64>,
    pub(super) attacked_us: Histogram<u64>,
}

impl Watch for Lateness {
    fn came(&mut self, came: Came<'_>, _: &mut Faults) {
        self.newest[came.reader] = came.head.ts();
        match self.told.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Quiet as u8 => self.quiet_us.saturating_record(came.late_us),
            phase if phase == Phase::Attacked as u8 => self.attacked_us.saturating_record(came.late_us),
            _ => {}
        }
    }
}

pub(super) struct Honest {
    told: Arc<Told>,
    interrupt: Interrupt,
    thread: JoinHandle<anyhow::Result<Readers<Lateness>>>,
}

impl Honest {
    /// Connects `count` subscribers to `symbols` and waits until all are subscribed.
    pub(super) fn arrive(
        endpoint: &Endpoint,
        count: usize,
        symbols: &[String],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let told = Arc::<Told>::default();
        let topics = symbols
            .iter()
            .flat_map(|symbol| CHANNELS.map(|channel| format!("{channel}.{symbol}")));
        let layout = Layout {
            readers: count,
            topics: topics.collect(),
            topics_each: CHANNELS.len(),
            apart: CHANNELS.len(),
            mode: Some(Mode::Every),
            ..Layout::default()
        };
        let lateness = Lateness {
            told: told.clone(),
            newest: vec![0; count],
            quiet_us: latencies()?,
            attacked_us: latencies()?,
        };
        let swarm = Swarm::new(endpoint, count, interrupt, Readers::new(layout, lateness))?;
        let thread = std::thread::Builder::new()
            .name("honest".to_owned())
            .spawn(move || listen(swarm))
            .context("no thread")?;
        let honest = Self {
            told,
            interrupt: interrupt.clone(),
            thread,
        };
        honest.wait("subscribe", CONNECT_WITHIN, |told| {
            told.settled.load(Ordering::Relaxed) == count
        })?;
        Ok(honest)
    }

    /// Sets what is being measured from now on.
    pub(super) fn measure(&self, phase: Phase) {
        self.told.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Waits until each subscriber has a message that was published after this call.
    pub(super) fn catch_up(&self) -> anyhow::Result<()> {
        let now = conn::now().0;
        self.wait("get something new", CATCH_UP_WITHIN, |told| {
            told.oldest.load(Ordering::Relaxed) > now
        })
    }

    /// Ends the subscribers. Returns what they found.
    pub(super) fn leave(self) -> anyhow::Result<Readers<Lateness>> {
        self.told.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the subscribers' thread panicked"))?
    }

    fn wait(&self, what: &str, within: Duration, mut done: impl FnMut(&Told) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        while !done(&self.told) {
            self.interrupt.check()?;
            ensure!(
                !self.thread.is_finished() && Instant::now() < until,
                "honest subscribers do not {what} within {within:?}"
            );
            std::thread::sleep(TURN);
        }
        Ok(())
    }
}

/// Reads until told to stop.
fn listen(mut swarm: Swarm<Readers<Lateness>>) -> anyhow::Result<Readers<Lateness>> {
    let told = swarm.handler.watch.told.clone();
    while !told.stop.load(Ordering::Relaxed) {
        swarm.turn(TURN)?;
        told.settled.store(swarm.settled(), Ordering::Relaxed);
        let oldest = swarm.handler.watch.newest.iter().min().copied();
        told.oldest.store(oldest.unwrap_or_default(), Ordering::Relaxed);
    }
    swarm.reset_when_dropped();
    Ok(swarm.handler)
}
