//! The thread that publishes the built-in feed at its own pace.
//!
//! Ticks are due at their virtual time, which is mapped to real time once at the start. A feed that cannot keep up is
//! late, which a metric shows. It waits for the shards instead of overflowing their queues, and leaves out no tick. One that
//! its topic refuses is dropped and counted.
//! With a journal, each message has its place in the feed, so that a replay goes on after a restart behind the last message that was
//! written: a tick is published once.
//! A topic that has ended is opened anew when the next tick of it is due; a book is in doubt then, as its source sends
//! changes.
//! Faults in a recording are counted and logged. If they put a book in doubt, its subscribers are told.

use std::sync::Arc;
use std::time::Duration;

use tickwire_feed::{FaultKind, Feed, FeedStats, Tick};
use tickwire_metrics::{LocalMetrics, Metric};
use tickwire_router::{Arrival, FeedMark, Ingress, Origin, PublishError, Published, TopicCell};
use tickwire_wire::message::{EndReason, StaleReason};
use tickwire_wire::{Kind, Micros, Payload};

use crate::run::clock::Clock;
use crate::run::lifecycle::Lifecycle;
use crate::run::pulse::Pulse;

/// Ticks that are due within this time of each other are published together.
const BATCH: Duration = Duration::from_micros(500);
/// The number of ticks between two looks at the clock and the queues.
const TICKS_PER_LOOK: usize = 64;
/// Time between two flushes of the counters.
const FLUSH_US: u64 = 250_000;

/// Everything that the feed's thread needs.
pub(crate) struct FeedPlan {
    pub(crate) feed: Feed,
    /// The factor by which the feed runs faster than its own time.
    pub(crate) speed: f64,
    pub(crate) ingress: Ingress,
    pub(crate) clock: Clock,
    pub(crate) metrics: LocalMetrics,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) pulse: Arc<Pulse>,
    /// The place of the newest message of a feed that the journal has.
    pub(crate) fed: Option<FeedMark>,
    /// The number of the next tick among all of the feed.
    pub(crate) number: u64,
}

/// The relation of virtual time to real time.
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

/// A topic of the feed.
#[derive(Default)]
struct FeedTopic {
    /// The topic, if it was opened and has not ended since.
    open: Option<Arc<TopicCell>>,
    has_ended: bool,
}

/// The counts that were exported, and the faults that were logged.
#[derive(Debug, Default)]
struct Told {
    stats: FeedStats,
    /// The number of faults that were logged.
    faults: usize,
    /// The number of ended topics when the feed's were looked at last.
    ended: u64,
}

impl FeedPlan {
    /// Publishes until the feed or the broker ends.
    pub(crate) fn run(mut self) {
        let goes_on = self.go_on();
        let Some(first) = self.next_tick(false) else {
            return;
        };
        let Some(mut tick) = first else {
            return self.say_nothing_comes(goes_on);
        };
        if !self.lifecycle.is_open() {
            tracing::info!("the feed waits for the first subscription");
        }
        if !self.lifecycle.wait_open() {
            return;
        }
        let mut now = self.clock.now();
        self.pulse.beat(now);
        let pace = Pace {
            real_start: now,
            virtual_start: tick.at,
            speed: self.speed,
        };
        let mut cells: Vec<FeedTopic> = Vec::new();
        let (mut flushed, mut told) = (now, Told::default());
        for count in 1_usize.. {
            let due = pace.due(tick.at);
            if count % TICKS_PER_LOOK == 0 || due > now {
                now = self.clock.now();
                // After a long wait the counts would be old.
                if now.since(flushed) >= FLUSH_US || due.since(now) >= FLUSH_US {
                    self.flush(&mut told);
                    self.let_go(&mut cells, &mut told);
                    flushed = now;
                }
                if !self.wait_until(due, &mut now) || !self.wait_for_shards() {
                    return;
                }
            }
            self.metrics.observe(Metric::FeedLateness, now.since(due));
            self.publish(tick, &mut cells, now);
            match self.next_tick(true) {
                Some(Some(next)) => tick = next,
                Some(None) => break,
                None => return,
            }
        }
        self.pulse.rest();
        self.say_over(&mut told);
    }

    /// Says that the feed has no tick. If it has gone on behind what it had published before, it is over.
    fn say_nothing_comes(&mut self, goes_on: bool) {
        self.flush(&mut Told::default());
        if goes_on {
            self.pulse.rest();
            tracing::info!(
                "the recording was over before the broker was started again; its last values stay"
            );
        } else {
            self.pulse.has_nothing();
            tracing::error!("the feed has nothing to publish");
        }
    }

    /// Says that the recordings are over, and what was wrong with them.
    fn say_over(&mut self, told: &mut Told) {
        self.flush(told);
        if let Some(error) = self.feed.failure() {
            tracing::error!(%error, "the recordings cannot be opened again");
        }
        let FeedStats {
            ticks, lines, faults, ..
        } = told.stats;
        let wrong: Vec<String> = faults
            .iter()
            .filter(|(kind, _)| kind.is_wrong())
            .map(|(kind, count)| format!("{count} {}", kind.name()))
            .collect();
        let wrong = if wrong.is_empty() {
            "nothing".to_owned()
        } else {
            wrong.join(", ")
        };
        tracing::info!(ticks, lines, wrong, "the recording is over; its last values stay");
    }

    /// Has the feed begin behind the message of it that the journal has last. Returns whether there is one.
    fn go_on(&mut self) -> bool {
        let Some(fed) = self.fed else { return false };
        if self.feed.identity() != Some(fed.feed) {
            tracing::info!(
                "the feed is not the one that the journal has messages of; it begins at its beginning"
            );
            return false;
        }
        self.number = fed.number.saturating_add(1);
        self.feed.pass_over(self.number);
        tracing::info!(
            messages = self.number,
            "the feed goes on behind what the journal has of it"
        );
        true
    }

    /// The feed's next tick, if it has one. `None` if the broker stops while the feed skips what it does not publish. Skipping is no
    /// silence of a feed that `has_begun`.
    fn next_tick(&mut self, has_begun: bool) -> Option<Option<Tick>> {
        while self.feed.skip_some() {
            if self.lifecycle.is_stopping() {
                return None;
            }
            if has_begun {
                self.pulse.beat(self.clock.now());
            }
        }
        Some(self.feed.next_tick())
    }

    /// Lets go of topics that have ended, so that what they held is freed.
    fn let_go(&self, cells: &mut [FeedTopic], told: &mut Told) {
        let directory = self.ingress.directory();
        let ended = EndReason::ALL
            .iter()
            .map(|reason| directory.ended_topics(*reason))
            .sum();
        if std::mem::replace(&mut told.ended, ended) != ended {
            for topic in cells {
                topic.has_ended |= topic.open.take_if(|cell| cell.has_ended()).is_some();
            }
        }
    }

    /// Waits until `due`. Returns `false` if the broker stops.
    fn wait_until(&self, due: Micros, now: &mut Micros) -> bool {
        while *now < due {
            let wait = Duration::from_micros(due.since(*now)).max(BATCH);
            if !self.lifecycle.wait(wait) {
                return false;
            }
            *now = self.clock.now();
        }
        !self.lifecycle.is_stopping()
    }

    /// Waits while a shard has too much to do. Returns `false` if the broker stops.
    fn wait_for_shards(&self) -> bool {
        while self.ingress.is_congested(Origin::Feed) {
            if !self.lifecycle.wait(BATCH) {
                return false;
            }
        }
        true
    }

    fn publish(&mut self, tick: Tick, cells: &mut Vec<FeedTopic>, now: Micros) {
        let topic = tick.topic;
        self.metrics.add(Metric::FeedTicks, &[], 1);
        let mark = self.feed.identity().map(|feed| FeedMark {
            feed,
            number: self.number,
        });
        self.number += 1;
        match self.try_publish(tick, cells, (now, mark)) {
            Ok(published) => {
                self.pulse.beat(now);
                self.metrics
                    .add(Metric::Publications, &[published.kind as usize], 1);
            }
            Err(error) => {
                // One line stands for all refused ticks until the counters are exported.
                if self.metrics.unflushed(Metric::FeedRefused, &[]) == 0 {
                    let topic = self.feed.topic(topic);
                    tracing::warn!(%topic, %error, "ticks of the feed are not published");
                }
                self.metrics.add(Metric::FeedRefused, &[], 1);
            }
        }
    }

    fn try_publish(
        &mut self,
        tick: Tick,
        cells: &mut Vec<FeedTopic>,
        (now, mark): (Micros, Option<FeedMark>),
    ) -> Result<Published, PublishError> {
        let index = tick.topic.index();
        if cells.len() <= index {
            cells.resize_with(index + 1, FeedTopic::default);
        }
        // The source goes on with changes of a book that is gone.
        let reopened = |cell: &TopicCell| {
            if cell.kind() == Kind::Book {
                cell.doubt(StaleReason::Partial);
            }
        };
        let FeedTopic { open, has_ended } = &mut cells[index];
        let cell = match open {
            Some(cell) => cell,
            slot => {
                let cell = slot.insert(self.ingress.directory().open(self.feed.topic(tick.topic))?);
                if std::mem::take(has_ended) {
                    reopened(cell);
                }
                cell
            }
        };
        if let Some(reason) = tick.doubt {
            cell.doubt(reason);
        }
        let arrival = Arrival {
            copied: None,
            stamp: tick.ts,
            mark,
            ..now.into()
        };
        let payload = match tick.payload {
            // The recording of a broker does not say of which kind a topic is.
            json @ Payload::Json(_) => fitting(&self.ingress, cell, json, tick.is_whole),
            typed => Ok(typed),
        };
        let published = payload.and_then(|payload| self.ingress.submit_to(cell, payload, arrival, reopened));
        if published.is_err() && cell.kind() == Kind::Book {
            // The refused change is missing in the book.
            cell.doubt(StaleReason::Hole);
            self.count(FaultKind::RefusedChange, 1);
        }
        published
    }

    /// Counts `more` faulty lines of a recording.
    fn count(&mut self, kind: FaultKind, more: u64) {
        let index = FaultKind::ANOMALIES.iter().position(|anomaly| *anomaly == kind);
        if let Some(index) = index {
            self.metrics.add(Metric::FeedAnomalies, &[index], more);
        }
    }

    /// Exports the counts and logs new faults of recordings.
    fn flush(&mut self, told: &mut Told) {
        let (stats, before) = (self.feed.stats(), told.stats.faults);
        let more = |kind| stats.faults.of(kind) - before.of(kind);
        self.metrics
            .add(Metric::FeedMalformed, &[], more(FaultKind::Malformed));
        for kind in FaultKind::ANOMALIES {
            self.count(kind, more(kind));
        }
        let faults = self.feed.faults();
        for fault in &faults[told.faults..] {
            let kind = fault.kind.name();
            match fault.kind {
                FaultKind::Malformed => tracing::warn!(%fault, "a line of a recording is skipped"),
                FaultKind::Unused => tracing::debug!(%fault, "a line of a recording is of no use"),
                _ => tracing::warn!(%fault, kind, "a recording is not as it should be"),
            }
        }
        if stats.faults.all() > before.all() && stats.faults.all() > faults.len() as u64 {
            tracing::warn!(
                all = stats.faults.all(),
                "more is wrong with the recording than is named; the metrics count it"
            );
        }
        told.faults = faults.len();
        told.stats = stats;
        self.metrics.flush();
    }
}

/// The payload in the form of its topic's kind. A whole value replaces the book, if the topic is one.
fn fitting(
    ingress: &Ingress,
    cell: &TopicCell,
    payload: Payload,
    is_whole: bool,
) -> Result<Payload, PublishError> {
    let mut payload = ingress.check(cell.topic().as_str(), payload)?;
    if let Payload::Book(book) = &mut payload {
        book.replace = is_whole;
    }
    Ok(payload)
}
