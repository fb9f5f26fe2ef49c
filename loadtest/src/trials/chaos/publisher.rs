//! The only publisher: it publishes to each topic in turn, at a steady rate, over its own undisturbed connection.
//!
//! At most [`UNACKED_MAX`] messages wait for their acks. Each ack must have the number that the message was made for.
//! Otherwise it is unknown what there is to receive, and the run fails. If the broker is killed, the messages whose acks did
//! not come are published again, in their order and with their keys, before any other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tickwire_client::{BackoffBounds, Client, Event, PublishOptions, Publishing, RequestError};
use tickwire_wire::message::PublishKey;
use tokio::sync::watch;

use super::{Goal, Shared, topics};

const UNACKED_MAX: usize = 512;
const EVERY: Duration = Duration::from_millis(5);
/// The time between two attempts to connect to a broker that was killed.
const CONNECT_EVERY: Duration = Duration::from_millis(20);
/// A client that has lost its connection is given up long before it connects again: what it has not sent would come before
/// what must be repeated.
const NEVER: BackoffBounds = BackoffBounds {
    first_ms: 3_600_000,
    max_ms: 3_600_000,
};

/// A message whose ack has not come.
struct Unacked {
    topic: usize,
    seq: u64,
    publishing: Publishing,
}

/// A connection, and whether it was lost. The client of a lost one answers nothing any more.
struct Connection {
    client: Client,
    lost: watch::Receiver<bool>,
}

impl Connection {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let (client, mut events) = Client::builder(url).backoff(NEVER).connect().await?;
        let (notice, lost) = watch::channel(false);
        // It ends with the client.
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if matches!(event, Event::Disconnected { .. }) {
                    notice.send_replace(true);
                }
            }
        });
        Ok(Self { client, lost })
    }

    async fn begin(
        &self,
        topic: usize,
        seq: u64,
        key: Option<PublishKey>,
    ) -> Result<Publishing, RequestError> {
        let options = PublishOptions { key, ts: None };
        let message = topics::message(topic, seq);
        let begun = self
            .client
            .begin_publish_with(topics::name(topic), message, options);
        unless_lost(&mut self.lost.clone(), begun).await
    }
}

/// What `asked` gets, unless the connection is lost.
async fn unless_lost<T>(
    lost: &mut watch::Receiver<bool>,
    asked: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::select! {
        biased;
        _ = lost.wait_for(|lost| *lost) => Err(RequestError::Disconnected),
        answer = asked => answer,
    }
}

pub(super) struct Publisher {
    url: String,
    connection: Connection,
    /// Whether the broker is killed now and then.
    is_killed: bool,
    shared: Arc<Shared>,
    count: u64,
    waiting: VecDeque<Unacked>,
}

impl Publisher {
    /// The key of a message that may have to be repeated.
    fn key(is_killed: bool, seq: u64) -> Option<PublishKey> {
        is_killed.then(|| seq.to_string().parse().expect("a key"))
    }

    /// Connects, and publishes the first message of each topic, so that every topic has a snapshot.
    pub(super) async fn start(url: String, is_killed: bool, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let mut publisher = Self {
            connection: Connection::open(&url).await?,
            url,
            is_killed,
            shared,
            count: 0,
            waiting: VecDeque::new(),
        };
        for _ in 0..topics::ALL {
            publisher.next().await?;
        }
        publisher.settle_all().await?;
        Ok(publisher)
    }

    /// Publishes `rate` messages a second until the goal is reached. Returns how many were published.
    ///
    /// # Errors
    /// When the broker refuses messages, or numbers them in another order.
    pub(super) async fn run(mut self, rate: u32, goal: Goal) -> anyhow::Result<u64> {
        let (began, first) = (Instant::now(), self.count);
        let most = match goal {
            Goal::Published(most) => most,
            Goal::Received(_) => u64::MAX,
        };
        while !self.shared.is_enough(goal) {
            let due = first + (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while self.count < due.min(most) {
                self.next().await?;
            }
            self.shared.published.store(self.count, Ordering::Relaxed);
            tokio::time::sleep(EVERY).await;
        }
        self.settle_all().await?;
        self.shared.published_all.store(true, Ordering::Release);
        self.connection.client.close().await;
        Ok(self.count)
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        let topic = (self.count % topics::ALL as u64) as usize;
        let seq = self.count / topics::ALL as u64 + 1;
        let publishing = loop {
            match self
                .connection
                .begin(topic, seq, Self::key(self.is_killed, seq))
                .await
            {
                Ok(publishing) => break publishing,
                Err(error) => {
                    self.check_killed(error)?;
                    self.repeat().await?;
                }
            }
        };
        self.waiting.push_back(Unacked {
            topic,
            seq,
            publishing,
        });
        self.count += 1;
        if self.waiting.len() >= UNACKED_MAX {
            self.settle().await?;
        }
        Ok(())
    }

    async fn settle_all(&mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest ack.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let Some(Unacked {
            topic,
            seq,
            publishing,
        }) = self.waiting.front_mut()
        else {
            return Ok(());
        };
        let got = match unless_lost(&mut self.connection.lost, publishing.ack()).await {
            Ok(position) => position.seq.0,
            Err(error) => {
                self.check_killed(error)?;
                return self.repeat().await;
            }
        };
        ensure!(
            got == *seq,
            "message {seq} of {} was numbered {got}: somebody else publishes there too",
            topics::name(*topic)
        );
        self.shared.heads[*topic].store(got, Ordering::Release);
        self.waiting.pop_front();
        Ok(())
    }

    /// Whether `error` is what comes of killing the broker. Otherwise it ends the run.
    fn check_killed(&self, error: RequestError) -> anyhow::Result<()> {
        match error {
            RequestError::Disconnected | RequestError::Closed if self.is_killed => Ok(()),
            error => Err(error.into()),
        }
    }

    /// Connects again, and publishes again what has no ack.
    async fn repeat(&mut self) -> anyhow::Result<()> {
        ensure!(self.is_killed, "the connection of the publisher was lost");
        'connected: loop {
            self.connection = match Connection::open(&self.url).await {
                Ok(connection) => connection,
                Err(_) if !self.shared.given_up.load(Ordering::Relaxed) => {
                    tokio::time::sleep(CONNECT_EVERY).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for unacked in &mut self.waiting {
                let Unacked { topic, seq, .. } = *unacked;
                match self.connection.begin(topic, seq, Self::key(true, seq)).await {
                    Ok(publishing) => unacked.publishing = publishing,
                    Err(RequestError::Disconnected | RequestError::Closed) => continue 'connected,
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(());
        }
    }
}
