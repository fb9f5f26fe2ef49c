//! The thread that publishes the built-in feed at its own pace.
//!
//! Ticks are due at their virtual time, mapped to real time once at the start. A feed that cannot keep up is late, which
//! a metric shows, and waits for the shards rather than overrun their queues: it never drops a tick.

use std::sync::Arc;
use std::time::Duration;

use tickwire_feed::{Feed, FeedStats, Tick};
use tickwire_metrics::FeedMetrics;
use tickwire_router::{Directory, ShardId, TopicCell};
use tickwire_wire::Micros;

use crate::clock::Clock;
use crate::pulse::Pulse;
use crate::start_gate::StartGate;

/// Ticks that are due within this time of each other are published together.
const BATCH: Duration = Duration::from_micros(500);
/// Ticks between two looks at the clock and the queues.
const TICKS_PER_LOOK: usize = 64;
/// Publications waiting for a shard above which the feed waits for it. Below what makes other publishers wait, so that a
/// feed that is more than the shards can hand out does not shut them out.
const QUEUE_HIGH: usize = 2_048;
/// Time between two flushes of the counters.
const FLUSH_US: u64 = 250_000;

/// Everything that the feed's thread needs.
pub(crate) struct FeedPlan {
    pub(crate) feed: Feed,
    /// How many times faster than its own time the feed runs.
    pub(crate) speed: f64,
    pub(crate) directory: Arc<Directory>,
    pub(crate) shards: u8,
    pub(crate) clock: Clock,
    pub(crate) metrics: FeedMetrics,
    pub(crate) gate: Arc<StartGate>,
    pub(crate) pulse: Arc<Pulse>,
}

/// Where virtual time stands in real time.
struct Pace {
    real_start: Micros,
    virtual_start: Micros,
    speed: f64,
}

impl Pace {
    fn due(&self, at: Micros) -> Micros {
        let offset = at.since(self.virtual_start) as f64 / self.speed;
        Micros(self.real_start.0.saturating_add(offset as u64))
    }
}

impl FeedPlan {
    /// Publishes until the feed or the broker ends.
    pub(crate) fn run(mut self) {
        let Some(mut tick) = self.feed.next_tick() else {
            self.flush(&mut FeedStats::default());
            tracing::warn!("the feed has nothing to publish");
            return;
        };
        if !self.gate.is_open() {
            tracing::info!("the feed waits for the first subscription");
        }
        if !self.gate.wait_open() {
            return;
        }
        let mut now = self.clock.now();
        self.pulse.beat(now);
        let pace = Pace {
            real_start: now,
            virtual_start: tick.at,
            speed: self.speed,
        };
        let mut cells: Vec<Option<Arc<TopicCell>>> = Vec::new();
        let (mut flushed, mut told) = (now, FeedStats::default());
        for count in 1_usize.. {
            let due = pace.due(tick.at);
            if count % TICKS_PER_LOOK == 0 || due > now {
                now = self.clock.now();
                if now.since(flushed) >= FLUSH_US {
                    self.flush(&mut told);
                    flushed = now;
                }
                if !self.wait_until(due, &mut now) || !self.wait_for_shards() {
                    return;
                }
            }
            self.metrics.lateness.observe_n(now.since(due), 1);
            self.publish(tick, &mut cells, now);
            match self.feed.next_tick() {
                Some(next) => tick = next,
                None => break,
            }
        }
        self.pulse.rest();
        self.flush(&mut told);
        let FeedStats {
            ticks,
            lines,
            malformed,
            stale_depth,
            depth_holes,
            clamped_times,
            ..
        } = told;
        tracing::info!(
            ticks,
            lines,
            malformed,
            stale_depth,
            depth_holes,
            clamped_times,
            "the recording is over; its last values stay"
        );
    }

    /// Waits until `due`. Returns whether the broker goes on.
    fn wait_until(&self, due: Micros, now: &mut Micros) -> bool {
        while *now < due {
            let wait = Duration::from_micros(due.since(*now)).max(BATCH);
            if !self.gate.wait(wait) {
                return false;
            }
            *now = self.clock.now();
        }
        !self.gate.is_stopping()
    }

    /// Waits while a shard has too much to do. Returns whether the broker goes on.
    fn wait_for_shards(&self) -> bool {
        while (0..self.shards).any(|shard| self.directory.queue(ShardId(shard)).depth() > QUEUE_HIGH) {
            if !self.gate.wait(BATCH) {
                return false;
            }
        }
        true
    }

    fn publish(&mut self, tick: Tick, cells: &mut Vec<Option<Arc<TopicCell>>>, now: Micros) {
        let index = tick.topic.0 as usize;
        if cells.len() <= index {
            cells.resize_with(index + 1, || None);
        }
        self.metrics.ticks += 1;
        let outcome = match &cells[index] {
            Some(cell) => self.directory.publish_to(cell, tick.payload, now),
            None => {
                let topic = self.feed.topic(tick.topic);
                let published = self.directory.publish(topic, tick.payload, now);
                cells[index] = self.directory.find(topic.as_str());
                published
            }
        };
        match outcome {
            Ok(published) => {
                self.pulse.beat(now);
                self.metrics.publications.add(published.kind as usize, 1);
            }
            Err(error) => {
                let topic = self.feed.topic(tick.topic);
                tracing::warn!(%topic, %error, "a tick of the feed was not published");
            }
        }
    }

    /// Exports what was counted and names the lines of recordings that could not be used.
    fn flush(&mut self, told: &mut FeedStats) {
        let stats = self.feed.stats();
        self.metrics.malformed_lines += stats.malformed - told.malformed;
        let faults = self.feed.faults();
        for fault in faults
            .iter()
            .skip(usize::try_from(told.malformed).unwrap_or(usize::MAX))
        {
            tracing::warn!(%fault, "a line of a recording is skipped");
        }
        if stats.malformed > told.malformed && stats.malformed > faults.len() as u64 {
            tracing::warn!(
                malformed = stats.malformed,
                "more lines are skipped than are named"
            );
        }
        *told = stats;
        self.metrics.flush();
    }
}
