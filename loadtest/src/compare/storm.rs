//! All connections are lost at once and come back while messages go on. They resume if the protocol can.
//!
//! A subscriber is back when every topic is confirmed again. It has caught up when every message published until all
//! were back has come or was named in a gap. A message that is neither in the end was lost silently, which is a fault.

use crate::compare::{
    DRAIN_WITHIN, Figure, Figures, Measured, Setup, latencies, measured, micros, of_server,
};

impl Setup<'_> {
    /// Loses all connections at once, after a quarter of the measured time.
    pub(super) fn storm(&self) -> anyhow::Result<Measured> {
        let mut rig = self.open()?;
        let all = 0..self.scenario.subscribers;
        let begins = rig.clock.now();
        let schedule = rig.schedule(begins, f64::from(self.scenario.rate));
        let from = begins.plus(self.warmup());
        let to = from.plus(self.seconds());
        rig.measure(from, to);
        rig.run(&schedule, from.plus(self.seconds() / 4), |_| false)?;
        let (lost, lost_at) = (rig.sample()?, rig.clock.now());
        rig.lose_all();
        rig.run(&schedule, to, |rig| rig.swarm.is_settled())?;
        let back = rig.sample()?;
        let all_back = rig.swarm.is_settled();
        let (mut waits_for, published) = (0, rig.published());
        let mut caught_up = false;
        rig.run(&schedule, to, |rig| {
            caught_up = all_back && rig.swarm.handler.caught_up(&mut waits_for, &published);
            caught_up
        })?;
        let caught_up_at = rig.clock.now();
        rig.run(&schedule, to, |_| false)?;
        let missed = rig.drain(DRAIN_WITHIN)?;
        let owed = rig.catch_up(all, DRAIN_WITHIN)?;
        rig.lost_silently(owed);
        let used = back.since(&lost);
        let mut figures = Figures::default();
        if all_back {
            let connections = f64::from(self.scenario.subscribers);
            figures.set(Figure::ReconnectTime, micros(used.time));
            figures.set(Figure::ReconnectCpu, micros(used.cpu) / connections);
        }
        if caught_up && owed.is_some() {
            figures.set(Figure::CaughtUp, micros(caught_up_at.since(lost_at)));
        }
        figures.set(Figure::Missed, missed as f64);
        figures.set(Figure::Recovered, rig.swarm.handler.recovered as f64);
        if owed.is_some() {
            figures.set(Figure::StartedOver, rig.swarm.handler.started_over as f64);
        }
        rig.losses(&mut figures);
        of_server(&mut figures, used, &back);
        latencies(&rig, &mut figures);
        let mut measured = measured(rig, figures)?;
        if !all_back {
            measured
                .notes
                .push("not all connections were back at the end".to_owned());
        }
        Ok(measured)
    }
}
