//! The handles that a program holds while a task of the client keeps the connection.
//!
//! Everything between the program and that task is bounded. When the program does not take events, the task stops
//! reading, and the broker notices a slow reader; nothing is dropped. When requests come faster than the broker takes
//! them, they wait in the caller's `await`, each for the request time-out at most.

use std::sync::Arc;
use std::time::Duration;

use tickwire_wire::message::{AckResult, Position, PublishKey};
use tickwire_wire::{Micros, Payload, Secret};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::builder::ClientBuilder;
use crate::clocks::Clocks;
use crate::endpoint::Endpoint;
use crate::error::{RequestError, UrlError};
use crate::event::Event;
use crate::request::{Answer, Body};
use crate::session::{Command, Outlet, User};
use crate::subscription::Subscription;

/// Most requests that wait for the connection's task.
const COMMANDS_MAX: usize = 16;

/// A connection to a broker that reconnects and resumes by itself. It is cheap to clone. The connection ends when the
/// last clone is dropped.
///
/// The program has to take the [`Events`] while requests wait for their answers: answers come through the same socket
/// as market data, and the client stops reading when nobody takes what it read. A program that needs no events drops
/// the [`Events`]. Messages are then read, checked and dropped.
#[derive(Debug, Clone)]
pub struct Client(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    closing: watch::Sender<bool>,
    request_timeout: Duration,
}

/// The events of a [`Client`]'s connection, in order. They end when the client has stopped.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// Waits for the next event. `None` when the client has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The next event, if one is waiting.
    pub fn next_now(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

/// A subscription whose request was handed over.
#[derive(Debug)]
#[must_use = "whether the broker granted it shows in its ack"]
pub struct Subscribing {
    ack: Waiting,
    synced: oneshot::Receiver<Result<(), RequestError>>,
}

impl Subscribing {
    /// Waits for the results of the request, one for each topic in order. They come only once.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn ack(&mut self) -> Result<Vec<AckResult>, RequestError> {
        self.ack.ack().await
    }

    /// Waits until everything that the subscription begins with has come: each snapshot and each message of a replay.
    /// There is no deadline: it takes as long as the broker needs to send all that. An [`Event::Synced`] marks the same
    /// place among the events: those before it are the initial state.
    ///
    /// # Errors
    /// When the request was refused as a whole, or the connection was lost first. In the latter case the client
    /// restores what was acked and then sends another [`Event::Synced`].
    pub async fn synced(self) -> Result<(), RequestError> {
        self.synced.await.unwrap_or(Err(RequestError::Closed))
    }
}

/// A published message whose request was handed over. The broker's acknowledgement tells its position in the topic.
#[derive(Debug)]
#[must_use = "whether the broker took the message shows in its ack"]
pub struct Publishing(Waiting);

impl Publishing {
    /// Waits for the position that the message got. The call may be cancelled and repeated; the answer comes only once.
    ///
    /// # Errors
    /// When the broker refused the message, or did not answer in time or at all.
    pub async fn ack(&mut self) -> Result<Position, RequestError> {
        self.receipt().await.map(|receipt| receipt.position)
    }

    /// Does the same as [`Self::ack`], and tells whether a message with the same key was published before.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn receipt(&mut self) -> Result<PublishReceipt, RequestError> {
        let result = self.0.ack().await?.into_iter().next();
        let missing = RequestError::BadAnswer("the message's epoch and seq");
        let receipt = result.and_then(|result| {
            let (epoch, seq) = (result.epoch?, result.seq?);
            Some(PublishReceipt {
                position: Position { epoch, seq },
                is_duplicate: result.duplicate,
            })
        });
        receipt.ok_or(missing)
    }
}

/// What a publication may have beside its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// By which the broker knows the publication again if it is repeated: see [`Client::publish_once`].
    pub key: Option<PublishKey>,
    /// The message's time, where the client's rights allow to set it. It is never before the topic's newest message, and
    /// never after the time at which the broker gets it: the broker takes the nearest time that is neither.
    pub ts: Option<Micros>,
}

/// The broker's answer to a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishReceipt {
    /// The position of the message in its topic.
    pub position: Position,
    /// Whether a message with the same key was published before. Then the position is that one's, and nothing was
    /// published.
    pub is_duplicate: bool,
}

/// A request that the connection's task has taken, and its answer.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Receiver<Result<Answer, RequestError>>,
    deadline: Instant,
    timeout: Duration,
}

impl Waiting {
    async fn answer(&mut self) -> Result<Answer, RequestError> {
        match timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_task_ended)) => Err(RequestError::Closed),
            Err(_elapsed) => Err(timed_out(self.timeout)),
        }
    }

    async fn ack(&mut self) -> Result<Vec<AckResult>, RequestError> {
        match self.answer().await? {
            Answer::Ack(results) => Ok(results),
            Answer::Pong(_) => Err(RequestError::BadAnswer("an ack")),
        }
    }
}

fn timed_out(after: Duration) -> RequestError {
    RequestError::TimedOut {
        after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The handles of a new client, and the side of the connection's task. At most `events_max` events wait for the program.
pub(crate) fn handles(events_max: usize, request_timeout: Duration) -> (Client, Events, User) {
    let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
    let (event_sender, events) = mpsc::channel(events_max.clamp(1, usize::MAX >> 3));
    let (closing, closing_receiver) = watch::channel(false);
    let user = User {
        commands: command_receiver,
        outlet: Outlet::new(event_sender),
        closing: closing_receiver,
    };
    let client = Client(Arc::new(Handle {
        commands,
        closing,
        request_timeout,
    }));
    (client, Events(events), user)
}

impl Client {
    /// Starts the settings of a client for the broker at `url`: `ws://HOST:PORT/v1/ws`, or `wss://…` for TLS. A URL
    /// without a path means `/v1/ws`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// Checks that `url` is valid for a client.
    ///
    /// # Errors
    /// When `url` is not valid. The error says what is wrong with it.
    pub fn check_url(url: &str) -> Result<(), UrlError> {
        Endpoint::parse(url).map(drop)
    }

    async fn request(&self, body: Body) -> Result<Waiting, RequestError> {
        let timeout = self.0.request_timeout;
        let deadline = Instant::now() + timeout;
        let (reply, answer) = oneshot::channel();
        match timeout_at(deadline, self.0.commands.send(Command { body, reply })).await {
            Ok(Ok(())) => Ok(Waiting {
                answer,
                deadline,
                timeout,
            }),
            Ok(Err(_task_ended)) => Err(RequestError::Closed),
            Err(_elapsed) => Err(timed_out(timeout)),
        }
    }

    /// Subscribes. There is one result for each topic, in order. A refused topic has its `error` and does not fail the
    /// others.
    ///
    /// After each reconnect the client restores what was acked, until it is unsubscribed: a topic from its last
    /// position, a pattern from the last position of each of its topics. An [`Event::Restored`] reports the outcome.
    ///
    /// # Errors
    /// When the whole request was refused or was not answered in time, or the connection was lost before the answer.
    /// The client does not restore the subscription then.
    pub async fn subscribe(&self, subscription: Subscription) -> Result<Vec<AckResult>, RequestError> {
        self.begin_subscribe(subscription).await?.ack().await
    }

    /// Hands a subscription over. It waits neither for the answer nor for what the subscription begins with:
    ///
    /// ```no_run
    /// # async fn example(client: tickwire_client::Client) -> Result<(), tickwire_client::RequestError> {
    /// # use tickwire_client::Subscription;
    /// let mut subscribing = client.begin_subscribe(Subscription::to(["ticker.*"])).await?;
    /// let results = subscribing.ack().await?;
    /// subscribing.synced().await?; // by now there is a value of every ticker, while another task takes the events
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the subscription could not be handed over in time. Nothing is subscribed then.
    pub async fn begin_subscribe(&self, subscription: Subscription) -> Result<Subscribing, RequestError> {
        let (sender, synced) = oneshot::channel();
        let body = Body::Subscribe {
            wanted: subscription.wanted,
            topics: subscription.topics,
            synced: sender,
        };
        let ack = self.request(body).await?;
        Ok(Subscribing { ack, synced })
    }

    /// Ends subscriptions, which are named as they were subscribed. There is one result for each topic, in order.
    ///
    /// # Errors
    /// As [`Self::subscribe`]. If the request was sent, the client does not restore the subscriptions, whatever the
    /// outcome.
    pub async fn unsubscribe<T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<Vec<AckResult>, RequestError> {
        let body = Body::Unsubscribe(topics.into_iter().map(Into::into).collect());
        self.request(body).await?.ack().await
    }

    /// Publishes `data` and waits for the position that it got in `topic`.
    ///
    /// # Errors
    /// When the message was refused, or was not answered in time or at all. The client never sends it twice.
    pub async fn publish(&self, topic: impl Into<String>, data: Payload) -> Result<Position, RequestError> {
        self.begin_publish(topic, data).await?.ack().await
    }

    /// Hands `data` over to be published and does not wait for the answer. Messages that one task hands over arrive in
    /// that order.
    ///
    /// # Errors
    /// When the message could not be handed over in time. It is not published then.
    pub async fn begin_publish(
        &self,
        topic: impl Into<String>,
        data: Payload,
    ) -> Result<Publishing, RequestError> {
        self.begin_publish_with(topic, data, PublishOptions::default())
            .await
    }

    /// Does the same as [`Self::begin_publish`], with a key or a time.
    ///
    /// # Errors
    /// As [`Self::begin_publish`].
    pub async fn begin_publish_with(
        &self,
        topic: impl Into<String>,
        data: Payload,
        options: PublishOptions,
    ) -> Result<Publishing, RequestError> {
        let (topic, PublishOptions { key, ts }) = (topic.into(), options);
        let body = Body::Publish { topic, data, key, ts };
        self.request(body).await.map(Publishing)
    }

    /// Publishes `data` once, however often it is called with the same `key` and `topic`: the broker knows a key for
    /// `publish.dedupe_ms`, two minutes by default. So a message whose answer was lost can be published again. The client
    /// does not do that by itself.
    ///
    /// # Errors
    /// When the message was refused, or was not answered in time or at all.
    pub async fn publish_once(
        &self,
        topic: impl Into<String>,
        key: PublishKey,
        data: Payload,
    ) -> Result<PublishReceipt, RequestError> {
        let options = PublishOptions {
            key: Some(key),
            ts: None,
        };
        self.begin_publish_with(topic, data, options)
            .await?
            .receipt()
            .await
    }

    /// Asks for a fresh snapshot of the subscribed `topic`. The snapshot comes as an event.
    ///
    /// # Errors
    /// When the request was refused, or was not answered in time or at all.
    pub async fn resync(&self, topic: impl Into<String>) -> Result<(), RequestError> {
        self.request(Body::Resync(topic.into()))
            .await?
            .ack()
            .await
            .map(drop)
    }

    /// Replaces the connection's rights with those of `token`. After each reconnect the client shows the last accepted
    /// token again.
    ///
    /// # Errors
    /// When the token was refused, or was not answered in time or at all.
    pub async fn auth(&self, token: impl Into<Secret>) -> Result<(), RequestError> {
        self.request(Body::Auth(token.into()))
            .await?
            .ack()
            .await
            .map(drop)
    }

    /// Pings the broker. Returns the round-trip time and the offset between the broker's clock and this machine's.
    ///
    /// # Errors
    /// When the ping was refused, or was not answered in time or at all.
    pub async fn ping(&self) -> Result<Clocks, RequestError> {
        match self.request(Body::Ping).await?.answer().await? {
            Answer::Pong(Some(clocks)) => Ok(clocks),
            Answer::Pong(None) | Answer::Ack(_) => Err(RequestError::BadAnswer("a pong")),
        }
    }

    /// Closes the connection and waits until it is closed. Events that the program has not taken are dropped.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        self.0.commands.closed().await;
    }
}
