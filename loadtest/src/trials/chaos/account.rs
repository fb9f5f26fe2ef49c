//! The account of one client: what was published to its topics against what the client says that it got.
//!
//! It knows neither the client nor the network. A message that is missing, comes twice or has another content is a
//! fault, and so is what the client itself reports as one.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tickwire_wire::Seq;
use tickwire_wire::message::{AckResult, GapReason};

use super::audit::{Audit, Sums, Way};
use super::{Shared, topics};
use crate::swarm::Faults;

/// The results of one client, or of several together.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) sums: Sums,
    pub(super) connections: u64,
    pub(super) connects_failed: u64,
    pub(super) faults: Faults,
}

/// The account of one client's topics, all of one kind.
pub(super) struct Account {
    number: usize,
    way: Way,
    shared: Arc<Shared>,
    audits: Vec<Audit>,
    followed: Followed,
}

impl Account {
    pub(super) fn new(number: usize, way: Way, shared: Arc<Shared>) -> Self {
        Self {
            number,
            way,
            shared,
            audits: vec![Audit::new(way); topics::EACH],
            followed: Followed::default(),
        }
    }

    /// Whether publishing has ended and everything has come.
    pub(super) fn is_done(&self) -> bool {
        self.shared.published_all.load(Ordering::Acquire)
            && (0..topics::EACH).all(|within| self.audits[within].last() >= self.head(within))
    }

    /// How many messages were published to a topic.
    fn head(&self, within: usize) -> u64 {
        self.shared.heads[topics::first(self.way) + within].load(Ordering::Acquire)
    }

    pub(super) fn connected(&mut self) {
        self.followed.connections += 1;
    }

    pub(super) fn connect_failed(&mut self) {
        self.followed.connects_failed += 1;
    }

    pub(super) fn disconnected(&mut self) {
        self.audits.iter_mut().for_each(Audit::lost);
    }

    /// An update came. `is_right` says whether its content is that of its number.
    pub(super) fn update(&mut self, topic: &str, seq: u64, is_right: bool) {
        self.shared.messages.fetch_add(1, Ordering::Relaxed);
        self.of(topic, |audit, sums| {
            audit.update(seq, sums);
            sums.wrong_content += u64::from(!is_right);
        });
    }

    /// A snapshot came. `is_right` says whether its content is that of its number.
    pub(super) fn snapshot(&mut self, topic: &str, seq: u64, is_right: bool) {
        self.shared.messages.fetch_add(1, Ordering::Relaxed);
        self.of(topic, |audit, sums| {
            sums.wrong_content += u64::from(!is_right);
            audit.snapshot(seq, sums);
        });
    }

    pub(super) fn gap(&mut self, topic: &str, from: u64, to: u64, reason: GapReason) {
        self.of(topic, |audit, sums| audit.gap(from, to, reason, sums));
    }

    pub(super) fn joined(&mut self, topic: &str, seq: u64) {
        self.of(topic, |audit, sums| audit.joined(seq, sums));
    }

    /// The client reported that a topic does not go on where it was left.
    pub(super) fn unresumed(&mut self, topic: &str) {
        self.of(topic, Audit::unresumed);
    }

    /// A subscription of a topic by its name was acked.
    pub(super) fn acked(&mut self, result: &AckResult) {
        self.of(&result.topic, |audit, sums| audit.acked(result, sums));
    }

    /// The subscription of the client's pattern was acked.
    pub(super) fn acked_by_pattern(&mut self) {
        self.audits.iter_mut().for_each(Audit::acked_by_pattern);
    }

    /// The client told that it restored the subscription of a topic, and whether the topic was resumed. A client that
    /// had no position for it tells neither. What comes first shows then how the topic goes on.
    pub(super) fn recovered(&mut self, topic: &str, resumed: Option<bool>) {
        self.of(topic, |audit, sums| match resumed {
            // Every topic has a message from the beginning, so a topic that was not resumed is at one.
            Some(recovered) => {
                let result = AckResult {
                    seq: Some(Seq(1)),
                    recovered: Some(recovered),
                    ..AckResult::default()
                };
                audit.acked(&result, sums);
            }
            None => audit.acked_by_pattern(),
        });
    }

    /// Records what came in the account of its topic. A topic without a subscription is a fault.
    fn of(&mut self, topic: &str, record: impl FnOnce(&mut Audit, &mut Sums)) {
        match topics::number(topic).filter(|number| topics::way(*number) == self.way) {
            Some(number) => record(&mut self.audits[number % topics::EACH], &mut self.followed.sums),
            None => self.fault("never subscribed", topic),
        }
    }

    pub(super) fn fault(&mut self, kind: &'static str, what: impl Display) {
        let number = self.number;
        self.followed
            .faults
            .add(kind, format_args!("client {number}: {what}"));
    }

    /// Ends the account: what has not come is missing.
    pub(super) fn finish(mut self) -> Followed {
        for within in 0..topics::EACH {
            let head = self.head(within);
            let missing = self.audits[within].close(head, &mut self.followed.sums);
            if missing > 0 {
                let last = self.audits[within].last();
                let way = self.way;
                self.fault(
                    "end not reached",
                    format_args!("{way:?} topic {within}: {last} of {head}"),
                );
            }
        }
        self.followed
    }
}
