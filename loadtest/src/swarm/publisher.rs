//! A connection that publishes at a steady rate, to the readers' topics in turn.
//!
//! Messages that are late are published at once. The length of a turn bounds the bytes that wait to be written.

use std::time::{Duration, Instant};

use crate::swarm::connections::Swarm;
use crate::swarm::readers::{PUBLISHER, Readers};
use crate::swarm::watch::Watch;

/// Messages that are published at a steady rate, to the topics in turn.
#[derive(Debug)]
pub(crate) struct Publisher {
    every: Duration,
    data: String,
    pub(crate) count: u64,
    due: Instant,
}

impl Publisher {
    /// A publisher of `per_second` messages a second with `data`, which is JSON. The first is due now.
    pub(crate) fn new(per_second: u32, data: String) -> Self {
        Self {
            every: Duration::from_secs(1) / per_second,
            data,
            count: 0,
            due: Instant::now(),
        }
    }

    /// Makes the next message due now.
    pub(crate) fn begin(&mut self) {
        self.due = Instant::now();
    }

    /// Publishes what is due, and lets the connections do what they can, for at most `turn`.
    pub(crate) fn turn<W: Watch>(
        &mut self,
        swarm: &mut Swarm<Readers<W>>,
        turn: Duration,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.due <= now {
            let mut publications = Vec::new();
            while self.due <= now {
                let topics = &swarm.handler.layout.topics;
                let topic = &topics[(self.count % topics.len() as u64) as usize];
                self.count += 1;
                let (id, data) = (self.count, &self.data);
                publications.push(format!(
                    r#"{{"op":"publish","id":{id},"topic":"{topic}","data":{data}}}"#
                ));
                self.due += self.every;
            }
            swarm.send_all(PUBLISHER, |reply| {
                publications
                    .iter()
                    .for_each(|publication| reply.text(publication.as_bytes()));
            });
        }
        swarm.turn(turn).map(drop)
    }

    pub(crate) fn turn_for<W: Watch>(
        &mut self,
        swarm: &mut Swarm<Readers<W>>,
        time: Duration,
    ) -> anyhow::Result<()> {
        /// Longest turn while messages are to be published.
        const TURN: Duration = Duration::from_millis(2);
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(swarm, TURN)?;
        }
        Ok(())
    }
}
