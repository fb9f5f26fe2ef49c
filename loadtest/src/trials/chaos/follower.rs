//! One client of the run: it is connected through the bad network, resumes by itself, and all its messages are audited.
//!
//! The connection is that of [`tickwire_client`], so that its reconnecting and resuming are tested. The account of its
//! messages is kept here. A follower that stops for good, or whose client finds a broken promise, is a fault.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tickwire_client::book::L2Book;
use tickwire_client::{BackoffBounds, Client, Event, Events, RequestError, Subscription};
use tickwire_wire::message::{AckResult, ServerMessage};
use tickwire_wire::{Codec, Control, Mode};
use tokio::task::JoinHandle;

use super::{Shared, topics};
use crate::swarm::{Audit, Faults, Sums, Way};

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

struct Work {
    follower: Follower,
    audits: Vec<Audit>,
    /// The books that are rebuilt to verify each checksum.
    books: Vec<L2Book>,
    followed: Followed,
}

impl Follower {
    /// Follows until the run is over and nothing more is to come, or until nothing more can come.
    pub(super) async fn run(self) -> Followed {
        let mut work = Work {
            audits: vec![Audit::new(self.way); topics::EACH],
            books: (0..topics::EACH).map(|_| L2Book::default()).collect(),
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
        let names = self.names();
        let mode = match self.follower.way {
            Way::Every | Way::Book => Mode::Every,
            Way::Conflate => Mode::Conflate,
        };
        let subscription = Subscription::to(names).mode(mode);
        let mut subscribing = Some(tokio::spawn(subscribe(client.clone(), subscription)));
        let shared = self.follower.shared.clone();
        while !self.is_done() {
            let event = tokio::select! {
                event = events.next() => event,
                result = ended(&mut subscribing) => {
                    subscribing = None;
                    if let Err(error) = result {
                        return self.fault("not subscribed", error);
                    }
                    continue;
                }
                () = shared.over() => break,
            };
            let Some(event) = event else {
                return self.fault("client stopped", "it gave no reason");
            };
            self.take(event);
        }
        if let Some(task) = subscribing {
            task.abort();
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
            && (0..topics::EACH).all(|within| self.audits[within].last() >= self.head(within))
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
                self.audits.iter_mut().for_each(Audit::lost);
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
            Event::Broken(broken) => self.fault("broken promise", broken),
            Event::Unresumed { topic, .. } => self.account(&topic, |audit, _, sums| audit.unresumed(sums)),
            Event::SubscriptionLost { topic, refusal } => {
                self.fault("subscription lost", format_args!("{topic}: {refusal}"));
            }
        }
    }

    fn message(&mut self, message: ServerMessage) {
        let way = self.follower.way;
        match message {
            ServerMessage::Update { topic, seq, data, .. } => {
                self.follower.shared.messages.fetch_add(1, Ordering::Relaxed);
                self.account(&topic, |audit, book, sums| {
                    audit.update(seq.0, sums);
                    let is_right = topics::is_of(way, seq.0, data.get())
                        && (way != Way::Book || book.update(seq, data.get()).is_ok());
                    sums.wrong_content += u64::from(!is_right);
                });
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                self.follower.shared.messages.fetch_add(1, Ordering::Relaxed);
                self.account(&topic, |audit, book, sums| {
                    let is_right = match way {
                        Way::Book => book.snapshot(&epoch, seq, data.get()).is_ok(),
                        Way::Every | Way::Conflate => topics::is_of(way, seq.0, data.get()),
                    };
                    sums.wrong_content += u64::from(!is_right);
                    audit.snapshot(seq.0, sums);
                });
            }
            ServerMessage::Control(Control::Gap {
                topic,
                from,
                to,
                reason,
                ..
            }) => self.account(&topic, |audit, book, sums| {
                book.make_stale();
                audit.gap(from.0, to.0, reason, sums);
            }),
            ServerMessage::Control(Control::Joined { topic, seq, .. }) => {
                self.account(&topic, |audit, _, sums| audit.joined(seq.0, sums));
            }
            ServerMessage::Control(Control::Ack { results, .. }) => {
                for result in results {
                    self.acked(&result);
                }
            }
            ServerMessage::Control(Control::Error { reason, .. }) => self.fault("error", reason),
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => {}
        }
    }

    fn acked(&mut self, result: &AckResult) {
        match &result.error {
            Some(refusal) => self.fault("refused", format_args!("{}: {refusal}", result.topic)),
            None if result.matched.is_some() => self.audits.iter_mut().for_each(Audit::acked_by_pattern),
            None => self.account(&result.topic, |audit, _, sums| audit.acked(result, sums)),
        }
    }

    /// Records what came in the account of its topic. A topic without a subscription is a fault.
    fn account(&mut self, topic: &str, account: impl FnOnce(&mut Audit, &mut L2Book, &mut Sums)) {
        let number = topics::number(topic).filter(|number| topics::way(*number) == self.follower.way);
        let Some(within) = number.map(|number| number % topics::EACH) else {
            return self.fault("never subscribed", topic);
        };
        account(
            &mut self.audits[within],
            &mut self.books[within],
            &mut self.followed.sums,
        );
    }

    fn fault(&mut self, kind: &'static str, what: impl std::fmt::Display) {
        let number = self.follower.number;
        self.followed
            .faults
            .add(kind, format_args!("client {number}: {what}"));
    }

    fn finish(mut self) -> Followed {
        for within in 0..topics::EACH {
            let head = self.head(within);
            let missing = self.audits[within].close(head, &mut self.followed.sums);
            if missing > 0 {
                let last = self.audits[within].last();
                let way = self.follower.way;
                self.fault(
                    "end not reached",
                    format_args!("{way:?} topic {within}: {last} of {head}"),
                );
            }
        }
        self.followed
    }
}

/// Subscribes, again on the next connection if necessary.
async fn subscribe(client: Client, subscription: Subscription) -> Result<Vec<AckResult>, RequestError> {
    loop {
        match client.subscribe(subscription.clone()).await {
            Err(RequestError::Disconnected) => {}
            result => return result,
        }
    }
}

/// Waits for the result of subscribing. The result comes once.
async fn ended(
    task: &mut Option<JoinHandle<Result<Vec<AckResult>, RequestError>>>,
) -> Result<(), anyhow::Error> {
    match task {
        Some(task) => {
            task.await??;
            Ok(())
        }
        None => std::future::pending().await,
    }
}
