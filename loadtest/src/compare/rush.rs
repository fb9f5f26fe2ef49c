//! Very many new connections over TLS come at once while messages go on: what their handshakes cost the readers.
//!
//! The new connections are made on a thread of their own that has low priority on the client's core, so the readers are not late
//! because of it. The client sleeps when there is nothing to do, undisturbed and disturbed, or that thread would have no time. Only
//! messages that were due until the last new connection was open count as disturbed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::compare::handshakes::Visitors;
use crate::compare::{DRAIN_WITHIN, Figure, Figures, Measured, Setup, latencies, measured, micros};
use crate::swarm::{Endpoint, Interrupt, Swarm, grouped, hasty};

/// How long the new connections may take.
const ALL_IN_WITHIN: Duration = Duration::from_secs(60);
/// How long a turn of the client waits for something to do.
const REST: Duration = Duration::from_millis(1);
/// The nice value of the thread that makes the new connections.
const NICE: i32 = 19;

impl Setup<'_> {
    /// Measures latencies without new connections and while they come.
    pub(super) fn rush(&self) -> anyhow::Result<Measured> {
        let rate = f64::from(self.scenario.rate);
        let mut rig = self.open()?;
        rig.rest = REST;
        let quiet = self.open_loop(&mut rig, rate, DRAIN_WITHIN)?;
        let endpoint = Endpoint {
            client: Some(hasty(false)?),
            ..rig.endpoint()
        };
        let newcomers = Newcomers {
            endpoint,
            count: self.scenario.newcomers as usize,
            interrupt: self.interrupt.clone(),
        };
        let begins = rig.clock.now();
        let schedule = rig.schedule(begins, rate);
        rig.measure(begins, begins.plus(ALL_IN_WITHIN));
        let (mut came, took) = thread::scope(|scope| {
            let coming = scope.spawn(move || newcomers.come());
            rig.run(&schedule, begins.plus(ALL_IN_WITHIN), |_| coming.is_finished())?;
            let took = rig.clock.now().since(begins);
            let came = coming
                .join()
                .map_err(|_| anyhow!("the thread of new connections panicked"))??;
            anyhow::Ok((came, took))
        })?;
        let missed = rig.drain(DRAIN_WITHIN)?;
        let mut figures = Figures::default();
        latencies(&rig, &mut figures);
        if let (Some(before), Some(during)) = (quiet.get(Figure::LatencyP99), figures.get(Figure::LatencyP99))
        {
            figures.set(Figure::BaseP99, before);
            figures.set(Figure::P99Growth, during / before);
        }
        figures.set(
            Figure::Missed,
            missed as f64 + quiet.get(Figure::Missed).unwrap_or(0.0),
        );
        figures.set(Figure::AllIn, micros(took));
        figures.set(
            Figure::NotIn,
            (self.scenario.newcomers as usize - came.open()) as f64,
        );
        let faults = std::mem::take(&mut came.handler.faults);
        // They leave before the server is stopped, which would wait for them.
        came.reset_when_dropped();
        drop(came);
        let mut measured = measured(rig, figures)?;
        if faults.count() > 0 {
            let of = grouped(u64::from(self.scenario.newcomers));
            measured.notes.push(format!("of {of} new connections: {faults}"));
        }
        Ok(measured)
    }
}

/// Connections that come at once.
struct Newcomers {
    endpoint: Endpoint,
    count: usize,
    interrupt: Interrupt,
}

impl Newcomers {
    /// Makes all connections on this thread, which gets low priority. They stay open as long as the result is kept.
    fn come(self) -> anyhow::Result<Swarm<Visitors>> {
        rustix::process::nice(NICE).context("cannot give way")?;
        let mut swarm = Swarm::new(&self.endpoint, self.count, &self.interrupt, Visitors::default())?
            .with_unsettled_max(self.count);
        swarm.turn_until(Instant::now() + ALL_IN_WITHIN, |swarm| swarm.is_settled())?;
        Ok(swarm)
    }
}
