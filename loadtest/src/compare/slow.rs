//! What readers that stop, or read slowly, cost the others: the same server without and with them, in turns.
//!
//! The readers that stop are the same each time. They are left out of every figure, so that both halves of a turn offer
//! and count the same. After each turn they read again, and nothing is measured until they have caught up. If messages
//! are numbered, they must then get every message or a gap that names it, up to the last. A message that is neither is
//! a fault.

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::compare::{DRAIN_WITHIN, Figure, Figures, Measured, Rig, Setup, measured, micros, quantiles};

/// How many turns there are, each with both halves.
const TURNS: u32 = 2;
struct Half {
    figures: Vec<Figures>,
    latency: Histogram<u64>,
    missed: f64,
}

impl Half {
    fn new(rig: &Rig) -> Self {
        Self {
            figures: Vec::new(),
            latency: Histogram::new_from(&rig.swarm.handler.tally.latency),
            missed: 0.0,
        }
    }

    fn add(&mut self, rig: &Rig, figures: Figures) -> anyhow::Result<()> {
        let latency = &rig.swarm.handler.tally.latency;
        self.latency.add(latency).context("a histogram's bounds")?;
        self.missed += figures.get(Figure::Missed).unwrap_or(0.0);
        self.figures.push(figures);
        Ok(())
    }

    fn p99(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64
    }
}

impl Setup<'_> {
    /// Measures the latency of the other readers without and with readers that stop.
    pub(super) fn slow(&self) -> anyhow::Result<Measured> {
        let rate = f64::from(self.scenario.rate);
        let stopped = 0..self.scenario.subscribers * self.scenario.stopped_percent / 100;
        let mut rig = self.open()?;
        rig.leave_out(stopped.clone());
        let (mut without, mut with) = (Half::new(&rig), Half::new(&rig));
        let (mut growth, mut caught_up) = (0, None);
        for _ in 0..TURNS {
            let figures = self.open_loop(&mut rig, rate, DRAIN_WITHIN)?;
            without.add(&rig, figures)?;
            let calm = rig.sample()?;
            rig.slow_down(stopped.clone(), self.scenario.slow_bytes_per_s);
            let figures = self.open_loop(&mut rig, rate, DRAIN_WITHIN)?;
            with.add(&rig, figures)?;
            growth = growth.max(rig.sample()?.rss_bytes.saturating_sub(calm.rss_bytes));
            let resumed = rig.clock.now();
            rig.read_on();
            let owed = rig.catch_up(stopped.clone(), DRAIN_WITHIN)?;
            if owed == Some(0) {
                caught_up = caught_up.max(Some(micros(rig.clock.now().since(resumed)) as u64));
            }
            rig.lost_silently(owed);
        }
        let mut figures = Figures::median(&with.figures);
        quantiles(&with.latency, &mut figures);
        figures.set(Figure::BaseP99, without.p99());
        figures.set(Figure::P99Growth, with.p99() / without.p99());
        figures.set(Figure::Missed, without.missed + with.missed);
        figures.set(Figure::RssGrowth, growth as f64);
        if let Some(caught_up) = caught_up {
            figures.set(Figure::CaughtUp, caught_up as f64);
        }
        rig.losses(&mut figures);
        measured(rig, figures)
    }
}
