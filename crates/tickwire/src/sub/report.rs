//! What `sub --report` says at the end: what came of each topic, what is missing, and how old updates were when they came.
//!
//! Bounded: at most [`TOPICS_MAX`] topics are told apart; what came of others is counted together.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tickwire_client::{Clocks, Event};
use tickwire_wire::{Control, Epoch, Micros, Seq, ServerMessage};

/// Most topics that are told apart.
const TOPICS_MAX: usize = 10_000;
/// Most topics that are listed.
const LISTED_MAX: usize = 20;
/// The longest age that is told exactly, in microseconds: an hour.
const AGE_US_MAX: u64 = 3_600_000_000;

/// What came of a topic.
#[derive(Debug, Default, Clone)]
struct Came {
    updates: u64,
    snapshots: u64,
    /// Messages that a `gap` named, or that were published while the connection was lost.
    missing: u64,
    /// Messages that newer ones superseded.
    superseded: u64,
    epoch: Option<Epoch>,
    last: Option<Seq>,
}

/// What came so far.
#[derive(Debug)]
pub(super) struct Report {
    begun: Instant,
    clocks: Option<Clocks>,
    topics: HashMap<String, Came>,
    others: Came,
    reconnects: u64,
    broken: u64,
    /// Whether what comes is live: before that, updates are replayed and so are old.
    is_live: bool,
    ages_us: Histogram<u64>,
}

impl Report {
    /// An empty report. With `clocks` it tells ages.
    pub(super) fn new(clocks: Option<Clocks>) -> Self {
        Self {
            begun: Instant::now(),
            clocks,
            topics: HashMap::new(),
            others: Came::default(),
            reconnects: 0,
            broken: 0,
            is_live: false,
            ages_us: Histogram::new_with_bounds(1, AGE_US_MAX, 3).expect("these are good bounds"),
        }
    }

    /// Counts an event.
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Connected { reconnects, .. } => {
                self.reconnects = *reconnects;
                self.is_live = false;
            }
            Event::Synced { .. } => self.is_live = true,
            Event::Broken(_) => self.broken += 1,
            Event::Unresumed { topic, last, now } => {
                let came = self.topic(topic);
                if came.epoch.as_ref() == Some(&last.epoch) {
                    came.missing += now.0.saturating_sub(last.seq.0).saturating_sub(1);
                }
                came.last = None;
            }
            Event::Restored { .. }
            | Event::Disconnected { .. }
            | Event::ConnectFailed { .. }
            | Event::SubscriptionLost { .. } => {}
        }
    }

    fn message(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Update { topic, seq, ts, .. } => {
                self.age(*ts);
                let came = self.topic(topic);
                came.updates += 1;
                if let Some(last) = came.last {
                    came.superseded += seq.0.saturating_sub(last.0).saturating_sub(1);
                }
                came.last = Some(*seq);
            }
            ServerMessage::Snapshot {
                topic, epoch, seq, ..
            } => {
                let came = self.topic(topic);
                came.snapshots += 1;
                (came.epoch, came.last) = (Some(epoch.clone()), Some(*seq));
            }
            ServerMessage::Control(Control::Gap {
                topic,
                epoch,
                from,
                to,
                ..
            }) => {
                let came = self.topic(topic);
                came.missing += to.0.saturating_sub(from.0) + 1;
                (came.epoch, came.last) = (Some(epoch.clone()), Some(*to));
            }
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => {}
        }
    }

    fn topic(&mut self, topic: &str) -> &mut Came {
        if self.topics.len() >= TOPICS_MAX && !self.topics.contains_key(topic) {
            // The numbers of several topics cannot be compared.
            self.others.last = None;
            return &mut self.others;
        }
        self.topics.entry(topic.to_owned()).or_default()
    }

    fn age(&mut self, ts: Micros) {
        let Some(clocks) = self.clocks.filter(|_| self.is_live) else {
            return;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let here = i128::try_from(now.as_micros()).unwrap_or(i128::MAX);
        let age = here + i128::from(clocks.offset_us) - i128::from(ts.0);
        self.ages_us.saturating_record(u64::try_from(age).unwrap_or(0));
    }

    /// The report.
    pub(super) fn text(&self) -> String {
        let elapsed = self.begun.elapsed();
        let mut all = self.others.clone();
        let mut topics: Vec<(&str, &Came)> = self
            .topics
            .iter()
            .map(|(name, came)| (name.as_str(), came))
            .collect();
        topics.sort_by(|one, other| other.1.updates.cmp(&one.1.updates).then(one.0.cmp(other.0)));
        for (_, came) in &topics {
            all.updates += came.updates;
            all.snapshots += came.snapshots;
            all.missing += came.missing;
            all.superseded += came.superseded;
        }
        let mut text = String::from("     updates   snapshots  superseded     missing  topic\n");
        let unlisted = topics.len().saturating_sub(LISTED_MAX);
        topics.truncate(LISTED_MAX);
        topics.push(("all", &all));
        for (name, came) in topics {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{:>12}{:>12}{:>12}{:>12}  {name}",
                came.updates, came.snapshots, came.superseded, came.missing
            );
        }
        if unlisted > 0 {
            let _ = writeln!(text, "{unlisted} more topics are not listed");
        }
        let _ = writeln!(
            text,
            "{:.1} s, {:.1} updates a second, {} reconnects, {} broken promises",
            elapsed.as_secs_f64(),
            all.updates as f64 / elapsed.as_secs_f64().max(0.001),
            self.reconnects,
            self.broken
        );
        if let Some(clocks) = self.clocks.filter(|_| !self.ages_us.is_empty()) {
            let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
            let at = |quantile| ms(self.ages_us.value_at_quantile(quantile));
            let _ = writeln!(
                text,
                "age of {} live updates: median {:.1} ms, 99% {:.1} ms, oldest {:.1} ms; the clocks are compared to ±{:.1} ms",
                self.ages_us.len(),
                at(0.5),
                at(0.99),
                ms(self.ages_us.max()),
                ms(clocks.round_trip_us / 2)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tickwire_wire::Codec;

    use super::*;

    #[test]
    fn what_came_and_what_did_not() {
        let mut report = Report::new(None);
        for text in [
            r#"{"op":"snapshot","topic":"a","epoch":"k","seq":5,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":6,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"a","seq":9,"ts":1,"data":1}"#,
            r#"{"op":"gap","topic":"a","epoch":"k","from":10,"to":14,"reason":"slow"}"#,
            r#"{"op":"update","topic":"a","seq":15,"ts":1,"data":1}"#,
            r#"{"op":"update","topic":"b","seq":70,"ts":1,"data":1}"#,
            r#"{"op":"heartbeat","ts":1}"#,
        ] {
            let message = Codec::Json.decode_server(text.as_bytes()).expect(text);
            report.count(&Event::Message(message));
        }
        let text = report.text();
        let table: Vec<String> = text.lines().take(4).map(|line| format!("|{line}")).collect();
        expect![[r#"
            |     updates   snapshots  superseded     missing  topic
            |           3           1           2           5  a
            |           1           0           0           0  b
            |           4           1           2           5  all"#]]
        .assert_eq(&table.join("\n"));
    }
}
