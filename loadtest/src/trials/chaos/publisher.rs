//! The only publisher: it publishes to each topic in turn, at a steady rate, over its own undisturbed connection.
//!
//! At most [`UNACKED_MAX`] messages wait for their acks. Each ack must have the number that the message was made for.
//! Otherwise it is unknown what there is to receive, and the run fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tickwire_client::{Client, Publishing};

use super::{Goal, Shared, topics};

const UNACKED_MAX: usize = 512;
const EVERY: Duration = Duration::from_millis(5);

pub(super) struct Publisher {
    client: Client,
    shared: Arc<Shared>,
    count: u64,
    waiting: VecDeque<(usize, u64, Publishing)>,
}

impl Publisher {
    /// Connects, and publishes the first message of each topic, so that every topic has a snapshot.
    pub(super) async fn start(url: String, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let (client, events) = Client::builder(url).connect().await?;
        // Nobody takes the events, and the client would stop reading.
        drop(events);
        let mut publisher = Self {
            client,
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
        self.client.close().await;
        Ok(self.count)
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        let topic = (self.count % topics::ALL as u64) as usize;
        let seq = self.count / topics::ALL as u64 + 1;
        let message = topics::message(topic, seq);
        let publishing = self.client.begin_publish(topics::name(topic), message).await?;
        self.waiting.push_back((topic, seq, publishing));
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

    async fn settle(&mut self) -> anyhow::Result<()> {
        let Some((topic, expected, mut publishing)) = self.waiting.pop_front() else {
            return Ok(());
        };
        let got = publishing.ack().await?.seq.0;
        ensure!(
            got == expected,
            "message {expected} of {} was numbered {got}: somebody else publishes there too",
            topics::name(topic)
        );
        self.shared.heads[topic].store(got, Ordering::Release);
        Ok(())
    }
}
