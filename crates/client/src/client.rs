//! The handles that a program holds while a task of the client keeps the connection.
//!
//! Everything between the program and that task is bounded. When the program does not take events, the task stops
//! reading, and the broker notices a slow reader; nothing is dropped. When requests come faster than the broker takes
//! them, they wait in the caller's `await`, each for the request time-out at most.

use hyper::header::{HeaderName, HeaderValue};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tickwire_wire::message::{AckResult, Position};
use tickwire_wire::{Codec, Pattern, Payload, Secret};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff::BackoffBounds;
use crate::clocks::Clocks;
use crate::core::Core;
use crate::driver::{Address, Driver, Settings, connect_first};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, RequestError, UrlError};
use crate::event::Event;
use crate::http;
use crate::promise::Checker;
use crate::request::{Answer, Body};
use crate::session::{Command, Outlet, User};
use crate::subscription::Subscription;
use crate::tls::TlsFiles;
use crate::token::TokenSource;

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
        let result = self.0.ack().await?.into_iter().next();
        let missing = RequestError::BadAnswer("the message's epoch and seq");
        let position = result.and_then(|result| Some((result.epoch?, result.seq?)));
        position
            .map(|(epoch, seq)| Position { epoch, seq })
            .ok_or(missing)
    }
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

impl Client {
    /// Starts the settings of a client for the broker at `url`: `ws://HOST:PORT/v1/ws`, or `wss://…` for TLS. A URL
    /// without a path means `/v1/ws`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            urls: vec![url.into()],
            codec: Codec::default(),
            headers: Vec::new(),
            tls: TlsFiles::default(),
            token: None,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 10_000,
            quiet_margin_ms: 5_000,
            events_max: 1_024,
            message_bytes_max: 16 * 1024 * 1024,
            backoff: BackoffBounds::default(),
            report_broken: true,
            verify_books: None,
        }
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
        let topic = topic.into();
        self.request(Body::Publish { topic, data }).await.map(Publishing)
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

/// The settings of a [`Client`]. All have defaults.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before connect"]
pub struct ClientBuilder {
    urls: Vec<String>,
    codec: Codec,
    headers: Vec<(String, String)>,
    tls: TlsFiles,
    token: Option<TokenSource>,
    connect_timeout_ms: u64,
    request_timeout_ms: u64,
    quiet_margin_ms: u64,
    events_max: usize,
    message_bytes_max: usize,
    backoff: BackoffBounds,
    report_broken: bool,
    verify_books: Option<Pattern>,
}

impl ClientBuilder {
    /// Adds the URL of another broker with the same topics. When a connection ends or an attempt fails, the client tries
    /// the next URL, and after the last the first again.
    pub fn or_url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// The codec of requests and messages. Default: JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Adds a header to the handshake's request, in place of one of the same name. Connecting fails if it is not valid.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// On `wss://`, trusts only the authorities whose certificates are in this PEM file. Default: those that the system
    /// trusts.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// On `wss://`, shows the certificates in `cert_file` to a broker that asks for them. Their key is in `key_file`.
    /// Both are PEM files.
    pub fn client_certificate(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.tls.identity = Some((cert_file.into(), key_file.into()));
        self
    }

    /// The token that each handshake shows. A token accepted by [`Client::auth`] replaces it.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(TokenSource::Text(token.into()));
        self
    }

    /// The file with the token that each handshake shows. It is read again for each handshake, so another program may
    /// renew it.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(TokenSource::File(path.into()));
        self
    }

    /// The longest time that connecting may take, up to the welcome, in milliseconds. Default: 5,000.
    pub fn connect_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.connect_timeout_ms = timeout_ms;
        self
    }

    /// The longest time that a request may take, including the wait for a connection, in milliseconds. Default: 10,000.
    pub fn request_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.request_timeout_ms = timeout_ms;
        self
    }

    /// How long a broker may be silent beyond two heartbeats before it counts as dead, in milliseconds. Default: 5,000.
    pub fn quiet_margin_ms(mut self, margin_ms: u64) -> Self {
        self.quiet_margin_ms = margin_ms;
        self
    }

    /// Most events that wait for the program. When there are as many, the client stops reading. Default: 1,024; at
    /// least 1.
    pub fn events_max(mut self, events_max: usize) -> Self {
        self.events_max = events_max;
        self
    }

    /// The longest message that the client takes from the broker, in bytes. Default: 16 MiB.
    pub fn message_bytes_max(mut self, message_bytes_max: usize) -> Self {
        self.message_bytes_max = message_bytes_max;
        self
    }

    /// The bounds of the waits between attempts to connect. Default: ceilings from 250 ms to 15 s.
    pub fn backoff(mut self, bounds: BackoffBounds) -> Self {
        self.backoff = bounds;
        self
    }

    /// Whether broken promises are reported as [`Event::Broken`]. Default: yes.
    pub fn report_broken_promises(mut self, report: bool) -> Self {
        self.report_broken = report;
        self
    }

    /// Also rebuilds the books of the topics that match `pattern` and verifies each checksum. Default: no books.
    pub fn verify_books(mut self, pattern: Pattern) -> Self {
        self.verify_books = Some(pattern);
        self
    }

    /// The names of topics that match `pattern`, over HTTP: one page of the broker's listing.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or does not answer within the time for connecting. It refuses to
    /// list what the client may not subscribe to.
    pub async fn topics(&self, pattern: &Pattern) -> Result<Vec<String>, ConnectError> {
        let body = self.get(&http::listing_target(pattern)).await?;
        http::names(&self.settings()?.address.endpoint, &body)
    }

    /// The body of the answer to a GET of `target`, a path with an optional query, on a connection of its own. At most 8 MiB.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or does not answer within the time for connecting.
    pub async fn get(&self, target: &str) -> Result<Vec<u8>, ConnectError> {
        let settings = self.settings()?;
        let headers = settings.headers().await?;
        let (Address { endpoint, tls }, after_ms) = (&settings.address, settings.connect_timeout_ms);
        let answer = http::get(endpoint, tls.as_ref(), &headers, target);
        timeout(Duration::from_millis(after_ms), answer)
            .await
            .unwrap_or_else(|_| {
                Err(ConnectError::TimedOut {
                    endpoint: endpoint.to_string(),
                    after_ms,
                })
            })
    }

    fn settings(&self) -> Result<Settings, ConnectError> {
        let addresses = self.urls.iter().map(|url| Address::of(url, &self.tls));
        let mut others = addresses.collect::<Result<VecDeque<_>, _>>()?;
        Ok(Settings {
            address: others.pop_front().expect("a builder begins with one URL"),
            others,
            codec: self.codec,
            token: self.token.clone(),
            headers: self.headers.iter().map(header).collect::<Result<_, _>>()?,
            connect_timeout_ms: self.connect_timeout_ms,
            quiet_margin_ms: self.quiet_margin_ms,
            message_bytes_max: self.message_bytes_max,
            backoff: self.backoff,
        })
    }

    /// Connects and waits for the welcome. From then on the client reconnects by itself. Needs a tokio runtime with I/O
    /// and time.
    ///
    /// # Errors
    /// When the first connection fails, at each of the URLs. The client does not try it again.
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let mut settings = self.settings()?;
        let first = connect_first(&mut settings).await?;
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (event_sender, events) = mpsc::channel(self.events_max.clamp(1, usize::MAX >> 3));
        let (closing, closing_receiver) = watch::channel(false);
        let checker = match self.verify_books {
            Some(pattern) => Checker::new().verify_books(pattern),
            None => Checker::new(),
        };
        let driver = Driver {
            core: Core::new(settings.codec, checker, self.report_broken),
            settings,
            user: User {
                commands: command_receiver,
                outlet: Outlet::new(event_sender),
                closing: closing_receiver,
            },
        };
        tokio::spawn(driver.run(first));
        let client = Client(Arc::new(Handle {
            commands,
            closing,
            request_timeout: Duration::from_millis(self.request_timeout_ms),
        }));
        Ok((client, Events(events)))
    }
}

fn header((name, value): &(String, String)) -> Result<(HeaderName, HeaderValue), ConnectError> {
    let parsed = name
        .parse::<HeaderName>()
        .ok()
        .zip(value.parse::<HeaderValue>().ok());
    parsed.ok_or_else(|| ConnectError::BadHeader { name: name.clone() })
}
