//! One client of the run: it is connected through the bad network, resumes by itself, and all its messages are audited.
//!
//! The connection is that of [`tickwire_client`], so that its reconnecting and resuming are tested. A follower that
//! stops for good, or whose client finds a broken promise, is a fault.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tickwire_client::book::L2Book;
use tickwire_client::{BackoffBounds, Client, Event, Events, RequestError, Subscription};
use tickwire_wire::message::{AckResult, ServerMessage};
use tickwire_wire::{Codec, Control, Mode};
use tokio::task::JoinHandle;

use super::account::{Account, Followed};
use super::audit::Way;
use super::{Shared, topics};

/// How often the first connection is tried. The client itself tries it only once.
const FIRST_ATTEMPTS: u32 = 1_000;
/// The bounds of the waits between attempts: short, so that there are many, but some long enough for a history to run
/// out.
pub(super) const BACKOFF: BackoffBounds = BackoffBounds {
    first_ms: 20,
    max_ms: 2_000,
};
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Longer than any stall, so that a request fails only with its connection.
pub(super) const REQUEST_TIMEOUT_MS: u64 = 600_000;

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
    account: Account,
    /// The books that are rebuilt to verify each checksum, by topic.
    books: HashMap<String, L2Book>,
}

impl Follower {
    /// Follows until the run is over and nothing more is to come, or until nothing more can come.
    pub(super) async fn run(self) -> Followed {
        let mut work = Work {
            account: Account::new(self.number, self.way, self.shared.clone()),
            books: HashMap::new(),
            follower: self,
        };
        match work.connect().await {
            Some((client, events)) => {
                work.follow(&client, events).await;
                client.close().await;
            }
            None => work.account.fault("never connected", "every attempt failed"),
        }
        work.account.finish()
    }

    /// The topics or the pattern that it subscribes to.
    pub(super) fn names(&self) -> Vec<String> {
        if self.by_pattern {
            return vec![topics::pattern(self.way)];
        }
        topics::names(self.way)
    }

    /// The mode of its subscription.
    pub(super) fn mode(&self) -> Mode {
        match self.way {
            Way::Every | Way::Book => Mode::Every,
            Way::Conflate => Mode::Conflate,
        }
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
                Err(error) if error.is_retryable() => self.account.connect_failed(),
                Err(error) => {
                    self.account.fault("not connected", error);
                    return None;
                }
            }
            tokio::time::sleep(Duration::from_millis(BACKOFF.first_ms)).await;
        }
        None
    }

    async fn follow(&mut self, client: &Client, mut events: Events) {
        let subscription = Subscription::to(self.follower.names()).mode(self.follower.mode());
        let mut subscribing = Some(tokio::spawn(subscribe(client.clone(), subscription)));
        let shared = self.follower.shared.clone();
        while !self.account.is_done() {
            let event = tokio::select! {
                event = events.next() => event,
                result = ended(&mut subscribing) => {
                    subscribing = None;
                    if let Err(error) = result {
                        return self.account.fault("not subscribed", error);
                    }
                    continue;
                }
                () = shared.over() => break,
            };
            let Some(event) = event else {
                return self.account.fault("client stopped", "it gave no reason");
            };
            self.take(event);
        }
        if let Some(task) = subscribing {
            task.abort();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected { .. } => self.account.connected(),
            Event::Message(message) => self.message(message),
            Event::Disconnected { retry_in, loss } => {
                self.account.disconnected();
                if retry_in.is_none() {
                    self.account.fault("client stopped", loss);
                }
            }
            Event::ConnectFailed { error, retry_in } => {
                self.account.connect_failed();
                if retry_in.is_none() {
                    self.account.fault("client stopped", error);
                }
            }
            Event::Synced { .. } | Event::Restored { .. } => {}
            Event::Broken(broken) => self.account.fault("broken promise", broken),
            Event::Unresumed { topic, .. } => self.account.unresumed(&topic),
            Event::SubscriptionLost { topic, refusal } => {
                self.account
                    .fault("subscription lost", format_args!("{topic}: {refusal}"));
            }
        }
    }

    fn message(&mut self, message: ServerMessage) {
        let way = self.follower.way;
        match message {
            ServerMessage::Update { topic, seq, data, .. } => {
                let is_right = topics::is_of(way, seq.0, data.get())
                    && (way != Way::Book || self.book(&topic).update(seq, data.get()).is_ok());
                self.account.update(&topic, seq.0, is_right);
            }
            ServerMessage::Snapshot {
                topic,
                epoch,
                seq,
                data,
                ..
            } => {
                let is_right = match way {
                    Way::Book => self.book(&topic).snapshot(&epoch, seq, data.get()).is_ok(),
                    Way::Every | Way::Conflate => topics::is_of(way, seq.0, data.get()),
                };
                self.account.snapshot(&topic, seq.0, is_right);
            }
            ServerMessage::Control(Control::Gap {
                topic,
                from,
                to,
                reason,
                ..
            }) => {
                self.book(&topic).make_stale();
                self.account.gap(&topic, from.0, to.0, reason);
            }
            ServerMessage::Control(Control::Joined { topic, seq, .. }) => self.account.joined(&topic, seq.0),
            ServerMessage::Control(Control::Ack { results, .. }) => {
                for result in results {
                    self.acked(&result);
                }
            }
            ServerMessage::Control(Control::Error { reason, .. }) => self.account.fault("error", reason),
            ServerMessage::Control(_) | ServerMessage::Unknown(_) => {}
        }
    }

    fn book(&mut self, topic: &str) -> &mut L2Book {
        self.books.entry(topic.to_owned()).or_default()
    }

    fn acked(&mut self, result: &AckResult) {
        match &result.error {
            Some(refusal) => self
                .account
                .fault("refused", format_args!("{}: {refusal}", result.topic)),
            None if result.matched.is_some() => self.account.acked_by_pattern(),
            None => self.account.acked(result),
        }
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
