//! The honest subscribers during an attack: they must miss nothing, and report what they missed.
//!
//! Each has the trades and the book of one symbol, gets every message of both, and checks that each number follows the
//! one before. They have their own thread, which is told what is being measured and when to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use tickwire_wire::Mode;

use crate::swarm::{Came, Endpoint, Faults, Interrupt, Lateness, Layout, Phase, Readers, Swarm, Watch, conn};

/// The channels of each subscriber's symbol. Every message of both counts.
const CHANNELS: [&str; 2] = ["trade", "book"];
/// How long connecting all of them may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long all of them may take to read what was published before.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Told {
    phase: Mutex<Phase>,
    stop: AtomicBool,
    settled: AtomicUsize,
    /// When the newest message of the slowest subscriber was published, in microseconds.
    oldest: AtomicU64,
}

impl Told {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        // Nothing that panics is done while it is locked.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Waited {
    told: Arc<Told>,
    /// When the last message of each subscriber was published.
    newest: Vec<u64>,
    pub(super) lateness: Lateness,
}

impl Watch for Waited {
    fn came(&mut self, came: Came<'_>, faults: &mut Faults) {
        self.newest[came.reader] = came.head.ts();
        self.lateness.came(came, faults);
    }
}

pub(super) struct Honest {
    told: Arc<Told>,
    interrupt: Interrupt,
    thread: JoinHandle<anyhow::Result<Readers<Waited>>>,
}

impl Honest {
    /// Connects `count` subscribers to `symbols` and waits until all are subscribed.
    pub(super) fn arrive(
        endpoint: &Endpoint,
        count: usize,
        symbols: &[String],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let told = Arc::new(Told {
            phase: Mutex::new(Phase::Unmeasured),
            stop: AtomicBool::new(false),
            settled: AtomicUsize::new(0),
            oldest: AtomicU64::new(0),
        });
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
        let waited = Waited {
            told: told.clone(),
            newest: vec![0; count],
            lateness: Lateness::new()?,
        };
        let swarm = Swarm::new(endpoint, count, interrupt, Readers::new(layout, waited))?;
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
        *self.told.phase() = phase;
    }

    /// Waits until each subscriber has a message that was published after this call.
    pub(super) fn catch_up(&self) -> anyhow::Result<()> {
        let now = conn::now().0;
        self.wait("get something new", CATCH_UP_WITHIN, |told| {
            told.oldest.load(Ordering::Relaxed) > now
        })
    }

    /// Ends the subscribers. Returns what they found.
    pub(super) fn leave(self) -> anyhow::Result<Readers<Waited>> {
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
fn listen(mut swarm: Swarm<Readers<Waited>>) -> anyhow::Result<Readers<Waited>> {
    let told = swarm.handler.watch.told.clone();
    while !told.stop.load(Ordering::Relaxed) {
        swarm.handler.watch.lateness.phase = *told.phase();
        swarm.turn(TURN)?;
        told.settled.store(swarm.settled(), Ordering::Relaxed);
        let oldest = swarm.handler.watch.newest.iter().min().copied();
        told.oldest.store(oldest.unwrap_or_default(), Ordering::Relaxed);
    }
    swarm.reset_when_dropped();
    Ok(swarm.handler)
}
