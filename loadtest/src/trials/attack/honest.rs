//! The honest subscribers during an attack: they must miss nothing, and report what they missed.
//!
//! Each has the trades and the book of one symbol, gets every message of both, and checks that each number follows the
//! one before.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tickwire_wire::Mode;

use crate::swarm::{Broker, Came, Faults, Interrupt, Lateness, Layout, Phase, Readers, Swarm, Watch, conn};

/// The channels of each subscriber's symbol. Every message of both counts.
const CHANNELS: [&str; 2] = ["trade", "book"];
/// How long all of them may take to read what was published before.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Waiting {
    /// When the last message of each subscriber was published, in microseconds.
    newest: Vec<u64>,
    pub(super) lateness: Lateness,
}

impl Watch for Waiting {
    fn came(&mut self, came: Came<'_>, faults: &mut Faults) {
        self.newest[came.reader] = came.head.ts();
        self.lateness.came(came, faults);
    }
}

pub(super) struct Honest(Swarm<Readers<Waiting>>);

impl Honest {
    /// Connects `count` subscribers to `symbols` and waits until all are subscribed.
    pub(super) fn arrive(
        broker: &Broker,
        count: usize,
        symbols: &[String],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let of_symbol = |symbol: &String| CHANNELS.map(|channel| format!("{channel}.{symbol}"));
        let layout = Layout {
            readers: count,
            topics: symbols.iter().flat_map(of_symbol).collect(),
            topics_each: CHANNELS.len(),
            apart: CHANNELS.len(),
            mode: Some(Mode::Every),
            ..Layout::default()
        };
        let waiting = Waiting {
            newest: vec![0; count],
            lateness: Lateness::new()?,
        };
        let mut swarm = broker.readers(layout, waiting, interrupt)?;
        swarm.connect()?;
        let faults = &swarm.handler.faults;
        ensure!(faults.count() == 0, "honest subscribers: {faults}");
        Ok(Self(swarm))
    }

    /// Reads for some time, and counts latencies for `phase`.
    pub(super) fn read(&mut self, time: Duration, phase: Phase) -> anyhow::Result<()> {
        self.0.handler.watch.lateness.phase = phase;
        self.0.turn_for(time)
    }

    /// Waits until each subscriber has a message that was published after this call. Latencies do not count.
    pub(super) fn catch_up(&mut self) -> anyhow::Result<()> {
        self.0.handler.watch.lateness.phase = Phase::Unmeasured;
        let now = conn::now().0;
        let until = Instant::now() + CATCH_UP_WITHIN;
        let caught_up = self.0.turn_until(until, |swarm| {
            swarm.handler.watch.newest.iter().all(|newest| *newest > now)
        })?;
        ensure!(
            caught_up,
            "honest subscribers get nothing new within {CATCH_UP_WITHIN:?}"
        );
        Ok(())
    }

    /// Ends the subscribers. Returns what they found.
    pub(super) fn leave(self) -> Readers<Waiting> {
        self.0.reset_when_dropped();
        self.0.handler
    }
}
