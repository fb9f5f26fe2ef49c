//! One client of the run: it is connected through the bad network, resumes by itself, and all its messages are checked.
//!
//! The connection is that of [`tickwire_client`], so that its reconnecting and resuming are tested. It also checks each
//! message against the protocol's promises. What it reports is counted here, and the content of messages is checked. For
//! topics where every message counts there is an account that knows nothing of the protocol's rules: what came, what was
//! named in gaps and what the client reported as missing must together be what was published. A follower that stops for
//! good is a fault.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tickwire_client::promise::BrokenPromise;
use tickwire_client::{BackoffBounds, Client, Event, Events, RequestError, Subscription};
use tickwire_wire::message::{AckResult, ServerMessage};
use tickwire_wire::{Codec, Control};

use super::topics::{self, Way};
use super::{Shared, Sums};
use crate::swarm::Faults;

/// How often the first connection is tried. The client itself tries it only once.
const FIRST_ATTEMPTS: u32 = 1_000;
/// The bounds of the waits between attempts: short, so that there are many, but some long enough for a history to run
/// out.
const BACKOFF: BackoffBounds = BackoffBounds {
    first_ms: 20,
    max_ms: 2_000,
};
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Longer than any stall, so that a request fails only with its connection.
const REQUEST_TIMEOUT_MS: u64 = 600_000;

#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) sums: Sums,
    pub(super) connections: u64,
    pub(super) connects_failed: u64,
    pub(super) faults: Faults,
}

/// A client of some topics of one kind.
pub(super) struct Follower {
    pub(super) number: usize,
    pub(super) url: String,
    pub(super) codec: Codec,
    pub(super) way: Way,
    /// Whether it subscribes to a pattern, which resumes the pattern's topics, and not to the topics' names.
    pub(super) by_pattern: bool,
    pub(super) shared: Arc<Shared>,
}

/// The account of one topic.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// The number at which the topic was subscribed first; `None` before that.
    begun: Option<u64>,
    /// The last message that came, or that a gap or the client named.
    last: u64,
    /// How many messages came, or were named by a gap or the client as missing.
    accounted: u64,
}

impl Account {
    /// If nothing is known of the topic yet, it begins after `seq`.
    fn begin(&mut self, seq: u64) {
        if self.begun.is_none() {
            (self.begun, self.last) = (Some(seq), seq);
        }
    }

    /// Everything up to `seq` is named as missing. Returns how many messages that are.
    fn skip_to(&mut self, seq: u64) -> u64 {
        let skipped = seq.saturating_sub(self.last);
        self.last += skipped;
        self.accounted += skipped;
        skipped
    }
}

struct Work {
    follower: Follower,
    accounts: Vec<Account>,
    followed: Followed,
}

impl Follower {
    /// Follows until the run is over and nothing more is to come, or until nothing more can come.
    pub(super) async fn run(self) -> Followed {
        let mut work = Work {
            accounts: vec![Account::default(); topics::EACH],
            followed: Followed::default(),
            follower: self,
        };
        match work.connect().await {
            Some((client, events)) => {
                work.follow(&client, events).await;
                client.close().await;
            }
            None => work.fault("never connected", "every attempt failed"),
        }
        work.finish()
    }
}

impl Work {
    async fn connect(&mut self) -> Option<(Client, Events)> {
        for _ in 0..FIRST_ATTEMPTS {
            let connecting = Client::builder(&self.follower.url)
                .codec(self.follower.codec)
                .backoff(BACKOFF)
                .connect_timeout_ms(CONNECT_TIMEOUT_MS)
                .request_timeout_ms(REQUEST_TIMEOUT_MS)
                .verify_books(topics::books())
                .connect();
            match connecting.await {
                Ok(connected) => return Some(connected),
                Err(error) if error.is_retryable() => self.followed.connects_failed += 1,
                Err(error) => {
                    self.fault("not connected", error);
                    return None;
                }
            }
            tokio::time::sleep(Duration::from_millis(BACKOFF.first_ms)).await;
        }
        None
    }

    async fn follow(&mut self, client: &Client, mut events: Events) {
        let subscription = Subscription::to(self.names()).mode(self.follower.way.mode());
        let subscribing = subscribe(client, subscription);
        tokio::pin!(subscribing);
        let (shared, mut subscribed) = (self.follower.shared.clone(), false);
        while !self.is_done() {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(event),
                    None => return self.fault("client stopped", "it gave no reason"),
                },
                result = &mut subscribing, if !subscribed => match result {
                    Ok(()) => subscribed = true,
                    Err(error) => return self.fault("not subscribed", error),
                },
                () = shared.over() => return,
            }
        }
    }

    /// The topics or the pattern that it subscribes to.
    fn names(&self) -> Vec<String> {
        if self.follower.by_pattern {
            return vec![topics::pattern(self.follower.way)];
        }
        let first = self.first_topic();
        (first..first + topics::EACH).map(topics::name).collect()
    }

    fn first_topic(&self) -> usize {
        let way = |way: &Way| *way == self.follower.way;
        topics::WAYS.iter().position(way).unwrap_or(0) * topics::EACH
    }

    /// Whether publishing has ended and everything has come.
    fn is_done(&self) -> bool {
        self.follower.shared.published_all.load(Ordering::Acquire)
            && (0..topics::EACH).all(|within| self.accounts[within].last >= self.head(within))
    }

    /// How many messages were published to a topic.
    fn head(&self, within: usize) -> u64 {
        self.follower.shared.heads[self.first_topic() + within].load(Ordering::Acquire)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected { .. } => self.followed.connections += 1,
            Event::Message(message) => self.message(message),
            Event::Disconnected { retry_in, loss } => {
                if retry_in.is_none() {
                    self.fault("client stopped", loss);
                }
            }
            Event::ConnectFailed { error, retry_in } => {
                self.followed.connects_failed += 1;
                if retry_in.is_none() {
                    self.fault("client stopped", error);
                }
            }
            Event::Synced { .. } | Event::Restored { .. } => {}
            Event::Broken(broken) => self.broken(&broken),
            Event::Unresumed { topic, now, .. } => self.account(&topic, |account, sums| {
                sums.unresumed += account.skip_to(now.0);
            }),
            Event::SubscriptionLost { topic, refusal } => {
                self.fault("subscription lost", format_args!("{topic}: {refusal}"));
            }
        }
    }

    fn broken(&mut self, broken: &BrokenPromise) {
        use BrokenPromise::{
            Backward, Duplicate, FalseRecovery, GapLeavesHole, GapOverlaps, Hole, NoPosition,
        };
        let sums = &mut self.followed.sums;
        match broken {
            Hole { .. } | GapLeavesHole { .. } | NoPosition { .. } => sums.undeclared += 1,
            Duplicate { .. } | Backward { .. } | GapOverlaps { .. } => sums.duplicates += 1,
            FalseRecovery { .. } => sums.false_recovered += 1,
            BrokenPromise::Book { .. } => sums.wrong_content += 1,
            _ => {}
        }
        self.fault("broken promise", broken);
    }

    fn message(&mut self, message: ServerMessage) {
        let way = self.follower.way;
        match message {
            ServerMessage::Update { topic, seq, data, .. } => self.data(&topic, |account, sums| {
                match way {
                    Way::Conflate => sums.conflated += seq.0.saturating_sub(account.last + 1),
                    Way::Every | Way::Book => account.accounted += 1,
                }
                account.last = seq.0;
                topics::is_of(seq.0, data.get())
            }),
            ServerMessage::Snapshot { topic, seq, data, .. } => self.data(&topic, |account, sums| {
                sums.snapshots += 1;
                account.begin(seq.0);
                account.last = account.last.max(seq.0);
                // The client verifies the checksum of a book.
                way == Way::Book || topics::is_of(seq.0, data.get())
            }),
            ServerMessage::Control(Control::Gap { topic, from, to, .. }) => {
                self.account(&topic, |account, sums| {
                    sums.gaps += 1;
                    sums.gapped += (to.0 + 1).saturating_sub(from.0);
                    account.skip_to(to.0);
                });
            }
            ServerMessage::Control(Control::Joined { topic, seq, .. }) => {
                self.account(&topic, |account, _| account.begin(seq.0));
            }
            ServerMessage::Control(Control::Ack { results, .. }) => {
                results.iter().for_each(|result| self.acked(result));
            }
            ServerMessage::Control(Control::Error { reason, .. }) => self.fault("error", reason),
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => {}
        }
    }

    /// Counts an update or a snapshot. `is_right` accounts for it, and tells whether it has the content of its number.
    fn data(&mut self, topic: &str, is_right: impl FnOnce(&mut Account, &mut Sums) -> bool) {
        self.follower.shared.messages.fetch_add(1, Ordering::Relaxed);
        self.account(topic, |account, sums| {
            sums.messages += 1;
            let is_right = is_right(account, sums);
            sums.wrong_content += u64::from(!is_right);
        });
    }

    fn acked(&mut self, result: &AckResult) {
        if let Some(refusal) = &result.error {
            return self.fault("refused", format_args!("{}: {refusal}", result.topic));
        }
        let sums = &mut self.followed.sums;
        let counted = |counted: Option<usize>, is| {
            counted.map_or(u64::from(result.recovered == Some(is)), |topics| topics as u64)
        };
        sums.recovered += counted(result.resumed, true);
        sums.not_recovered += counted(result.not_resumed, false);
        if result.matched.is_none() && result.recovered.is_none() {
            self.account(&result.topic, |account, _| {
                account.begin(result.seq.unwrap_or_default().0);
            });
        }
    }

    /// Records what came in the account of its topic. A topic without a subscription is a fault.
    fn account(&mut self, topic: &str, account: impl FnOnce(&mut Account, &mut Sums)) {
        let number = topics::number(topic).filter(|number| topics::way(*number) == self.follower.way);
        let Some(within) = number.map(|number| number % topics::EACH) else {
            return self.fault("never subscribed", topic);
        };
        account(&mut self.accounts[within], &mut self.followed.sums);
    }

    fn fault(&mut self, kind: &'static str, what: impl std::fmt::Display) {
        let number = self.follower.number;
        self.followed
            .faults
            .add(kind, format_args!("client {number}: {what}"));
    }

    fn finish(mut self) -> Followed {
        let way = self.follower.way;
        for within in 0..topics::EACH {
            let (head, account) = (self.head(within), self.accounts[within]);
            if account.last < head {
                let text = format_args!("{way:?} topic {within}: {} of {head}", account.last);
                self.fault("end not reached", text);
            }
            let due = head - account.begun.unwrap_or(head).min(head);
            if way == Way::Every && account.accounted != due {
                self.followed.sums.undeclared += due.abs_diff(account.accounted);
                let text = format_args!("topic {within}: {} of {due} messages", account.accounted);
                self.fault("not accounted for", text);
            }
        }
        self.followed
    }
}

/// Subscribes, again on the next connection if necessary.
async fn subscribe(client: &Client, subscription: Subscription) -> Result<(), RequestError> {
    loop {
        match client.subscribe(subscription.clone()).await {
            Err(RequestError::Disconnected) => {}
            result => return result.map(drop),
        }
    }
}
